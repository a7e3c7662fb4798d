"""The mount of received OCM shares: every call goes to the other site and waits for it.

Owns the answers of the storage RPCs and of transfers below the mount. `ocm` hands it the calls whose reference leads here. Runs on the
server's loop; a call that its client gave up goes on in a task of its own and may be carried out much later, as in Reva, which tells
its WebDAV client nothing of deadlines.

Source: reva pkg/ocm/storage/received with studio-b12/gowebdav, as measured: only 404 is kept, everything else is INTERNAL or 500.
"""

import asyncio
import base64
import posixpath
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.localfs import clean
from cs3fuse.emulator.ocm_book import GotShare
from cs3fuse.emulator.ocm_invites import federated
from cs3fuse.emulator.ocm_peers import PeerError
from cs3fuse.emulator.ocm_shares import DAV, OcmShareHandlers, got_permissions
from cs3fuse.emulator.ocm_webdav import BrokenAnswerError, Entry, read_multistatus
from cs3fuse.emulator.profiles import Call, DataCall, Download, HttpAnswer, Profile
from cs3fuse.emulator.proto import gateway_pb, provider_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy

OCM_BASE = "data-ocm"
"""First URL segment of the data server of received shares."""
_UPLOADS = "ocm.uploads"
_EXCHANGE = "must-exchange-token"
_CHUNK = 1 << 18
_SNIFFED = 512
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spot:
    """A reference below the mount.

    Args:
        share_id: empty for the mount itself.
        rel: path in the share: "/", "/a/b", or without the first slash where an id had no colon.
        form: how it was addressed: path, id or relative.

    """

    share_id: str
    rel: str
    form: str = "path"

    @property
    def inner(self) -> str:
        """The path below the mount."""
        return "/" + posixpath.join(self.share_id, self.rel.strip("/")).rstrip("/")


