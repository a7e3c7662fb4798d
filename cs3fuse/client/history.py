"""Old versions of files and the trash: the client's ``RemoteHistory``.

Owns what the calls mean on each server and how an answer that says nothing is settled. Called by ``history`` and ``control`` through the
port, from the trio thread; holds download tickets only, calls may overlap freely. Keys and paths come from the server and go back to it: what
could mean something else there (a slash, "..", an empty key, which would empty the whole trash) is left out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import structlog
import trio
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from cs3.types.v1beta1 import types_pb2

from cs3fuse.client import decode
from cs3fuse.client.calls import Calls, Effect
from cs3fuse.client.errors import printable
from cs3fuse.client.fetching import Downloading, Fetch
from cs3fuse.client.placing import storage_relative
from cs3fuse.client.references import check_new_name, reference, shown
from cs3fuse.client.tickets import DownloadTickets, Ticket, choose_download
from cs3fuse.client.tree import Cs3Tree, plain_opaque
from cs3fuse.errors import (
    AccessDeniedError,
    BadRequestError,
    CrossStorageError,
    Cs3FuseError,
    ExistsError,
    LockedError,
    NotDirectoryError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    TooLargeError,
    UnsupportedError,
)
from cs3fuse.model import ByteRange, Entry, FileVersion, IdRoot, Kind, Location, ResourceId, TrashItem
from cs3fuse.ports import Fetched, Sink

_log = structlog.get_logger(__name__)

_TICKETS_KEPT = 256
# EOS lists 14 days unless it is told from when on; a day less, because clocks differ.
_WINDOW_S = 13 * 86400


class Cs3History:
    """``ports.RemoteHistory`` over CS3 calls and HTTP."""

    def __init__(self, calls: Calls, tree: Cs3Tree, downloading: Downloading) -> None:
        self._calls = calls
        self._tree = tree
        self._downloading = downloading
        self._by_version: OrderedDict[tuple[Location, str], Downloading] = OrderedDict()

    # -- versions ----------------------------------------------------------------------------------------------------

    async def versions(self, at: Location) -> Sequence[FileVersion]:
        """See the port. Driver local answers an empty list for a file that is not there: one Stat tells."""
        request = provider_api_pb2.ListFileVersionsRequest(ref=reference(at))
        failure: ServerError | None = None
        try:
            response = await self._calls.invoke("ListFileVersions", request, path=shown(at))
        except ServerError as error:
            failure = error
        if failure is not None:
            await self._tree.stat(at)
            raise UnsupportedError(
                f"The storage of {shown(at)} keeps no versions ({failure})", call="ListFileVersions", path=shown(at)
            ) from failure
        found = decode.versions(response.versions, shown(at))
        if not found:
            await self._tree.stat(at)
        return found

    async def restore_version(self, at: Location, key: str) -> None:
        """See the port. Driver local lists keys without the "v" that it wants back (measured)."""
        _check_key(key)
        for each in [f"v{key}", key] if key.isdecimal() else [key]:
            try:
                await self._restore(at, each, key)
            except NotFoundError:
                if each == key:
                    raise
            else:
                return

    async def _restore(self, at: Location, sent: str, key: str) -> None:
        request = provider_api_pb2.RestoreFileVersionRequest(ref=reference(at), key=sent)
        try:
            await self._calls.invoke(
                "RestoreFileVersion", request, path=f"version {printable(key)} of {shown(at)}", effect=Effect.MUTATION
            )
        except (LockedError, ServerError) as error:
            failure: LockedError | ServerError = error
        else:
            return
        # EOS says INTERNAL for a lock.
        is_locked = isinstance(failure, LockedError)
        refused = failure if isinstance(failure, LockedError) else LockedError(str(failure), call=failure.call, path=failure.path)
        explained = await self._tree.with_holder(at, refused)
        raise explained if is_locked or explained is not refused else failure

    async def fetch_version(self, at: Location, version: FileVersion, wanted: ByteRange | None, sink: Sink) -> Fetched:
        """See the port. OpenCloud: by the id that the key is; others: the present file with the opaque "version_key"."""
        _check_key(version.key)
        if wanted is not None:
            wanted = ByteRange(min(wanted.start, version.size), min(wanted.stop, version.size))
            if not wanted:
                return Fetched(etag=None, total=version.size)
        expected = Entry(at.name, Kind.FILE, version.size, version.mtime_ns, version.etag)
        path = f"version {printable(version.key)} of {shown(at)}"
        if decode.NODE_MARK in version.key:
            # Stat of it tells etag and mtime of the present content (measured): the list describes it, and the id is what it is.
            node = Location(IdRoot(await self._node_of(at, version.key)))
            by = replace(self._downloading, tree=_Listed(self, at, version))
            return await Fetch(by, node, wanted, sink, expected, path).run()
        try:
            return await Fetch(self._downloading_of(at, version), at, wanted, sink, expected, path).run()
        except NotFoundError as error:
            missing = error
        if all(each.key != version.key for each in await self.versions(at)):
            raise missing
        raise UnsupportedError(
            f"The storage of {shown(at)} lists its versions but does not serve their bytes; restoring one works.",
            call="GET",
            path=shown(at),
        ) from missing

    async def _node_of(self, at: Location, key: str) -> ResourceId:
        """The version as a resource of the file's space."""
        known = at.root.id if isinstance(at.root, IdRoot) else (await self._tree.stat(at)).id
        if known is None:
            raise UnsupportedError(f"{shown(at)} has no id to find its versions by.", call="GET", path=shown(at))
        return ResourceId(known.storage_id, known.space_id, key)

    def _downloading_of(self, at: Location, version: FileVersion) -> Downloading:
        """With tickets of its own, kept for some versions: many ranges cost one initiation."""
        name = (at, version.key)
        found = self._by_version.get(name)
        if found is None:

            async def initiate(at: Location) -> Ticket:
                return await self._initiate(at, version.key)

            by = self._downloading
            found = Downloading(by.calls, _Listed(self, at, version), by.pool, DownloadTickets(initiate), by.threads, by.exchanges)
            self._by_version[name] = found
            while len(self._by_version) > _TICKETS_KEPT:
                self._by_version.popitem(last=False)
        self._by_version.move_to_end(name)
        return found

    async def _initiate(self, at: Location, key: str) -> Ticket:
        request = provider_api_pb2.InitiateFileDownloadRequest(ref=reference(at), opaque=plain_opaque({"version_key": key}))
        response = await self._calls.invoke("InitiateFileDownload", request, path=shown(at))
        ticket = choose_download(response.protocols, shown(at))
        if not ticket.token and "version_key=" not in ticket.url:
            # A data server that is reached directly: nobody but us adds it (Reva pkg/rhttp/datatx, version_key in the query).
            ticket = Ticket(
                f"{ticket.url}{'&' if '?' in ticket.url else '?'}version_key={quote(key, safe='')}", ticket.token, ticket.protocol
            )
        self._downloading.pool.check_url(ticket.url)
        return ticket

    # -- trash -------------------------------------------------------------------------------------------------------

    async def trash(self, root: Location) -> Sequence[TrashItem]:
        """See the port. Where all of it is more than the server lists at once (EOS), the last thirteen days."""
        request = provider_api_pb2.ListRecycleRequest(ref=reference(root))
        path = _trash_of(root)
        try:
            response = await self._calls.invoke("ListRecycle", request, path=path)
        except TooLargeError:
            request.from_ts.CopyFrom(types_pb2.Timestamp(seconds=max(0, int(time.time()) - _WINDOW_S)))
            response = await self._calls.invoke("ListRecycle", request, path=path)
        return await trio.to_thread.run_sync(decode.trash, response.recycle_items, root, abandon_on_cancel=True)

    async def restore_trash(self, root: Location, item: TrashItem, to: Location) -> None:
        """See the port. Looks at the name first: what servers do to a name that is taken differs.

        OpenCloud wants the new place always, by the same space's id (with another space's it answers OK and the item is gone, measured);
        others want nothing, or a path from the root of the storage.
        """
        _check_key(item.key)
        if to.root != root.root:
            raise CrossStorageError(
                f"{shown(to)} is in another space than the trash; restore it where it was and move it then.", path=shown(to)
            )
        check_new_name(to)
        await self._refuse_taken(to)
        if isinstance(root.root, IdRoot):
            await self._restore_item(root, item, to, reference(to))
        elif to == _place_of(root, item):
            await self._restore_item(root, item, to, None)
        else:
            await self._restore_elsewhere(root, item, to)

    async def _restore_elsewhere(self, root: Location, item: TrashItem, to: Location) -> None:
        """To another path where the server wants it from the root of a storage that it does not name."""
        refusal: Cs3FuseError | None = None
        for path in await storage_relative(self._tree, to):
            try:
                await self._restore_item(root, item, to, resources_pb2.Reference(path=path))
                await self._tree.stat(to)
            except (ServerError, BadRequestError, UnsupportedError, NotFoundError) as error:
                refusal = error
            else:
                return
            if await self._is_gone(root, item, refusal):
                raise OutcomeUnknownError(
                    f"The server took {printable(item.rel)} out of the trash, but it is not at {shown(to)}: look for it.",
                    call="RestoreRecycleItem",
                    path=shown(to),
                ) from refusal
        raise UnsupportedError(
            f"The server does not restore {printable(item.rel)} to another name; rename what is in its place and restore it there.",
            call="RestoreRecycleItem",
            path=shown(to),
        ) from refusal

    async def _restore_item(self, root: Location, item: TrashItem, to: Location, told: resources_pb2.Reference | None) -> None:
        """One call. A failure that says nothing is looked into; a lost answer counts as done when the item lies where it should."""
        path = f"{printable(item.rel)} ({printable(item.key)})"
        request = provider_api_pb2.RestoreRecycleItemRequest(ref=reference(root), key=item.key, restore_ref=told)
        try:
            await self._calls.invoke("RestoreRecycleItem", request, path=path, effect=Effect.MUTATION)
        except (ServerError, NotFoundError, ExistsError, UnsupportedError, OutcomeUnknownError) as error:
            failure: Cs3FuseError = error
        else:
            return
        is_gone = await self._is_gone(root, item, failure)
        if isinstance(failure, OutcomeUnknownError):
            if is_gone and await self._is_taken(to):
                return
            raise failure
        if is_gone:
            raise NotFoundError(f"There is no {path} in the trash any more.", call=failure.call, path=path) from failure
        await self._refuse_taken(to)
        await self._refuse_no_folder(to, failure)
        raise failure

    async def purge_trash(self, root: Location, item: TrashItem) -> None:
        """See the port."""
        _check_key(item.key)
        path = f"{printable(item.rel)} ({printable(item.key)})"
        request = provider_api_pb2.PurgeRecycleRequest(ref=reference(root), key=item.key)
        try:
            await self._calls.invoke("PurgeRecycle", request, path=path, effect=Effect.MUTATION)
        except (ServerError, OutcomeUnknownError) as error:
            failure: Cs3FuseError = error
        else:
            return
        if await self._is_gone(root, item, failure):
            return
        if isinstance(failure, ServerError) and item.kind is Kind.DIRECTORY:
            # Driver local removes a folder only when nothing is in it.
            raise UnsupportedError(
                f"This server does not purge folders with something in them: {path}.", call=failure.call, path=path
            ) from failure
        raise failure

    async def _is_gone(self, root: Location, item: TrashItem, failure: Cs3FuseError) -> bool:
        """Whether something is not in the trash any more; raises the failure where that cannot be learnt."""
        try:
            return all(each.key != item.key for each in await self.trash(root))
        except Cs3FuseError:
            raise failure from failure.__cause__

    async def _is_taken(self, at: Location) -> bool:
        try:
            await self._tree.stat(at)
        except NotFoundError:
            return False
        return True

    async def _refuse_taken(self, at: Location) -> None:
        try:
            is_taken = await self._is_taken(at)
        except ServerError as error:
            # Below a file, driver local answers INTERNAL even to Stat.
            raise NotDirectoryError(f"{shown(at.parent)} is not a folder.", path=shown(at)) from error
        if is_taken:
            raise ExistsError(f"{shown(at)} exists now and is not replaced; restore under another name.", path=shown(at))

    async def _refuse_no_folder(self, at: Location, failure: Cs3FuseError) -> None:
        try:
            parent = await self._tree.stat(at.parent)
        except NotFoundError as error:
            raise NotFoundError(
                f"There is no {shown(at.parent)} any more to put {printable(at.name)} into; make it, or restore under another name.",
                call=failure.call,
                path=shown(at.parent),
            ) from error
        if parent.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{shown(at.parent)} is not a folder.", call=failure.call, path=shown(at)) from failure
        if not parent.may("create_container") and not parent.may("initiate_file_upload"):
            raise AccessDeniedError(f"You may not put anything into {shown(at.parent)}.", path=shown(at)) from failure


class _Listed:
    """Says whether a version is still there: Stat would describe the present content."""

    def __init__(self, history: Cs3History, file: Location, version: FileVersion) -> None:
        self._history = history
        self._file = file
        self._version = version

    async def stat(self, at: Location) -> Entry:
        """See ``client.fetching``; of whatever it is fetched through."""
        for each in await self._history.versions(self._file):
            if each.key == self._version.key:
                return Entry(at.name, Kind.FILE, each.size, each.mtime_ns, each.etag)
        raise NotFoundError(f"The version {printable(self._version.key)} of {shown(self._file)} is gone.", path=shown(self._file))


def _check_key(key: str) -> None:
    if not decode.is_safe_key(key):
        raise BadRequestError(f"{key[:40]!a} is no key of a version or of something in the trash.")


def _trash_of(root: Location) -> str:
    return f"the trash of {shown(root)}"


def _place_of(root: Location, item: TrashItem) -> Location:
    return Location(root.root, f"{root.rel}/{item.rel}" if root.rel else item.rel)
