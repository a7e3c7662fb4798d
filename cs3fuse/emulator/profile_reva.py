"""Profile `reva`: Reva 3.12 with driver `local`, two mounts, everybody's files in one tree.

Owns the answers of the storage RPCs; the disk is `localfs`, the data transfers are `reva_data`, the shares are
`shares`. Runs on the server's loop, every handler is one synchronous step.

Source: reva internal/grpc/services/{gateway,storageprovider} and the recorded answers of a running server.
"""

import base64
import contextlib
import os
import posixpath
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from stat import S_ISDIR
from typing import Any

import grpc

from cs3fuse.emulator import localfs, mime, proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.localfs import LocalFolder, tree_size
from cs3fuse.emulator.profiles import Call, Services
from cs3fuse.emulator.proto import provider_pb, storage_pb
from cs3fuse.emulator.reva_absent import RevaAbsent
from cs3fuse.emulator.users import User

SHARE_FOLDER = "/MyShares"
_WITHOUT_GRANTS = proto.permissions(*proto.READING, *proto.WRITING, "purge_recycle", "list_grants")
_WITH_GRANTS = proto.permissions(*proto.READING, *proto.WRITING, *proto.GRANTING, "purge_recycle", "list_grants")
EVERYTHING = proto.permissions(*proto.READING, *proto.WRITING, *proto.GRANTING, "purge_recycle", "list_grants", "deny_grant")


@dataclass(frozen=True, eq=False)
class Mount:
    """One storage provider: where it is mounted and what is behind it.

    Args:
        path: mount path, "/local".
        storage_id: mount id.
        depth: how many path segments make a space.
        base: first URL segment of its data server.
        exposed: hand out real data URLs.
        link: token of the public link it stands for.

    """

    path: str
    storage_id: str
    depth: int
    base: str
    exposed: bool
    folder: LocalFolder
    link: str = ""

    def full(self, inner: str) -> str:
        """The global path of an inner path."""
        return self.path if inner == "/" else self.path + inner

    def space_id(self, path: str) -> str:
        """The space a global path lies in: base32 of the space's path; empty above the spaces."""
        segments = path.strip("/").split("/")
        if len(segments) < self.depth:
            return ""
        return base64.b32encode(("/" + "/".join(segments[: self.depth])).encode()).decode()


@dataclass(frozen=True)
class Spot:
    """A resolved reference: a mount and an inner path, or (mount None) a folder above the mounts."""

    mount: Mount | None
    inner: str
    form: str = "path"
    """How it was addressed: path, id or relative."""

    @property
    def here(self) -> Mount:
        """The mount. Raises: Refusal above the mounts."""
        if self.mount is None:
            raise Refusal(proto.INTERNAL, "error unwrapping path")
        return self.mount

    @property
    def path(self) -> str:
        """The global path."""
        return self.inner if self.mount is None else self.mount.full(self.inner)


