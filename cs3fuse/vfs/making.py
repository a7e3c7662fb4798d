"""Making and removing names: mkdir, unlink, rmdir.

Owns no state. Called by ``kernel.operations`` and, for its checks, by ``vfs.renaming``; operations on different names run
concurrently. After every await what was known before it may have changed.
"""

from __future__ import annotations

import structlog
import trio

from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import (
    AccessDeniedError,
    BusyError,
    ExistsError,
    IsDirectoryError,
    NotDirectoryError,
    NotEmptyError,
    NotFoundError,
    NotPermittedError,
)
from cs3fuse.locks.guarding import refuse_foreign, with_our_lock
from cs3fuse.model import Entry, Ino, Kind, Location
from cs3fuse.vfs.attributes import Attributes
from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.names import check_name
from cs3fuse.vfs.state import VfsState

log = structlog.get_logger(__name__)

_BUSY_FIRST_DELAY_S = 0.02  # measured median of OpenCloud's processing after a PUT: 22 ms
_BUSY_MAX_DELAY_S = 1.0


class Making:
    """Operations that make or remove a name."""

    def __init__(self, state: VfsState, committer: Committer) -> None:
        self._state = state
        self._committer = committer

    async def mkdir(self, parent_ino: Ino, name: str) -> Attributes:
        """Create a directory; the kernel knows it once more. Raises: ExistsError, AccessDeniedError."""
        state = self._state
        parent = self._state.directory(parent_ino)
        self._state.check_writable(parent)
        check_name(name)
        at = parent.location.child(name)
        # EOS and OCM answer OK to a mkdir of what exists. The kernel looked the name up a moment ago: that answer is still known.
        if state.unsent(at) is not None or await state.stat_or_none(at) is not None:
            raise ExistsError(f"{at} exists.", path=str(at))
        above = await state.metadata.stat(parent.location)
        if not above.may("create_container"):
            raise AccessDeniedError(f"You may not create folders in {parent.location}.", path=str(at))
        try:
            await state.tree.mkdir(at)
        finally:
            state.metadata.forget(at)
        state.metadata.forget(parent.location)
        entry = await state.metadata.stat(at, fresh=True)
        node = state.inodes.ensure(parent, name, entry.kind, entry.anchor)
        state.inodes.remember(node)
        return state.attributes(node, entry)

    async def unlink(self, parent_ino: Ino, name: str) -> None:
        """Remove a file. One that is open here stays readable through its handles.

        Raises: IsDirectoryError; LockedError; BusyError where the server processed it for longer than the deadline.
        """
        state = self._state
        parent = self._state.directory(parent_ino)
        self._state.check_writable(parent)
        at = parent.location.child(name)
        node = state.inodes.child(parent, name)
        file = state.open_files.get(node.ino) if node is not None else None
        session = state.commits.session_at(at)
        try:
            # Fresh: CS3's Delete takes directories with all they hold, so what stands there must be known, not remembered.
            entry = await state.metadata.stat(at, fresh=True)
        except NotFoundError:
            if session is None:
                raise
        else:
            if entry.kind is Kind.DIRECTORY:
                raise IsDirectoryError(f"{at} is a directory; rmdir removes it.", path=str(at))
            self.check_deletable(at, entry)
            await refuse_foreign(state.leases, at, entry)
            if file is not None:
                await self._committer.keep_readable(file)
            await self.delete(at)
        if session is not None:
            session.abandon()
            await self._take_back(session, at)
        if node is not None:
            state.inodes.unlink(node)
        state.metadata.removed(at)

    async def _take_back(self, session: WriteSession, at: Location) -> None:
        """Delete again what an upload that was under way put there after the delete."""
        if not session.is_busy:
            return
        await session.quiesce()
        entry = await self._state.stat_or_none(at, fresh=True)
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            await self.delete(at)

    async def rmdir(self, parent_ino: Ino, name: str) -> None:
        """Remove an empty directory, which we make sure of: CS3's Delete would take everything in it.

        Raises: NotEmptyError; NotDirectoryError. A file that another client creates between our listing and the delete goes
        to the server's trash with the directory (CS3 has no other call); docs/semantics.md says so.
        """
        state = self._state
        parent = self._state.directory(parent_ino)
        self._state.check_writable(parent)
        at = parent.location.child(name)
        entry = await state.metadata.stat(at, fresh=True)
        if entry.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{at} is not a directory.", path=str(at))
        self.check_deletable(at, entry)
        await self.require_empty(at)
        await self.delete(at)
        node = state.inodes.child(parent, name)
        if node is not None:
            state.inodes.unlink(node)
        state.metadata.removed(at)

    async def require_empty(self, at: Location) -> None:
        """Ask the server now. Raises: NotEmptyError."""
        listed = await self._state.metadata.list(at, fresh=True)
        if listed or self._state.unsent_below(at):
            raise NotEmptyError(f"{at} is not empty.", path=str(at))

    async def delete(self, at: Location) -> None:
        """Delete, waiting while the server still processes the content (bounded by the caller's deadline)."""
        state = self._state
        delay_s = _BUSY_FIRST_DELAY_S
        while True:
            try:
                await with_our_lock(state.leases, at, lambda lock: state.tree.delete(at, lock=lock), stays=False)
            except BusyError:
                if trio.current_time() + delay_s >= trio.current_effective_deadline():
                    raise
                await trio.sleep(delay_s)
                delay_s = min(2 * delay_s, _BUSY_MAX_DELAY_S)
            else:
                return
            finally:
                state.metadata.forget(at, subtree=True)

    def check_deletable(self, at: Location, entry: Entry, permission: str = "delete") -> None:
        """The root of a share is its owner's folder: deleting or moving it would take it from him."""
        if entry.anchor is not None or not at.rel:
            raise NotPermittedError(f"{at} is the root of a share or space; it cannot be removed here.", path=str(at))
        if not entry.may(permission):
            raise AccessDeniedError(f"You may not {permission} {at}.", path=str(at))
