"""What a state folder holds, seen from outside: for ``umount`` and ``cs3fuse recover``, with or without a daemon in it.

Owns nothing and changes nothing. Synchronous; called by the command line, which has no event loop.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cs3fuse.commit.journal import SCHEMA_VERSION, _conflict_of, _record_of
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.errors import LocalStorageError

_WAITING = frozenset({RecordState.SEALED, RecordState.UPLOADING, RecordState.UNKNOWN, RecordState.CONFLICT, RecordState.FAILED})
_JOURNAL = "journal.sqlite"


@dataclass(frozen=True, slots=True)
class StateFolderContent:
    """``records`` and ``conflicts`` of every identity, oldest first. ``is_in_use``: a daemon runs on it."""

    folder: Path
    is_in_use: bool
    records: tuple[CommitRecord, ...]
    conflicts: tuple[ConflictRecord, ...]

    @property
    def waiting(self) -> list[CommitRecord]:
        """Files that were closed or synced and that the server does not have."""
        return [record for record in self.records if record.state in _WAITING]

    @property
    def unfinished(self) -> list[CommitRecord]:
        """Files that a program wrote and never closed; they are not sent by themselves."""
        return [record for record in self.records if record.state is RecordState.DIRTY and record.size]

    def staged(self, record: CommitRecord) -> Path:
        """Where the bytes of a record are."""
        return self.folder / "staged" / record.staged


def is_state_folder(folder: Path) -> bool:
    """Whether there is a journal."""
    return (folder / _JOURNAL).is_file()


def inspect(folder: Path) -> StateFolderContent:
    """Read a state folder. Raises: LocalStorageError: there is none, or its journal cannot be read."""
    path = folder / _JOURNAL
    if not path.is_file():
        raise LocalStorageError(f"{folder} is not a state folder: it has no {_JOURNAL}.", path=str(folder))
    try:
        # The write-ahead log is read too: for that sqlite makes its index file even in mode "ro", if a crash left none.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
            records, conflicts = _read(database)
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise LocalStorageError(f"The journal {path} cannot be read ({error}).", path=str(path)) from error
    return StateFolderContent(folder, _is_in_use(folder), tuple(records), tuple(conflicts))


def _read(database: sqlite3.Connection) -> tuple[list[CommitRecord], list[ConflictRecord]]:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:  # made a moment ago
        return [], []
    if version != SCHEMA_VERSION:
        raise ValueError(f"version {version}, this program knows {SCHEMA_VERSION}")
    records = [_record_of(row) for row in database.execute("SELECT * FROM commits ORDER BY id")]
    return records, [_conflict_of(row) for row in database.execute("SELECT * FROM conflicts ORDER BY id")]


def _is_in_use(folder: Path) -> bool:
    """Whether a daemon holds the folder's lock. A daemon that starts in this very moment is refused once and says so."""
    try:
        fd = os.open(folder / "daemon.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