class RemoteError(Exception):
    """The other site's answer is not what was wanted; `status` 0: there was none."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text or str(status)


class ReceivedStorage:
    """The storage provider of received shares. Methods named like an RPC in snake case answer it."""

    def __init__(self, profile: OcmShareHandlers) -> None:
        self._profile = profile
        self._mount = profile.config.ocm_mount
        self._storage_id = profile.config.ocm_storage_id
        self._running: set[asyncio.Task[Any]] = set()
        self._warm: set[str] = set()
        self._uploads: dict[str, dict[str, str]] = profile.state.load(_UPLOADS)

    # -- references

    def spot(self, reference: Any) -> Spot | None:
        """Where a reference leads; None for another storage."""
        if not reference.HasField("resource_id"):
            return self._spot_of_path(reference.path) if reference.path.startswith("/") else None
        rid = reference.resource_id
        if rid.storage_id != self._storage_id:
            return None
        share_id, _, rel = rid.opaque_id.partition(":")
        joined = posixpath.join(rel, reference.path) if reference.path else rel
        rel = posixpath.normpath(joined) if joined else ""
        rel = "" if rel == "." else rel
        return Spot(share_id, "/" + rel.lstrip("/") if rel.startswith("/") else rel, "relative" if reference.path else "id")

    def _spot_of_path(self, path: str) -> Spot | None:
        cleaned = clean(path)
        if cleaned != self._mount and not cleaned.startswith(f"{self._mount}/"):
            return None
        share_id, _, rel = cleaned[len(self._mount) :].lstrip("/").partition("/")
        return Spot(share_id, f"/{rel}")

    def _share(self, call: Call, spot: Spot) -> GotShare:
        share = self._profile.got_by(call.user.opaque_id, spot.share_id)
        if share is None:
            raise RemoteError(0, "share not found")
        return share

    # -- the other site

    async def _carry_out(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something at the other site to its end, even if the client waits no longer.

        Raises: what the work raises.
        Cancellation: the work goes on, for ever if need be.
        """
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # What became of a call that nobody waits for concerns nobody.
            task.exception()

    async def stop(self) -> None:
        """End what is still under way."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _address(self, share: GotShare, rel: str) -> tuple[str, dict[str, str]]:
        """URL and headers for a path in a share. Raises: PeerError, RemoteError."""
        url, link = share.uri, self._profile.peers.find(share.site)
        parts = urllib.parse.urlsplit(share.uri)
        if link is not None and parts.path.startswith(f"{DAV}/"):
            url = f"{link.url}{parts.path}"  # a site may have come back at another port
        await self._first_contact(share)
        secret = share.secret
        if _EXCHANGE in share.requirements:
            place = url.removesuffix(parts.path)
            status, answer = await self._profile.peers.notify(share.site, f"{place}/ocm/token", {"code": share.secret})
            if status != 200:
                raise RemoteError(status)
            secret = answer["access_token"]
        quoted = urllib.parse.quote("/" + rel.strip("/")) if rel.strip("/") else ""
        return url + quoted, {"Authorization": f"Bearer {secret}"}

    async def _first_contact(self, share: GotShare) -> None:
        """The first call to a share tries twice to reach its site."""
        if share.id not in self._warm:
            try:
                await self._profile.peers.gate(share.site, share.uri)
            except PeerError:
                await self._profile.peers.gate(share.site, share.uri)
            self._warm.add(share.id)

    async def _ask(
        self, share: GotShare, method: str, rel: str, body: bytes | AsyncIterator[bytes] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        try:
            url, ours = await self._address(share, rel)
            return await self._profile.peers.request(share.site, method, url, ours | headers, body)
        except PeerError as error:
            raise RemoteError(0, str(error)) from error

    async def _entries(self, share: GotShare, rel: str, depth: str) -> list[tuple[str, Entry]]:
        """What PROPFIND says, the resource itself first. Raises: RemoteError."""
        status, body = await self._ask(share, "PROPFIND", rel, Depth=depth)
        if status != 207:
            raise RemoteError(status)
        try:
            entries = read_multistatus(body)
        except BrokenAnswerError as error:
            raise RemoteError(0, str(error)) from error
        if not entries:
            raise RemoteError(0, "empty answer")
        return entries

    async def _entry(self, share: GotShare, rel: str) -> Entry:
        return (await self._entries(share, rel, "0"))[0][1]

    async def _make_folder(self, share: GotShare, rel: str) -> None:
        """MKCOL, parents too. An existing file is as good as a folder. Raises: RemoteError."""
        status, _ = await self._ask(share, "MKCOL", rel)
        if status == 409:
            segments = rel.strip("/").split("/")
            for count in range(1, len(segments) + 1):
                status, _ = await self._ask(share, "MKCOL", "/".join(segments[:count]))
                if status not in {201, 405}:
                    break
        if status not in {201, 405}:
            raise RemoteError(status)

    async def _put(self, share: GotShare, rel: str, body: bytes) -> None:
        """PUT, parents too. Raises: RemoteError."""
        status, _ = await self._ask(share, "PUT", rel, body)
        if status == 409:
            parent = posixpath.dirname(rel.strip("/"))
            if parent:
                await self._make_folder(share, parent)
            status, _ = await self._ask(share, "PUT", rel, body)
        if status not in {200, 201, 204}:
            raise RemoteError(status)

    # -- reading

    def _info(self, share: GotShare, rel: str, entry: Entry, kind: str) -> Any:
        info = storage_pb.ResourceInfo(
            type=proto.CONTAINER if entry.is_folder else proto.FILE,
            size=0 if entry.is_folder else entry.size & 0xFFFFFFFFFFFFFFFF,
            mime_type=mime.FOLDER if entry.is_folder else kind,
            path=self._mount + Spot(share.id, rel).inner,
            name=entry.name,
            owner=federated(share.owner, share.site),
            permission_set=got_permissions(share),
        )
        space_id = base64.b32encode(f"{self._mount}/{share.id}".encode()).decode()
        info.id.storage_id, info.id.opaque_id, info.id.space_id = self._storage_id, f"{share.id}:{rel}", space_id
        info.parent_id.space_id = info.space.id.opaque_id = space_id
        info.checksum.SetInParent()
        info.mtime.seconds = max(0, entry.mtime_s)
        return info

    async def stat(self, call: Call, request: Any, spot: Spot) -> Any:
        """Stat: no etag, whole seconds; `name` is what the other site calls it, often nothing."""
        try:
            share = self._share(call, spot)
            entry = await self._carry_out(self._entry(share, spot.rel))
        except RemoteError as error:
            raise _refusal(error, "path not found when statting", f"error statting: {proto.go_text(request.ref)}") from error
        return provider_pb.StatResponse(info=self._info(share, spot.rel, entry, mime.UNKNOWN))

    async def list_container(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListContainer: sorted by name; whatever goes wrong is INTERNAL."""
        try:
            share = self._share(call, spot)
            (_, itself), *children = await self._carry_out(self._entries(share, spot.rel, "1"))
            if not itself.is_folder:
                raise RemoteError(405)
        except RemoteError as error:
            raise Refusal(proto.INTERNAL, f"error listing container: {proto.go_text(request.ref)}") from error
        response = provider_pb.ListContainerResponse()
        for name, entry in children:
            rel = posixpath.normpath(posixpath.join("/" + spot.rel.strip("/"), name))
            named = Entry(name, entry.is_folder, entry.size, entry.mtime_s)
            info = self._info(share, rel, named, mime.of_name(name))
            if spot.form == "relative":
                info.path = Spot(share.id, rel).inner
            response.infos.append(info)
        return response

    async def get_path(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetPath: a Stat by id."""
        wanted = provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=request.resource_id))
        return provider_pb.GetPathResponse(path=(await self.stat(call, wanted, spot)).info.path)

    # -- changing

    async def _change(self, call: Call, spot: Spot, work: Any, internal: str) -> None:
        try:
            await self._carry_out(work(self._share(call, spot)))
        except RemoteError as error:
            raise Refusal(proto.INTERNAL, internal) from error

    async def create_container(self, call: Call, request: Any, spot: Spot) -> Any:
        """CreateContainer: makes parents; OK for whatever exists."""
        internal = f"error creating container: {proto.go_text(request.ref)}"
        await self._change(call, spot, lambda share: self._make_folder(share, spot.rel), internal)
        return provider_pb.CreateContainerResponse()

    async def delete(self, call: Call, request: Any, spot: Spot) -> Any:
        """Delete: folders too, with everything in them; the root of a share is the owner's own folder."""

        async def remove(share: GotShare) -> None:
            status, _ = await self._ask(share, "DELETE", spot.rel)
            if status not in {200, 204, 404}:
                raise RemoteError(status)

        await self._change(call, spot, remove, f"error deleting file: {proto.go_text(request.ref)}")
        return provider_pb.DeleteResponse()

    async def touch_file(self, call: Call, request: Any, spot: Spot) -> Any:
        """TouchFile: sends no length, which the other site does not take."""

        async def put(share: GotShare) -> None:
            url, _ = await self._address(share, spot.rel)
            try:
                status, _ = await self._ask(share, "PUT", spot.rel, _no_bytes())
            except RemoteError as error:
                raise RemoteError(0, f'Put "{url}": {error.text}') from error
            if status not in {200, 201, 204}:
                raise RemoteError(status, f"Write /{spot.rel.strip('/')}: {status}")

        try:
            await self._carry_out(put(self._share(call, spot)))
        except (RemoteError, PeerError) as error:
            text = error.text if isinstance(error, RemoteError) else str(error)
            raise Refusal(proto.INTERNAL, f"error touching file {proto.go_text(request.ref)}: {text}") from error
        return provider_pb.TouchFileResponse()

    async def move(self, call: Call, request: Any, spot: Spot) -> Any:
        """Move: never works; between shares the other site is not even asked."""
        target = self.spot(request.destination)
        if target is None:
            raise Refusal(proto.UNIMPLEMENTED, "gateway: cross storage copy not yet implemented")

        async def rename(share: GotShare) -> None:
            status, _ = await self._ask(share, "MOVE", spot.rel)
            raise RemoteError(status)

        internal = f"error moving: {proto.go_text(storage_pb.Reference(path=spot.inner))}"
        if target.share_id != spot.share_id:
            raise Refusal(proto.INTERNAL, internal)
        await self._change(call, spot, rename, internal)
        raise Refusal(proto.INTERNAL, internal)

    # -- what this storage does not have: said at once, without asking

    def set_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """SetLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error setting lock: {proto.go_text(request.ref)}")

    def get_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error getting lock: {proto.go_text(request.ref)}")

    def refresh_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """RefreshLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error refreshing lock: {proto.go_text(request.ref)}")

    def unlock(self, call: Call, request: Any, spot: Spot) -> Any:
        """Unlock: not supported."""
        raise Refusal(proto.INTERNAL, f"error unlocking: {proto.go_text(request.ref)}")

    def get_quota(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetQuota: not supported."""
        raise Refusal(proto.INTERNAL, "error getting quota")

    def set_arbitrary_metadata(self, call: Call, request: Any, spot: Spot) -> Any:
        """SetArbitraryMetadata: not supported, mtime neither."""
        raise Refusal(proto.INTERNAL, f"error setting arbitrary metadata: {proto.go_text(request.ref)}")

    def unset_arbitrary_metadata(self, call: Call, request: Any, spot: Spot) -> Any:
        """UnsetArbitraryMetadata: not supported."""
        raise Refusal(proto.INTERNAL, f"error unsetting arbitrary metadata: {proto.go_text(request.ref)}")

    def list_file_versions(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListFileVersions: not supported."""
        text = "error: not supported: operation not supported"
        raise Refusal(proto.INTERNAL, f"error listing file versions for {proto.go_text(request.ref)}: {text}")

    def restore_file_version(self, call: Call, request: Any, spot: Spot) -> Any:
        """RestoreFileVersion: not supported."""
        raise Refusal(proto.INTERNAL, f"error restoring version: {proto.go_text(request.ref)}")

    def list_recycle(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListRecycle: not supported."""
        raise Refusal(proto.INTERNAL, "error listing recycle")

    def restore_recycle_item(self, call: Call, request: Any, spot: Spot) -> Any:
        """RestoreRecycleItem: not supported."""
        raise Refusal(proto.INTERNAL, "error restoring recycle bin item")

    def purge_recycle(self, call: Call, request: Any, spot: Spot) -> Any:
        """PurgeRecycle: not supported."""
        raise Refusal(proto.INTERNAL, "error purging recycle item")

    # -- transfers

    def _endpoint(self, tail: str) -> dict[str, str]:
        target = f"{self._profile.services.base_url}/{OCM_BASE}/{tail}"
        gateway = f"{self._profile.services.base_url}{self._profile.data_path}"
        return {"protocol": tail.partition("/")[0], "token": self._profile.tokens.transfer_token(target), "endpoint": gateway}

    def initiate_file_download(self, call: Call, request: Any, spot: Spot) -> Any:
        """InitiateFileDownload: always OK; a bare id gives a useless URL of the mount."""
        if spot.form == "relative":
            tail = f"spaces/{urllib.parse.quote(f'{spot.share_id}:{spot.rel}', safe='')}"
        else:
            tail = f"simple{urllib.parse.quote(spot.inner if spot.form == 'path' else '/')}"
        way = self._endpoint(tail)
        response = gateway_pb.InitiateFileDownloadResponse()
        response.protocols.add(protocol=way["protocol"], download_endpoint=way["endpoint"], token=way["token"])
        return response

    def initiate_file_upload(self, call: Call, request: Any, spot: Spot) -> Any:
        """InitiateFileUpload: always OK."""
        upload_id = str(uuid.uuid4())
        self._uploads[upload_id] = {"share": spot.share_id, "rel": spot.rel}
        self._profile.state.put(_UPLOADS, upload_id, self._uploads[upload_id])
        way = self._endpoint(f"simple/{upload_id}")
        response = gateway_pb.InitiateFileUploadResponse()
        response.protocols.add(protocol="simple", upload_endpoint=way["endpoint"], token=way["token"])
        return response

    def data_spot(self, protocol: str, tail: str) -> Spot:
        """What an inner data URL is about."""
        record = self._uploads.get(tail)
        if record is not None:
            return Spot(record["share"], record["rel"])
        if protocol == "spaces":
            share_id, _, rel = tail.partition(":")
            return Spot(share_id, rel)
        share_id, _, rel = tail.partition("/")
        return Spot(share_id, f"/{rel}")

    async def download(self, call: DataCall) -> Download:
        """A GET or HEAD: sized by a PROPFIND, then fetched whole. Raises: HttpRefusal."""
        spot = self.data_spot(call.protocol, call.tail)
        try:
            share = self._share(Call(call.method, call.access), spot)
            entry = await self._carry_out(self._entry(share, spot.rel))
        except RemoteError as error:
            raise HttpRefusal(404 if error.status == 404 else 500) from error
        if entry.is_folder or entry.size < 0:
            raise HttpRefusal(500)

        async def fetch() -> _Body:
            try:
                url, headers = await self._address(share, spot.rel)
                response = await self._profile.peers.open(share.site, "GET", url, headers)
            except (PeerError, RemoteError) as error:
                raise HttpRefusal(500) from error
            if response.status != 200:
                response.close()
                raise HttpRefusal(500)
            body = _Body(self._profile, share, response, entry.size)
            await body.look()
            return body

        return Download(None, entry.size, mime.UNKNOWN, RangePolicy.REFUSED, fetch=fetch)

    def upload(self, call: DataCall) -> "OcmSink":
        """A PUT. Raises: HttpRefusal."""
        record = self._uploads.get(call.tail)
        if record is None:
            raise HttpRefusal(500)
        return OcmSink(self, Call(call.method, call.access), Spot(record["share"], record["rel"]), call.tail)

    async def commit(self, call: Call, spot: Spot, upload_id: str, body: bytes) -> None:
        """Send a whole body. Raises: HttpRefusal."""
        self._uploads.pop(upload_id, None)
        self._profile.state.drop(_UPLOADS, upload_id)
        try:
            await self._carry_out(self._put(self._share(call, spot), spot.rel, body))
        except RemoteError as error:
            # A revoked share is answered as if the access token were bad.
            raise HttpRefusal(401 if error.status == 401 else 500) from error


class OcmSink:
    """The body of a PUT: kept in memory until it is complete, as the imitated server does."""

    def __init__(self, storage: ReceivedStorage, call: Call, spot: Spot, upload_id: str) -> None:
        self._storage = storage
        self._call = call
        self._spot = spot
        self._upload_id = upload_id
        self._body = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep."""
        self._body += data

    async def finish(self) -> HttpAnswer:
        """Send it to the other site."""
        await self._storage.commit(self._call, self._spot, self._upload_id, bytes(self._body))
        return HttpAnswer(200)

    async def broken(self) -> None:
        """Nothing was sent yet: the old content stays."""

    def abandon(self) -> None:
        """Nothing to let go of."""


class _Body:
    """The content of a file at the other site, no more of it than was listed."""

    def __init__(self, profile: Profile, share: GotShare, response: aiohttp.ClientResponse, size: int) -> None:
        assert isinstance(profile, OcmShareHandlers)
        self._peers = profile.peers
        self._share = share
        self._response = response
        self._left = size
        self._head = b""
        self.content_type = ""

    async def look(self) -> None:
        """Read what the type is judged by."""
        self._head = await self._receive(_SNIFFED)
        self.content_type = mime.sniffed(self._head) if self._left else ""

    async def read(self) -> bytes:
        """The next bytes."""
        data, self._head = self._head, b""
        data = (data or await self._receive(_CHUNK))[: self._left]
        self._left -= len(data)
        return data

    async def _receive(self, limit: int) -> bytes:
        if not self._left:
            return b""
        try:
            await self._peers.gate(self._share.site)
            return await self._response.content.read(limit)
        except (aiohttp.ClientError, PeerError) as error:
            raise ConnectionError("the other site broke off") from error

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


async def _no_bytes() -> AsyncIterator[bytes]:
    """A body of unknown length, which turns out to be empty."""
    for chunk in list[bytes]():
        yield chunk


def _refusal(error: RemoteError, not_found: str, internal: str) -> Refusal:
    return Refusal(proto.NOT_FOUND, not_found) if error.status == 404 else Refusal(proto.INTERNAL, internal)
