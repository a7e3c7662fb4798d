"""Profile `eos`: the RPCs on files and folders, versions, recycle bin, spaces.

Owns these handlers. Runs on the server's loop only, every handler is one synchronous step.

Source: reva pkg/storage/fs/eos and internal/grpc/services/{gateway,storageprovider}.
"""

import posixpath
import re
from typing import Any

import grpc

from cs3fuse.emulator import proto
from cs3fuse.emulator.eos_locks import EosLocks
from cs3fuse.emulator.eos_refs import MOUNT, STORAGE_ID, Spot
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.history import Deleted
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb, spaces_pb, storage_pb
from cs3fuse.emulator.spaces import Space
from cs3fuse.emulator.tree import Node
from cs3fuse.emulator.users import User

HIDDEN = re.compile(r"\.sys\..?#\.")
"""Names of version and upload folders, which listings leave out."""
_DEFAULT_QUOTA = 2_000_000_000_000


class EosFiles(EosLocks):
    """Storage RPCs."""

    def stat(self, call: Call, request: Any) -> Any:
        """Stat."""
        spot = self.place(request)
        if spot.space is None:
            if not self.below(spot.path):
                raise Refusal(proto.NOT_FOUND, "path not found when statting")
            return provider_pb.StatResponse(info=self.above(spot.path))
        node = self.need(call, spot, "stat", "path not found when statting")
        return provider_pb.StatResponse(info=self.info(node, spot.space, self.spaces.permissions(call.user, node)))

    def list_container(self, call: Call, request: Any) -> Any:
        """ListContainer: one message."""
        spot = self.place(request)
        response = provider_pb.ListContainerResponse()
        if spot.space is None:
            response.infos.extend(self.above(path) for path in self.below(spot.path))
            return response
        folder = self.need(call, spot, "list_container", "path not found when listing container")
        if not folder.is_folder:
            raise Refusal(proto.INTERNAL, f"error listing container: {proto.go_text(request.ref)}")
        permission_set = proto.permissions(*self.spaces.permissions(call.user, folder))
        owner, base = self.owner(spot.space).identifier(), spot.path
        for node in sorted(self.tree.children_of(folder), key=lambda item: item.name):
            if not HIDDEN.search(node.name):
                info = response.infos.add(owner=owner)
                self.fill(info, node, f"{base}/{node.name}", permission_set)
                if spot.form == "relative":
                    info.path = info.path.removeprefix(MOUNT)
        return response

    def get_path(self, call: Call, request: Any) -> Any:
        """GetPath: a Stat by id."""
        spot = self.resolve(storage_pb.Reference(resource_id=request.resource_id))
        self.need(call, spot, "stat", "path not found when statting")
        return provider_pb.GetPathResponse(path=spot.path)

    def get_home(self, call: Call, request: Any) -> Any:
        """GetHome."""
        return provider_pb.GetHomeResponse(path=self.home_path(call.user.name))

    def create_home(self, call: Call, request: Any) -> Any:
        """CreateHome: homes exist already."""
        return provider_pb.CreateHomeResponse()

    def get_quota(self, call: Call, request: Any) -> Any:
        """GetQuota: of the home the reference lies in, or of the caller's."""
        total, used = self.quota(self.place(request).space or self.home(call.user))
        return provider_pb.GetQuotaResponse(total_bytes=total, used_bytes=used)

    def home(self, user: User) -> Space:
        """The user's home."""
        space = self.spaces.get(str(user.uid))
        assert space is not None
        return space

    def quota(self, space: Space) -> tuple[int, int]:
        """Total and used bytes of a home."""
        return (_DEFAULT_QUOTA if space.quota is None else space.quota), self.spaces.root(space).size

    # -- changing

    def create_container(self, call: Call, request: Any) -> Any:
        """CreateContainer: with the folders above it; an existing folder is no error."""
        internal, spot = f"error creating container: {proto.go_text(request.ref)}", self.place(request)
        if spot.space is None or (spot.node is not None and not spot.node.is_folder):
            raise Refusal(proto.INTERNAL, internal)
        folder = self.spaces.root(spot.space)
        try:
            for name in spot.path[len(self.space_path(spot.space)) :].strip("/").split("/"):
                below = self.tree.child(folder, name) if name else folder
                if below is None:
                    self.allowed(call, folder, "create_container")
                    below = self.tree.make_folder(folder, name)
                folder = below
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, internal) from error
        return provider_pb.CreateContainerResponse()

    def touch_file(self, call: Call, request: Any) -> Any:
        """TouchFile: an existing file is left as it is."""
        internal, spot = f"error touching file: {proto.go_text(request.ref)}", self.place(request)
        if spot.folder is None or not spot.folder.is_folder or (spot.node is not None and spot.node.is_folder):
            raise Refusal(proto.INTERNAL, internal)
        if spot.node is None:
            self.allowed(call, spot.folder, "initiate_file_upload")
            try:
                self.tree.place(spot.folder, spot.name, None)
            except (OSError, ValueError) as error:
                raise Refusal(proto.INTERNAL, internal) from error
        return provider_pb.TouchFileResponse()

    def delete(self, call: Call, request: Any) -> Any:
        """Delete: into the recycle bin, folders with everything in them."""
        internal, spot = f"error deleting file: {proto.go_text(request.ref)}", self.place(request)
        node = self.need(call, spot, "delete", "path not found when deleting container")
        if node.parent is None:
            raise Refusal(proto.INTERNAL, internal)
        self.refuse_locked(node, internal)
        try:
            self.history.delete(node, f"{int(node.id):016x}", call.user.opaque_id)
        except OSError as error:
            raise Refusal(proto.INTERNAL, internal) from error
        return provider_pb.DeleteResponse()

    def move(self, call: Call, request: Any) -> Any:
        """Move: never over anything; everything that goes wrong is INTERNAL."""
        source, target = self.place(request, "source"), self.place(request, "destination")
        inner = storage_pb.Reference(path=source.path.removeprefix(MOUNT))
        internal = f"error moving: {proto.go_text(inner)}"
        if source.space is None or target.space is None:
            raise Refusal(proto.UNIMPLEMENTED, "gateway: cross storage copy not yet implemented")
        node, folder = source.node, target.folder
        if node is None or node.parent is None or folder is None or target.node is not None or not folder.is_folder:
            raise Refusal(proto.INTERNAL, internal)
        self.allowed(call, node, "move")
        self.allowed(call, folder, "create_container")
        self.refuse_locked(node, internal)
        if node is folder or node in folder.ancestors():
            raise Refusal(proto.INTERNAL, internal)
        try:
            self.tree.move(node, folder, target.name)
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, internal) from error
        return provider_pb.MoveResponse()

    def set_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """SetArbitraryMetadata: extended attributes; an empty key or value or a reserved name is INTERNAL."""
        internal = f"error setting arbitrary metadata: {proto.go_text(request.ref)}"
        not_found = "path not found when setting arbitrary metadata"
        node = self.need(call, self.place(request), "initiate_file_upload", not_found)
        values = dict(request.arbitrary_metadata.metadata)
        self.refuse_locked(node, internal)
        if any(not key or not value or key.startswith("sys.") for key, value in values.items()):
            raise Refusal(proto.INTERNAL, internal)
        node.metadata.update(values)
        self.tree.mark(node)
        self.tree.flush()
        return provider_pb.SetArbitraryMetadataResponse()

    def unset_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """UnsetArbitraryMetadata."""
        internal = f"error unsetting arbitrary metadata: {proto.go_text(request.ref)}"
        not_found = "path not found when unsetting arbitrary metadata"
        node = self.need(call, self.place(request), "initiate_file_upload", not_found)
        self.refuse_locked(node, internal)
        for key in request.arbitrary_metadata_keys:
            node.metadata.pop(key, None)
        self.tree.mark(node)
        self.tree.flush()
        return provider_pb.UnsetArbitraryMetadataResponse()

    # -- versions and recycle bin

    def list_file_versions(self, call: Call, request: Any) -> Any:
        """ListFileVersions: newest first."""
        node = self.need(call, self.place(request), "list_file_versions", "path not found when listing file versions")
        response = provider_pb.ListFileVersionsResponse()
        for item in self.history.versions(node):
            response.versions.add(key=item.key, size=item.size, mtime=item.mtime_ns // 1_000_000_000, etag=item.etag)
        return response

    def restore_file_version(self, call: Call, request: Any) -> Any:
        """RestoreFileVersion: the present content becomes a version."""
        not_found = "path not found when restoring file versions"
        node = self.need(call, self.place(request), "restore_file_version", not_found)
        version = self.history.find(node, request.key)
        if version is None:
            raise Refusal(proto.NOT_FOUND, not_found)
        self.refuse_locked(node, f"error restoring version: {proto.go_text(request.ref)}")
        self.history.restore(node, version, self.etag(node))
        return provider_pb.RestoreFileVersionResponse()

    def _recycle_spot(self, call: Call, request: Any, permission: str) -> tuple[Spot, Space]:
        try:
            spot = self.place(request)
        except Refusal as refusal:
            raise GrpcAbort(grpc.StatusCode.UNKNOWN, refusal.message) from refusal
        space = spot.space or self.home(call.user)
        self.allowed(call, self.spaces.root(space), permission)
        return spot, space

    def _item(self, space: Space, key: str) -> Deleted | None:
        item = self.history.trash.get(key)
        return item if item is not None and item.root_id == space.id else None

    def list_recycle(self, call: Call, request: Any) -> Any:
        """ListRecycle: the items of one home."""
        _, space = self._recycle_spot(call, request, "list_recycle")
        response = provider_pb.ListRecycleResponse()
        for item in self.history.trash.values():
            if item.root_id == space.id and (not request.key or request.key == item.key):
                node = self.history.node_of(item)
                kind = proto.CONTAINER if node.is_folder else proto.FILE
                entry = response.recycle_items.add(key=item.key, type=kind, size=node.size)
                entry.ref.path = self.space_path(space) + item.path
                entry.deletion_time.seconds = int(item.deleted_s)
        return response

    def restore_recycle_item(self, call: Call, request: Any) -> Any:
        """RestoreRecycleItem: to the old place, or to a storage-relative path; every failure is INTERNAL."""
        _, space = self._recycle_spot(call, request, "restore_recycle_item")
        internal, item = "error restoring recycle bin item", self._item(space, request.key)
        if item is None:
            raise Refusal(proto.INTERNAL, internal)
        wanted = request.restore_ref.path if request.HasField("restore_ref") else ""
        target = self.resolve_path(MOUNT + wanted if wanted else self.space_path(space) + item.path, "path")
        if target.node is not None or target.folder is None:
            raise Refusal(proto.INTERNAL, internal)
        try:
            self.history.untrash(item, self.history.node_of(item), target.folder, posixpath.basename(target.path))
        except OSError as error:
            raise Refusal(proto.INTERNAL, internal) from error
        return provider_pb.RestoreRecycleItemResponse()

    def purge_recycle(self, call: Call, request: Any) -> Any:
        """PurgeRecycle: one item, or with an empty key the whole bin of the home."""
        _, space = self._recycle_spot(call, request, "purge_recycle")
        items = [item for item in self.history.trash.values() if item.root_id == space.id]
        wanted = [item for item in items if not request.key or item.key == request.key]
        if request.key and not wanted:
            raise Refusal(proto.INTERNAL, "error purging recycle item")
        for item in wanted:
            self.history.purge(item)
        return provider_pb.PurgeRecycleResponse()

    # -- spaces and shares

    def list_storage_spaces(self, call: Call, request: Any) -> Any:
        """ListStorageSpaces: the caller's home."""
        filters, space = request.filters, self.home(call.user)
        root, path = self.spaces.root(space), self.space_path(space)
        total, used = self.quota(space)
        message = storage_pb.StorageSpace(owner=call.user.message(), name=space.name, space_type="personal")
        message.id.opaque_id = f"{STORAGE_ID}${self.space_id(path)}"
        message.quota.quota_max_bytes, message.quota.remaining_bytes = total, max(0, total - used)
        message.root_info.path = path
        message.root_info.permission_set.CopyFrom(proto.permissions(*self.spaces.permissions(call.user, root)))
        kinds = {item.space_type for item in filters if item.type == spaces_pb.ListStorageSpacesRequest.Filter.TYPE_SPACE_TYPE}
        return spaces_pb.ListStorageSpacesResponse(storage_spaces=[message] if not kinds or "personal" in kinds else [])

    def create_storage_space(self, call: Call, request: Any) -> Any:
        """CreateStorageSpace: fails as a gRPC error."""
        raise GrpcAbort(grpc.StatusCode.UNKNOWN, "error: not supported: CreateStorageSpace")

    def share_target(self, call: Call, info: Any) -> tuple[tuple[str, str, str], str, User]:
        """A node below the root of a home in which the caller may grant."""
        node: Node | None = self.tree.nodes.get(info.id.opaque_id)
        space = self.spaces.of(node) if node is not None else None
        if node is None or space is None:
            raise Refusal(proto.NOT_FOUND, "path not found when statting")
        if node.parent is None:
            raise Refusal(proto.PERMISSION_DENIED, "permission denied")
        self.allowed(call, node, "add_grant")
        return (STORAGE_ID, "", node.id), node.name, self.owner(space)
