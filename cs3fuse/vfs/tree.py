"""Names and attributes: lookup, getattr, setattr, readdir, mkdir, unlink, rmdir, rename, statfs.

Owns open directories. Called by ``kernel.operations`` from the trio thread; operations on different names run concurrently.
After every await what was known before it may have changed: nodes are looked up by name again where it matters, and the
metadata cache drops answers that are older than a change made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import structlog
import trio

from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import (
    AccessDeniedError,
    BadHandleError,
    BadRequestError,
    BusyError,
    CrossStorageError,
    ExistsError,
    IsDirectoryError,
    NotDirectoryError,
    NotEmptyError,
    NotFoundError,
    NotPermittedError,
    ServerError,
    StaleError,
    UnsupportedError,
)
from cs3fuse.locks.guarding import refuse_foreign, take_again, with_our_lock
from cs3fuse.model import Entry, Fh, Ino, Kind, Location, Quota
from cs3fuse.vfs.attributes import Attributes, mode_of
from cs3fuse.vfs.files import Files
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.names import check_name
from cs3fuse.vfs.state import VfsState
from cs3fuse.vfs.times import set_mtime

log = structlog.get_logger(__name__)

_QUOTA_VALID_S = 10.0
_BUSY_FIRST_DELAY_S = 0.02  # measured median of OpenCloud's processing after a PUT: 22 ms
_BUSY_MAX_DELAY_S = 1.0
_MODE_BITS = 0o7777


@dataclass(slots=True)
class _Directory:
    """An open directory: the listing of the moment when reading it began, so that positions stay true."""

    node: Node
    names: list[tuple[str, Entry]] | None = None


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

    def __init__(self, state: VfsState, files: Files) -> None:
        self._state = state
        self._files = files
        self._directories: dict[Fh, _Directory] = {}
        self._numbers = count(1)
        self._quota: tuple[float, Quota] | None = None

    # --- looking -----------------------------------------------------------------------------------------------------

    async def lookup(self, parent_ino: Ino, name: str) -> Attributes:
        """Attributes of a name; the kernel knows the inode once more. Raises: NotFoundError."""
        state = self._state
        parent = self._directory(parent_ino)
        if name == ".":
            return await self._remembered(parent)
        if name == "..":
            return await self._remembered(parent.parent or state.inodes.root)
        at = parent.location.child(name)
        unsent = state.unsent(at)
        entry = unsent.entry() if unsent is not None else await self.lookup_entry(parent, at)
        node = self._node_for(parent, name, entry)
        state.inodes.remember(node)
        return state.attributes(node, entry)

    async def lookup_entry(self, parent: Node, at: Location) -> Entry:
        """The server's entry of a name; a new file that is open and has nothing to send yet is there all the same."""
        known = parent.children.get(at.name)
        file = self._state.open_files.get(known.ino) if known is not None else None
        if file is not None and file.session is not None and file.session.base is None and file.entry is not None:
            return file.entry
        return await self._state.metadata.stat(at)

    async def _remembered(self, node: Node) -> Attributes:
        attributes = await self.getattr(node.ino)
        self._state.inodes.remember(node)
        return attributes

    def _node_for(self, parent: Node, name: str, entry: Entry) -> Node:
        """The inode of a name; a new one where the open one holds another version (its readers keep what they opened)."""
        inodes = self._state.inodes
        node = inodes.child(parent, name)
        file = self._state.open_files.get(node.ino) if node is not None else None
        if node is not None and file is not None and file.session is None and file.handles:
            is_other = file.entry is not None and file.entry.version != entry.version
            if is_other:
                inodes.unlink(node)
        return inodes.ensure(parent, name, entry.kind, entry.anchor)

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
        return node, await self._state.metadata.stat(node.location)

    # --- directories -------------------------------------------------------------------------------------------------

    async def opendir(self, ino: Ino) -> Fh:
        """Open a directory for reading. Raises: NotDirectoryError."""
        node = self._directory(ino)
        fh = Fh(next(self._numbers))
        self._directories[fh] = _Directory(node)
        self._state.inodes.hold(node)
        return fh

    async def readdir(self, fh: Fh, start: int) -> Iterator[tuple[str, Attributes, int]]:
        """Entries from position ``start`` on, each with the position that follows it. 0 reads the directory anew.

        A node is made for an entry when the iterator yields it; ``took`` counts the lookup of one that the kernel accepted.
        """
        directory = self._directories.get(fh)
        if directory is None:
            raise BadHandleError(f"Directory handle {fh} is not open.")
        if start == 0 or directory.names is None:
            directory.names = self._merge(directory.node, await self._state.metadata.list(directory.node.location))
        return self._entries(directory, directory.names, start)

    def _merge(self, node: Node, listed: Sequence[Entry]) -> list[tuple[str, Entry]]:
        """The server's entries, and files written here that it does not have yet."""
        names = {entry.name: entry for entry in listed}
        for session in self._unsent_below(node.location):
            if session.at.parent == node.location and session.at.rel:
                names[session.at.name] = session.entry()
        return list(names.items())

    def _unsent_below(self, at: Location) -> list[WriteSession]:
        return [s for s in self._state.commits.sessions() if s.is_dirty and not s.is_abandoned and s.at.is_below(at)]

    def _entries(self, directory: _Directory, names: list[tuple[str, Entry]], start: int) -> Iterator[tuple[str, Attributes, int]]:
        for position in range(start, len(names)):
            name, entry = names[position]
            node = self._node_for(directory.node, name, entry)
            yield name, self._state.attributes(node, entry), position + 1
            self._state.inodes.release(node)

    def took(self, ino: Ino) -> None:
        """The kernel accepted an entry of readdir: it knows that inode once more."""
        self._state.inodes.remember(self._state.inodes.get(ino))

    def releasedir(self, fh: Fh) -> None:
        """The directory handle is closed."""
        directory = self._directories.pop(fh, None)
        if directory is not None:
            self._state.inodes.unhold(directory.node)

    # --- making and removing names -----------------------------------------------------------------------------------

    async def mkdir(self, parent_ino: Ino, name: str) -> Attributes:
        """Create a directory; the kernel knows it once more. Raises: ExistsError, AccessDeniedError."""
        state = self._state
        parent = self._directory(parent_ino)
        self._check_change(parent)
        check_name(name)
        at = parent.location.child(name)
        # EOS and OCM answer OK to a mkdir of what exists. The kernel looked the name up a moment ago: that answer is still known.
        if state.unsent(at) is not None or await self._exists(at):
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
        parent = self._directory(parent_ino)
        self._check_change(parent)
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
            self._check_deletable(at, entry)
            await refuse_foreign(state.leases, at, entry)
            if file is not None:
                await self._files.keep_readable(file)
            await self._delete(at)
        if session is not None:
            session.abandon()
        if node is not None:
            state.inodes.unlink(node)
        state.metadata.removed(at)

    async def rmdir(self, parent_ino: Ino, name: str) -> None:
        """Remove an empty directory, which we make sure of: CS3's Delete would take everything in it.

        Raises: NotEmptyError; NotDirectoryError. A file that another client creates between our listing and the delete goes
        to the server's trash with the directory (CS3 has no other call); docs/semantics.md says so.
        """
        state = self._state
        parent = self._directory(parent_ino)
        self._check_change(parent)
        at = parent.location.child(name)
        entry = await state.metadata.stat(at, fresh=True)
        if entry.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{at} is not a directory.", path=str(at))
        self._check_deletable(at, entry)
        await self._require_empty(at)
        await self._delete(at)
        node = state.inodes.child(parent, name)
        if node is not None:
            state.inodes.unlink(node)
        state.metadata.removed(at)

    async def _require_empty(self, at: Location) -> None:
        listed = await self._state.metadata.list(at, fresh=True)
        if listed or self._unsent_below(at):
            raise NotEmptyError(f"{at} is not empty.", path=str(at))

    async def _delete(self, at: Location) -> None:
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

    # --- rename ------------------------------------------------------------------------------------------------------

    async def rename(self, parent_ino: Ino, name: str, new_parent_ino: Ino, new_name: str, *, no_replace: bool = False) -> None:
        """Rename a file or directory, replacing an existing file or empty directory.

        Raises: BadRequestError: a directory into itself; CrossStorageError: mv copies instead; NotEmptyError,
        IsDirectoryError, NotDirectoryError as rename(2); LockedError.
        """
        state = self._state
        parent, new_parent = self._directory(parent_ino), self._directory(new_parent_ino)
        self._check_change(parent)
        check_name(new_name)
        source, destination = parent.location.child(name), new_parent.location.child(new_name)
        if source == destination:
            await self.lookup_entry(parent, source)
            return
        if source.root != destination.root:
            raise CrossStorageError(f"{source} and {destination} are on different storages.", path=str(source))
        node = state.inodes.child(parent, name)
        # OpenCloud never answers a Move of a directory into itself and loses the directory: refused before any call.
        if destination.is_below(source) or (node is not None and state.inodes.is_ancestor(node, new_parent)):
            raise BadRequestError(f"{source} cannot be moved into itself.", path=str(source))
        await self._settle_writes(source)
        entry = await state.metadata.stat(source, fresh=True)
        self._check_deletable(source, entry, permission="move")
        if entry.kind is Kind.FILE:
            await refuse_foreign(state.leases, source, entry)
        target_node = state.inodes.child(new_parent, new_name)
        await self._settle_writes(destination)
        target = await self._stat_or_none(destination)
        if target is None:
            await self._move(source, destination)
        elif no_replace:
            raise ExistsError(f"{destination} exists.", path=str(destination))
        else:
            await self._rename_over(source, entry, node, destination, target, target_node)
        self._renamed(parent, name, new_parent, new_name)
        await take_again(state.leases, destination)

    async def _settle_writes(self, at: Location) -> None:
        """Have the server know what was written here before its name changes, so that one rule serves all cases."""
        for session in self._unsent_below(at):
            entry = await session.commit()
            file = next((file for file in self._state.open_files.values() if file.session is session), None)
            if file is not None:
                self._files.committed(file, entry)
            else:
                self._state.metadata.put(session.at, entry)

    async def _exists(self, at: Location) -> bool:
        try:
            await self._state.metadata.stat(at)
        except NotFoundError:
            return False
        return True

    async def _stat_or_none(self, at: Location) -> Entry | None:
        try:
            return await self._state.metadata.stat(at, fresh=True)
        except NotFoundError:
            return None

    async def _move(self, source: Location, destination: Location) -> None:
        state = self._state
        try:
            await with_our_lock(state.leases, source, lambda lock: state.tree.move(source, destination, lock=lock), stays=False)
        finally:
            state.metadata.forget(source, subtree=True)
            state.metadata.forget(destination, subtree=True)

    async def _rename_over(
        self, source: Location, entry: Entry, node: Node | None, destination: Location, target: Entry, target_node: Node | None
    ) -> None:
        state = self._state
        if entry.kind is Kind.DIRECTORY:
            if target.kind is not Kind.DIRECTORY:
                raise NotDirectoryError(f"{destination} is not a directory.", path=str(destination))
            await self._require_empty(destination)
            await self._delete(destination)
            await self._move(source, destination)
            return
        if target.kind is Kind.DIRECTORY:
            raise IsDirectoryError(f"{destination} is a directory.", path=str(destination))
        await refuse_foreign(state.leases, destination, target)
        # The source's own lock ends with its name; EOS would not even let its holder delete it.
        if await state.leases.settle(source) is not None:
            await state.leases.unlock(source)
        file = state.open_files.get(node.ino) if node is not None else None
        target_file = state.open_files.get(target_node.ino) if target_node is not None else None
        if target_file is not None:
            await self._files.keep_readable(target_file)
        try:
            replaced = await state.commits.replace(
                source,
                entry,
                destination,
                target,
                source_session=file.session if file is not None else None,
                destination_lock=await state.leases.settle(destination),
            )
        finally:
            state.metadata.forget(source)
            state.metadata.forget(destination)
        state.metadata.put(destination, replaced)
        if target_file is not None and target_file.session is not None:
            target_file.session.abandon()
        if file is not None and file.handles:
            file.entry = replaced

    def _renamed(self, parent: Node, name: str, new_parent: Node, new_name: str) -> None:
        """The server has the new name: give it to the inode and to everything open below it. No checkpoints."""
        state = self._state
        source, destination = parent.location.child(name), new_parent.location.child(new_name)
        state.metadata.moved(source, destination, state.metadata.peek(destination))
        state.commits.moved_below(source, destination)
        node = state.inodes.child(parent, name)
        if node is None:
            replaced = state.inodes.child(new_parent, new_name)
            if replaced is not None:
                state.inodes.unlink(replaced)
            return
        state.inodes.move(node, new_parent, new_name)
        for child in state.inodes.subtree(node):
            file = state.open_files.get(child.ino)
            if file is None:
                continue
            at = child.location
            if file.lease is not None:
                file.lease.rebind(at)
            if file.reader is not None:
                file.reader.relocate(at)

    # --- attributes --------------------------------------------------------------------------------------------------

    async def setattr(self, ino: Ino, change: Change, fh: Fh | None) -> Attributes:
        """Change size and times; refuse what CS3 cannot carry.

        Raises: NotPermittedError for a mode or owner other than the present one: pretending would mislead.
        """
        node = self._state.inodes.get(ino)
        if change.mode is not None or change.uid is not None or change.gid is not None:
            await self._check_same_mode(ino, change)
        if change.size is not None:
            self._check_change(node)
            await self._files.truncate(ino, change.size, fh)
        if change.mtime_ns is not None:
            self._check_change(node)
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
            self._files.touched(file, entry)

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

    # --- checks ------------------------------------------------------------------------------------------------------

    def _directory(self, ino: Ino) -> Node:
        node = self._state.inodes.get(ino)
        if node.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{node.location} is not a directory.", path=str(node.location))
        if not node.is_linked:
            raise StaleError(f"{node.location} was deleted.", path=str(node.location))
        return node

    def _check_change(self, node: Node) -> None:
        if self._state.options.is_read_only:
            raise NotPermittedError(f"{node.location}: this mount is read-only.", path=str(node.location))

    def _check_deletable(self, at: Location, entry: Entry, permission: str = "delete") -> None:
        """The root of a share is its owner's folder: deleting or moving it would take it from him."""
        if entry.anchor is not None or not at.rel:
            raise NotPermittedError(f"{at} is the root of a share or space; it cannot be removed here.", path=str(at))
        if not entry.may(permission):
            raise AccessDeniedError(f"You may not {permission} {at}.", path=str(at))
