"""One file that is being written: staged bytes over a base version, shared by all handles of an inode.

``vfs`` calls everything public here from the trio thread; ``sender`` takes generations from it. Reads and writes may run at the same
time as a commit: what is being sent is frozen, and a write that arrives meanwhile goes into a new staged file above it, never into
the frozen bytes.
"""

from __future__ import annotations

from cs3fuse.commit.generation import Generation, Outcome
from cs3fuse.commit.host import SessionHost, SessionLock, Subject, nothing_to_release
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.commit.stack import StagedStack
from cs3fuse.commit.staging import StagedFile
from cs3fuse.errors import Cs3FuseError
from cs3fuse.limits import promptly
from cs3fuse.model import Entry, Kind, Location
from cs3fuse.values import changed


class WriteSession:
    """See the module. ``at`` and ``base`` change with renames and commits; read them anew after each await."""

    def __init__(
        self,
        host: SessionHost,
        at: Location,
        base: Entry | None,
        *,
        lock: SessionLock,
        created: bool,
        is_exclusive: bool = False,
    ) -> None:
        """``created``: commit it even if nothing is written; ``is_exclusive``: with O_EXCL, nobody else may have made it."""
        self.lock = lock
        self.conflict: ConflictRecord | None = None
        self.retry_at = 0.0
        self.attempts = 0
        self.tries = 0
        """Failures since the last success, those included that one commit waited out."""
        self.trouble = ""
        """Why the last of them failed."""
        self.uploading_since: float | None = None
        self._host = host
        self._subject = Subject(at, base)
        self._stack = StagedStack(host, self._subject)
        self._must_create = created
        self.is_exclusive = is_exclusive
        self._frozen: Generation | None = None
        self._current: Outcome | None = None
        self._next: Outcome | None = None
        self._untold: Cs3FuseError | None = None
        self._is_abandoned = False
        self._is_closed = False

    # What it is

    @property
    def at(self) -> Location:
        """Where the file is now."""
        return self._subject.at

    @property
    def base(self) -> Entry | None:
        """The version on the server that our bytes lie over; ours, after a commit; None while there is none."""
        return self._subject.base

    @base.setter
    def base(self, entry: Entry | None) -> None:
        self._subject.base = entry

    @property
    def size(self) -> int:
        """Size of the file as its writers see it, in bytes."""
        return self._stack.size

    @property
    def mtime_ns(self) -> int:
        """Modification time as its writers see it."""
        return self._stack.mtime_ns

    @property
    def is_dirty(self) -> bool:
        """Whether something is not known to be on the server."""
        return not self._is_abandoned and (self._has_newer or self._frozen is not None or self._must_create)

    @property
    def is_only_emptied(self) -> bool:
        """Whether all that is new is that the file is empty, or there, and nobody asked for a commit of that."""
        return self.is_dirty and not self.is_waiting and self.size == 0

    @property
    def is_open(self) -> bool:
        """Whether a handle is open."""
        return not self._is_closed

    @property
    def is_abandoned(self) -> bool:
        """Whether the file was unlinked."""
        return self._is_abandoned

    @property
    def is_busy(self) -> bool:
        """Whether a commit was asked for and is not over."""
        return self._current is not None

    @property
    def is_waiting(self) -> bool:
        """Whether a commit was asked for (now, or before a failure) that did not succeed yet."""
        return self._current is not None or self._frozen is not None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits until the commit under way has ended."""
        return self._current is not None and self._current.is_awaited

    def is_due(self, now: float) -> bool:
        """Whether a failed commit should be tried again (``now`` is trio's clock)."""
        return self._current is None and self._frozen is not None and not self._is_abandoned and now >= self.retry_at

    @property
    def has_staged_bytes(self) -> bool:
        """Whether reads must come through here; False: the base version in the content store has them all."""
        return bool(self._stack)

    @property
    def record(self) -> CommitRecord | None:
        """The newest line in the journal, None if there is none."""
        return self._stack.top_record or (self._frozen.record if self._frozen is not None else None)

    @property
    def state(self) -> str:
        """One word for ``user.cs3.state``: clean, dirty, queued, uploading, conflict, failed."""
        if self.uploading_since is not None:
            return "uploading"
        if self._current is not None:
            return "queued"
        if self._frozen is not None and self._frozen.record.state in {RecordState.CONFLICT, RecordState.FAILED}:
            return str(self._frozen.record.state.value)
        if self._frozen is not None and not self._has_newer:
            return "queued"
        if self.is_dirty:
            return "dirty"
        return "conflict" if self.conflict is not None else "clean"

    def entry(self) -> Entry:
        """The file as it will be once everything is sent: the server's entry if clean, else that with our size and time."""
        if self.base is not None and not self.is_dirty:
            return self.base
        base = self.base or Entry(name=self.at.name, kind=Kind.FILE)
        return changed(base, size=self.size, mtime_ns=self.mtime_ns)

    @property
    def _has_newer(self) -> bool:
        """Whether something was written since the last bytes were frozen."""
        return self._stack.top_record is not None

    # Writing and reading

    async def write(self, offset: int, data: bytes | memoryview) -> int:
        """Stage ``data`` at ``offset``; returns how many bytes, fewer only when the local disk filled up in between.

        Raises: LocalSpaceError, LocalStorageError: nothing of this call was written, everything before is intact.
        Cancellation: the write happened or not.
        """
        return await self._stack.write(offset, memoryview(data))

    async def append(self, data: bytes | memoryview) -> int:
        """Stage ``data`` at the end as it is at that moment: writes of several appenders interleave as wholes. As ``write``."""
        return await self._stack.write(None, memoryview(data))

    async def truncate(self, size: int) -> None:
        """Set the size: cut bytes are gone, added ones are zeros. Raises, Cancellation: as ``write``."""
        await self._stack.truncate(size)

    def set_mtime(self, mtime_ns: int) -> bool:
        """Give the file this modification time with the next commit. Returns False if no commit is due that could carry it."""
        frozen = self._frozen
        if not self.is_dirty or (not self._has_newer and frozen is not None and frozen.record.may_be_on_the_server):
            return False
        self._stack.mtime_ns = mtime_ns
        if not self._has_newer and frozen is not None:
            frozen.record = changed(frozen.record, mtime_ns=mtime_ns)
        return True

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``: ours where written, the base's elsewhere; short only at the end of the file.

        Raises: StaleError: the base version is gone from the server and not all here; what the content store raises.
        """
        return await self._stack.read(offset, size)

    # Committing

    async def commit(self, *, to_server: bool = False) -> Entry:
        """Bring everything written so far to the server (mode "background": into the journal). Returns the file's entry then.

        ``to_server``: in every mode, for callers that need the server to know the file, such as a rename.

        A clean session returns its base at once. Calls that come while a commit runs join it, or ask for another one if something
        was written since it froze its bytes.

        Raises: ConflictError: somebody else was first, our bytes are beside the original; otherwise the reason why the server does
        not have them: then they are in the journal and will be sent again.
        Cancellation: the commit goes on.
        """
        if self._host.commits_in_background and self._current is None and self.is_dirty:
            await self._host.queue_room()
        outcome = self.ask()
        if outcome is None:
            untold, self._untold = self._untold, None
            if untold is not None:
                raise untold
            return self.entry()
        if self._host.commits_in_background and not to_server:
            await outcome.sealed.wait()
        else:
            outcome.is_awaited = True
            self._host.hurry(self.at)
            await outcome.done.wait()
        if outcome.error is not None:
            self._untold = None
            raise outcome.error
        return outcome.entry or self.entry()

    def ask(self) -> Outcome | None:
        """Ask for a commit without waiting for it; None if there is nothing to send."""
        if self._current is not None:
            if not self._current.is_frozen or not self._has_newer:
                return self._current
            if self._next is None:
                self._next = Outcome()
            return self._next
        if not self.is_dirty:
            return None
        outcome = self._current = Outcome()
        self._host.dispatch(self)
        return outcome

    def ask_quietly(self) -> Outcome:
        """As ``ask``, for a caller that sends the session itself, and waits for it."""
        outcome = self._current = Outcome(is_awaited=True)
        return outcome

    async def quiesce(self) -> None:
        """Wait until no commit of this file is under way: before it is renamed or deleted on the server."""
        while self._current is not None:
            self._current.is_awaited = True
            self._host.hurry(self.at)
            await self._current.done.wait()

    # Life

    def rebind(self, at: Location) -> None:
        """The file was renamed on the server."""
        self._move(at)
        self._stack.note_progress()
        if self._frozen is not None:
            self._frozen.record = changed(self._frozen.record, at=at)
            self._host.journal.put_soon(self._frozen.record)

    def _move(self, at: Location) -> None:
        before, self._subject.at = self._subject.at, at
        self._host.moved(self, before)

    def replaced(self, entry: Entry) -> None:
        """The file was renamed onto another one, which is ``entry`` now; ``rebind`` follows. Its bytes are the same."""
        if not self.is_dirty and not self._stack:
            self._accept(entry)

    def _accept(self, entry: Entry) -> None:
        self._subject.base = entry
        self._stack.mtime_ns = entry.mtime_ns

    def abandon(self) -> None:
        """The file was unlinked: reads and writes go on, nothing is sent any more, and there is nothing to be locked."""
        self._is_abandoned = True
        release, self.lock = self.lock.release, SessionLock()
        release()
        self._stack.is_journaled = False
        self._must_create = False
        for record in (self._stack.top_record, self._frozen.record if self._frozen is not None else None):
            if record is not None:
                self._host.journal.drop_soon(record.id)
        if self._current is None:
            self._frozen = None
        self._host.forget(self)
        self._release()

    def reopen(self, base: Entry | None = None, lock: SessionLock | None = None) -> None:
        """Another handle. ``base`` is the version that it saw; it counts where we have nothing of our own."""
        self._is_closed = False
        if lock is not None:
            self.lock.release()
            self.lock = lock
        if base is not None and not self.is_dirty and not self._stack:
            self._accept(base)

    def close(self) -> None:
        """The last handle is gone. What is not on the server yet is sent in the background, and stays in the journal until then."""
        self._is_closed = True
        if self._has_newer or self._must_create:
            self.ask()
        self._release()

    def _release(self) -> None:
        """Drop the staged files, the lock and the place in the engine's table if nobody needs them any more."""
        if not self._is_closed or self._current is not None:
            return
        if self._is_abandoned or not self.is_dirty:
            self._stack.discard()
            self._host.forget(self)
            release, self.lock.release = self.lock.release, nothing_to_release
            release()

    # For the sender

    async def freeze(self) -> Generation | None:
        """Take what is to be sent; later writes go into a new file. None if nothing is left to send."""
        async with promptly(self._stack.gate):
            if self._must_create and not self._has_newer and self._frozen is None:
                await self._stack.open_top()
            if self._current is not None:
                self._current.is_frozen = True
            self._must_create = False
            if self._is_abandoned:
                return None
            taken = self._stack.take_top()
            if taken is not None:
                self._frozen = Generation(*taken, replaces=self._frozen.record if self._frozen is not None else None)
            return self._frozen

    def note_sealed(self) -> None:
        """The journal has the frozen generation, complete."""
        if self._current is not None:
            self._current.sealed.set()

    def layers_below(self, generation: Generation) -> list[StagedFile]:
        """The staged files under a generation, topmost first."""
        return self._stack.below(generation.staged)

    def drop_layers_below(self, generation: Generation) -> None:
        """The generation is complete: what lay under it is not needed any more."""
        self._stack.drop_below(generation.staged)

    def settle(self, generation: Generation, entry: Entry, *, diverted_to: Location | None = None) -> StagedFile | None:
        """The server has the generation as ``entry``. Returns its staged file if nothing lies above it: it may be given away.

        ``diverted_to``: not under its own name but as a conflict copy; from now on this session writes that one, without a lock.
        """
        self._subject.base = entry
        self._frozen = None
        self.attempts = self.tries = 0
        self.trouble = ""
        if diverted_to is not None:
            self._move(diverted_to)
            self.lock.release()
            self.lock = SessionLock()
        if not self._stack.hand_over(generation.staged):
            return None
        self._stack.mtime_ns = entry.mtime_ns
        return generation.staged

    def give_up(self, generation: Generation) -> None:
        """Nothing of this generation is needed or will be sent: its bytes are elsewhere."""
        self._host.journal.drop_soon(generation.record.id)
        self._frozen = None

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
        self._stack.put(generation.staged)
        self._stack.mtime_ns = generation.record.mtime_ns
        self._frozen = generation
        self._is_closed = True
        self.tries, self.trouble = generation.record.attempts, generation.record.reason

    def note_trouble(self, error: Cs3FuseError) -> None:
        """An attempt to send it failed; another follows now or later."""
        self.tries += 1
        self.trouble = str(error)

    def note_progress(self) -> None:
        """Tell the journal how far an unfinished file came."""
        self._stack.note_progress()
