"""The journal: what was put is there after a restart, exactly, whatever the order; damage and foreign versions are refused."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cs3fuse.commit.journal import CHECKPOINT_EVERY, Journal
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.errors import LocalSpaceError, LocalStorageError
from cs3fuse.model import ByteRange, Checksum, Entry, IdRoot, Kind, Location, Lock, PathRoot, ResourceId
from tests.unit.commit.fakes import MEMORY

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
IDS = st.builds(ResourceId, TEXT, TEXT, TEXT)
LOCATIONS = st.builds(Location, st.one_of(st.builds(PathRoot, TEXT), st.builds(IdRoot, IDS)), TEXT)
SIZES = st.integers(min_value=0, max_value=2**62)
ENTRIES = st.builds(
    Entry,
    name=TEXT,
    kind=st.just(Kind.FILE),
    size=SIZES,
    mtime_ns=SIZES,
    etag=TEXT,
    id=st.none() | IDS,
    checksum=st.none() | st.builds(Checksum, TEXT, TEXT),
)
RANGES = st.lists(st.builds(lambda start, size: ByteRange(start, start + size), SIZES, SIZES), max_size=3).map(tuple)
RECORDS = st.builds(
    CommitRecord,
    id=st.just(0),
    identity=TEXT,
    at=LOCATIONS,
    base=st.none() | ENTRIES,
    staged=TEXT,
    size=SIZES,
    mtime_ns=SIZES,
    state=st.sampled_from(RecordState),
    created_at=st.floats(0, 1e10),
    changed_at=st.just(5.0),
    sha1=TEXT,
    missing=RANGES,
    copy_at=st.none() | LOCATIONS,
    source=st.none() | LOCATIONS,
    source_entry=st.none() | ENTRIES,
    lock=st.none() | st.builds(Lock, TEXT, TEXT, st.floats(0, 1e10)),
    attempts=st.integers(0, 100),
    reason=TEXT,
    attempted=st.booleans(),
    earlier=st.lists(st.tuples(SIZES, TEXT), max_size=2).map(tuple),
)


class JournalMachine(RuleBasedStateMachine):
    """Puts, drops, conflicts and kills in any order; the model is a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.lives = 0
        self.journal = self._open()
        self.model: dict[int, CommitRecord] = {}
        self.conflicts: dict[int, ConflictRecord] = {}

    def _open(self) -> Journal:
        return Journal(self.folder / "journal.sqlite", wall_clock=lambda: 5.0)

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)

    @rule(record=RECORDS, durable=st.booleans())
    def put(self, record: CommitRecord, durable: bool) -> None:
        record = replace(record, id=self.journal.new_id())
        stored = trio.run(lambda: self.journal.put(record, durable=durable))
        self.model[record.id] = stored

    @precondition(lambda self: self.model)
    @rule(data=st.data(), record=RECORDS, durable=st.booleans())
    def supersede(self, data: st.DataObject, record: CommitRecord, durable: bool) -> None:
        old = data.draw(st.sampled_from(sorted(self.model)))
        record = replace(record, id=self.journal.new_id())
        trio.run(lambda: self.journal.put(record, durable=durable, instead_of=old))
        del self.model[old]
        self.model[record.id] = record

    @precondition(lambda self: self.model)
    @rule(data=st.data(), record=RECORDS, soon=st.booleans())
    def change(self, data: st.DataObject, record: CommitRecord, soon: bool) -> None:
        record = replace(record, id=data.draw(st.sampled_from(sorted(self.model))))
        if soon:
            self.journal.put_soon(record)
        else:
            trio.run(lambda: self.journal.put(record, durable=False))
        self.model[record.id] = record

    @precondition(lambda self: self.model)
    @rule(data=st.data(), soon=st.booleans())
    def drop(self, data: st.DataObject, soon: bool) -> None:
        record_id = data.draw(st.sampled_from(sorted(self.model)))
        if soon:
            self.journal.drop_soon(record_id)
        else:
            trio.run(self.journal.drop, record_id)
        del self.model[record_id]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), at=LOCATIONS, copy_at=LOCATIONS)
    def conflict(self, data: st.DataObject, at: Location, copy_at: Location) -> None:
        record_id = data.draw(st.sampled_from(sorted(self.model)))
        conflict = ConflictRecord(self.journal.new_id(), "me", at, copy_at, 7.0, "because")
        trio.run(lambda: self.journal.add_conflict(conflict, instead_of=record_id))
        del self.model[record_id]
        self.conflicts[conflict.id] = conflict

    @precondition(lambda self: self.conflicts)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        conflict_id = data.draw(st.sampled_from(sorted(self.conflicts)))
        trio.run(self.journal.forget_conflict, conflict_id)
        del self.conflicts[conflict_id]

    @rule()
    def kill(self) -> None:
        """What was flushed is read by the next life from the files as they are, without a clean close."""
        trio.run(self.journal.flush)
        self.lives += 1
        copy = self.folder.with_name(f"{self.folder.name}-{self.lives}")
        shutil.copytree(self.folder, copy)
        self.journal.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.journal = self._open()

    @invariant()
    def same(self) -> None:
        assert self.journal.records() == [self.model[key] for key in sorted(self.model)]
        assert self.journal.conflicts() == [self.conflicts[key] for key in sorted(self.conflicts)]


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestJournalMachine = JournalMachine.TestCase