class RevaStorage(RevaAbsent):
    """The storage RPCs of driver `local`."""

    name = "reva"
    largest_message = 10_240_000

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        config, inner = self.config, self.config.state_path
        local = LocalFolder(config.root, inner / "reva-local", self.state, self.clock, "local")
        other = LocalFolder(inner / "other", inner / "reva-other", self.state, self.clock, "other")
        self.fixed_mounts = (
            Mount("/local", "local", 2, "data", config.expose, local),
            Mount("/other", "other", 1, "data-other", exposed=True, folder=other),
        )
        for user in self.directory:
            (config.root / user.name).mkdir(exist_ok=True)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """All storage providers."""
        return self.fixed_mounts

    # -- references

    def resolve(self, reference: Any) -> Spot:
        """Where a reference leads. Raises: Refusal."""
        if not reference.HasField("resource_id"):
            return self.resolve_path(reference.path)
        rid = reference.resource_id
        if not (rid.storage_id or rid.opaque_id or rid.space_id):
            raise Refusal(proto.NOT_FOUND, _no_provider(reference))
        mount = next((mount for mount in self.mounts if mount.storage_id == rid.storage_id), None)
        if mount is None:
            raise Refusal(proto.INTERNAL, "gateway: grpc failed with code CODE_INTERNAL")
        base = urllib.parse.unquote_plus(rid.opaque_id.removeprefix("fileid-"))
        form = "relative" if reference.path else "id"
        return Spot(mount, localfs.clean(posixpath.join(base, reference.path)), form)

    def resolve_path(self, path: str) -> Spot:
        """Where a global path leads. Raises: Refusal."""
        if path.startswith("/"):
            cleaned = localfs.clean(path)
            for mount in self.mounts:
                if cleaned == mount.path or cleaned.startswith(mount.path + "/"):
                    return Spot(mount, cleaned[len(mount.path) :] or "/")
            if any(mount.path.startswith(cleaned) for mount in self.mounts):
                return Spot(None, cleaned)
        raise Refusal(proto.NOT_FOUND, _no_provider(storage_pb.Reference(path=path)))

    def place(self, request: Any, name: str = "ref", asked: str = "") -> Spot:
        """The spot of a request's reference; `asked` is the call's name in the texts of refusals.

        Raises: GrpcAbort for a request without a reference, Refusal.
        """
        if not request.HasField(name):
            raise GrpcAbort(grpc.StatusCode.INTERNAL, "runtime error: invalid memory address or nil pointer dereference")
        reference = getattr(request, name)
        try:
            return self.resolve(reference)
        except Refusal as refusal:
            if not asked:
                raise
            space = " " if refusal.code == proto.NOT_FOUND else ""
            text = f"gateway: {asked} ref: {proto.go_text(reference)}:{space}{refusal.message}"
            raise Refusal(refusal.code, text) from refusal

    def describe_reference(self, reference: Any) -> str:
        """The path below the mount."""
        try:
            return self.resolve(reference).inner
        except Refusal:
            return str(reference.path)

    def reference_for(self, path: str) -> Any:
        """A path below the first mount."""
        return storage_pb.Reference(path=self.mounts[0].full(localfs.clean(path)))

    @contextlib.contextmanager
    def failing(self, not_found: str, internal: str, exists: str | None = None) -> Iterator[None]:
        """Turn what the disk says into the status of an RPC. Everything unexpected is INTERNAL, as in Reva."""
        try:
            yield
        except FileNotFoundError:
            raise Refusal(proto.NOT_FOUND, not_found) from None
        except FileExistsError:
            raise Refusal(proto.ALREADY_EXISTS if exists else proto.INTERNAL, exists or internal) from None
        except (OSError, ValueError, KeyError) as error:
            # ValueError: a NUL in a name.
            raise Refusal(proto.INTERNAL, internal) from error

    # -- reading

    def info(self, mount: Mount, inner: str, status: os.stat_result, user: User, keys: Any = ()) -> Any:
        """The ResourceInfo of one path."""
        info = self._template(mount, inner, user)
        self._fill(info, mount, inner, urllib.parse.quote_plus(inner), status, keys)
        return info

    def _template(self, mount: Mount, inner: str, user: User) -> Any:
        path = mount.full(inner)
        space_id = mount.space_id(path)
        info = storage_pb.ResourceInfo(owner=user.identifier())
        info.id.storage_id, info.id.space_id = mount.storage_id, space_id
        info.parent_id.space_id = space_id
        info.space.id.opaque_id = space_id
        if mount.depth > 1:
            info.space.space_type = "personal"
        segments = len(path.strip("/").split("/"))
        info.permission_set.CopyFrom(_WITH_GRANTS if segments > mount.depth else _WITHOUT_GRANTS)
        return info

    def _fill(self, info: Any, mount: Mount, inner: str, quoted: str, status: os.stat_result, keys: Any) -> None:
        is_folder = S_ISDIR(status.st_mode)
        info.type = proto.CONTAINER if is_folder else proto.FILE
        info.id.opaque_id = f"fileid-{quoted}"
        info.etag = localfs.etag(status)
        info.mime_type = mime.FOLDER if is_folder else mime.of_name(inner)
        info.mtime.seconds = max(0, status.st_mtime_ns // 1_000_000_000)
        info.path = mount.full(inner)
        info.size = status.st_size
        info.arbitrary_metadata.SetInParent()
        rows = mount.folder.metadata.get(inner)
        if rows:
            wanted = rows if not keys or "*" in keys else {key: rows[key] for key in keys if key in rows}
            info.arbitrary_metadata.metadata.update(wanted)

    def _above(self, path: str) -> Any:
        """A folder above the mounts: no etag, no permissions, another id at every call."""
        info = storage_pb.ResourceInfo(type=proto.CONTAINER, path=path, mime_type=mime.FOLDER)
        info.id.storage_id, info.id.opaque_id = "/", str(uuid.UUID(int=self.services.random.getrandbits(128), version=4))
        info.mtime.SetInParent()
        return info

    def stat(self, call: Call, request: Any) -> Any:
        """Stat."""
        spot = self.place(request, asked="stat")
        if spot.mount is None:
            return provider_pb.StatResponse(info=self._above(spot.inner))
        with self.failing("path not found when statting", f"error statting: {proto.go_text(request.ref)}"):
            status = spot.mount.folder.stat(spot.inner)
        return provider_pb.StatResponse(info=self.info(spot.mount, spot.inner, status, call.user, request.arbitrary_metadata_keys))

    def list_container(self, call: Call, request: Any) -> Any:
        """ListContainer: one message, sorted by name."""
        spot = self.place(request, asked="listContainer")
        response = provider_pb.ListContainerResponse()
        if spot.mount is None:
            self._list_above(spot.inner, response)
            return response
        mount, internal = spot.mount, f"error listing container: {proto.go_text(request.ref)}"
        if self.quirks["vanishing_entry"]:
            raise Refusal(proto.INTERNAL, internal)
        with self.failing("path not found when listing container", internal):
            entries = mount.folder.listing(spot.inner)
        prefix = "/" if spot.inner == "/" else f"{spot.inner}/"
        template = self._template(mount, f"{prefix}x", call.user)
        quoted_prefix, space_above = urllib.parse.quote_plus(prefix), not template.id.space_id
        for name, status in entries:
            inner = prefix + name
            info = response.infos.add()
            info.CopyFrom(self._template(mount, inner, call.user) if space_above or spot.inner == "/" else template)
            self._fill(info, mount, inner, quoted_prefix + urllib.parse.quote_plus(name), status, request.arbitrary_metadata_keys)
            if spot.form == "relative":
                info.path = inner
        return response

    def _list_above(self, path: str, response: Any) -> None:
        for mount in self.mounts:
            if not mount.link and mount.path.startswith(path) and mount.folder.listing("/"):
                info = self._above(mount.path)
                info.size = mount.folder.stat("/").st_size
                response.infos.append(info)

    def get_path(self, call: Call, request: Any) -> Any:
        """GetPath: a Stat by id."""
        spot = self.resolve(storage_pb.Reference(resource_id=request.resource_id))
        with self.failing("path not found when statting", "error statting"):
            spot.here.folder.stat(spot.inner)
        return provider_pb.GetPathResponse(path=spot.path)

    def get_home(self, call: Call, request: Any) -> Any:
        """GetHome: never fails, never looks."""
        return provider_pb.GetHomeResponse(path=f"/local/{call.user.name}")

    def create_home(self, call: Call, request: Any) -> Any:
        """CreateHome: driver local cannot."""
        raise Refusal(proto.INTERNAL, "error creating home")

    def get_quota(self, call: Call, request: Any) -> Any:
        """GetQuota: the whole disk, or the configured number."""
        total, used = self.quota(call.user)
        self.place(request)
        return provider_pb.GetQuotaResponse(total_bytes=total, used_bytes=used)

    def quota(self, user: User) -> tuple[int, int]:
        """Total and used bytes as told to a user; this driver enforces nothing."""
        if self.config.quota_bytes is not None:
            return self.config.quota_bytes, tree_size(str(self.config.root / user.name))
        disk = os.statvfs(self.config.root)
        return disk.f_blocks * disk.f_frsize, (disk.f_blocks - disk.f_bavail) * disk.f_frsize

    # -- changing

    def create_container(self, call: Call, request: Any) -> Any:
        """CreateContainer: one level, never over anything."""
        spot, internal = self.place(request), f"error creating container: {proto.go_text(request.ref)}"
        _refuse_share_folder(spot.inner)
        with self.failing("path not found when creating container", internal, "container already exists"):
            spot.here.folder.make_folder(spot.inner)
        return provider_pb.CreateContainerResponse()

    def touch_file(self, call: Call, request: Any) -> Any:
        """TouchFile: an empty file, never over anything."""
        spot, internal = self.place(request), f"error touching file: {proto.go_text(request.ref)}"
        _refuse_share_folder(spot.inner)
        folder = spot.here.folder
        with self.failing("path not found when touching the file", internal):
            if os.path.lexists(folder.disk(spot.inner)):
                raise Refusal(proto.ALREADY_EXISTS, "file already exists")
            folder.touch(spot.inner)
        return provider_pb.TouchFileResponse()

    def delete(self, call: Call, request: Any) -> Any:
        """Delete: folders too, with everything in them, without asking."""
        spot, internal = self.place(request), f"error deleting file: {proto.go_text(request.ref)}"
        if spot.here.path == spot.path and spot.form == "path":
            raise Refusal(proto.INTERNAL, "can't delete mount path")
        with self.failing("path not found when deleting container", internal):
            spot.here.folder.delete(spot.inner)
        return provider_pb.DeleteResponse()

    def move(self, call: Call, request: Any) -> Any:
        """Move: replaces a file silently; everything that goes wrong is INTERNAL."""
        source, target = self.place(request, "source"), self.place(request, "destination")
        if source.mount is None or source.mount is not target.mount:
            raise Refusal(proto.UNIMPLEMENTED, "gateway: cross storage copy not yet implemented")
        inner = storage_pb.Reference(path=source.inner)
        internal = f"error moving: {proto.go_text(inner)}"
        try:
            source.mount.folder.move(source.inner, target.inner)
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, internal) from error
        if self.quirks["internal_after_rename"]:
            raise Refusal(proto.INTERNAL, internal)
        return provider_pb.MoveResponse()

    def set_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """SetArbitraryMetadata: rows by path; `mtime` goes to the file and to every folder above it."""
        spot, values = self.place(request), dict(request.arbitrary_metadata.metadata)
        internal = f"error setting arbitrary metadata: {proto.go_text(request.ref)}"
        folder = spot.here.folder
        with self.failing("path not found when setting arbitrary metadata", internal):
            folder.stat(spot.inner)
            if self.quirks["database_locked"]:
                raise OSError("database is locked")
            if "mtime" in values:
                seconds, _, nanoseconds = values.pop("mtime").partition(".")
                folder.set_mtime(spot.inner, int(seconds) * 1_000_000_000 + int(nanoseconds or 0))
            values.pop("etag", None)
            values.pop("favorite", None)
            if values:
                folder.set_metadata(spot.inner, values)
            folder.propagate(spot.inner)
        return provider_pb.SetArbitraryMetadataResponse()

    def unset_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """UnsetArbitraryMetadata: an absent key is no error, `mtime` and `etag` are."""
        spot, keys = self.place(request), list(request.arbitrary_metadata_keys)
        internal = f"error unsetting arbitrary metadata: {proto.go_text(request.ref)}"
        folder = spot.here.folder
        with self.failing("path not found when unsetting arbitrary metadata", internal):
            folder.stat(spot.inner)
            if "mtime" in keys or "etag" in keys or self.quirks["database_locked"]:
                raise OSError("not supported")
            folder.unset_metadata(spot.inner, keys)
            folder.propagate(spot.inner)
        return provider_pb.UnsetArbitraryMetadataResponse()


def _no_provider(reference: Any) -> str:
    return f"error: not found: gateway: storage provider not found for reference:{proto.go_text(reference)}"


def _refuse_share_folder(inner: str) -> None:
    if inner.startswith(SHARE_FOLDER):
        raise Refusal(proto.PERMISSION_DENIED, "permission denied")
