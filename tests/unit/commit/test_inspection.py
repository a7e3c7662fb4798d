"""A state folder seen from outside."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cs3fuse.commit.folder import StateFolder
from cs3fuse.commit.inspection import inspect, is_state_folder
from cs3fuse.commit.records import CommitRecord, RecordState
from cs3fuse.errors import LocalStorageError
from cs3fuse.model import Location, PathRoot

RECORD = CommitRecord(
    id=1,
    identity="host:1|u",
    at=Location(PathRoot("/home"), "a"),
    base=None,
    staged="s1",
    size=5,
    mtime_ns=0,
    state=RecordState.SEALED,
    created_at=1.0,
    changed_at=1.0,
)


@pytest.fixture
def opened(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state", wall_clock=time.time)


async def test_what_waits_and_what_was_never_closed(opened: StateFolder) -> None:
    """Sealed, interrupted and refused files wait; unfinished ones are another matter; helpers of a rename are neither."""
    for number, state in enumerate(RecordState, start=1):
        await opened.journal.put(replace(RECORD, id=number, state=state), durable=False)
    await opened.journal.put(replace(RECORD, id=99, state=RecordState.DIRTY, size=0), durable=False)
    opened.close()
    content = inspect(opened.path)
    assert len(content.records) == len(RecordState) + 1
    assert {record.state for record in content.waiting} == set(RecordState) - {
        RecordState.DIRTY,
        RecordState.CLEANUP,
        RecordState.ASIDE,
    }
    assert [record.size for record in content.unfinished] == [5]
    assert content.staged(RECORD) == opened.path / "staged" / "s1"


async def test_a_folder_in_use_is_read_and_said_to_be(opened: StateFolder) -> None:
    """Looking at a running daemon's journal disturbs it in nothing."""
    await opened.journal.put(RECORD, durable=True)
    content = inspect(opened.path)
    assert content.is_in_use
    assert [record.at.rel for record in content.waiting] == ["a"]
    await opened.journal.put(replace(RECORD, id=2), durable=True)
    opened.close()
    again = inspect(opened.path)
    assert not again.is_in_use
    assert len(again.waiting) == 2


async def test_the_journal_of_a_killed_daemon_is_read_whole(opened: StateFolder, tmp_path: Path) -> None:
    """What stands in the write-ahead log only, without its index, counts."""
    await opened.journal.put(RECORD, durable=True)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        (copy / name).write_bytes((opened.path / name).read_bytes())
    opened.close()
    assert len(inspect(copy).waiting) == 1


def test_what_is_no_state_folder_is_said(tmp_path: Path) -> None:
    """Missing, damaged, of a later release; and nothing is made by looking."""
    assert not is_state_folder(tmp_path)
    with pytest.raises(LocalStorageError, match="not a state folder"):
        inspect(tmp_path)
    assert not list(tmp_path.iterdir())
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(LocalStorageError, match="cannot be read"):
        inspect(tmp_path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LocalStorageError, match="version 99"):
        inspect(tmp_path)
