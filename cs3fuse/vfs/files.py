"""Open files: open, create, read, write, truncate, flush, fsync, release.

Owns the handles and the ``OpenFile`` of each open inode. Called by ``kernel.operations``. Opening and closing one inode is
serialised by a lock per inode; reads and writes run concurrently and rely on ``commit`` and ``cache`` for their own order.
An open reader keeps the version it opened: when the server has another one, the inode is orphaned and the name gets a new
inode number, so that the kernel's page cache can never mix two versions.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import structlog
import trio

from cs3fuse.cache.reader import ContentReader
from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import (
    AccessDeniedError,
    BadHandleError,
    ExistsError,
    IsDirectoryError,
    LockedError,
    NotDirectoryError,
    NotFoundError,
)
from cs3fuse.limits import promptly
from cs3fuse.model import Borrowed, Entry, Fh, Ino, Kind
from cs3fuse.vfs.attributes import WRITE_FILE, Attributes
from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.names import check_name
from cs3fuse.vfs.opening import Opener
from cs3fuse.vfs.state import OpenFile, VfsState

log = structlog.get_logger(__name__)

_RELEASE_S = 30
_LOCK_POLL_S = 1.0


def _is_not(_ino: Ino, _name: str) -> bool:
    """For callers who know of no other descriptors."""
    return False


@dataclass(frozen=True, slots=True)
class Opened:
    """What the kernel is told of an open. ``keep_pages``: its page cache still holds this very version."""

    fh: Fh
    keep_pages: bool


@dataclass(slots=True)
class Handle:
    """One open file description. ``is_writer``: it counts in its file's ``writers`` (also O_RDONLY with O_TRUNC).

    ``is_direct``: opened with O_DIRECT, what it reads is fetched from the server. ``refusal``: why it may not write although it was
    opened for that (somebody else's lock, option ``readonly``).
    """

    fh: Fh
    file: OpenFile
    is_writer: bool
    can_write: bool
    appends: bool
    is_direct: bool
    refusal: LockedError | None = None


class Files:
    """Operations on open files."""

    def __init__(self, state: VfsState, committer: Committer) -> None:
        self._state = state
        self._opener = Opener(state)
        self._committer = committer
        self._handles: dict[Fh, Handle] = {}
        self._numbers = count(1)
        self._gates: dict[Ino, trio.Lock] = {}

    @property
    def open_count(self) -> int:
        """Number of open handles."""
        return len(self._handles)

    # --- open and create -------------------------------------------------------------------------------------------

    async def open(self, ino: Ino, flags: int) -> Opened:
        """Open an existing file as open(2) does; O_TRUNC empties it (on the server at the next flush).

        Where somebody else holds the lock the options decide: EBUSY, wait for a while, or open for reading only (O_RDWR without
        O_TRUNC; a write is then EBUSY). Reading is never refused.

        Raises: StaleError where the inode's version is not the server's any more and old handles still need it: the kernel
        looks the name up again and opens the new inode. LockedError, AccessDeniedError, NotFoundError, IsDirectoryError.

        Cancellation: nothing stays open; a lease that was being taken is released.
        """
        node = self._state.inodes.get(ino)
        if node.kind is Kind.DIRECTORY:
            raise IsDirectoryError(f"{node.location} is a directory.", path=str(node.location))
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))
        if not writes:
            return await self._open_once(node, flags)
        self._state.check_writable(node)
        options = self._state.options
        wait_until = trio.current_time() + (options.foreign_lock_wait_s if options.on_foreign_lock == "wait" else 0)
        while True:
            try:
                return await self._open_once(node, flags)
            except LockedError as error:
                refusal = error
            # Outside of the inode's gate: whoever only reads must not wait for a lock.
            if trio.current_time() < wait_until:
                await trio.sleep(min(_LOCK_POLL_S, wait_until - trio.current_time()))
                continue
            if options.on_foreign_lock == "readonly" and flags & os.O_ACCMODE == os.O_RDWR and not flags & os.O_TRUNC:
                log.warning("opened_for_reading_only", path=str(node.location), reason=str(refusal))
                opened = await self._open_once(node, flags & ~os.O_ACCMODE)
                self._handles[opened.fh].refusal = refusal
                return opened
            raise refusal

    async def _open_once(self, node: Node, flags: int) -> Opened:
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))
        async with self._opening(node) as file:
            if writes:
                await self._opener.begin_writing(file)
                if flags & os.O_TRUNC:
                    await self._opener.empty(file)
            else:
                await self._opener.begin_reading(file)
            return self._add_handle(file, flags, writes=writes)

    async def create(self, parent_ino: Ino, name: str, flags: int, mode: int = 0o644) -> tuple[Opened, Attributes]:
        """Create a file that has no name yet, or open it if somebody was faster (unless O_EXCL).

        Nothing is sent before the first flush: the file must still be absent then, or it is a conflict.
        """
        state = self._state
        parent = state.inodes.get(parent_ino)
        if parent.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{parent.location} is not a directory.", path=str(parent.location))
        if not parent.is_linked:
            raise NotFoundError(f"{parent.location} was deleted.", path=str(parent.location))
        check_name(name)
        at = parent.location.child(name)
        state.check_writable(parent)
        if (unsent := state.unsent(at)) is not None:
            if flags & os.O_EXCL:
                raise ExistsError(f"{at} exists.", path=str(at))
            return await self._open_existing(parent, name, unsent.entry(), flags)
        try:
            existing = await state.metadata.stat(at, fresh=bool(flags & os.O_EXCL))
        except NotFoundError:
            return await self._create_new(parent, name, flags, mode)
        if flags & os.O_EXCL:
            raise ExistsError(f"{at} exists.", path=str(at))
        return await self._open_existing(parent, name, existing, flags)

    async def _open_existing(self, parent: Node, name: str, entry: Entry, flags: int) -> tuple[Opened, Attributes]:
        node = self._state.inodes.ensure(parent, name, entry.kind, entry.anchor)
        self._state.inodes.hold(node)  # the kernel does not know it yet, and the open may wait
        try:
            opened = await self.open(node.ino, flags)
            return opened, self.attributes(node)
        finally:
            self._state.inodes.unhold(node)

    async def _create_new(self, parent: Node, name: str, flags: int, mode: int) -> tuple[Opened, Attributes]:
        state = self._state
        at = parent.location.child(name)
        above = await state.metadata.stat(parent.location)
        if not (above.may(WRITE_FILE) or above.may("create_container")):
            raise AccessDeniedError(f"You may not create files in {parent.location}.", path=str(at))
        known = state.inodes.child(parent, name)
        if known is not None and known.open_count:  # removed by somebody else while we have it open: another file now
            state.inodes.unlink(known)
        node = state.inodes.ensure(parent, name, Kind.FILE)
        async with self._opening(node) as file:
            if file.session is None:
                file.session = state.commits.begin(at, None, created=True, is_exclusive=bool(flags & os.O_EXCL))
                file.entry = Entry(name=name, kind=Kind.FILE, mtime_ns=state.wall_clock_ns())
                file.created_mode = mode
                file.is_lock_wanted = True
            opened = self._add_handle(file, flags, writes=True)
        return opened, self.attributes(node)

    @asynccontextmanager
    async def _opening(self, node: Node) -> AsyncIterator[OpenFile]:
        """The inode's ``OpenFile`` under its gate; forgotten again if nothing was opened."""
        state = self._state
        state.inodes.hold(node)
        gate = self._gates.setdefault(node.ino, trio.Lock())
        try:
            async with promptly(gate):
                file = state.open_files.setdefault(node.ino, OpenFile(node))
                try:
                    yield file
                finally:
                    if not file.handles:
                        self._forget(file)
        finally:
            state.inodes.unhold(node)

    def _tell_size(self, file: OpenFile) -> None:
        """Have the kernel ask for the size again where it knows another: it cuts reads at the size that it knows (measured, Linux 6)."""
        size = file.session.size if file.session is not None else file.entry.size if file.entry is not None else None
        node = file.node
        if node.kernel_size is not None and size != node.kernel_size:
            node.kernel_size = None
            self._state.notifier.attributes_changed(node.ino)

    def _add_handle(self, file: OpenFile, flags: int, *, writes: bool) -> Opened:
        self._tell_size(file)
        fh = Fh(next(self._numbers))
        access = flags & os.O_ACCMODE
        self._handles[fh] = Handle(
            fh,
            file,
            is_writer=writes,
            can_write=access != os.O_RDONLY,
            appends=bool(flags & os.O_APPEND),
            is_direct=bool(flags & os.O_DIRECT),
        )
        file.handles.add(fh)
        self._state.inodes.hold(file.node)
        if writes:
            file.writers += 1
        version = file.entry.version if file.entry and file.session is None else None
        keep = version is not None and file.node.kernel_version == version
        if file.session is None:
            file.node.kernel_version = version
        elif len(file.handles) > 1:
            keep = True  # the pages are the open file's own
        return Opened(fh, keep_pages=keep)

    # --- reading and writing ---------------------------------------------------------------------------------------

    async def read(self, fh: Fh, offset: int, size: int) -> Borrowed:
        """Bytes of the open version with all writes made here; short only at the end of the file. Raises: StaleError."""
        handle = self._handle(fh)
        file = handle.file
        session = file.session
        if session is not None and not _is_current(file.reader, session):
            return await session.read(offset, size)
        if file.reader is None:
            raise BadHandleError("The file is not open for reading.", path=str(file.node.location))
        if handle.is_direct and file.node.is_linked:
            return await file.reader.read_direct(offset, size)
        now = file.reader.read_now(offset, size)
        return now if now is not None else await file.reader.read(offset, size)

    async def write(self, fh: Fh, offset: int, data: bytes) -> int:
        """Stage bytes; they are on the server after flush or fsync. O_APPEND handles write at the end, whole."""
        handle = self._handle(fh)
        if handle.refusal is not None:
            raise handle.refusal
        session = handle.file.session
        if not handle.can_write or session is None:
            raise BadHandleError("The file is not open for writing.", path=str(handle.file.node.location))
        if handle.file.is_lock_wanted:  # written again after a close(2) of another descriptor, which committed it
            await self._opener.lock_created(handle.file)
        return await (session.append(data) if handle.appends else session.write(offset, data))

    async def truncate(self, ino: Ino, size: int, fh: Fh | None) -> None:
        """ftruncate(2) through a handle, or truncate(2): then the new size is on the server when this returns."""
        handle = self._handle(fh) if fh is not None else None
        if handle is not None and handle.refusal is not None:
            raise handle.refusal
        if handle is not None and handle.file.session is not None:
            await handle.file.session.truncate(size)
            return
        opened = await self.open(ino, os.O_WRONLY)
        try:
            session = self._handle(opened.fh).file.session
            assert session is not None
            await session.truncate(size)
            if self._handle(opened.fh).file.writers == 1:
                await self.flush(opened.fh)
        finally:
            with trio.move_on_after(_RELEASE_S, shield=True):
                await self.release(opened.fh)

    async def flush(self, fh: Fh, *, is_open_elsewhere: Callable[[Ino, str], bool] = _is_not) -> None:
        """close(2) of one descriptor: commit what was written; the program gets the server's error.

        Args: ``is_open_elsewhere`` tells whether the program has the file (of this number and name) open under another descriptor. Then
        a file that was emptied or created, and not written yet, is not sent: ``command > file`` of a shell closes a first descriptor
        before the command writes to the second, and the server would show an empty file, and keep it as a version.

        Cancellation: the bytes stay in the journal.
        """
        handle = self._handle(fh)
        if not handle.is_writer:
            return
        file = handle.file
        if file.session is not None and file.session.is_only_emptied and is_open_elsewhere(file.node.ino, file.node.name):
            return
        await self._committer.commit(file)

    async def fsync(self, fh: Fh) -> None:
        """fsync(2): everything written through any handle of the file is on the server; a new file is locked from then on."""
        file = self._handle(fh).file
        await self._committer.commit(file, to_server=True)
        await self._opener.lock_created(file)

    async def release(self, fh: Fh) -> None:
        """The last descriptor of a handle is closed; bytes that a mapping wrote after the last flush are committed now.

        Errors of that commit reach nobody but the log and the journal.

        Cancellation: the handle is closed all the same; unsent bytes stay in the journal.
        """
        handle = self._handle(fh)
        file = handle.file
        gate = self._gates[file.node.ino]
        with trio.CancelScope(shield=True):  # bounded: whoever holds the gate has a deadline
            await gate.acquire()
        try:
            del self._handles[fh]
            if handle.is_writer:
                file.writers -= 1
                if file.writers == 0:
                    await self._committer.end_writing(file)
        finally:
            # CHECKPOINT-FREE: the handle is gone whatever happened above.
            file.handles.discard(fh)
            if not file.handles:
                self._forget(file)
            self._state.inodes.unhold(file.node)
            gate.release()

    def _forget(self, file: OpenFile) -> None:
        """Nothing has the file open."""
        self._committer.close(file)
        self._state.open_files.pop(file.node.ino, None)
        gate = self._gates.get(file.node.ino)
        if gate is not None and not gate.statistics().tasks_waiting:
            del self._gates[file.node.ino]

    def attributes(self, node: Node) -> Attributes:
        """Attributes of an open file, without asking anybody. Raises: KeyError if it is not open."""
        file = self._state.open_files[node.ino]
        assert file.entry is not None
        return self._state.attributes(node, file.entry)

    def _handle(self, fh: Fh) -> Handle:
        try:
            return self._handles[fh]
        except KeyError:
            raise BadHandleError(f"File handle {fh} is not open.") from None

    def close_all(self) -> None:
        """At the end of the mount: every session goes to the journal or away, every lease is released."""
        for file in list(self._state.open_files.values()):
            self._forget(file)
        self._handles.clear()


def _is_current(reader: ContentReader | None, session: WriteSession) -> bool:
    """Whether what is written here adds nothing to the reader's version. Staged bytes count also of a file that was unlinked."""
    base = session.base
    return reader is not None and not session.has_staged_bytes and base is not None and reader.entry.version == base.version