def record(journal: Journal) -> CommitRecord:
    now = 1.0
    return CommitRecord(
        journal.new_id(),
        "me",
        Location(PathRoot("/home"), "a"),
        None,
        "staged",
        1,
        1,
        RecordState.SEALED,
        now,
        now,
        reason="x" * 200,
    )


async def test_concurrent_durable_puts_share_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred files closed at once cost a few syncs."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        transactions: list[int] = []
        real: Callable[..., None] = journal._transaction
        monkeypatch.setattr(journal, "_transaction", lambda batch: (transactions.append(len(batch)), real(batch))[1])
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(lambda: journal.put(record(journal), durable=True))
        assert len(journal.records()) == 100
        assert len(transactions) <= 5
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert len(journal.records()) == 100


async def test_cancelled_put_breaks_nobody_elses(tmp_path: Path) -> None:
    """A caller that is cancelled while its change waits leaves the others' changes whole."""
    with Journal(tmp_path / "journal.sqlite") as journal, trio.CancelScope() as scope:
        await journal._turn.acquire()
        async with trio.open_nursery() as nursery:

            async def cancelled() -> None:
                with trio.move_on_after(0):
                    await journal.put(record(journal), durable=True)

            nursery.start_soon(cancelled)
            nursery.start_soon(lambda: journal.put(record(journal), durable=True))
            await trio.testing.wait_all_tasks_blocked()
            journal._turn.release()
        assert not scope.cancelled_caught
        await journal.put(record(journal), durable=False)
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert len(journal.records()) in {2, 3}


async def test_cancelled_at_its_turn_it_stores_what_others_put(tmp_path: Path) -> None:
    """Whoever gets the turn writes for everybody: cancelled at that very moment, it still does."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        mine, others = record(journal), record(journal)
        await journal._turn.acquire()
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await journal.put(mine, durable=True)

            nursery.start_soon(cancelled)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: journal.put(others, durable=True))
            await trio.testing.wait_all_tasks_blocked()
            journal._turn.release()
            scope.cancel()
        assert others.id in {kept.id for kept in journal.records()}
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert others.id in {kept.id for kept in journal.records()}, "its owner was told that it is safe"


async def test_cancelled_while_it_waits_it_is_not_stored_later(tmp_path: Path) -> None:
    """The staged file that it speaks of is gone by then."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        mine, others = record(journal), record(journal)
        await journal._turn.acquire()
        async with trio.open_nursery() as nursery:

            async def cancelled() -> None:
                with trio.move_on_after(0.01):
                    await journal.put(mine, durable=False)

            nursery.start_soon(cancelled)
        journal._turn.release()
        await journal.put(others, durable=True)
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert [kept.id for kept in journal.records()] == [others.id]


