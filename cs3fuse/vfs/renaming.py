"""rename(2): within a storage, over files and empty folders, of open files.

Owns no state. Called by ``kernel.operations``; renames of different names run concurrently. After every await what was known before it
may have changed.
"""

from __future__ import annotations

import structlog

from cs3fuse.errors import (
    BadRequestError,
    CrossStorageError,
    ExistsError,
    IsDirectoryError,
    NotDirectoryError,
    NotPermittedError,
)
from cs3fuse.locks.guarding import refuse_foreign, take_again, with_our_lock
from cs3fuse.model import Entry, Ino, Kind, Location
from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.making import Making
from cs3fuse.vfs.names import check_name
from cs3fuse.vfs.state import VfsState

log = structlog.get_logger(__name__)


class Renaming:
    """The rename operation."""

    def __init__(self, state: VfsState, committer: Committer, making: Making) -> None:
        self._state = state
        self._committer = committer
        self._making = making

    async def rename(self, parent_ino: Ino, name: str, new_parent_ino: Ino, new_name: str, *, no_replace: bool = False) -> None:
        """Rename a file or directory, replacing an existing file or empty directory.

        Raises: BadRequestError: a directory into itself; CrossStorageError: mv copies instead; NotEmptyError,
        IsDirectoryError, NotDirectoryError as rename(2); LockedError.
        """
        state = self._state
        parent, new_parent = self._state.directory(parent_ino), self._state.directory(new_parent_ino)
        self._state.check_writable(parent)
        check_name(new_name)
        source, destination = parent.location.child(name), new_parent.location.child(new_name)
        if source == destination:
            if state.unsent(source) is None:
                await state.metadata.stat(source)
            return
        if source.root != destination.root:
            raise CrossStorageError(f"{source} and {destination} are on different storages.", path=str(source))
        node = state.inodes.child(parent, name)
        # OpenCloud never answers a Move of a directory into itself and loses the directory: refused before any call.
        if destination.is_below(source) or (node is not None and state.inodes.is_ancestor(node, new_parent)):
            raise BadRequestError(f"{source} cannot be moved into itself.", path=str(source))
        await self._settle_writes(source)
        entry = await state.metadata.stat(source, fresh=True)
        self._making.check_deletable(source, entry, permission="move")
        if entry.kind is Kind.FILE:
            await refuse_foreign(state.leases, source, entry)
        target_node = state.inodes.child(new_parent, new_name)
        await self._settle_writes(destination)
        target = await state.stat_or_none(destination, fresh=True)
        if target is not None and target.anchor is not None:
            raise NotPermittedError(f"{destination} is a root of its own and cannot be replaced.", path=str(destination))
        if target is None and not self._is_renamed_by_upload(entry):
            await self._move(source, destination)
        elif target is not None and no_replace:
            raise ExistsError(f"{destination} exists.", path=str(destination))
        else:
            await self._rename_over(source, entry, node, destination, target, target_node)
        self._renamed(parent, name, new_parent, new_name)
        await take_again(state.leases, destination)

    def _is_renamed_by_upload(self, entry: Entry) -> bool:
        """A file on a storage that cannot rename (OCM): under its new name it is another file. Folders are left to mv."""
        return entry.kind is Kind.FILE and self._state.book.of(entry.storage_id).renames is False

    async def _settle_writes(self, at: Location) -> None:
        """Have the server know what was written here before its name changes, so that one rule serves all cases."""
        for session in self._state.unsent_below(at):
            entry = await session.commit(to_server=True)
            file = next((file for file in self._state.open_files.values() if file.session is session), None)
            if file is not None:
                self._committer.committed(file, entry)
            else:
                self._state.metadata.put(session.at, entry)

    async def _move(self, source: Location, destination: Location) -> None:
        state = self._state
        try:
            await with_our_lock(state.leases, source, lambda lock: state.tree.move(source, destination, lock=lock), stays=False)
        finally:
            state.metadata.forget(source, subtree=True)
            state.metadata.forget(destination, subtree=True)

    async def _rename_over(
        self,
        source: Location,
        entry: Entry,
        node: Node | None,
        destination: Location,
        target: Entry | None,
        target_node: Node | None,
    ) -> None:
        state = self._state
        if entry.kind is Kind.DIRECTORY:
            if target is not None and target.kind is not Kind.DIRECTORY:
                raise NotDirectoryError(f"{destination} is not a directory.", path=str(destination))
            await self._making.require_empty(destination)
            await self._making.delete(destination)
            await self._move(source, destination)
            return
        if target is not None:
            if target.kind is Kind.DIRECTORY:
                raise IsDirectoryError(f"{destination} is a directory.", path=str(destination))
            await refuse_foreign(state.leases, destination, target)
        # The source's own lock ends with its name; EOS would not even let its holder delete it.
        if await state.leases.settle(source) is not None:
            await state.leases.unlock(source)
        file = state.open_files.get(node.ino) if node is not None else None
        target_file = state.open_files.get(target_node.ino) if target_node is not None else None
        if target_file is not None:
            await self._committer.keep_readable(target_file)
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
