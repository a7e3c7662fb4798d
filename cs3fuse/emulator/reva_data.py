"""Profile `reva`, continued: transfers, versions, recycle bin, spaces.

Owns the upload records (kept in the state: an upload id outlives a restart) and what a PUT, PATCH or GET does to the
tree. Runs on the server's loop; one upload is written by one request at a time, as nothing in Reva prevents two.

Source: reva pkg/storage/utils/localfs/upload.go, pkg/rhttp/datatx/manager/{simple,spaces,tus}.
"""

import asyncio
import contextlib
import os
import re
import urllib.parse
import uuid
from stat import S_ISDIR
from typing import Any

import grpc

from cs3fuse.emulator import localfs, mime, proto
from cs3fuse.emulator.append import AppendFile
from cs3fuse.emulator.failures import GrpcAbort, HttpRefusal, Refusal
from cs3fuse.emulator.profile_reva import EVERYTHING, Mount, RevaStorage, Spot
from cs3fuse.emulator.profiles import Call, DataCall, Download, HttpAnswer, Services, UploadSink
from cs3fuse.emulator.proto import gateway_pb, provider_pb, spaces_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy

CHUNK_NAME = re.compile(r"-chunking-\w+-\d+-\d+$")
"""A target name that Reva takes for a piece of an ownCloud chunked upload."""
LINK_BASE = "data-public"
"""First URL segment of the data server of public links."""
_UPLOADS = "reva.uploads"
_COMMONS_QUOTA = 10**18


