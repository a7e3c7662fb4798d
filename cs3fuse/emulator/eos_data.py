"""Profile `eos`: transfers; the complete profile is `EosProfile`.

Owns what a PUT or GET does: atomic uploads with versions, locks by application name, ranges, quota. Runs on the
server's loop; large files are hashed in a thread while they arrive.

Source: reva pkg/storage/fs/eos, pkg/rhttp/datatx/manager/simple.
"""

import contextlib
import posixpath
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.append import AppendFile
from cs3fuse.emulator.checksums import RollingChecksums, compute_checksums
from cs3fuse.emulator.eos_files import EosFiles
from cs3fuse.emulator.eos_refs import MOUNT, STORAGE_ID, Spot
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.groups import GroupHandlers
from cs3fuse.emulator.profiles import Call, DataCall, Download, HttpAnswer, UploadSink
from cs3fuse.emulator.proto import gateway_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy
from cs3fuse.emulator.tree import Node

_INLINE_BYTES = 1 << 20


class EosProfile(EosFiles, GroupHandlers):
    """EOS behind a Reva gateway."""

    # -- initiation

    def initiate_file_download(self, call: Call, request: Any) -> Any:
        """InitiateFileDownload: checks nothing; a bare id gives a useless URL of the storage's root."""
        if not request.HasField("ref"):
            self.place(request)
        reference = request.ref
        if reference.HasField("resource_id") and reference.path:
            rid = reference.resource_id
            where = urllib.parse.quote(f"{rid.storage_id}${rid.space_id}!{rid.opaque_id}", safe="")
            tail = f"spaces/{where}/{urllib.parse.quote(reference.path.removeprefix('.').lstrip('/'))}"
        elif reference.HasField("resource_id"):
            tail = "simple/"
        else:
            tail = f"simple{urllib.parse.quote(self.place(request).path.removeprefix(MOUNT) or '/')}"
        version = proto.opaque_value(request.opaque, "version_key") or ""
        response = gateway_pb.InitiateFileDownloadResponse()
        endpoint, token = self._endpoint(tail, version)
        response.protocols.add(protocol=tail.partition("/")[0], download_endpoint=endpoint, token=token)
        return response

    def initiate_file_upload(self, call: Call, request: Any) -> Any:
        """InitiateFileUpload: only `simple`, with the path in the URL."""
        spot = self.place(request)
        if spot.path == MOUNT:
            raise Refusal(proto.INTERNAL, "can't upload to mount path")
        if not (proto.opaque_value(request.opaque, "Upload-Length") or "0").isdecimal():
            raise Refusal(proto.INTERNAL, "error parsing upload length")
        response = gateway_pb.InitiateFileUploadResponse()
        endpoint, token = self._endpoint(f"simple{urllib.parse.quote(spot.path.removeprefix(MOUNT))}")
        response.protocols.add(protocol="simple", upload_endpoint=endpoint, token=token)
        return response

    def _endpoint(self, tail: str, version: str = "") -> tuple[str, str]:
        target = f"{self.services.base_url}/data/{tail}"
        if self.config.expose:
            return (f"{target}?version_key={version}" if version else target), ""
        return f"{self.services.base_url}{self.data_path}", self.tokens.transfer_token(target, version)

    # -- data

    def describe_data(self, base: str, protocol: str, tail: str) -> str:
        """The path an upload or a download is about."""
        with contextlib.suppress(Refusal):
            spot = self._data_spot(protocol, tail)
            if spot.space is not None:
                return f"/{spot.space.folder}{spot.path[len(self.space_path(spot.space)) :]}"
        return f"/{tail}"

    def _data_spot(self, protocol: str, tail: str) -> Spot:
        if protocol != "spaces":
            return self.resolve_path(f"{MOUNT}/{tail}", "path")
        where, _, relative = tail.partition("/")
        opaque_id = where.partition("!")[2]
        rid = storage_pb.ResourceId(storage_id=STORAGE_ID, opaque_id=opaque_id)
        return self.resolve(storage_pb.Reference(resource_id=rid, path=f"./{relative}"))

    def download(self, call: DataCall) -> Download:
        """A GET or HEAD: ranges, no etag; an old version by its key."""
        try:
            spot = self._data_spot(call.protocol, call.tail)
        except Refusal as refusal:
            raise HttpRefusal(404) from refusal
        node = spot.node
        if spot.space is None:
            raise HttpRefusal(500)
        if node is None:
            raise HttpRefusal(404)
        if "initiate_file_download" not in self.spaces.permissions(call.access.user, node):
            raise HttpRefusal(403)
        if node.is_folder:
            raise HttpRefusal(500)
        path, size = Path(self.tree.disk(node)), node.size
        if call.version_key:
            version = self.history.find(node, call.version_key)
            if version is None:
                raise HttpRefusal(404)
            path, size = self.history.file(version), version.size
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise HttpRefusal(404) from error
        return Download(file, size, mime.sniffed(file.read(512)), RangePolicy.SERVED)

    def upload(self, call: DataCall) -> UploadSink:
        """A PUT: needs a length, the right holder of a lock, and room."""
        try:
            spot = self._data_spot(call.protocol, call.tail)
        except Refusal as refusal:
            raise HttpRefusal(500) from refusal
        announced = call.headers.get("Upload-Length", "")
        if not announced.isdecimal():
            if call.forwarded or call.length is None:
                raise HttpRefusal(500)
            announced = str(call.length)
        node, folder = spot.node, spot.folder
        if folder is None or spot.space is None:
            raise HttpRefusal(404)
        if "initiate_file_upload" not in self.spaces.permissions(call.access.user, node or folder):
            raise HttpRefusal(403)
        if (node is not None and node.is_folder) or not folder.is_folder:
            raise HttpRefusal(500)
        self.check_holder(node, call.headers.get("X-Lock-Holder", ""))
        total, used = self.quota(spot.space)
        if used - (node.size if node is not None else 0) + int(announced) > total:
            raise HttpRefusal(507)
        return EosSink(self, spot.path, call, int(announced))

    def check_holder(self, node: Node | None, holder: str) -> None:
        """Refuse a write to a file that another application has locked. Raises: HttpRefusal 409."""
        lock = self.lock_of(node) if node is not None else None
        if lock is not None and lock["app_name"] != holder:
            raise HttpRefusal(409)

    def commit(self, path: str, staged: Path, sums: dict[str, str], *, holder: str, versioned: bool) -> HttpAnswer:
        """Put a complete upload into place; what was there becomes a version. Raises: HttpRefusal."""
        try:
            spot = self.resolve_path(path, "path")
        except Refusal as refusal:
            raise HttpRefusal(500) from refusal
        node, folder = spot.node, spot.folder
        if folder is None:
            raise HttpRefusal(404)
        if node is not None and node.is_folder:
            raise HttpRefusal(500)
        self.check_holder(node, holder)
        try:
            if node is not None and versioned:
                self.history.keep(node, self.etag(node))
            placed = self.tree.place(folder, posixpath.basename(path), str(staged))
        except (OSError, ValueError) as error:
            raise HttpRefusal(500) from error
        placed.checksums = sums
        self.tree.mark(placed)
        self.tree.flush()
        return HttpAnswer(200)


