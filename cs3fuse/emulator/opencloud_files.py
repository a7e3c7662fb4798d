"""Profile `opencloud`: the RPCs on files and folders.

Owns Stat, ListContainer, CreateContainer, TouchFile, Delete, Move, metadata and quota. Runs on the server's loop
only; all but one handler are one synchronous step.

Source: answers recorded of OpenCloud.
"""

import asyncio
from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.opencloud_locks import OpenCloudLocks
from cs3fuse.emulator.opencloud_refs import FAVORITE, NO_QUOTA, Spot, disk_refusal
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb
from cs3fuse.emulator.spaces import Space
from cs3fuse.emulator.tree import Node

_LOST_S = 3600.0
_NAME_BYTES = 255


class OpenCloudFiles(OpenCloudLocks):
    """Storage RPCs."""

    def stat(self, call: Call, request: Any) -> Any:
        """Stat."""
        spot = self.locate("stat", request)
        node = self.need("stat", call, spot, "stat")
        info = self.info(node, spot.space, self.spaces.permissions(call.user, node), full_path=spot.full_path)
        if spot.version is not None:
            # Id, etag and mtime stay those of the present content, as measured.
            info.size = spot.version.size
        info.space.CopyFrom(self.space_message(spot.space, call.user, inside=True))
        # The server tells etag and mtime of the resource as those of its space.
        proto.set_opaque(info.space.opaque, "etag", info.etag)
        info.space.mtime.CopyFrom(info.mtime)
        return provider_pb.StatResponse(info=info)

    def space_message(self, space: Space, user: Any, *, inside: bool) -> Any:
        """The StorageSpace message of a space; `inside` as it stands in a ResourceInfo."""
        raise NotImplementedError

    def list_container(self, call: Call, request: Any) -> Any:
        """ListContainer: in another order at every call."""
        verb = "list container"
        spot = self.locate(verb, request)
        folder = self.need(verb, call, spot, "list_container")
        if not folder.is_folder:
            raise Refusal(proto.INTERNAL, f"{verb}:readdirent {self.tree.disk(folder)}: not a directory")
        space, response = spot.space, provider_pb.ListContainerResponse()
        allowed, owner = self.spaces.permissions(call.user, folder), self.owner_of(space)
        permission_set = proto.permissions(*allowed)
        for node in self.shuffled(self.tree.children_of(folder)):
            info = response.infos.add(owner=owner, permission_set=permission_set, etag=self.etag(node))
            info.id.CopyFrom(self.identifier(node, space))
            self.fill(info, node, space, full_path=spot.full_path)
        return response

    def get_path(self, call: Call, request: Any) -> Any:
        """GetPath: from the root of the space, or from the highest folder that the caller may see."""
        node = self.tree.nodes.get(request.resource_id.opaque_id)
        if node is None or "get_path" not in self.spaces.permissions(call.user, node):
            raise Refusal(proto.NOT_FOUND, f"get path: error: not found: {request.resource_id.opaque_id}")
        names = [node.name] if node.parent is not None else []
        for above in node.ancestors():
            if above.parent is None or "stat" not in self.spaces.permissions(call.user, above):
                break
            names.append(above.name)
        return provider_pb.GetPathResponse(path="/" + "/".join(reversed(names)))

    def get_quota(self, call: Call, request: Any) -> Any:
        """GetQuota: of the space the reference lies in (total 0 is unlimited), used is what the reference itself holds."""
        spot = self.locate("get quota", request)
        node = self.need("get quota", call, spot, "get_quota")
        total, _, remaining = self.quota(spot.space)
        response = provider_pb.GetQuotaResponse(total_bytes=total, used_bytes=node.size)
        proto.set_opaque(response.opaque, "remaining", str(remaining))
        return response

    def quota(self, space: Space) -> tuple[int, int, int]:
        """Total (0: unlimited), used and remaining bytes of a space."""
        used = self.spaces.root(space).size
        if space.quota is None:
            return 0, used, NO_QUOTA
        return space.quota, used, max(0, space.quota - used)

    # -- creating

    def _parent(self, verb: str, call: Call, spot: Spot, missing: Refusal) -> Node:
        """The folder a new entry goes into. Raises: Refusal."""
        if spot.folder is None:
            raise missing
        if "create_container" not in self.spaces.permissions(call.user, spot.folder):
            raise Refusal(proto.PERMISSION_DENIED, f"{verb}: error: permission denied: {spot.text}")
        if len(spot.name.encode()) > _NAME_BYTES or "\0" in spot.name:
            raise disk_refusal(verb, spot.name)
        if not spot.folder.is_folder:
            raise Refusal(proto.INTERNAL, f"{verb}:symlink {self.tree.disk(spot.folder)}/{spot.name}: not a directory")
        return spot.folder

    def create_container(self, call: Call, request: Any) -> Any:
        """CreateContainer: one level, never over anything."""
        verb = "create container"
        spot = self.locate(verb, request)
        if request.ref.path.endswith("/.."):
            raise disk_refusal(verb, ": invalid argument")
        if spot.node is not None:
            raise Refusal(proto.ALREADY_EXISTS, f"{verb}: error: already exists: {request.ref.path}")
        above = spot.relative.rpartition("/")[0]
        folder = self._parent(verb, call, spot, Refusal(proto.FAILED_PRECONDITION, f"{verb}: error: precondition failed: {above}"))
        try:
            self.tree.make_folder(folder, spot.name)
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, f"{verb}:{error}") from error
        return provider_pb.CreateContainerResponse()

    def touch_file(self, call: Call, request: Any) -> Any:
        """TouchFile: an empty file, never over anything."""
        verb = "touch file"
        spot = self.locate(verb, request)
        if spot.node is not None:
            raise Refusal(proto.ALREADY_EXISTS, f"{verb}: error: already exists: {spot.node.id}")
        folder = self._parent(verb, call, spot, Refusal(proto.NOT_FOUND, f"{verb}: error: not found: {spot.missing}"))
        try:
            self.tree.place(folder, spot.name, None)
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, f"{verb}:internal error: {error}") from error
        return provider_pb.TouchFileResponse()

    # -- removing and renaming

    def delete(self, call: Call, request: Any) -> Any:
        """Delete: to the trash, folders with everything in them; not while the file is in processing."""
        spot = self.locate("can't stat resource to delete", request)
        if spot.node is None or not self.spaces.permissions(call.user, spot.node):
            raise Refusal(proto.NOT_FOUND, f"can't stat resource to delete: error: not found: {spot.missing}")
        node = self.need("delete", call, spot, "delete")
        if node.parent is None:
            raise Refusal(proto.INTERNAL, "delete:cannot delete the root of a space")
        if self.is_processing(node):
            raise Refusal(proto.TOO_EARLY, "file is processing")
        self.check_lock("delete", node, request.lock_id)
        try:
            self.history.delete(node, node.id, call.user.opaque_id)
        except OSError as error:
            raise Refusal(proto.INTERNAL, f"delete:{error}") from error
        return provider_pb.DeleteResponse()

    async def move(self, call: Call, request: Any) -> Any:
        """Move: never replaces anything; a folder moved into itself is lost and the call never answers."""
        source, target = self.locate("move", request, "source"), self.locate("move", request, "destination")
        node = self.need("move", call, source, "move")
        if target.node is not None:
            raise Refusal(proto.ALREADY_EXISTS, f"move: error: already exists: {target.missing}")
        if source.space is not target.space:
            raise Refusal(proto.NOT_FOUND, f"move: error: not found: {source.missing}")
        if target.folder is not None and not self.spaces.permissions(call.user, target.folder):
            raise Refusal(proto.NOT_FOUND, f"move: error: not found: {target.text}")
        folder = self._parent("move", call, target, Refusal(proto.NOT_FOUND, f"move: error: not found: {target.missing}"))
        self.check_lock("move", node, request.lock_id)
        if node.parent is None:
            raise Refusal(proto.INTERNAL, "move:cannot move the root of a space")
        if node is folder or node in folder.ancestors():
            # As measured: the server hangs and the folder is gone, not even in the trash.
            self.history.purge(self._lose(node, call))
            await asyncio.sleep(_LOST_S)
            raise Refusal(proto.INTERNAL, "move:deadline exceeded")
        try:
            self.tree.move(node, folder, target.name)
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, f"move:{error}") from error
        return provider_pb.MoveResponse()

    def _lose(self, node: Node, call: Call) -> Any:
        key = f"lost-{node.id}"
        self.history.delete(node, key, call.user.opaque_id)
        return self.history.trash[key]

    # -- metadata

    def set_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """SetArbitraryMetadata: `mtime` as "sec.nsec" for this file only."""
        verb = "set arbitrary metadata"
        node = self.need(verb, call, self.locate(verb, request), "initiate_file_upload")
        self.check_lock(verb, node, request.lock_id)
        values = dict(request.arbitrary_metadata.metadata)
        mtime = parse_mtime(values.pop("mtime", ""))
        values.pop(FAVORITE, None)
        node.metadata.update(values)
        if mtime is not None:
            self.tree.set_mtime(node, mtime)
        else:
            self.tree.mark(node)
            self.tree.flush()
        return provider_pb.SetArbitraryMetadataResponse()

    def unset_arbitrary_metadata(self, call: Call, request: Any) -> Any:
        """UnsetArbitraryMetadata: an absent key is no error."""
        verb = "unset arbitrary metadata"
        node = self.need(verb, call, self.locate(verb, request), "initiate_file_upload")
        self.check_lock(verb, node, request.lock_id)
        for key in request.arbitrary_metadata_keys:
            node.metadata.pop(key, None)
        self.tree.mark(node)
        self.tree.flush()
        return provider_pb.UnsetArbitraryMetadataResponse()


def parse_mtime(text: str) -> int | None:
    """Text like "sec" or "sec.nsec" in nanoseconds, where nsec is a whole number (".5" is 5 ns); None for anything else."""
    seconds, _, nanoseconds = text.partition(".")
    if not seconds.isdecimal() or (nanoseconds and not nanoseconds.isdecimal()):
        return None
    return int(seconds) * 1_000_000_000 + int(nanoseconds or 0)