class RevaData(RevaStorage):
    """Transfers, versions, recycle bin, spaces."""

    data_bases = ("data", "data-other", LINK_BASE)

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._uploads: dict[str, dict[str, Any]] = self.state.load(_UPLOADS)

    # -- initiation

    def initiate_file_download(self, call: Call, request: Any) -> Any:
        """InitiateFileDownload: checks nothing; a bare id gives a useless URL of the storage's root."""
        spot = self.place(request)
        mount = spot.here
        if spot.form == "relative":
            rid = request.ref.resource_id
            where = f"{rid.storage_id}${rid.space_id or mount.space_id(spot.path)}!{rid.opaque_id}"
            tail = (
                f"spaces/{urllib.parse.quote(where, safe='')}/{urllib.parse.quote(request.ref.path.removeprefix('.').lstrip('/'))}"
            )
        else:
            prefix = f"/{mount.link}" if mount.link else ""
            tail = f"simple{prefix}{urllib.parse.quote(spot.inner if spot.form == 'path' else '/')}"
        version = proto.opaque_value(request.opaque, "version_key") or ""
        endpoint, token = self._endpoint(mount, tail, version)
        response = gateway_pb.InitiateFileDownloadResponse()
        if mount.link:
            response.protocols.add(protocol="", download_endpoint=self._gateway_url, token=self.tokens.transfer_token(""))
        response.protocols.add(protocol=tail.partition("/")[0], download_endpoint=endpoint, token=token)
        return response

    def initiate_file_upload(self, call: Call, request: Any) -> Any:
        """InitiateFileUpload: checks nothing but the length's digits; two protocols in random order."""
        spot = self.place(request)
        mount = spot.here
        if spot.inner == "/":
            raise Refusal(proto.INTERNAL, "can't upload to mount path")
        length = proto.opaque_value(request.opaque, "Upload-Length") or "0"
        if not length.isdecimal():
            raise Refusal(proto.INTERNAL, "error parsing upload length")
        upload_id = str(uuid.uuid4())
        record = {"mount": mount.storage_id, "inner": spot.inner, "length": int(length)}
        self._uploads[upload_id] = record
        self.state.put(_UPLOADS, upload_id, record)
        (mount.folder.uploads / upload_id).touch()
        response = gateway_pb.InitiateFileUploadResponse()
        names = ["simple", "tus"]
        self.services.random.shuffle(names)
        for name in names:
            if mount.link:
                response.protocols.add(protocol="", upload_endpoint=self._gateway_url, token=self.tokens.transfer_token(""))
            endpoint, token = self._endpoint(mount, f"{name}/{upload_id}")
            response.protocols.add(protocol=name, upload_endpoint=endpoint, token=token)
        return response

    def _endpoint(self, mount: Mount, tail: str, version: str = "") -> tuple[str, str]:
        target = f"{self.services.base_url}/{mount.base}/{tail}"
        if mount.exposed:
            return target, ""
        token = self.tokens.transfer_token(target, version)
        # Behind a public link the token stands in the URL.
        return (f"{self._gateway_url}/{token}", "") if mount.link else (self._gateway_url, token)

    @property
    def _gateway_url(self) -> str:
        return f"{self.services.base_url}{self.data_path}"

    # -- data

    def describe_data(self, base: str, protocol: str, tail: str) -> str:
        """The path an upload or a download is about."""
        record = self._uploads.get(tail)
        if record is not None:
            return str(record["inner"])
        if protocol != "spaces":
            return f"/{tail}"
        try:
            return self._data_spot(base, protocol, tail).inner
        except Refusal:
            return f"/{tail}"

    def _data_spot(self, base: str, protocol: str, tail: str) -> Spot:
        if protocol == "spaces":
            where, _, relative = tail.partition("/")
            storage_id, _, rest = where.partition("$")
            opaque_id = rest.partition("!")[2]
            rid = storage_pb.ResourceId(storage_id=storage_id, opaque_id=opaque_id)
            return self.resolve(storage_pb.Reference(resource_id=rid, path=f"./{relative}"))
        if base == LINK_BASE:
            return self.resolve_path(f"/public/{tail}")
        mount = next(mount for mount in self.mounts if mount.base == base)
        return self.resolve_path(f"{mount.path}/{tail}")

    def download(self, call: DataCall) -> Download:
        """A GET or HEAD: no ranges, no etag; a folder announces a size and breaks off."""
        try:
            spot = self._data_spot(call.base, call.protocol, call.tail)
            disk = spot.here.folder.disk(spot.inner)
            status = os.stat(disk)
            if call.version_key:
                # The stat step wants the key without "v", the open step with it: this never works.
                raise FileNotFoundError(call.version_key)
            if S_ISDIR(status.st_mode):
                return Download(None, status.st_size, mime.UNKNOWN, RangePolicy.REFUSED, abort=True)
            file = open(disk, "rb")  # noqa: SIM115 - the data gateway closes it
        except (Refusal, FileNotFoundError) as error:
            raise HttpRefusal(404) from error
        except PermissionError as error:
            raise HttpRefusal(403) from error
        except (OSError, ValueError) as error:
            raise HttpRefusal(500) from error
        kind = mime.sniffed(file.read(512))
        return Download(file, status.st_size, kind, RangePolicy.REFUSED)

    def upload(self, call: DataCall) -> UploadSink:
        """A PUT: the upload id must be known."""
        return RevaSink(self, *self._record(call.tail, missing=500))

    def _record(self, upload_id: str, missing: int) -> tuple[str, Mount, str, int]:
        record = self._uploads.get(upload_id)
        if record is None:
            raise HttpRefusal(missing)
        mount = next((mount for mount in self.mounts if mount.storage_id == record["mount"]), None)
        if mount is None:
            raise HttpRefusal(404)
        return upload_id, mount, record["inner"], record["length"]

    def forget_upload(self, upload_id: str) -> None:
        """Drop the record of an upload: its id is used up."""
        self._uploads.pop(upload_id, None)
        self.state.drop(_UPLOADS, upload_id)

    def tus_status(self, call: DataCall) -> HttpAnswer:
        """A HEAD of tus: how much has come."""
        if "Tus-Resumable" not in call.headers:
            raise HttpRefusal(412)
        upload_id, mount, _, length = self._record(call.tail, missing=404)
        size = os.stat(mount.folder.uploads / upload_id).st_size
        return HttpAnswer(200, {"Upload-Offset": str(size), "Upload-Length": str(length), "Tus-Resumable": "1.0.0"})

    def tus_patch(self, call: DataCall) -> UploadSink:
        """A PATCH of tus: at the right offset, never beyond the length."""
        headers = call.headers
        if "Upload-Length" in headers:
            raise HttpRefusal(501)
        if "Tus-Resumable" not in headers:
            raise HttpRefusal(412)
        if headers.get("Content-Type") != "application/offset+octet-stream":
            raise HttpRefusal(400)
        upload_id, mount, inner, length = self._record(call.tail, missing=404)
        if not headers.get("Upload-Offset", "").isdecimal():
            raise HttpRefusal(400)
        size = os.stat(mount.folder.uploads / upload_id).st_size
        if int(headers["Upload-Offset"]) != size:
            raise HttpRefusal(409)
        if length and call.length is not None and size + call.length > length:
            raise HttpRefusal(413)
        return TusSink(self, upload_id, mount, inner, length)

    # -- versions and recycle bin

    def list_file_versions(self, call: Call, request: Any) -> Any:
        """ListFileVersions: keys and times in milliseconds; a path that never existed has none."""
        spot = self.place(request)
        with self.failing(
            "path not found when listing file versions", f"error listing file versions: {proto.go_text(request.ref)}"
        ):
            found = spot.here.folder.versions(spot.inner)
        response = provider_pb.ListFileVersionsResponse()
        for key, status in found:
            response.versions.add(key=key, size=status.st_size, mtime=int(key), etag=localfs.etag(status))
        return response

    def restore_file_version(self, call: Call, request: Any) -> Any:
        """RestoreFileVersion: needs the "v" that the listing lacks."""
        spot = self.place(request)
        with self.failing("path not found when restoring file versions", f"error restoring version: {proto.go_text(request.ref)}"):
            spot.here.folder.restore_version(spot.inner, request.key)
        return provider_pb.RestoreFileVersionResponse()

    def _recycle_spot(self, request: Any) -> Spot:
        try:
            spot = self.place(request)
        except Refusal as refusal:
            raise GrpcAbort(grpc.StatusCode.UNKNOWN, refusal.message) from refusal
        if spot.mount is None:
            raise GrpcAbort(grpc.StatusCode.UNKNOWN, "error unwrapping path")
        return spot

    def list_recycle(self, call: Call, request: Any) -> Any:
        """ListRecycle: everybody's items; times in milliseconds."""
        spot = self._recycle_spot(request)
        response = provider_pb.ListRecycleResponse()
        for key, inner, status in spot.here.folder.recycled():
            item = response.recycle_items.add(key=key, size=status.st_size)
            item.type = proto.CONTAINER if S_ISDIR(status.st_mode) else proto.FILE
            item.ref.path = spot.here.full(inner) if spot.form == "path" else inner
            item.deletion_time.seconds = int(key.rpartition(".d")[2])
        return response

    def restore_recycle_item(self, call: Call, request: Any) -> Any:
        """RestoreRecycleItem: `restore_ref.path` without the mount's prefix; every failure is INTERNAL."""
        spot = self._recycle_spot(request)
        target = request.restore_ref.path if request.HasField("restore_ref") else ""
        try:
            spot.here.folder.restore(request.key, target)
        except (OSError, KeyError, ValueError) as error:
            raise Refusal(proto.INTERNAL, "error restoring recycle bin item") from error
        return provider_pb.RestoreRecycleItemResponse()

    def purge_recycle(self, call: Call, request: Any) -> Any:
        """PurgeRecycle: an empty key empties the bin of everybody."""
        spot = self._recycle_spot(request)
        try:
            spot.here.folder.purge(request.key)
        except OSError as error:
            raise Refusal(proto.INTERNAL, "error purging recycle item") from error
        return provider_pb.PurgeRecycleResponse()

    # -- spaces

    def list_storage_spaces(self, call: Call, request: Any) -> Any:
        """ListStorageSpaces: the personal space, and the second mount as a public space (listed twice, as recorded)."""
        spaces = [self._personal(call), self._commons(call), self._commons(call)]
        for wanted in request.filters:
            if wanted.type == spaces_pb.ListStorageSpacesRequest.Filter.TYPE_SPACE_TYPE:
                kind = wanted.space_type
                spaces = [
                    space for space in spaces if space.space_type == kind or (kind == "project" and space.space_type == "explorer")
                ]
            elif wanted.type == spaces_pb.ListStorageSpacesRequest.Filter.TYPE_ID:
                spaces = [space for space in spaces if space.id.opaque_id == wanted.id.opaque_id]
        return spaces_pb.ListStorageSpacesResponse(storage_spaces=spaces)

    def _personal(self, call: Call) -> Any:
        user, mount = call.user, self.mounts[0]
        path = f"{mount.path}/{user.name}"
        total, used = self.quota(user)
        space = storage_pb.StorageSpace(owner=user.message(), name=user.name, space_type="personal")
        space.id.opaque_id = f"{mount.storage_id}${mount.space_id(path)}"
        space.quota.quota_max_bytes, space.quota.remaining_bytes = total, max(0, total - used)
        space.root_info.path = path
        space.root_info.permission_set.CopyFrom(EVERYTHING)
        return space

    def _commons(self, call: Call) -> Any:
        mount = self.mounts[1]
        status = mount.folder.stat("/")
        info = self.info(mount, "/", status, call.user)
        space = storage_pb.StorageSpace(name="Commons", space_type="explorer", root_info=info, root=info.id, mtime=info.mtime)
        space.id.opaque_id = f"{mount.storage_id}${info.id.space_id}"
        space.quota.quota_max_bytes, space.quota.remaining_bytes = _COMMONS_QUOTA, _COMMONS_QUOTA - 4096
        space.description = "second mount, shown as a public space"
        return space

    def create_storage_space(self, call: Call, request: Any) -> Any:
        """CreateStorageSpace: fails as a gRPC error."""
        raise GrpcAbort(grpc.StatusCode.UNKNOWN, "error: not supported: CreateStorageSpace")

    def delete_storage_space(self, call: Call, request: Any) -> Any:
        """DeleteStorageSpace: fails as a gRPC error."""
        raise GrpcAbort(grpc.StatusCode.UNKNOWN, "error: not supported: DeleteStorageSpace")


