"""The view's ``RemoteTree`` with ``.cs3`` in front: old versions and the trash as folders that nobody can change.

Owns what is seen there, and remembers which version an entry was made of. ``vfs``, ``cache`` and ``commit`` call it through the port, from
the trio thread, and do not know the difference: ``.cs3`` is a root of its own, and everything else goes on to the view. Calls may overlap;
an entry is made of the server's answers of that moment.

    .cs3/versions/PATH/            PATH as in the mount; a file is a folder of its versions
    .cs3/versions/PATH/TIME        an old version
    .cs3/trash/ROOT/TIME NAME      something that was deleted; ROOT is "home", "spaces/NAME", nothing where the top is no view
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import Cs3FuseError, NotFoundError, NotPermittedError, UnsupportedError
from cs3fuse.history.names import find_version, is_stamp, trash_names, version_names
from cs3fuse.history.places import find
from cs3fuse.model import (
    Entry,
    FileVersion,
    Kind,
    Location,
    Lock,
    Quota,
    ResourceId,
    TrashItem,
    VirtualRoot,
)
from cs3fuse.ports import RemoteHistory, RemoteTree

_log = structlog.get_logger(__name__)

NAME = ".cs3"
ROOT = VirtualRoot(NAME)
VERSIONS, TRASH = "versions", "trash"
KEY, FROM = "cs3.key", "cs3.from"
"""In the metadata of entries: what ``cs3fuse restore`` wants, and where something in the trash was."""
_REMEMBERED = 512
_READABLE = frozenset({"stat", "initiate_file_download"})
_LISTABLE = frozenset({"stat", "list_container"})

WithTrash = Callable[[], Awaitable[Mapping[str, Location]]]


class HistoryTree:
    """See the module."""

    def __init__(self, inner: RemoteTree, remote: RemoteHistory, top: Location, with_trash: WithTrash, *, started_ns: int) -> None:
        """``top``: the root of the mount, which ``.cs3`` is in; ``with_trash``: what has a trash, by its path in the mount."""
        self._inner = inner
        self._remote = remote
        self._top = top
        self._door_at = top.child(NAME)  # compared at each Stat of the mount
        self._with_trash = with_trash
        self._started_ns = started_ns
        self._made_of: OrderedDict[tuple[Location, ResourceId | None], tuple[Location, FileVersion]] = OrderedDict()
        self.book: CapabilityBook | None = None
        """Where it is written down which storages serve the bytes of old versions."""

    # -- looking -----------------------------------------------------------------------------------------------------

    async def stat(self, at: Location) -> Entry:
        """See the port."""
        if at.root == ROOT:
            return await self._stat_ours(at)
        return self._door() if at == self._door_at else await self._inner.stat(at)

    async def list(self, at: Location) -> Sequence[Entry]:
        """See the port. The top's listing has ``.cs3`` in it, hidden: a name that no listing has counts as absent."""
        if at.root == ROOT or at == self._door_at:
            return await self._list_ours(at if at.root == ROOT else Location(ROOT))
        listed = await self._inner.list(at)
        return [*(entry for entry in listed if entry.name != NAME), self._door()] if at == self._top else listed

    def _door(self) -> Entry:
        return replace(self._folder(NAME), anchor=ROOT, is_hidden=True)

    def _folder(self, name: str, mtime_ns: int | None = None) -> Entry:
        return Entry(
            name, Kind.DIRECTORY, mtime_ns=self._started_ns if mtime_ns is None else mtime_ns, permissions=_LISTABLE, id=None
        )

    async def _stat_ours(self, at: Location) -> Entry:
        kind, *names = at.rel.split("/")
        if not kind:
            return self._door()
        if kind == VERSIONS:
            return await self._stat_version(at, names) if names else self._folder(VERSIONS)
        if kind == TRASH:
            return await self._stat_trash(names) if names else self._folder(TRASH)
        raise NotFoundError(f"There is no {at}.", path=str(at))

    async def _list_ours(self, at: Location) -> Sequence[Entry]:
        kind, *names = at.rel.split("/")
        if not kind:
            return [self._folder(VERSIONS), self._folder(TRASH)]
        if kind == VERSIONS:
            return await self._list_versions(names)
        if kind == TRASH:
            return await self._list_trash(names)
        raise NotFoundError(f"There is no {at}.", path=str(at))

    # -- versions ----------------------------------------------------------------------------------------------------

    async def _stat_version(self, at: Location, names: Sequence[str]) -> Entry:
        if is_stamp(names[-1]) and len(names) > 1:
            place, file = await find(self._inner, self._top, names[:-1])
            if file.kind is Kind.FILE:
                version = find_version(await self._remote.versions(place), names[-1])
                if version is None:
                    raise NotFoundError(f"{place} has no version of {names[-1]}.", path=str(at))
                await self._learn(place, file, version)
                entry = self._version_entry(names[-1], place, file, version)
                self._remember(at, entry, place, version)
                return entry
        place, found = await find(self._inner, self._top, names)
        if found.kind is Kind.SYMLINK:
            raise NotFoundError(f"{place} is a link, which has no versions.", path=str(at))
        return self._folder(names[-1], found.mtime_ns)

    async def _list_versions(self, names: Sequence[str]) -> Sequence[Entry]:
        place, found = await find(self._inner, self._top, names)
        if found.kind is Kind.DIRECTORY:
            listed = await self._inner.list(place)
            return [
                self._folder(entry.name, entry.mtime_ns)
                for entry in listed
                if entry.kind is not Kind.SYMLINK and not entry.is_hidden and not (place == self._top and entry.name == NAME)
            ]
        versions = version_names(await self._remote.versions(place))
        return [self._version_entry(name, place, found, version) for name, version in versions.items()]

    def _version_entry(self, name: str, place: Location, file: Entry, version: FileVersion) -> Entry:
        """The id holds the key, so that cached bytes of two versions, or of one and the present content, are never taken for each other."""
        known = file.id or ResourceId("", "", str(place))
        record = self.book.of(file.storage_id) if self.book is not None and file.storage_id else None
        is_unserved = record is not None and record.old_versions is False
        return Entry(
            name,
            Kind.FILE,
            size=version.size,
            mtime_ns=version.mtime_ns,
            etag=version.etag,
            id=replace(known, opaque_id=f"{known.opaque_id}@{version.key}"),
            permissions=_READABLE if file.may("initiate_file_download") else frozenset({"stat"}),
            owner=file.owner,
            mime_type=file.mime_type,
            metadata={KEY: version.key},
            refusal=f"This storage lists the versions of {place} but does not serve their bytes; cs3fuse restore brings one back."
            if is_unserved
            else "",
        )

    async def _learn(self, place: Location, file: Entry, version: FileVersion) -> None:
        """Find out once for each storage whether the bytes of its versions can be had, so that open can say so and not read."""
        if self.book is None or not file.storage_id or self.book.of(file.storage_id).old_versions is not None:
            return
        try:
            await self._remote.fetch_version(place, version, None, _FirstByte())
        except _ArrivedError:
            is_served = True
        except UnsupportedError as error:
            _log.info("old_versions_not_served", storage=file.storage_id, reason=str(error))
            is_served = False
        except Cs3FuseError as error:
            _log.info("old_versions_not_tried", storage=file.storage_id, reason=str(error))
            return
        else:
            is_served = True  # an empty one
        self.book.of(file.storage_id).old_versions = is_served

    def _remember(self, at: Location, entry: Entry, place: Location, version: FileVersion) -> None:
        self._made_of[at, entry.id] = (place, version)
        self._made_of.move_to_end((at, entry.id))
        while len(self._made_of) > _REMEMBERED:
            self._made_of.popitem(last=False)

    async def made_of(self, at: Location, entry: Entry) -> tuple[Location, FileVersion]:
        """The file and the version behind an entry of ours. Raises: NotFoundError: it is gone; UnsupportedError: it has no content."""
        if entry.refusal:
            raise UnsupportedError(entry.refusal, path=str(at))
        found = self._made_of.get((at, entry.id))
        if found is None:
            await self.stat(at)
            found = self._made_of.get((at, entry.id))
        if found is None:
            raise NotFoundError(f"{at} is gone.", path=str(at))
        return found

    # -- trash -------------------------------------------------------------------------------------------------------

    async def _stat_trash(self, names: Sequence[str]) -> Entry:
        found = await self._trash_at(names)
        return found if isinstance(found, Entry) else self._folder(names[-1])

    async def _list_trash(self, names: Sequence[str]) -> Sequence[Entry]:
        found = await self._trash_at(names)
        if isinstance(found, Entry):
            raise UnsupportedError(found.refusal, path="/".join(names))
        if isinstance(found, Location):
            return [_trash_entry(name, item) for name, item in trash_names(await self._remote.trash(found)).items()]
        return [self._folder(name) for name in found]

    async def _trash_at(self, names: Sequence[str]) -> Entry | Location | Sequence[str]:
        """What a path below the trash is: something in it, the trash of a root, or a folder that leads to roots (with its names)."""
        roots = {tuple(path.split("/")) if path else (): root for path, root in (await self._with_trash()).items()}
        path = tuple(names)
        if path in roots:
            return roots[path]
        below = list(dict.fromkeys(root[len(path)] for root in roots if root[: len(path)] == path))
        if below or not path:
            return below
        for length in range(len(path)):
            root = roots.get(path[:length])
            if root is not None:
                item = trash_names(await self._remote.trash(root)).get(path[length])
                if item is None:
                    break
                entry = _trash_entry(path[length], item)
                if length + 1 < len(path):
                    raise UnsupportedError(entry.refusal, path="/".join(names))
                return entry
        raise NotFoundError(f"There is no {names[-1]} in the trash.", path="/".join(names))

    # -- changing ----------------------------------------------------------------------------------------------------

    def refuse_ours(self, *places: Location) -> None:
        """Nothing below ``.cs3`` is changed, and nothing takes its name. Raises: NotPermittedError."""
        for at in places:
            if at.root == ROOT or at.is_below(self._door_at):
                raise NotPermittedError(f"{at} shows old versions and the trash; nothing is changed there.", path=str(at))

    async def mkdir(self, at: Location) -> None:
        """See the port."""
        self.refuse_ours(at)
        await self._inner.mkdir(at)

    async def create(self, at: Location) -> None:
        """See the port."""
        self.refuse_ours(at)
        await self._inner.create(at)

    async def delete(self, at: Location, *, lock: Lock | None = None) -> None:
        """See the port."""
        self.refuse_ours(at)
        await self._inner.delete(at, lock=lock)

    async def move(self, source: Location, destination: Location, *, lock: Lock | None = None) -> None:
        """See the port."""
        self.refuse_ours(source, destination)
        await self._inner.move(source, destination, lock=lock)

    async def quota(self, at: Location) -> Quota:
        """See the port."""
        return await self._inner.quota(self._top if at.root == ROOT else at)

    async def set_metadata(self, at: Location, values: Mapping[str, str], *, lock: Lock | None = None) -> None:
        """See the port."""
        self.refuse_ours(at)
        await self._inner.set_metadata(at, values, lock=lock)

    async def unset_metadata(self, at: Location, keys: Sequence[str], *, lock: Lock | None = None) -> None:
        """See the port."""
        self.refuse_ours(at)
        await self._inner.unset_metadata(at, keys, lock=lock)


class _ArrivedError(Exception):
    """Ends a download that has told enough."""


class _FirstByte:
    """A sink that wants no more than to know that there is something. Called from a transfer thread."""

    def write(self, offset: int, data: memoryview) -> None:
        """See ``ports.Sink``."""
        raise _ArrivedError(offset + len(data))


def _trash_entry(name: str, item: TrashItem) -> Entry:
    return Entry(
        name,
        item.kind,
        size=item.size if item.kind is Kind.FILE else 0,
        mtime_ns=int(item.deleted_at * 1e3) * 1_000_000,
        id=ResourceId("", "", f"trash@{item.key}"),
        permissions=_LISTABLE if item.kind is Kind.DIRECTORY else _READABLE,
        metadata={KEY: item.key, FROM: item.rel},
        refusal="What is in the trash cannot be read there; cs3fuse trash restore brings it back.",
    )
