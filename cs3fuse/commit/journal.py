"""The journal: which bytes in the state folder are not known to be on the server.

Owns one sqlite database (WAL). ``engine`` and ``session`` write it, always from the trio thread. Durable transactions run in a worker
thread, one at a time; changes that arrive meanwhile are put into the next one together (group commit), so a hundred files closed at
once cost a few fsyncs and not a hundred. Others run at once where nothing is in their way: 20 us, against 150 us for a thread. Reads
are answered from memory.

A change is ``durable`` when it must survive a power loss: then sqlite syncs before the call returns. Others survive the death of
the process and lie in the write-ahead log until the next durable change (or the kernel) writes them out.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from cs3fuse.commit.records import (
    CommitRecord,
    ConflictRecord,
    RecordState,
    decode_earlier,
    decode_entry,
    decode_location,
    decode_lock,
    decode_ranges,
    encode_earlier,
    encode_entry,
    encode_location,
    encode_lock,
    encode_ranges,
)
from cs3fuse.commit.reserve import RESERVE_BYTES, Reserve, no_room
from cs3fuse.errors import Cs3FuseError, LocalSpaceError, LocalStorageError
from cs3fuse.limits import promptly
from cs3fuse.values import changed

SCHEMA_VERSION = 2
CHECKPOINT_EVERY = 500
"""Transactions after which the write-ahead log is brought into the database."""
_SCHEMA = """
CREATE TABLE commits (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, at TEXT NOT NULL, base TEXT, staged TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, changed_at REAL NOT NULL, sha1 TEXT NOT NULL,
    missing TEXT NOT NULL, copy_at TEXT, source TEXT, source_entry TEXT, lock TEXT, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
    attempted INTEGER NOT NULL, earlier TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE conflicts (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, at TEXT NOT NULL, copy_at TEXT NOT NULL, noticed_at REAL NOT NULL,
    reason TEXT NOT NULL
);
"""
_FROM_1_TO_2 = "ALTER TABLE commits ADD COLUMN earlier TEXT NOT NULL DEFAULT '[]';"
_PUT = "INSERT OR REPLACE INTO commits VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_DROP = "DELETE FROM commits WHERE id = ?"
_ADD_CONFLICT = "INSERT INTO conflicts VALUES (?,?,?,?,?,?)"
_FORGET_CONFLICT = "DELETE FROM conflicts WHERE id = ?"

_Statement = tuple[str, tuple[object, ...]]


@dataclass(slots=True, eq=False)
class _Change:
    """Statements that belong together, and what became of them. ``first`` is called before, in the same thread."""

    statements: Sequence[_Statement]
    is_durable: bool
    first: Callable[[], None] | None = None
    is_done: bool = False
    error: Cs3FuseError | None = None


class Journal:
    """Records of this state folder, of every identity. See the module for concurrency."""

    def __init__(
        self,
        path: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        make_room: Callable[[int], Awaitable[bool]] = no_room,
    ) -> None:
        """Open or create the database; ``make_room`` is asked when the disk is full.

        Raises: LocalStorageError: damaged, or of a later version.
        """
        self._path = path
        self._wall_clock = wall_clock
        self._make_room = make_room
        self._turn = trio.Lock()
        # Never behind forty transfers and digests that have trio's own.
        self._thread = trio.CapacityLimiter(1)
        self._waiting: list[_Change] = []
        self._since_checkpoint = 0
        self._level = ""
        self._reserve = Reserve(path.with_name("reserve"))
        self._records: dict[int, CommitRecord] = {}
        self._conflicts: dict[int, ConflictRecord] = {}
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._open()
        except (sqlite3.Error, ValueError, KeyError, TypeError) as exc:
            raise LocalStorageError(
                f"The journal {path} cannot be read ({exc}). It lists bytes that may not be on the server: "
                f"keep {path.parent}, and move it aside before mounting again.",
                call="journal.open",
                path=str(path),
            ) from exc
        self._reserve.hold()
        self._last_id = max([0, *self._records, *self._conflicts])

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _open(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        # A checkpoint syncs: it must not strike a transaction on the trio thread, so ``flush`` makes it, in a thread.
        self._database.execute("PRAGMA wal_autocheckpoint = 0")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version == 1:
            self._database.executescript(f"BEGIN; {_FROM_1_TO_2} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise ValueError(f"version {version}, this program knows {SCHEMA_VERSION}")
        for row in self._database.execute("SELECT * FROM commits ORDER BY id"):
            record = _record_of(row)
            self._records[record.id] = record
        for row in self._database.execute("SELECT * FROM conflicts ORDER BY id"):
            conflict = _conflict_of(row)
            self._conflicts[conflict.id] = conflict

    def new_id(self) -> int:
        """An id that no record of this journal has."""
        self._last_id += 1
        return self._last_id

    def records(self) -> list[CommitRecord]:
        """All records, oldest first; including those of other identities."""
        return [self._records[key] for key in sorted(self._records)]

    def record(self, record_id: int) -> CommitRecord | None:
        """One record, None if it is not there."""
        return self._records.get(record_id)

    def conflicts(self) -> list[ConflictRecord]:
        """Conflicts that were not forgotten yet, oldest first."""
        return [self._conflicts[key] for key in sorted(self._conflicts)]

    async def put(
        self, record: CommitRecord, *, durable: bool, instead_of: int | None = None, first: Callable[[], None] | None = None
    ) -> CommitRecord:
        """Store a record (and drop the one it supersedes, in the same transaction). Returns it with its time of change.

        Args: ``first`` blocks, and must have returned before the record is stored: a sync of what it speaks of.

        Raises: LocalSpaceError, LocalStorageError, also of ``first``: then the journal holds what it held before.
        Cancellation: the record is stored or not (``revoke_soon``); what others put at the same time is stored.
        """
        record = changed(record, changed_at=self._wall_clock())
        statements: list[_Statement] = [(_PUT, _row_of(record))]
        if instead_of is not None and instead_of != record.id:
            statements.append((_DROP, (instead_of,)))
        if first is not None and (not durable or self._turn.locked()):
            # Not in somebody else's turn: syncs of several files at once cost the disk hardly more than one.
            await trio.to_thread.run_sync(first)
            first = None
        await self._apply(_Change(statements, durable, first))
        self._records[record.id] = record
        if instead_of is not None and instead_of != record.id:
            self._records.pop(instead_of, None)
        return record

    def put_soon(self, record: CommitRecord) -> None:
        """Store a record with the next transaction, or at ``flush``; for states that nobody was promised (``DIRTY``)."""
        record = changed(record, changed_at=self._wall_clock())
        self._records[record.id] = record
        self._waiting.append(_Change([(_PUT, _row_of(record))], is_durable=False))

    def drop_soon(self, record_id: int) -> None:
        """Forget a record with the next transaction, or at ``flush``."""
        if self._records.pop(record_id, None) is not None:
            self.revoke_soon(record_id)

    def revoke_soon(self, record_id: int) -> None:
        """The same for a record whose ``put`` was cancelled: nobody knows whether it is stored."""
        self._waiting.append(_Change([(_DROP, (record_id,))], is_durable=False))

    async def drop(self, record_id: int) -> None:
        """Forget a record: its bytes are on the server, or nobody wants them. Raises: as ``put``."""
        await self._apply(_Change([(_DROP, (record_id,))], is_durable=False))
        self._records.pop(record_id, None)

    async def add_conflict(self, conflict: ConflictRecord, *, instead_of: int) -> None:
        """Remember a conflict whose copy is on the server, and forget the record it came from. Raises: as ``put``."""
        row = (
            conflict.id,
            conflict.identity,
            encode_location(conflict.at),
            encode_location(conflict.copy_at),
            conflict.noticed_at,
            conflict.reason,
        )
        await self._apply(_Change([(_ADD_CONFLICT, row), (_DROP, (instead_of,))], is_durable=True))
        self._conflicts[conflict.id] = conflict
        self._records.pop(instead_of, None)

    async def forget_conflict(self, conflict_id: int) -> None:
        """The user has seen a conflict. Raises: as ``put``."""
        await self._apply(_Change([(_FORGET_CONFLICT, (conflict_id,))], is_durable=False))
        self._conflicts.pop(conflict_id, None)

    async def flush(self) -> None:
        """Write what waits; called every few seconds, also keeps the log short. Raises: as ``put``."""
        if self._waiting:
            await self._apply(_Change([], is_durable=False))
        self._reserve.hold()
        if self._since_checkpoint >= CHECKPOINT_EVERY:
            async with promptly(self._turn):
                await trio.to_thread.run_sync(self._checkpoint, limiter=self._thread)

    def close(self) -> None:
        """Write what waits (once, errors are the next start's to find) and close. Blocks for one transaction."""
        batch, self._waiting = self._waiting, []
        self._transaction(batch)
        self._database.close()

    async def _apply(self, change: _Change) -> None:
        await self._apply_now(change)
        if isinstance(change.error, LocalSpaceError) and await self._make_room(RESERVE_BYTES):
            again = _Change(change.statements, change.is_durable, change.first)
            await self._apply_now(again)
            change = again
        if change.error is not None:
            raise change.error

    async def _apply_now(self, change: _Change) -> None:
        self._waiting.append(change)
        if not change.is_durable and not self._turn.locked():
            batch, self._waiting = self._waiting, []
            self._transaction(batch)
        else:
            try:
                async with promptly(self._turn):
                    if not change.is_done:
                        await self._run_batch()
            except trio.Cancelled:
                with suppress(ValueError):  # whoever has the turn has taken it
                    self._waiting.remove(change)
                raise

    async def _run_batch(self) -> None:
        """Under the turn: all that waits, in one transaction. It is carried out once it was taken: it is others' too."""
        batch, self._waiting = self._waiting, []
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._transaction, batch, limiter=self._thread)

    def _checkpoint(self) -> None:
        """Run in a worker thread: bring the log into the database. A failure leaves a longer log."""
        try:
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._since_checkpoint = 0
        except sqlite3.Error:
            return

    def _transaction(self, batch: Sequence[_Change]) -> None:
        """All of ``batch`` or nothing. Under ``_turn`` in a worker thread, or on the trio thread while nobody has the turn."""
        self._since_checkpoint += 1
        for change in batch:
            if change.first is not None:
                change.error = _failure_of(change.first)
                if change.error is None:
                    change.first = None
        ready = [change for change in batch if change.error is None]
        error = self._try(ready)
        if isinstance(error, LocalSpaceError) and self._reserve.give():
            error = self._try(ready)
        for change in ready:
            change.error = error
        for change in batch:
            change.is_done = True

    def _try(self, batch: Sequence[_Change]) -> Cs3FuseError | None:
        try:
            # FULL syncs the log at each commit, NORMAL leaves that to the next FULL one.
            level = "FULL" if any(change.is_durable for change in batch) else "NORMAL"
            if level != self._level:
                self._level = ""
                self._database.execute(f"PRAGMA synchronous = {level}")
                self._level = level
            statements = [each for change in batch for each in change.statements]
            if len(statements) == 1:
                self._database.execute(*statements[0])  # a transaction of its own
                return None
            self._database.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                self._database.execute(statement, values)
            self._database.execute("COMMIT")
        except sqlite3.Error as exc:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return _local_error(exc, self._path)
        return None


def _failure_of(first: Callable[[], None]) -> Cs3FuseError | None:
    try:
        first()
    except Cs3FuseError as exc:
        return exc
    return None


def _local_error(exc: sqlite3.Error, path: Path) -> Cs3FuseError:
    if getattr(exc, "sqlite_errorname", "").startswith("SQLITE_FULL"):
        error: Cs3FuseError = LocalSpaceError(
            f"The disk of the state folder is full: the journal {path} cannot be written. Free some space and save again.",
            call="journal.write",
            path=str(path),
        )
    else:
        error = LocalStorageError(f"The journal {path} cannot be written ({exc}).", call="journal.write", path=str(path))
    error.__cause__ = exc
    return error


def _row_of(record: CommitRecord) -> tuple[object, ...]:
    return (
        record.id,
        record.identity,
        encode_location(record.at),
        encode_entry(record.base),
        record.staged,
        record.size,
        record.mtime_ns,
        record.state.value,
        record.created_at,
        record.changed_at,
        record.sha1,
        encode_ranges(record.missing),
        encode_location(record.copy_at),
        encode_location(record.source),
        encode_entry(record.source_entry),
        encode_lock(record.lock),
        record.attempts,
        record.reason,
        int(record.attempted),
        encode_earlier(record.earlier),
    )


def _record_of(row: Sequence[object]) -> CommitRecord:
    at = decode_location(_text(row[2]))
    if at is None:
        raise ValueError(f"record {row[0]} has no location")
    return CommitRecord(
        id=_number(row[0]),
        identity=str(row[1]),
        at=at,
        base=decode_entry(_text(row[3])),
        staged=str(row[4]),
        size=_number(row[5]),
        mtime_ns=_number(row[6]),
        state=RecordState(row[7]),
        created_at=float(str(row[8])),
        changed_at=float(str(row[9])),
        sha1=str(row[10]),
        missing=decode_ranges(str(row[11])),
        copy_at=decode_location(_text(row[12])),
        source=decode_location(_text(row[13])),
        source_entry=decode_entry(_text(row[14])),
        lock=decode_lock(_text(row[15])),
        attempts=_number(row[16]),
        reason=str(row[17]),
        attempted=bool(row[18]),
        earlier=decode_earlier(str(row[19])),
    )


def _conflict_of(row: Sequence[object]) -> ConflictRecord:
    at, copy_at = decode_location(_text(row[2])), decode_location(_text(row[3]))
    if at is None or copy_at is None:
        raise ValueError(f"conflict {row[0]} has no location")
    return ConflictRecord(_number(row[0]), str(row[1]), at, copy_at, float(str(row[4])), str(row[5]))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"not a number: {value!r}")
    return value
