"""The commit engine: every file that is being written, the workers that send them, and the journal they live in.

Owns the state folder (one daemon per folder), the table of sessions and the nursery of the workers. ``vfs`` begins sessions, ``app``
runs the engine and recovers before it mounts, ``control`` asks for the queue. Trio thread only. A commit belongs to a worker and not to
the request that asked for it: a request that is given up must not break an upload off in the middle, because some storages
commit what arrived.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.folder import StateFolder
from cs3fuse.commit.generation import Outcome
from cs3fuse.commit.host import LeaseLike, SessionHost, SessionLock, no_lock, nothing_to_ensure, nothing_to_release
from cs3fuse.commit.journal import Journal
from cs3fuse.commit.looks import Looks
from cs3fuse.commit.protocol import CommitProtocol, RetryPolicy
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.commit.recovery import Recovery, RecoveryReport, restored_generation, sweep
from cs3fuse.commit.replacing import Names, Replacer
from cs3fuse.commit.reserve import no_room
from cs3fuse.commit.sender import Sender, SenderOptions
from cs3fuse.commit.session import WriteSession
from cs3fuse.commit.watching import Watcher
from cs3fuse.errors import Cs3FuseError, LocalStorageError, NotFoundError, OutcomeUnknownError
from cs3fuse.model import Entry, Location, Lock
from cs3fuse.ports import BaseContent, RemoteData, RemoteTree
from cs3fuse.values import changed

_LOG = structlog.get_logger(__name__)

SNAPSHOT_EVERY_S = 2.0
"""How often the journal learns how far unfinished files came, and how often failed ones are looked at for another try."""

LEFTOVERS_EVERY_S = 30.0
"""How often renames that were not finished are tried again."""


def _no_lock_at(at: Location) -> Lock | None:  # noqa: ARG001 - the signature of ``lock_of``
    return None


def _lock_of(lease: LeaseLike) -> Lock | None:
    return lease.lock


def _nobody_to_tell(_at: Location, _entry: Entry) -> None:
    """For engines without a metadata cache."""


def _nobody_knows(_at: Location) -> int | None:
    """For engines without a metadata cache."""
    return None


@dataclass(slots=True)
class EngineOptions:
    """``mode``: what close waits for. ``workers``: uploads at a time, below each root. ``queue_bound``: files that may wait in mode "background".

    ``replace_upload_bound``: a rename onto a file uploads sources up to this many bytes and has larger ones moved by the server.
    ``recovery_limit_s``: how long a start waits for the journal; what is not sent by then goes on in the background.
    ``make_room`` is asked to free local disk space before a write fails for want of it; True if it freed some.
    ``lock_of`` gives the lock that an earlier run left on a file, for the commits that are replayed.
    ``on_server`` is told of each commit what stands on the server now: nobody may wait for it in mode "background".
    ``names_in`` tells how many names a folder had when it was last listed: looks at many files of a small one are one listing.
    """

    mode: Literal["close", "background"] = "close"
    workers: int = 4
    queue_bound: int = 1000
    replace_upload_bound: int = 64 * 1024 * 1024
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    recovery_retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(budget_s=5.0))
    recovery_limit_s: float = 60.0
    make_room: Callable[[int], Awaitable[bool]] = no_room
    lock_of: Callable[[Location], Lock | None] = _no_lock_at
    on_server: Callable[[Location, Entry], None] = _nobody_to_tell
    names_in: Callable[[Location], int | None] = _nobody_knows
    wall_clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A file that is not on the server yet. ``since`` is unix seconds; ``attempts`` have failed, the last one for ``reason``."""

    at: Location
    state: str
    size: int
    since: float
    attempts: int
    reason: str