class EosSink(AppendFile):
    """The body of a PUT: nothing shows before it is complete."""

    def __init__(self, profile: EosProfile, path: str, call: DataCall, length: int) -> None:
        super().__init__(profile.staged(str(uuid.uuid4())))
        self._profile = profile
        self._target = path
        self._length = length
        self._holder = call.headers.get("X-Lock-Holder", "")
        self._versioned = call.headers.get("X-Disable-Versioning", "").lower() != "true"
        self._is_large = length > _INLINE_BYTES
        self._sums = RollingChecksums(self.path, profile.checksum_names, length)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises: OSError."""
        super().write(data)
        if self._is_large:
            self._sums.feed()

    async def finish(self) -> HttpAnswer:
        """Check the length, hash, commit."""
        self.close()
        try:
            if self.path.stat().st_size != self._length:
                raise HttpRefusal(500)
            names = self._profile.checksum_names
            sums = await self._sums.result() if self._is_large else compute_checksums(self.path, names)
            return self._profile.commit(self._target, self.path, sums, holder=self._holder, versioned=self._versioned)
        finally:
            self._sums.stop()
            self.path.unlink(missing_ok=True)

    async def broken(self) -> None:
        """The old content stays."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the bytes."""
        self._sums.stop()
        self.close()
        self.path.unlink(missing_ok=True)