async def test_revoked(tmp_path: Path) -> None:
    """A record whose storing was cut off in the middle is taken back with the next transaction."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        mine = await journal.put(record(journal), durable=True)
        journal.revoke_soon(mine.id)
        await journal.flush()
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert journal.records() == []


async def test_what_comes_first_comes_first(tmp_path: Path) -> None:
    """A record is not stored before what it speaks of is synced; another's turn is not used for that."""
    with (
        Journal(tmp_path / "journal.sqlite") as journal,
        closing(sqlite3.connect(tmp_path / "journal.sqlite", check_same_thread=False)) as other,
    ):

        def stored() -> int:
            return int(other.execute("SELECT COUNT(*) FROM commits").fetchone()[0])

        seen: list[tuple[int, bool]] = []
        first = lambda: seen.append((stored(), journal._turn.locked()))  # noqa: E731
        await journal.put(record(journal), durable=True, first=first)
        assert seen == [(0, True)], "in the thread of the transaction"
        assert stored() == 1
        await journal._turn.acquire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: journal.put(record(journal), durable=True, first=first))
            while len(seen) < 2:  # noqa: ASYNC110 - it is in a thread
                await trio.sleep(0.001)
            assert stored() == 1
            journal._turn.release()
        assert stored() == 2


@pytest.mark.parametrize("is_busy", [False, True], ids=["in the transaction's thread", "in its own"])
async def test_what_fails_first_is_not_stored(tmp_path: Path, is_busy: bool) -> None:
    """Bytes that cannot be synced are not called safe; other changes of the same moment are stored."""

    def fails() -> None:
        raise LocalStorageError("no disk", call="staging.synced", path="x")

    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.put_soon(other := record(journal))
        mine = record(journal)
        if is_busy:
            await journal._turn.acquire()
        with pytest.raises(LocalStorageError, match="no disk"):
            await journal.put(mine, durable=True, first=fails)
        if is_busy:
            journal._turn.release()
        assert [kept.id for kept in journal.records()] == [other.id]
        await journal.flush()
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert [kept.id for kept in journal.records()] == [other.id]


async def test_a_full_disk_is_tried_again_from_the_first(tmp_path: Path) -> None:
    """After room was made the sync is made again, and only then the record is stored."""
    tried: list[str] = []

    def first() -> None:
        tried.append("sync")
        if len(tried) == 1:
            raise LocalSpaceError("full", call="staging.synced", path="x")

    async def make_room(_size: int) -> bool:
        tried.append("room")
        return True

    with Journal(tmp_path / "journal.sqlite", make_room=make_room) as journal:
        await journal.put(record(journal), durable=True, first=first)
        assert tried == ["sync", "room", "sync"]
        assert len(journal.records()) == 1


async def test_log_is_kept_short(tmp_path: Path) -> None:
    """The write-ahead log does not grow without end."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        for _ in range(3):
            for _ in range(CHECKPOINT_EVERY):
                each = await journal.put(record(journal), durable=False)
                await journal.drop(each.id)
            await journal.flush()
        assert (tmp_path / "journal.sqlite-wal").stat().st_size < 20e6
        assert journal._since_checkpoint < CHECKPOINT_EVERY


def test_damaged_journal_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Bytes that may be nowhere else are listed there: no fresh start over it."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"this is no database, and it is long enough to be looked at as one" * 20)
    with pytest.raises(LocalStorageError, match="cannot be read"):
        Journal(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_journal_of_version_1_is_taken_over(tmp_path: Path) -> None:
    """It has no column for earlier uploads; its records are read as ones without."""
    path = tmp_path / "journal"
    with Journal(path) as journal:
        at = Location(PathRoot("/home"), "a")
        record = CommitRecord(journal.new_id(), "me", at, None, "staged", 3, 5, RecordState.SEALED, 1.0, 1.0)
        journal.put_soon(record)
    with closing(sqlite3.connect(path)) as database:
        database.executescript("ALTER TABLE commits DROP COLUMN earlier; PRAGMA user_version = 1")
    with Journal(path) as journal:
        (found,) = journal.records()
        assert replace(found, changed_at=0) == replace(record, changed_at=0)
        journal.put_soon(replace(found, earlier=((3, "ab"),)))
    with Journal(path) as journal:
        assert journal.records()[0].earlier == ((3, "ab"),)


def test_later_version_is_refused(tmp_path: Path) -> None:
    """A journal of a later program is not touched."""
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LocalStorageError, match="version 99"):
        Journal(path)
