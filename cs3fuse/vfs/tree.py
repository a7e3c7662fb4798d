"""Looking at names and changing attributes: lookup, forget, getattr, setattr, statfs.

Owns the remembered quota. Called by ``kernel.operations`` from the trio thread; operations on different names run concurrently.
After every await what was known before it may have changed: nodes are looked up by name again where it matters, and the
metadata cache drops answers that are older than a change made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import trio

from cs3fuse.errors import (
    NotPermittedError,
    ServerError,
    StaleError,
    UnsupportedError,
)
from cs3fuse.locks.guarding import with_our_lock
from cs3fuse.model import Entry, Fh, Ino, Location, Quota
from cs3fuse.vfs.attributes import Attributes, mode_of
from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.files import Files
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.state import VfsState
from cs3fuse.vfs.times import set_mtime

log = structlog.get_logger(__name__)

_QUOTA_VALID_S = 10.0
_BUSY_FIRST_DELAY_S = 0.02  # measured median of OpenCloud's processing after a PUT: 22 ms
_BUSY_MAX_DELAY_S = 1.0
_MODE_BITS = 0o7777


@dataclass(frozen=True, slots=True)
class Change:
    """What setattr(2)-like calls want changed; None leaves a field alone. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    mtime_ns: int | None = None


class Tree:
    """Operations on names."""

    def __init__(self, state: VfsState, files: Files, committer: Committer) -> None:
        self._state = state
        self._files = files
        self._committer = committer
        self._quota: tuple[float, Quota] | None = None

    # --- looking -----------------------------------------------------------------------------------------------------

    async def lookup(self, parent_ino: Ino, name: str) -> Attributes:
        """Attributes of a name; the kernel knows the inode once more. Raises: NotFoundError."""
        state = self._state
        parent = self._state.directory(parent_ino)
        if name == ".":
            return await self._remembered(parent)
        if name == "..":
            return await self._remembered(parent.parent or state.inodes.root)
        at = parent.location.child(name)
        unsent = state.unsent(at)
        entry = unsent.entry() if unsent is not None else await self.lookup_entry(parent, at)
        node = self._state.node_for(parent, name, entry)
        state.inodes.remember(node)
        return state.attributes(node, entry)

    async def lookup_entry(self, parent: Node, at: Location) -> Entry:
        """The server's entry of a name; a new file that is open and has nothing to send yet is there all the same."""
        known = parent.children.get(at.name)
        file = self._state.open_files.get(known.ino) if known is not None else None
        if file is not None and file.session is not None and file.session.base is None and file.entry is not None:
            return file.entry
        entry = await self._state.metadata.stat(at)
        # A listing of shared files of other sites does not know their sizes; here somebody wants to know.
        return await self._state.metadata.stat(at, fresh=True) if entry.is_vague else entry

    async def _remembered(self, node: Node) -> Attributes:
        attributes = await self.getattr(node.ino)
        self._state.inodes.remember(node)
        return attributes

    def took(self, ino: Ino) -> None:
        """The kernel accepted an entry of readdir: it knows that inode once more."""
        self._state.inodes.remember(self._state.inodes.get(ino))

    async def getattr(self, ino: Ino) -> Attributes:
        """Attributes of an inode: of the open version where it is open, else of the server's (within the time-out)."""
        state = self._state
        node = state.inodes.get(ino)
        file = state.open_files.get(ino)
        if file is not None and file.entry is not None and file.handles:
            return state.attributes(node, file.entry)
        if not node.is_linked:
            raise StaleError(f"{node.location} was deleted or replaced.", path=str(node.location))
        unsent = state.unsent(node.location)
        if unsent is not None:
            return state.attributes(node, unsent.entry())
        entry = await state.metadata.stat(node.location)
        if entry.kind is not node.kind:
            state.inodes.unlink(node)
            raise StaleError(f"{node.location} is of another kind now.", path=str(node.location))
        return state.attributes(node, entry)

    def forget(self, ino: Ino, lookups: int) -> None:
        """The kernel does not know an inode any more, ``lookups`` times."""
        self._state.inodes.forget(ino, lookups)

    async def entry(self, ino: Ino) -> tuple[Node, Entry]:
        """The node and the newest known entry of an inode, for xattrs and access checks."""
        node = self._state.inodes.get(ino)
        file = self._state.open_files.get(ino)
        if file is not None and file.entry is not None and (file.session is not None or not node.is_linked):
            return node, file.entry
        unsent = self._state.unsent(node.location)
        return node, unsent.entry() if unsent is not None else await self._state.metadata.stat(node.location)

    # --- attributes --------------------------------------------------------------------------------------------------

    async def setattr(self, ino: Ino, change: Change, fh: Fh | None) -> Attributes:
        """Change size and times; refuse what CS3 cannot carry.

        Raises: NotPermittedError for a mode or owner other than the present one: pretending would mislead.
        """
        node = self._state.inodes.get(ino)
        if change.mode is not None or change.uid is not None or change.gid is not None:
            await self._check_same_mode(ino, change)
        if change.size is not None:
            self._state.check_writable(node)
            await self._files.truncate(ino, change.size, fh)
        if change.mtime_ns is not None:
            self._state.check_writable(node)
            await self._set_mtime(node, change.mtime_ns)
        return await self.getattr(ino)

    async def _check_same_mode(self, ino: Ino, change: Change) -> None:
        node, entry = await self.entry(ino)
        owner = self._state.options.owner
        file = self._state.open_files.get(ino)
        # rsync and others repeat the mode that they gave to create: no more is promised by that than create promised.
        modes = {None, mode_of(entry) & _MODE_BITS, file.created_mode if file is not None else None}
        is_same = (
            (change.mode is None or change.mode & _MODE_BITS in modes)
            and change.uid in {None, owner.uid}
            and change.gid in {None, owner.gid}
        )
        if not is_same:
            raise NotPermittedError(
                f"{node.location}: CS3 has no modes and owners to change; share the file instead.", path=str(node.location)
            )

    async def _set_mtime(self, node: Node, mtime_ns: int) -> None:
        state = self._state
        file = state.open_files.get(node.ino)
        if file is not None and file.session is not None and (file.session.is_dirty or file.session.base is None):
            file.session.set_mtime(mtime_ns)
            file.wanted_mtime_ns = mtime_ns
            return
        if not node.is_linked:
            return
        entry = await with_our_lock(state.leases, node.location, lambda lock: set_mtime(state, node.location, mtime_ns, lock))
        if file is not None and file.handles:
            self._committer.touched(file, entry)

    async def statfs(self) -> Quota:
        """Quota under the mount's root, remembered for ten seconds; without limit where the storage does not tell."""
        now = trio.current_time()
        if self._quota is None or now >= self._quota[0]:
            try:
                quota = await self._state.tree.quota(self._state.inodes.root.location)
            except (UnsupportedError, ServerError):
                quota = Quota(None, 0)
            self._quota = (now + _QUOTA_VALID_S, quota)
        return self._quota[1]
