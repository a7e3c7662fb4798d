"""The view as one ``RemoteTree``: its own folders, and everything below a root delegated to whoever serves that root.

Owns which folders the view has. ``vfs`` and ``commit`` call it through the port, from the trio thread, like a client's tree; they do not
know the difference. Rights of shares are enforced here before a call: some servers would carry it out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import trio

from cs3fuse.capabilities import CapabilityBook, LockSupport
from cs3fuse.errors import (
    AccessDeniedError,
    CrossStorageError,
    Cs3FuseError,
    DeadlineError,
    NotFoundError,
    NotPermittedError,
    UnavailableError,
    UnsupportedError,
)
from cs3fuse.mesh.folders import Folder, virtual_folder
from cs3fuse.mesh.roots import Grant, RootTable, placeholder
from cs3fuse.model import Entry, Kind, Location, Lock, Quota, Root, VirtualRoot

T = TypeVar("T")

TOP = VirtualRoot("")
HOME = "home"
SPACES = "spaces"
_AWAY = (UnavailableError, DeadlineError)


class MeshTree:
    """See the module."""

    def __init__(self, table: RootTable, home: Root | None, folders: Sequence[Folder], *, started_ns: int) -> None:
        """``home``: the user's own files, None if there are none."""
        self._table = table
        self._home = home
        self._folders = {folder.name: folder for folder in folders}
        self._started_ns = started_ns
        self.book: CapabilityBook | None = None
        """Where it is written down that other sites have no ranges, locks, renames and stable ids."""

    @property
    def folders(self) -> Mapping[str, Folder]:
        """The folders made of lists, by name, also those that this server has nothing for."""
        return self._folders

    def path_of(self, root: Root) -> str | None:
        """Where a root is below the mount point, None if it is not in the view."""
        if root == self._home:
            return HOME
        if isinstance(root, VirtualRoot):
            return root.name
        return next((path for folder in self._folders.values() if (path := folder.path_of(root)) is not None), None)

    async def with_trash(self) -> Mapping[str, Location]:
        """What has a trash of its own, by its path in the view: the home, and the spaces of the last list."""
        found = {HOME: Location(self._home)} if self._home is not None else {}
        spaces = self._folders.get(SPACES)
        if spaces is not None:
            await spaces.known()
        for name, member in spaces.members() if spaces is not None else ():
            if not member.problem:
                found[f"{SPACES}/{name}"] = Location(member.root)
        return found

    # -- looking -----------------------------------------------------------------------------------------------------

    async def stat(self, at: Location) -> Entry:
        """See the port."""
        if isinstance(at.root, VirtualRoot):
            return await self._stat_virtual(at)
        grant = self._table.of(at)
        site = grant.site
        try:
            entry = await self._ask(grant, at, lambda: grant.remote.tree.stat(at))
        except _AWAY:
            remembered = site.remembered(at) if site is not None else None
            if remembered is None:
                raise
            return grant.restricted(remembered)
        if site is not None:
            site.remember(at, entry)
            self._note_weakness(entry)
        return grant.restricted(entry)

    async def list(self, at: Location) -> Sequence[Entry]:
        """See the port."""
        if isinstance(at.root, VirtualRoot):
            return await self._list_virtual(at)
        grant = self._table.of(at)
        site = grant.site
        grant.require("list_container", at)
        # Not from memory while the site is away: names that it has by now would count as absent.
        entries = await self._ask(grant, at, lambda: grant.remote.tree.list(at))
        if site is not None:
            site.remember_listing(at, entries)
            for entry in entries[:1]:
                self._note_weakness(entry)
        return [grant.restricted(entry) for entry in entries]

    async def _ask(self, grant: Grant, at: Location, question: Callable[[], Awaitable[T]]) -> T:
        if grant.site is None:
            return await question()
        return await grant.site.call(question, at)

    def _note_weakness(self, entry: Entry) -> None:
        """What no site behind Reva's OCM storage can do (measured), so that nobody finds it out by failing."""
        if self.book is not None and entry.storage_id:
            record = self.book.of(entry.storage_id)
            record.ranges = record.stable_ids = record.renames = record.conditional_uploads = False
            record.checksums = record.times = record.etag_propagation = False
            record.locks = LockSupport.NONE

    async def _stat_virtual(self, at: Location) -> Entry:
        if at.root == TOP:
            if not at.rel:
                return virtual_folder(TOP, self._started_ns)
            if at.rel == HOME and self._home is not None:
                return await self._home_entry()
            folder = self._folders.get(at.rel)
            if folder is not None:
                await folder.known()
                if not folder.is_absent:
                    return folder.entry
        else:
            folder = self._folders.get(at.root.name) if isinstance(at.root, VirtualRoot) else None
            if folder is not None and not at.rel:
                return folder.entry
            if folder is not None:
                return await folder.find(at.rel)
            self._refuse_unreachable(at.root)
        raise NotFoundError(f"There is no {at}.", path=str(at))

    async def _list_virtual(self, at: Location) -> Sequence[Entry]:
        if at.root == TOP and not at.rel:
            return await self._list_top()
        folder = self._folders.get(at.root.name) if isinstance(at.root, VirtualRoot) and not at.rel else None
        if folder is None:
            self._refuse_unreachable(at.root)
            raise NotFoundError(f"There is no {at}.", path=str(at))
        return await folder.list()

    def _refuse_unreachable(self, root: Root) -> None:
        """Say why there is nothing behind a member that has no root yet. Raises: UnavailableError."""
        for folder in self._folders.values():
            for _name, member in folder.members():
                if member.root == root and member.problem:
                    raise UnavailableError(member.problem, path=str(root))

    async def _list_top(self) -> Sequence[Entry]:
        """All folders at once: one slow list must not hold up the others."""
        home: list[Entry] = []

        async def ask_home() -> None:
            home.append(await self._home_entry())

        async with trio.open_nursery() as nursery:
            if self._home is not None:
                nursery.start_soon(ask_home)
            for folder in self._folders.values():
                nursery.start_soon(folder.known)
        return home + [folder.entry for folder in self._folders.values() if not folder.is_absent]

    async def _home_entry(self) -> Entry:
        assert self._home is not None
        try:
            entry = await self.stat(Location(self._home))
        except Cs3FuseError as error:
            entry = placeholder(Entry(HOME, Kind.DIRECTORY, mtime_ns=self._started_ns), str(error))
        return replace(entry, name=HOME, anchor=self._home)

    # -- changing ----------------------------------------------------------------------------------------------------

    async def mkdir(self, at: Location) -> None:
        """See the port."""
        grant = self._changing(at, "create_container")
        await self._change(grant, at, lambda: grant.remote.tree.mkdir(at))

    async def create(self, at: Location) -> None:
        """See the port."""
        grant = self._changing(at, "initiate_file_upload")
        if grant.site is not None:
            raise UnsupportedError(f"{at} is on another site, which creates no empty files; it is uploaded instead.", path=str(at))
        await self._change(grant, at, lambda: grant.remote.tree.create(at))

    async def delete(self, at: Location, *, lock: Lock | None = None) -> None:
        """See the port. The root of a share is its owner's folder and is never deleted."""
        grant = self._changing(at, "delete")
        if not at.rel:
            raise NotPermittedError(f"{at} is the root of a share or space; it cannot be removed here.", path=str(at))
        await self._change(grant, at, lambda: grant.remote.tree.delete(at, lock=lock))

    async def move(self, source: Location, destination: Location, *, lock: Lock | None = None) -> None:
        """See the port. Another site cannot rename (Reva's OCM driver has no Move)."""
        grant = self._changing(source, "move")
        if source.root != destination.root or grant.site is not None:
            raise CrossStorageError(f"{source} cannot be renamed to {destination}; copy it instead.", call="Move", path=str(source))
        await self._change(grant, source, lambda: grant.remote.tree.move(source, destination, lock=lock))

    async def quota(self, at: Location) -> Quota:
        """See the port. That of the home for the view's own folders."""
        if isinstance(at.root, VirtualRoot):
            if self._home is None:
                raise UnsupportedError("A folder of the view has no quota.", path=str(at))
            at = Location(self._home)
        grant = self._table.of(at)
        if grant.site is not None:
            raise UnsupportedError(f"The site of {at} does not tell its quota.", call="GetQuota", path=str(at))
        return await grant.remote.tree.quota(at)

    async def set_metadata(self, at: Location, values: Mapping[str, str], *, lock: Lock | None = None) -> None:
        """See the port."""
        grant = self._changing(at, "initiate_file_upload")
        self._refuse_metadata(grant, at)
        await grant.remote.tree.set_metadata(at, values, lock=lock)

    async def unset_metadata(self, at: Location, keys: Sequence[str], *, lock: Lock | None = None) -> None:
        """See the port."""
        grant = self._changing(at, "initiate_file_upload")
        self._refuse_metadata(grant, at)
        await grant.remote.tree.unset_metadata(at, keys, lock=lock)

    @staticmethod
    def _refuse_metadata(grant: Grant, at: Location) -> None:
        if grant.site is not None:
            raise UnsupportedError(f"The site of {at} keeps no attributes and no times of ours.", path=str(at))

    def _changing(self, at: Location, permission: str) -> Grant:
        """The grant behind a location that is to be changed. Raises: AccessDeniedError."""
        if isinstance(at.root, VirtualRoot):
            raise AccessDeniedError(f"{at} is a folder of the view; nothing can be made or removed in it.", path=str(at))
        grant = self._table.of(at)
        grant.require(permission, at)
        return grant

    async def _change(self, grant: Grant, at: Location, change: Callable[[], Awaitable[None]]) -> None:
        if grant.site is None:
            await change()
            return
        try:
            await grant.site.call(change, at)
        finally:
            grant.site.forget(at)