class RevaSink(AppendFile):
    """The body of a simple PUT: appended to the upload file, then two renames.

    A second PUT after a failed one adds to the bytes of the first, as in Reva.
    """

    def __init__(self, profile: RevaData, upload_id: str, mount: Mount, inner: str, length: int) -> None:
        super().__init__(mount.folder.uploads / upload_id)
        self.profile = profile
        self.upload_id = upload_id
        self.mount = mount
        self.inner = inner
        self.length = length

    async def finish(self) -> HttpAnswer:
        """Commit."""
        self.close()
        return await self.commit()

    async def broken(self) -> None:
        """Commit what came: Reva takes a broken connection for the end of the body."""
        self.close()
        with contextlib.suppress(HttpRefusal):
            await self.commit()

    def abandon(self) -> None:
        """Keep the bytes and the upload id."""
        self.close()

    async def commit(self) -> HttpAnswer:
        """Archive what is at the target, rename the upload onto it. Raises: HttpRefusal."""
        if CHUNK_NAME.search(self.inner):
            self.profile.forget_upload(self.upload_id)
            self.path.unlink(missing_ok=True)
            return HttpAnswer(206)
        folder = self.mount.folder
        try:
            if folder.archive_present(self.inner):
                window_s = self.profile.quirks["overwrite_window_s"]
                if window_s:
                    await asyncio.sleep(window_s)
            folder.place(self.path, self.inner)
        except (OSError, ValueError) as error:
            raise HttpRefusal(500) from error
        self.profile.forget_upload(self.upload_id)
        return HttpAnswer(200)


class TusSink(RevaSink):
    """The body of a PATCH: committed when the announced length is reached."""

    async def finish(self) -> HttpAnswer:
        """Keep the piece; commit when it was the last."""
        self.abandon()
        size = self.path.stat().st_size
        if self.length and size >= self.length:
            await self.commit()
        return HttpAnswer(204, {"Upload-Offset": str(size), "Tus-Resumable": "1.0.0"})

    async def broken(self) -> None:
        """Keep what came; the next HEAD tells."""
        self.abandon()
