"""Profile `opencloud`: spaces, homes, trash, versions; the complete profile is `OpenCloudProfile`.

Owns these RPCs. The jail ("Shares") is listed, its mount points too; addressing through it is answered like a
storage without a provider. Runs on the server's loop only.

Source: answers recorded of OpenCloud.
"""

import hashlib
import json
import uuid
from typing import Any

from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.history import Deleted
from cs3fuse.emulator.opencloud_data import OpenCloudData
from cs3fuse.emulator.opencloud_refs import JAIL_ID, STORAGE_ID
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb, spaces_pb, storage_pb
from cs3fuse.emulator.shares import ACCEPTED, PENDING, Share
from cs3fuse.emulator.spaces import ROLES, Space
from cs3fuse.emulator.tree import Node
from cs3fuse.emulator.users import User

_FILTER = spaces_pb.ListStorageSpacesRequest.Filter
_ROOT_MARK = "DECAFC00FEE"


class OpenCloudProfile(OpenCloudData):
    """OpenCloud, decomposedfs."""

    share_state = PENDING
    names_mount_points = True

    # -- homes and spaces

    def get_home(self, call: Call, request: Any) -> Any:
        """GetHome: whether it exists or not."""
        return provider_pb.GetHomeResponse(path=f"/users/{call.user.opaque_id}")

    def create_home(self, call: Call, request: Any) -> Any:
        """CreateHome: the personal space; again is no error."""
        user = call.user
        space = Space(user.opaque_id, "personal", user.name, user.opaque_id, user.name, quota=self.config.quota_bytes)
        self.spaces.add(space)
        return provider_pb.CreateHomeResponse()

    def list_storage_spaces(self, call: Call, request: Any) -> Any:
        """ListStorageSpaces: of several type filters the last one counts."""
        kind, wanted_id = "", ""
        for item in request.filters:
            if item.type == _FILTER.TYPE_SPACE_TYPE:
                kind = item.space_type
            elif item.type == _FILTER.TYPE_ID:
                wanted_id = item.id.opaque_id
            elif item.type == _FILTER.TYPE_PATH:
                raise Refusal(proto.INVALID_ARGUMENT, "unknown filter TYPE_PATH")
        spaces = self._all_spaces(call.user)
        if kind.startswith("+"):
            spaces += self._grants(call.user) if kind == "+grant" else []
        elif kind == "grant":
            spaces = self._grants(call.user)
        elif kind:
            spaces = [space for space in spaces if space.space_type == kind]
        if wanted_id:
            spaces = [space for space in spaces if space.id.opaque_id.startswith(wanted_id)]
        return spaces_pb.ListStorageSpacesResponse(storage_spaces=spaces)

    def _all_spaces(self, user: User) -> list[Any]:
        spaces = [self.space_message(space, user, inside=False) for space in self.spaces if space.role(user)]
        return [*spaces, self._jail(user), *self._mount_points(user)]

    def space_message(self, space: Space, user: User, *, inside: bool) -> Any:
        """The StorageSpace message, with quota, grants and etag in its opaque."""
        root, label = self.spaces.root(space), self.space_label(space)
        # A trashed space still tells the permissions, although nothing in it can be reached.
        allowed = ROLES.get(space.role(user), frozenset()) if space.trashed else self.spaces.permissions(user, root)
        total, used, remaining = self.quota(space)
        message = storage_pb.StorageSpace(name=label, space_type=space.kind, root=self.identifier(root, space))
        message.owner.id.CopyFrom(self.owner_of(space))
        proto.set_timestamp(message.mtime, root.stamp)
        message.id.opaque_id = f"{space.id}!{space.id}" if inside else f"{STORAGE_ID}${space.id}!{space.id}"
        info = message.root_info
        info.CopyFrom(self.info(root, space, allowed, full_path=False))
        info.id.storage_id = info.parent_id.storage_id = ""
        info.arbitrary_metadata.Clear()
        info.arbitrary_metadata.SetInParent()
        grants = {member: dict.fromkeys(sorted(ROLES[role]), True) for member, role in space.members.items()}
        values = {
            "quota.total": str(total),
            "quota.used": str(used),
            "quota.remaining": str(remaining),
            "etag": self.etag(root),
            "spaceAlias": f"{space.kind}/{space.name.lower().replace(' ', '-')}",
        }
        for key, value in values.items():
            proto.set_opaque(message.opaque, key, value)
        for key, entries in (("grants", grants), ("groups", {}), ("grants_expirations", {})):
            proto.set_opaque(message.opaque, key, json.dumps(entries, separators=(",", ":")), "json")
        if not inside:
            proto.set_opaque(message.opaque, "path", self.space_path(space))
        if space.description:
            proto.set_opaque(message.opaque, "description", space.description)
        if space.quota is not None and space.kind == "project":
            message.quota.quota_max_bytes, message.quota.quota_max_files = space.quota, 2**64 - 1
        if space.trashed:
            proto.set_opaque(message.opaque, "trashed", "trashed")
        return message

    def _jail(self, user: User) -> Any:
        space = storage_pb.StorageSpace(name="Shares", space_type="virtual")
        space.id.opaque_id = f"{JAIL_ID}${JAIL_ID}!{JAIL_ID}"
        space.root.storage_id = space.root.space_id = space.root.opaque_id = JAIL_ID
        proto.set_opaque(space.opaque, "etag", _ROOT_MARK)
        proto.set_opaque(space.opaque, "spaceAlias", "virtual/shares")
        proto.set_opaque(space.opaque, "path", f"/users/{user.opaque_id}/Shares")
        return space

    def _shared_nodes(self, user: User) -> list[tuple[Share, Node, Space]]:
        found = []
        for share in self.shares.received(user, self.clock.now_s()):
            node = self.tree.nodes.get(share.resource[2])
            space = self.spaces.of(node) if node is not None else None
            if share.state == ACCEPTED and node is not None and space is not None:
                found.append((share, node, space))
        return found

    def _shared_info(self, node: Node, inside: Space, user: User) -> Any:
        """The ResourceInfo of a shared node, with the space it lies in: its grants are those of the node."""
        info = self.info(node, inside, self.spaces.permissions(user, node), full_path=True)
        info.space.CopyFrom(self.space_message(inside, user, inside=True))
        given = [share for share in self.shares.all() if share.resource[2] == node.id]
        grants = {share.grantee: dict.fromkeys(share.permissions, True) for share in given}
        proto.set_opaque(info.space.opaque, "grants", json.dumps(grants, separators=(",", ":")), "json")
        proto.set_opaque(info.space.opaque, "etag", info.etag)
        info.space.mtime.CopyFrom(info.mtime)
        return info

    def _mount_points(self, user: User) -> list[Any]:
        spaces = []
        for share, node, inside in self._shared_nodes(user):
            space = storage_pb.StorageSpace(name=share.mount_point, space_type="mountpoint")
            space.id.opaque_id = f"{JAIL_ID}${JAIL_ID}!{share.id}"
            space.root.storage_id = space.root.space_id = JAIL_ID
            space.root.opaque_id = share.id
            space.owner.id.CopyFrom(self.owner_of(inside))
            space.root_info.CopyFrom(self._shared_info(node, inside, user))
            values = {
                "grantStorageID": STORAGE_ID,
                "grantSpaceID": inside.id,
                "grantOpaqueID": node.id,
                "path": f"/users/{user.opaque_id}/Shares/{share.mount_point}",
                "spaceAlias": f"mountpoint/{share.mount_point.lower().replace(' ', '-')}",
            }
            for key, value in values.items():
                proto.set_opaque(space.opaque, key, value)
            spaces.append(space)
        return spaces

    def _grants(self, user: User) -> list[Any]:
        spaces = []
        for _, node, inside in self._shared_nodes(user):
            space = storage_pb.StorageSpace(space_type="grant", root=self.identifier(node, inside))
            space.id.opaque_id = f"{STORAGE_ID}${inside.id}!{node.id}"
            space.owner.id.CopyFrom(self.owner_of(inside))
            space.root_info.CopyFrom(self._shared_info(node, inside, user))
            proto.set_opaque(space.opaque, "path", "/")
            spaces.append(space)
        return spaces

    def create_storage_space(self, call: Call, request: Any) -> Any:
        """CreateStorageSpace: a project space; an ordinary user may."""
        if request.type != "project":
            raise Refusal(proto.INVALID_ARGUMENT, f"cannot create a space of type {request.type}")
        quota = request.quota.quota_max_bytes if request.HasField("quota") else 0
        space = self.add_project(request.name, call.user, quota or None)
        return spaces_pb.CreateStorageSpaceResponse(storage_space=self.space_message(space, call.user, inside=False))

    def add_project(self, name: str, manager: User, quota: int | None = None) -> Space:
        """A new project space with one manager."""
        space_id = str(uuid.uuid4())
        folder = f"projects/{name.replace('/', '_')}"
        if any(item.folder == folder for item in self.spaces):
            folder = f"{folder} {space_id}"
        return self.spaces.add(Space(space_id, "project", name, "", folder, {manager.opaque_id: "manager"}, quota))

    def delete_storage_space(self, call: Call, request: Any) -> Any:
        """DeleteStorageSpace: first into the trash, where it stays listed; with opaque `purge` for good."""
        space = self._managed(call, request.id.opaque_id)
        if "purge" in request.opaque.map and space.trashed:
            self.spaces.remove(space)
        else:
            space.trashed = True
            self.spaces.store(space)
        return spaces_pb.DeleteStorageSpaceResponse()

    def update_storage_space(self, call: Call, request: Any) -> Any:
        """UpdateStorageSpace: name and quota."""
        space = self._managed(call, request.storage_space.id.opaque_id)
        if request.storage_space.name:
            space.name = request.storage_space.name
        if request.storage_space.HasField("quota"):
            space.quota = request.storage_space.quota.quota_max_bytes or None
        self.spaces.store(space)
        return spaces_pb.UpdateStorageSpaceResponse(storage_space=self.space_message(space, call.user, inside=False))

    def _managed(self, call: Call, space_id: str) -> Space:
        space = self.spaces.get(space_id.rpartition("$")[2].partition("!")[0])
        if space is None or space.kind != "project" or space.role(call.user) != "manager":
            raise Refusal(proto.NOT_FOUND, f"delete space: error: not found: {space_id}")
        return space

    # -- shares

    def share_target(self, call: Call, info: Any) -> tuple[tuple[str, str, str], str, User]:
        """A node of any space in which the caller may grant."""
        node = self.tree.nodes.get(info.id.opaque_id)
        space = self.spaces.of(node) if node is not None else None
        if node is None or space is None:
            raise Refusal(proto.NOT_FOUND, f"stat: error: not found: {info.id.opaque_id}")
        if "add_grant" not in self.spaces.permissions(call.user, node):
            raise Refusal(proto.PERMISSION_DENIED, "no permission to add grants on shared resource")
        owner = self.directory.identified(space.owner) or call.user
        return (STORAGE_ID, space.id, node.id), node.name, owner

    def share_id(self, resource: tuple[str, str, str]) -> str:
        """Storage id, space id and a number of its own."""
        return f"{resource[0]}:{resource[1]}:{uuid.uuid4()}"

    def create_share(self, call: Call, request: Any) -> Any:
        """CreateShare; of the root of a project space it makes a member instead."""
        space = self.spaces.get(request.resource_info.id.opaque_id)
        if space is None or space.kind != "project":
            return super().create_share(call, request)
        self.share_target(call, request.resource_info)
        given = request.grant.permissions.permissions
        role = "manager" if given.add_grant else ("editor" if given.initiate_file_upload else "viewer")
        space.members[request.grant.grantee.user_id.opaque_id] = role
        self.spaces.store(space)
        from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

        return share_api_pb.CreateShareResponse()

    def list_received_ocm_shares(self, call: Call, request: Any) -> Any:
        """ListReceivedOCMShares: none."""
        return ocm_api_pb.ListReceivedOCMSharesResponse()

    # -- trash

    def _trash_space(self, call: Call, request: Any, permission: str) -> Space:
        """The space whose trash is meant; anything below its root in the path is ignored, a folder's id is not found."""
        missing = Refusal(proto.NOT_FOUND, "resource not found when listing recycle")
        if not request.HasField("ref"):
            raise self.no_space(None)
        if request.ref.HasField("resource_id"):
            space = self.spaces.get(request.ref.resource_id.opaque_id or request.ref.resource_id.space_id)
            if space is None:
                raise missing
        else:
            space = self._by_path(request.ref)[0]
        allowed = self.spaces.permissions(call.user, self.spaces.root(space))
        if not allowed:
            raise missing
        if permission not in allowed:
            raise Refusal(proto.PERMISSION_DENIED, f"error purging recycle item: error: permission denied: {request.key}")
        return space

    def _item(self, space: Space, key: str) -> tuple[Deleted, Node] | None:
        """The deleted item, and the node inside it, that a key like "<key>/e/c" names."""
        head, *rest = [part for part in key.split("/") if part]
        item = self.history.trash.get(head)
        if item is None or item.root_id != space.id:
            return None
        node: Node | None = self.history.node_of(item)
        for name in rest:
            node = node.children.get(name) if node is not None else None
        return None if node is None else (item, node)

    def list_recycle(self, call: Call, request: Any) -> Any:
        """ListRecycle: with key "<key>/" or "<key>/e" the inside of a deleted folder, then with real sizes."""
        space = self._trash_space(call, request, "list_recycle")
        response = provider_pb.ListRecycleResponse()
        if not request.key.strip("/"):
            for item in self.history.trash.values():
                if item.root_id == space.id and not item.key.startswith("lost-"):
                    node = self.history.node_of(item)
                    self._add_item(response, item, node, item.key, item.path, 4096 if node.is_folder else 0)
            return response
        found = self._item(space, request.key)
        if found is None:
            raise Refusal(proto.NOT_FOUND, "resource not found when listing recycle")
        item, node = found
        inside = "/".join([part for part in request.key.split("/") if part][1:])
        path, key = "/".join(filter(None, [item.path, inside])), "/".join(filter(None, [item.key, inside]))
        if node.is_folder and (inside or request.key.endswith("/")):
            for child in node.children.values():
                self._add_item(response, item, child, f"{key}/{child.name}", f"{path}/{child.name}", child.size)
        else:
            self._add_item(response, item, node, key, path, node.size)
        return response

    @staticmethod
    def _add_item(response: Any, item: Deleted, node: Node, key: str, path: str, size: int) -> None:
        kind = proto.CONTAINER if node.is_folder else proto.FILE
        entry = response.recycle_items.add(key=key, type=kind, size=size)
        entry.ref.path = path
        entry.deletion_time.seconds = int(item.deleted_s)

    def restore_recycle_item(self, call: Call, request: Any) -> Any:
        """RestoreRecycleItem: needs a restore_ref; into another space it answers OK and the item is gone."""
        space = self._trash_space(call, request, "restore_recycle_item")
        if not request.HasField("restore_ref"):
            text = f"gateway could not find space for ref={proto.go_text(request.ref)}:error: bad request: missing reference"
            raise Refusal(proto.INVALID_ARGUMENT, text)
        found = self._item(space, request.key)
        if found is None:
            raise Refusal(proto.INTERNAL, f"restore recycle item:lstat trash/{request.key}: no such file or directory")
        item, node = found
        target = self.resolve("restore recycle item", request.restore_ref)
        if target.space is not space:
            self.history.purge(item)
            return provider_pb.RestoreRecycleItemResponse()
        if target.node is not None:
            raise Refusal(proto.ALREADY_EXISTS, "restore recycle item: error: already exists: origin already exists")
        if target.folder is None:
            raise Refusal(proto.NOT_FOUND, f"restore recycle item: error: not found: {target.missing}")
        try:
            self.history.untrash(item, node, target.folder, target.name)
        except OSError as error:
            raise Refusal(proto.INTERNAL, f"restore recycle item:{error}") from error
        return provider_pb.RestoreRecycleItemResponse()

    def purge_recycle(self, call: Call, request: Any) -> Any:
        """PurgeRecycle: an empty key empties the trash of the space."""
        space = self._trash_space(call, request, "purge_recycle")
        if not request.key:
            for item in [item for item in self.history.trash.values() if item.root_id == space.id]:
                self.history.purge(item)
            return provider_pb.PurgeRecycleResponse()
        found = self._item(space, request.key)
        if found is None:
            raise Refusal(proto.NOT_FOUND, f"error purging recycle item: error: not found: {request.key}")
        self.history.purge(found[0])
        return provider_pb.PurgeRecycleResponse()

    # -- versions

    def list_file_versions(self, call: Call, request: Any) -> Any:
        """ListFileVersions: newest first, without the present content."""
        verb = "list file versions"
        node = self.need(verb, call, self.locate(verb, request), "list_file_versions")
        response = provider_pb.ListFileVersionsResponse()
        for item in self.history.versions(node):
            mtime_ns, etag = item.listed_mtime_ns or item.mtime_ns, item.listed_etag or item.etag
            response.versions.add(key=item.key, size=item.size, mtime=mtime_ns // 1_000_000_000, etag=etag)
        return response

    def restore_file_version(self, call: Call, request: Any) -> Any:
        """RestoreFileVersion: the present content becomes a version, the restored one vanishes from the list."""
        verb = "restore file version"
        node = self.need(verb, call, self.locate(verb, request), "restore_file_version")
        version = self.history.find(node, request.key)
        if version is None:
            raise Refusal(proto.NOT_FOUND, f"{verb}: error: not found: {request.key}")
        self.check_lock(verb, node, "")
        kept = self.history.restore(node, version, self.etag(node))
        # As measured: the list tells the moment of the restore, and an etag that no download of that version has.
        now_ns = self.clock.now_ns()
        self.history.retell(
            node, kept, f'"{hashlib.md5(f"{kept.key}{now_ns}".encode(), usedforsecurity=False).hexdigest()}"', now_ns
        )
        return provider_pb.RestoreFileVersionResponse()