class CommitEngine:
    """See the module."""

    def __init__(
        self,
        tree: RemoteTree,
        data: RemoteData,
        content: BaseContent,
        book: CapabilityBook,
        *,
        state_folder: Path,
        identity: str,
        username: str,
        options: EngineOptions | None = None,
    ) -> None:
        """``identity`` says whose journal records are ours ("server|user"); those of others are never touched."""
        self._tree = tree
        self._data = data
        self._content = content
        self._book = book
        self._folder = state_folder
        self._identity = identity
        self._username = username
        self._options = options or EngineOptions()
        self._sessions: dict[Location, WriteSession] = {}
        self._strays: set[WriteSession] = set()  # to be sent, and not what an open of their location gets
        # Unbounded, but never more than one entry for each session or rename that waits.
        self._asked, self._to_do = trio.open_memory_channel[Callable[[], Awaitable[None]]](math.inf)
        self._renames: set[Outcome] = set()
        self._in_queue = 0
        self._sent = trio.lowlevel.ParkingLot()
        self._opened: _Opened | None = None
        self._recovery_retry: RetryPolicy | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the state folder and send what sessions ask for, until cancelled.

        Raises: LocalStorageError: the folder is in use by another daemon, or the journal is damaged.
        Cancellation: what is under way is in the journal and settled by the next ``recover``.
        """
        opened = self._open()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_after)
                task_status.started()
                async for job in self._to_do:
                    nursery.start_soon(job)
        finally:
            self._shut(opened)

    def _open(self) -> _Opened:
        folder = StateFolder(self._folder, wall_clock=self._options.wall_clock, make_room=self._options.make_room)
        journal = folder.journal
        in_background = self._options.mode == "background"
        looks = Looks(self._tree, start=self._asked.send_nowait, names_in=self._options.names_in)
        sender = Sender(
            CommitProtocol(self._tree, self._data, self._book, looks, retry=self._options.retry),
            looks,
            self._content,
            self._book,
            journal,
            workers=self._options.workers,
            options=SenderOptions(self._username, in_background, self._watch, self._options.on_server, self._options.wall_clock),
        )
        host = SessionHost(
            folder=folder.staged,
            identity=self._identity,
            journal=journal,
            content=self._content,
            commits_in_background=in_background,
            dispatch=self._dispatch,
            start=self._asked.send_nowait,
            forget=self._forget,
            moved=self._moved,
            queue_room=self._queue_room,
            hurry=looks.hurry,
            make_room=self._options.make_room,
        )
        replacer = Replacer(
            self._tree, self._content, sender, host, upload_bound=self._options.replace_upload_bound, send_again=self._send_again
        )
        watcher = Watcher(self._tree, host, send=self._send_stray)
        self._opened = _Opened(folder, journal, sender, host, replacer, watcher, looks)
        return self._opened

    def _shut(self, opened: _Opened) -> None:
        """Nobody may wait for an answer that will not come; the journal's last words; the folder is free again."""
        self._opened = None
        for session in self._all():
            stopped = OutcomeUnknownError(
                f"cs3fuse is stopping; the bytes of {session.at} are in the journal.", path=str(session.at)
            )
            while session.finish(error=stopped):
                pass
        for outcome in self._renames:
            outcome.finish(error=OutcomeUnknownError("cs3fuse is stopping; the rename is settled at the next start."))
        opened.folder.close()

    @property
    def _running(self) -> _Opened:
        if self._opened is None:
            raise LocalStorageError("The commit engine is not running.", call="state.open", path=str(self._folder))
        return self._opened

    # Sessions

    def begin(
        self,
        at: Location,
        base: Entry | None,
        *,
        lease: LeaseLike | None = None,
        lock: Callable[[], Lock | None] = no_lock,
        ensure_lock: Callable[[], Awaitable[None]] = nothing_to_ensure,
        release_lock: Callable[[], None] = nothing_to_release,
        created: bool = False,
        is_exclusive: bool = False,
    ) -> WriteSession:
        """The session of a file that is opened for writing; the one that is still being sent, if there is one.

        Args: ``base`` is the version seen under the lock, None: the file must not exist when it is committed. ``created``: commit
        it even if nothing is written; ``is_exclusive``: with O_EXCL, nobody else may have made it meanwhile. ``lease`` is one holder's share of the CS3 lock: the session has it acquired again when it is
        lost, and releases it when the last handle is closed and everything is sent (or the next ``begin`` brings another).
        ``lock``, ``ensure_lock`` and ``release_lock`` are the same in parts, for callers that have no lease object.
        """
        host = self._running.host
        session = self._sessions.get(at)
        session_lock = SessionLock(lock, ensure_lock, release=release_lock)
        if lease is not None:
            session_lock = SessionLock(partial(_lock_of, lease), lease.ensure, lease.reaffirm, lease.release)
        if session is None or session.is_abandoned:
            session = WriteSession(host, at, base, lock=session_lock, created=created, is_exclusive=is_exclusive)
            self._sessions[at] = session
            return session
        session.reopen(base, session_lock if lease is not None or lock is not no_lock else None)
        return session

    def session_at(self, at: Location) -> WriteSession | None:
        """The session of a file that is open for writing or not sent yet."""
        return self._sessions.get(at)

    def _all(self) -> list[WriteSession]:
        return [*self._sessions.values(), *self._strays]

    def sessions(self) -> Sequence[WriteSession]:
        """All of them."""
        return list(self._sessions.values())

    def moved_below(self, source: Location, destination: Location) -> None:
        """A directory was renamed on the server: rebind the sessions of everything in it."""
        for session in list(self._sessions.values()):
            if session.at.is_below(source):
                rel = session.at.rel[len(source.rel) :].lstrip("/")
                session.rebind(Location(destination.root, f"{destination.rel}/{rel}".strip("/")))

    def _dispatch(self, session: WriteSession) -> None:
        if self._opened is None:
            session.finish(error=OutcomeUnknownError(f"cs3fuse is stopping; {session.at} was not sent.", path=str(session.at)))
            return
        self._in_queue += 1
        self._asked.send_nowait(partial(self._serve, session))

    async def _queue_room(self) -> None:
        """Wait while as many files as the bound allows are being sent: close is the brake on a program that writes too fast."""
        while self._in_queue >= self._options.queue_bound:
            await self._sent.park()

    def _send_again(self, session: WriteSession) -> None:
        self._strays.add(session)

    def _send_stray(self, session: WriteSession) -> None:
        self._strays.add(session)
        session.ask()

    def _watch(self, at: Location, entry: Entry | None, earlier: Sequence[tuple[int, str]]) -> None:
        self._running.watcher.watch(at, entry, earlier)

    def _forget(self, session: WriteSession) -> None:
        if self._sessions.get(session.at) is session:
            del self._sessions[session.at]

    def _moved(self, session: WriteSession, before: Location) -> None:
        if self._sessions.get(before) is session:
            del self._sessions[before]
            self._sessions[session.at] = session

    # Renames

    async def replace(
        self,
        source: Location,
        source_entry: Entry,
        destination: Location,
        destination_entry: Entry | None,
        *,
        source_session: WriteSession | None = None,
        source_lock: Lock | None = None,
        destination_lock: Lock | None = None,
    ) -> Entry:
        """rename(2) of a file onto an existing one, or (``destination_entry`` None) to a new name where the storage cannot rename. Returns the destination's entry afterwards; see ``replacing`` for what is kept.

        The caller has sent the source's own writes before, and abandons a session of the destination afterwards.

        Raises: ConflictError: the destination is not ``destination_entry`` any more; what the server refuses with.
        Cancellation: it goes on.
        """
        session = source_session or self._sessions.get(source)
        if session is not None and session.is_dirty:
            source_entry = await session.commit(to_server=True)
        names = Names(source, source_entry, destination, destination_entry, source_lock, destination_lock)
        outcome = Outcome()
        self._renames.add(outcome)
        self._asked.send_nowait(partial(self._replace, names, outcome))
        await outcome.done.wait()
        if outcome.error is not None:
            raise outcome.error
        assert outcome.entry is not None
        if session is not None:
            session.replaced(outcome.entry)
        return outcome.entry

    async def _replace(self, names: Names, outcome: Outcome) -> None:
        try:
            outcome.finish(entry=await self._running.replacer.replace(names))
        except Cs3FuseError as exc:
            outcome.finish(error=exc)
        finally:
            self._renames.discard(outcome)

    # After a crash

    async def recover(self) -> RecoveryReport:
        """Replay what an earlier run left; call while ``run`` runs, before anything is served.

        Never raises for the server's sake: what could not be sent is in the report and tried again in the background.
        Raises: LocalStorageError. Cancellation: the rest stays in the journal.
        """
        opened = self._running
        swept = sweep(opened.host.folder, opened.journal)
        if swept:
            _LOG.info("swept staged files that nothing needs", count=swept)
        self._recovery_retry = self._options.recovery_retry
        recovery = Recovery(opened.journal, opened.host.folder, self._identity, restore=self._restore)
        try:
            with trio.move_on_after(self._options.recovery_limit_s):
                await recovery.run()
                await opened.replacer.finish_leftovers()
        finally:
            self._recovery_retry = None
        return recovery.finish()

    @property
    def has_left(self) -> bool:
        """Whether an earlier run left anything; while ``run`` runs."""
        return bool(self._running.journal.records())

    def _restore(self, record: CommitRecord) -> WriteSession:
        """A session of a record that an earlier run left. Raises: LocalStorageError."""
        opened = self._running
        generation = restored_generation(opened.host.folder, record)
        lock = SessionLock(partial(self._options.lock_of, record.at))
        session = WriteSession(opened.host, record.at, record.base, lock=lock, created=False)
        session.restore(generation)
        if record.source is None and record.state is not RecordState.CONFLICT and record.at not in self._sessions:
            self._sessions[record.at] = session
        else:
            self._strays.add(session)
        return session

    def unfinished(self) -> list[CommitRecord]:
        """Files that a program had not closed or synced when an earlier run was killed; kept until somebody decides."""
        alive = {session.record.id for session in self._all() if session.record is not None}
        records = self._running.journal.records()
        return [r for r in records if r.identity == self._identity and r.state is RecordState.DIRTY and r.id not in alive]

    async def save_unfinished(self, record_id: int) -> ConflictRecord:
        """Store an unfinished file as a copy beside the original. Returns where.

        Raises: NotFoundError: no such record; StaleError: bytes that were not written cannot be had any more; what the server refuses
        with: then it is kept as before.
        """
        record = self._unfinished(record_id)
        reason = f"{record.at} was being written when cs3fuse stopped."
        session = self._restore(changed(record, state=RecordState.CONFLICT, reason=reason))
        outcome = session.ask()
        assert outcome is not None
        await outcome.done.wait()
        if session.conflict is None:
            raise outcome.error or OutcomeUnknownError(f"{record.at} was not stored.", path=str(record.at))
        return session.conflict

    async def discard_unfinished(self, record_id: int) -> None:
        """Delete an unfinished file here: its bytes are gone. Raises: NotFoundError; LocalSpaceError, LocalStorageError."""
        record = self._unfinished(record_id)
        await self._running.journal.drop(record.id)
        (self._running.host.folder / record.staged).unlink(missing_ok=True)

    def _unfinished(self, record_id: int) -> CommitRecord:
        for record in self.unfinished():
            if record.id == record_id:
                return record
        raise NotFoundError(f"There is no unfinished file {record_id} in the journal.", path=str(self._folder))

    # Workers

    async def _serve(self, session: WriteSession) -> None:
        try:
            await self._running.sender.send(session, retry=self._recovery_retry)
        finally:
            self._in_queue -= 1
            self._sent.unpark()

    async def _look_after(self) -> None:
        """Every few seconds: what is unfinished goes into the journal, what failed is tried again."""
        leftovers_at = trio.current_time() + LEFTOVERS_EVERY_S
        while True:
            await trio.sleep(SNAPSHOT_EVERY_S)
            now = trio.current_time()
            self._strays = {stray for stray in self._strays if stray.is_dirty}
            for session in self._all():
                session.note_progress()
                if session.is_due(now):
                    session.ask()
            try:
                await self._running.journal.flush()
            except Cs3FuseError as exc:
                _LOG.warning("the journal could not be written", reason=str(exc))
            await self._running.watcher.look()
            if now >= leftovers_at:
                await self._running.replacer.finish_leftovers()
                leftovers_at = trio.current_time() + LEFTOVERS_EVERY_S

    # What waits

    def queue(self) -> list[QueueItem]:
        """Files that are not on the server yet, oldest first."""
        items = []
        for session in self._all():
            record = session.record
            if session.is_dirty:
                since = record.created_at if record is not None else self._options.wall_clock()
                items.append(QueueItem(session.at, session.state, session.size, since, session.tries, session.trouble))
        return sorted(items, key=lambda item: item.since)

    async def flush(self, at: Location | None = None) -> list[QueueItem]:
        """Try to send everything that waits (below ``at``), and wait for it. Returns what is still not on the server.

        Files that a program still writes and has not closed or synced are left alone.
        Cancellation: the commits go on.
        """
        asked = []
        for session in self._all():
            if (at is None or session.at.is_below(at)) and session.is_waiting:
                outcome = session.ask()
                if outcome is not None:
                    asked.append(outcome)
        with self._running.looks.awaited():
            for outcome in asked:
                await outcome.done.wait()
        return [item for item in self.queue() if (at is None or item.at.is_below(at)) and item.state != "dirty"]

    def hurry(self, at: Location) -> None:
        """What failed below ``at`` is tried again now and not when its turn comes: whatever was in the way is gone."""
        for session in self._all():
            if session.at.is_below(at) and session.is_due(math.inf):
                session.ask()

    def conflicts(self) -> list[ConflictRecord]:
        """Conflicts whose copies are on the server, oldest first; those of this identity."""
        return [conflict for conflict in self._running.journal.conflicts() if conflict.identity == self._identity]

    async def forget_conflict(self, conflict_id: int) -> None:
        """The user has seen it; the copy stays where it is. Raises: LocalSpaceError, LocalStorageError."""
        await self._running.journal.forget_conflict(conflict_id)


@dataclass(slots=True)
class _Opened:
    folder: StateFolder
    journal: Journal
    sender: Sender
    host: SessionHost
    replacer: Replacer
    watcher: Watcher
    looks: Looks
