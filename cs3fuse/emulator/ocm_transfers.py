"""Transfers to and from received shares.

Owns the upload records (kept in the state) and the bytes on their way: an upload is kept in memory until it is complete, a download is
passed on as it comes, no more of it than was listed. Base of `ocm_received`; runs on the server's loop only.

Source: reva pkg/ocm/storage/received, pkg/rhttp/datatx, as measured.
"""

import urllib.parse
import uuid
from typing import Any

import aiohttp

from cs3fuse.emulator import mime
from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.ocm_absent import OcmAbsent, Spot
from cs3fuse.emulator.ocm_book import GotShare
from cs3fuse.emulator.ocm_peers import PeerError, Peers
from cs3fuse.emulator.ocm_remote import Remote, RemoteError
from cs3fuse.emulator.ocm_shares import OcmShareHandlers
from cs3fuse.emulator.profiles import Call, DataCall, Download, HttpAnswer
from cs3fuse.emulator.proto import gateway_pb
from cs3fuse.emulator.ranges import RangePolicy

OCM_BASE = "data-ocm"
"""First URL segment of the data server of received shares."""
_UPLOADS = "ocm.uploads"
_CHUNK = 1 << 18
_SNIFFED = 512


class OcmTransfers(OcmAbsent):
    """Initiations, GET and PUT."""

    def __init__(self, profile: OcmShareHandlers) -> None:
        self._profile = profile
        self._remote = Remote(profile)
        self._uploads: dict[str, dict[str, str]] = profile.state.load(_UPLOADS)

    def share(self, call: Call, spot: Spot) -> GotShare:
        """The share a caller means. Raises: RemoteError for one that is not the caller's, as if it could not be reached."""
        share = self._profile.got_by(call.user.opaque_id, spot.share_id)
        if share is None:
            raise RemoteError(0, "share not found")
        return share

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
            share = self.share(Call(call.method, call.access), spot)
            entry = await self._remote.carry_out(self._remote.entry(share, spot.rel))
        except RemoteError as error:
            raise HttpRefusal(404 if error.status == 404 else 500) from error
        if entry.is_folder or entry.size < 0:
            raise HttpRefusal(500)

        async def fetch() -> _Body:
            try:
                body = _Body(self._profile.peers, share, await self._remote.open(share, spot.rel), entry.size)
            except RemoteError as error:
                raise HttpRefusal(500) from error
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
            await self._remote.carry_out(self._remote.put(self.share(call, spot), spot.rel, body))
        except RemoteError as error:
            # A revoked share is answered as if the access token were bad.
            raise HttpRefusal(401 if error.status == 401 else 500) from error


class OcmSink:
    """The body of a PUT: kept in memory until it is complete, as the imitated server does."""

    def __init__(self, storage: OcmTransfers, call: Call, spot: Spot, upload_id: str) -> None:
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

    def __init__(self, peers: Peers, share: GotShare, response: aiohttp.ClientResponse, size: int) -> None:
        self._peers = peers
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
