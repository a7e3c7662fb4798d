"""One file that is being written: staged bytes over a base version, shared by all handles of an inode.

``vfs`` calls everything public here from the trio thread; ``sender`` takes generations from it. Reads and writes may run at the same
time as a commit: what is being sent is frozen, and a write that arrives meanwhile goes into a new staged file above it, never into
the frozen bytes. INVARIANT: no byte enters a staged file before the journal names the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from cs3fuse.commit.generation import Generation, Outcome
from cs3fuse.commit.journal import Journal
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.commit.staging import Piece, StagedFile, pieces
from cs3fuse.errors import Cs3FuseError, LocalSpaceError
from cs3fuse.model import ByteRange, Entry, Kind, Location, Lock
from cs3fuse.ports import BaseContent

SLOW_WRITE_S = 0.005
"""A write to the page cache that took longer waited for the disk: the next ones go to a thread."""
SLOW_FOR_S = 1.0
"""For how long."""


async def _no_room(wanted_bytes: int) -> bool:  # noqa: ARG001 - the signature of ``make_room``
    return False


async def _no_lock_to_ensure() -> None:
    """For storages without locks."""


@dataclass(slots=True)
class SessionHost:
    """What sessions need of the engine: its folder, journal, content store and workers."""

    folder: Path
    identity: str
    journal: Journal
    content: BaseContent
    commits_in_background: bool
    dispatch: Callable[[WriteSession], None]
    forget: Callable[[WriteSession], None]
    moved: Callable[[WriteSession, Location], None]
    make_room: Callable[[int], Awaitable[bool]] = _no_room


def _no_lock_to_release() -> None:
    """For storages without locks."""


def _no_lock() -> Lock | None:
    return None


@dataclass(slots=True)
class SessionLock:
    """How a session learns of the CS3 lock on its file: the current one, how to get it back after a loss, and when to let it go.

    ``release`` is called once: after the last handle is closed and everything is sent, or when another holder takes its place.
    """

    current: Callable[[], Lock | None]
    ensure: Callable[[], Awaitable[None]] = _no_lock_to_ensure
    release: Callable[[], None] = _no_lock_to_release


class WriteSession:
    """See the module. ``at`` and ``base`` change with renames and commits; read them anew after each await."""

    def __init__(self, host: SessionHost, at: Location, base: Entry | None, *, lock: SessionLock, created: bool) -> None:
        self.at = at
        self.base = base
        self.lock = lock
        self.conflict: ConflictRecord | None = None
        self.retry_at = 0.0
        self.attempts = 0
        self.uploading_since: float | None = None
        self._host = host
        self._must_create = created
        self._mtime_ns = base.mtime_ns if base is not None else time.time_ns()
        self._gate = trio.Lock()
        self._layers: list[StagedFile] = []
        self._top_record: CommitRecord | None = None
        self._frozen: Generation | None = None
        self._current: Outcome | None = None
        self._next: Outcome | None = None
        self._untold: Cs3FuseError | None = None
        self._is_abandoned = False
        self._is_closed = False
        self._slow_until = 0.0

    # What it is

    @property
    def size(self) -> int:
        """Size of the file as its writers see it, in bytes."""
        if self._layers:
            return self._layers[0].size
        return self.base.size if self.base is not None else 0

    @property
    def mtime_ns(self) -> int:
        """Modification time as its writers see it."""
        return self._mtime_ns

    @property
    def is_dirty(self) -> bool:
        """Whether something is not known to be on the server."""
        return not self._is_abandoned and (self._top_record is not None or self._frozen is not None or self._must_create)

    @property
    def is_open(self) -> bool:
        """Whether a handle is open."""
        return not self._is_closed

    @property
    def is_busy(self) -> bool:
        """Whether a commit was asked for and is not over."""
        return self._current is not None

    @property
    def is_waiting(self) -> bool:
        """Whether a commit was asked for (now, or before a failure) that did not succeed yet."""
        return self._current is not None or self._frozen is not None

    def is_due(self, now: float) -> bool:
        """Whether a failed commit should be tried again (``now`` is trio's clock)."""
        return self._current is None and self._frozen is not None and not self._is_abandoned and now >= self.retry_at

    @property
    def has_staged_bytes(self) -> bool:
        """Whether reads must come through here; False: the base version in the content store has them all."""
        return bool(self._layers)

    @property
    def record(self) -> CommitRecord | None:
        """The newest line in the journal, None if there is none."""
        return self._top_record or (self._frozen.record if self._frozen is not None else None)

    @property
    def state(self) -> str:
        """One word for ``user.cs3.state``: clean, dirty, queued, uploading, conflict, failed."""
        if self.uploading_since is not None:
            return "uploading"
        if self._current is not None:
            return "queued"
        if self._frozen is not None and self._frozen.record.state in {RecordState.CONFLICT, RecordState.FAILED}:
            return str(self._frozen.record.state.value)
        if self._frozen is not None and self._top_record is None:
            return "queued"
        if self.is_dirty:
            return "dirty"
        return "conflict" if self.conflict is not None else "clean"

    # Writing

    async def write(self, offset: int, data: bytes | memoryview) -> int:
        """Stage ``data`` at ``offset``; returns how many bytes, fewer only when the local disk filled up in between.

        Raises: LocalSpaceError, LocalStorageError: nothing of this call was written, everything before is intact.
        Cancellation: the write happened or not.
        """
        return await self._write(offset, memoryview(data))

    async def append(self, data: bytes | memoryview) -> int:
        """Stage ``data`` at the end as it is at that moment: writes of several appenders interleave as wholes. As ``write``."""
        return await self._write(None, memoryview(data))

    async def truncate(self, size: int) -> None:
        """Set the size: cut bytes are gone, added ones are zeros. Raises, Cancellation: as ``write``."""
        if size == self.size:
            return
        async with self._gate:
            top = await self._open_top()
            top.truncate(size)
            self._mtime_ns = time.time_ns()

    def set_mtime(self, mtime_ns: int) -> bool:
        """Give the file this modification time with the next commit. Returns False if no commit is due that could carry it."""
        uploading = self._frozen is not None and self._frozen.record.may_be_on_the_server
        if not self.is_dirty or (self._top_record is None and uploading):
            return False
        self._mtime_ns = mtime_ns
        if self._top_record is None and self._frozen is not None:
            self._frozen.record = replace(self._frozen.record, mtime_ns=mtime_ns)
        return True

    async def _write(self, offset: int | None, data: memoryview) -> int:
        # CHECKPOINT-FREE until the return: a plain write to the page cache costs less than a thread.
        if self._top_record is not None and not self._gate.locked() and trio.current_time() >= self._slow_until:
            top = self._layers[0]
            try:
                return self._write_now(top, top.size if offset is None else offset, data)
            except LocalSpaceError:
                pass  # once more below, after the cache made room
        async with self._gate:
            top = await self._open_top()
            try:
                return await self._write_in_thread(top, offset, data)
            except LocalSpaceError:
                if not await self._host.make_room(len(data)):
                    raise
            return await self._write_in_thread(top, offset, data)

    def _write_now(self, top: StagedFile, offset: int, data: memoryview) -> int:
        started_at = trio.current_time()
        count = top.write(offset, data)
        now = trio.current_time()
        if now - started_at > SLOW_WRITE_S:
            self._slow_until = now + SLOW_FOR_S
        self._mtime_ns = time.time_ns()
        return count

    async def _write_in_thread(self, top: StagedFile, offset: int | None, data: memoryview) -> int:
        """Under the gate: nobody else writes or resizes meanwhile, so the thread may change the staged file's state."""
        count = await trio.to_thread.run_sync(top.write, top.size if offset is None else offset, data)
        self._mtime_ns = time.time_ns()
        return count

    async def _open_top(self) -> StagedFile:
        """The staged file that takes writes, made (and named in the journal) if there is none. Call under the gate."""
        if self._top_record is not None:
            return self._layers[0]
        staged = StagedFile.create(self._host.folder, lower_size=self.size)
        now = time.time()
        record = CommitRecord(
            id=self._host.journal.new_id(),
            identity=self._host.identity,
            at=self.at,
            base=self.base,
            staged=staged.path.name,
            size=staged.size,
            mtime_ns=self._mtime_ns,
            state=RecordState.DIRTY,
            created_at=now,
            changed_at=now,
            missing=(ByteRange(0, staged.size),) if staged.size else (),
        )
        if not self._is_abandoned:
            try:
                record = await self._host.journal.put(record, durable=False)
            except BaseException:
                staged.discard()
                raise
        self._layers.insert(0, staged)
        self._top_record = record
        return staged

    # Reading

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``: ours where written, the base's elsewhere; short only at the end of the file.

        Raises: StaleError: the base version is gone from the server and not all here; what the content store raises.
        """
        while True:
            stop = min(offset + size, self.size)
            if offset >= stop:
                return b""
            wanted = [ByteRange(offset, stop)]
            layers, base = tuple(self._layers), self.base
            below = [piece.where for piece in pieces(layers, wanted) if piece.source is None]
            if not below or base is None:
                return await self._assemble(pieces(layers, wanted), wanted[0], scratch=-1)
            scratch = os.memfd_create("cs3fuse-read", os.MFD_CLOEXEC)
            try:
                await self._host.content.fill(self.at, base, below, scratch)
                # Writes that came meanwhile are seen: the pieces are taken anew. A commit that came makes the base another one.
                if layers == tuple(self._layers) and base is self.base:
                    wanted = [ByteRange(offset, max(offset, min(stop, self.size)))]
                    return await self._assemble(pieces(layers, wanted), wanted[0], scratch)
            finally:
                os.close(scratch)

    async def _assemble(self, parts: list[Piece], wanted: ByteRange, scratch: int) -> bytes:
        buffer = bytearray(len(wanted))
        try:
            _copy_into(buffer, parts, wanted.start, scratch, may_block=False)
        except BlockingIOError:
            pinned = [part.source for part in parts if part.source is not None]
            with _all_pinned(pinned):
                await trio.to_thread.run_sync(lambda: _copy_into(buffer, parts, wanted.start, scratch, may_block=True))
        return bytes(buffer)

    # Committing

    async def commit(self) -> Entry:
        """Bring everything written so far to the server (mode "background": into the journal). Returns the file's entry then.

        A clean session returns its base at once. Calls that come while a commit runs join it, or ask for another one if something
        was written since it froze its bytes.

        Raises: ConflictError: somebody else was first, our bytes are beside the original; otherwise the reason why the server does
        not have them: then they are in the journal and will be sent again.
        Cancellation: the commit goes on.
        """
        outcome = self.ask()
        if outcome is None:
            untold, self._untold = self._untold, None
            if untold is not None:
                raise untold
            return self.entry()
        await (outcome.sealed if self._host.commits_in_background else outcome.done).wait()
        if outcome.error is not None:
            outcome.is_told = True
            self._untold = None
            raise outcome.error
        return outcome.entry or self.entry()

    def ask(self) -> Outcome | None:
        """Ask for a commit without waiting for it; None if there is nothing to send."""
        if self._current is not None:
            if not self._current.is_frozen or self._top_record is None:
                return self._current
            if self._next is None:
                self._next = Outcome()
            return self._next
        if not self.is_dirty:
            return None
        self._current = Outcome()
        self._host.dispatch(self)
        return self._current

    def ask_quietly(self) -> Outcome:
        """As ``ask``, for a caller that sends the session itself."""
        self._current = Outcome()
        return self._current

    async def quiesce(self) -> None:
        """Wait until no commit of this file is under way: before it is renamed or deleted on the server."""
        while self._current is not None:
            await self._current.done.wait()

    def entry(self) -> Entry:
        """The file as it will be once everything is sent: the server's entry if clean, else that with our size and time."""
        if self.base is not None and not self.is_dirty:
            return self.base
        base = self.base or Entry(name=self.at.name, kind=Kind.FILE)
        return replace(base, size=self.size, mtime_ns=self._mtime_ns)

    # Life

    def rebind(self, at: Location) -> None:
        """The file was renamed on the server."""
        before, self.at = self.at, at
        if self._top_record is not None:
            self._top_record = replace(self._top_record, at=at)
            self._host.journal.put_soon(self._top_record)
        if self._frozen is not None:
            self._frozen.record = replace(self._frozen.record, at=at)
            self._host.journal.put_soon(self._frozen.record)
        self._host.moved(self, before)

    def abandon(self) -> None:
        """The file was unlinked: reads and writes go on, nothing is sent any more."""
        self._is_abandoned = True
        self._must_create = False
        for record in (self._top_record, self._frozen.record if self._frozen is not None else None):
            if record is not None:
                self._host.journal.drop_soon(record.id)
        if self._current is None:
            self._frozen = None
        self._host.forget(self)
        self._release()

    @property
    def is_abandoned(self) -> bool:
        """Whether the file was unlinked."""
        return self._is_abandoned

    def reopen(self, base: Entry | None = None, lock: SessionLock | None = None) -> None:
        """Another handle. ``base`` is the version that it saw; it counts where we have nothing of our own."""
        self._is_closed = False
        if lock is not None:
            self.lock.release()
            self.lock = lock
        if base is not None and not self.is_dirty and not self._layers:
            self.base = base
            self._mtime_ns = base.mtime_ns

    def close(self) -> None:
        """The last handle is gone. What is not on the server yet is sent in the background, and stays in the journal until then."""
        self._is_closed = True
        if self._top_record is not None or self._must_create:
            self.ask()
        self._release()

    def _release(self) -> None:
        """Drop the staged files and the place in the engine's table if nobody needs them any more."""
        if not self._is_closed or self._current is not None:
            return
        if self._is_abandoned or not self.is_dirty:
            for layer in self._layers:
                layer.discard()
            self._layers.clear()
            self._host.forget(self)
            release, self.lock.release = self.lock.release, _no_lock_to_release
            release()

    # For the sender

    async def freeze(self) -> Generation | None:
        """Take what is to be sent; later writes go into a new file. None if nothing is left to send."""
        async with self._gate:
            if self._must_create and self._top_record is None and self._frozen is None:
                await self._open_top()
            if self._current is not None:
                self._current.is_frozen = True
            self._must_create = False
            if self._top_record is not None and not self._is_abandoned:
                staged = self._layers[0]
                record = replace(
                    self._top_record,
                    at=self.at,
                    base=self.base,
                    size=staged.size,
                    mtime_ns=self._mtime_ns,
                    missing=tuple(staged.needed_from_below(0, staged.size)),
                )
                self._frozen = Generation(staged, record, replaces=self._frozen.record if self._frozen is not None else None)
                self._top_record = None
            return None if self._is_abandoned else self._frozen

    def note_sealed(self) -> None:
        """The journal has the frozen generation, complete."""
        if self._current is not None:
            self._current.sealed.set()

    def layers_below(self, generation: Generation) -> list[StagedFile]:
        """The staged files under a generation, topmost first."""
        position = self._layers.index(generation.staged) if generation.staged in self._layers else len(self._layers)
        return self._layers[position + 1 :]

    def drop_layers_below(self, generation: Generation) -> None:
        """The generation is complete: what lay under it is not needed any more."""
        below = self.layers_below(generation)
        if below:
            del self._layers[-len(below) :]
        for layer in below:
            layer.discard()

    def settle(self, generation: Generation, entry: Entry, at: Location | None = None) -> StagedFile | None:
        """The server has the generation as ``entry``. Returns its staged file if nothing lies above it: it may be given away."""
        self.base = entry
        self._frozen = None
        self.attempts = 0
        if at is not None:
            before, self.at = self.at, at
            self._host.moved(self, before)
            self.lock.release()
            self.lock = SessionLock(_no_lock)
        if self._layers and self._layers[0] is generation.staged:
            self._layers.clear()
            self._mtime_ns = entry.mtime_ns
            return generation.staged
        return None

    def finish(self, *, entry: Entry | None = None, error: Cs3FuseError | None = None) -> bool:
        """End the current commit. Returns whether another one was asked for meanwhile."""
        if self._current is not None:
            self._current.finish(entry=entry, error=error)
            self._untold = error
        self._current, self._next = self._next, None
        if self._current is None:
            self._release()
        return self._current is not None

    def restore(self, generation: Generation) -> None:
        """A generation that an earlier run left."""
        self._layers = [generation.staged]
        self._frozen = generation
        self._mtime_ns = generation.record.mtime_ns
        self._is_closed = True

    def replaced(self, entry: Entry) -> None:
        """The file was renamed onto another one, which is ``entry`` now; ``rebind`` follows. Its bytes are the same."""
        if not self.is_dirty and not self._layers:
            self.base = entry
            self._mtime_ns = entry.mtime_ns

    def give_up(self, generation: Generation) -> None:
        """Nothing of this generation is needed or will be sent: its bytes are elsewhere."""
        self._host.journal.drop_soon(generation.record.id)
        self._frozen = None

    def snapshot(self) -> None:
        """Tell the journal how far an unfinished file came (it lies there already; this is for whoever finds it after a crash)."""
        if self._top_record is None or self._is_abandoned:
            return
        staged = self._layers[0]
        record = replace(
            self._top_record,
            base=self.base,
            size=staged.size,
            mtime_ns=self._mtime_ns,
            missing=tuple(staged.needed_from_below(0, staged.size)),
        )
        if record != self._top_record:
            self._top_record = record
            self._host.journal.put_soon(record)


@contextmanager
def _all_pinned(files: Sequence[StagedFile]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in files:
            stack.enter_context(each.pinned())
        yield


def _copy_into(buffer: bytearray, parts: list[Piece], start: int, scratch: int, *, may_block: bool) -> None:
    view = memoryview(buffer)
    for part in parts:
        target = view[part.where.start - start : part.where.stop - start]
        if part.source is not None:
            part.source.read_into(part.where.start, target, may_block=may_block)
        else:
            os.preadv(scratch, [target], part.where.start)
