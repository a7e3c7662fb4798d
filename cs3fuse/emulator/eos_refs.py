"""Profile `eos`: how resources are addressed and how they look.

Owns references (absolute paths below /eos/user, inode numbers), ResourceInfo, and the folders above the homes. Base
of the other `eos_*` modules; runs on the server's loop only. The gateway in front is a Reva: tokens, messages and
routing are as in profile `reva`.

Source: reva pkg/storage/fs/eos and internal/grpc/services/{gateway,storageprovider}.
"""

import base64
import functools
import json
import posixpath
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.localfs import clean
from cs3fuse.emulator.profile_nodes import NodeProfile
from cs3fuse.emulator.profiles import Call, Services
from cs3fuse.emulator.proto import storage_pb
from cs3fuse.emulator.spaces import Space
from cs3fuse.emulator.tree import Node
from cs3fuse.emulator.users import User

MOUNT = "/eos/user"
STORAGE_ID = "eosuser"
INSTANCE = "eosuser"
_FILE_SHIFT = 28
_FIRST_ID = 100_000
_DEPTH = 4


@dataclass(frozen=True)
class Spot:
    """A resolved reference.

    Args:
        path: global path.
        space: the home it lies in; None above the homes.
        node: what is there, None if nothing.
        folder: the folder it is or would be in; None if that is missing too.
        form: path, id or relative.

    """

    path: str
    space: Space | None
    node: Node | None
    folder: Node | None
    name: str
    form: str


class EosReferences(NodeProfile):
    """Addressing and appearance."""

    name = "eos"
    largest_message = 10_240_000
    checksum_names = ("adler32",)

    def __init__(self, services: Services) -> None:
        self._last_id: int = services.state.load("eos").get("reserved", _FIRST_ID)
        self._reserved_id = self._last_id
        super().__init__(services)
        for user in self.directory:
            space = Space(str(user.uid), "personal", user.name, user.opaque_id, user.name, quota=self.config.quota_bytes)
            self.spaces.add(space)

    def new_id(self, is_folder: bool) -> str:  # noqa: FBT001 - called by the tree with nothing else
        """An inode number: containers are counted, files are counted and shifted, as in EOS."""
        number = self._next_number()
        return str(number if is_folder else number << _FILE_SHIFT)

    def _next_number(self) -> int:
        """A number never given before; stored as reserved by the thousand, so that a listing of new files costs one write."""
        self._last_id += 1
        if self._last_id > self._reserved_id:
            self._reserved_id = self._last_id + 1000
            self.services.state.put("eos", "reserved", self._reserved_id)
        return self._last_id

    def version_key(self, node: Node) -> str:
        """The mtime of the content and a number."""
        return f"{node.mtime_ns // 1_000_000_000}.{self._next_number():08x}"

    def etag(self, node: Node) -> str:
        """A file's is made of inode and checksum, a folder's of inode and the moment of the last change below it."""
        if node.is_folder:
            return f'"{node.id}:{node.stamp // 1_000_000_000}.{node.stamp % 1_000_000_000:09d}"'
        return f'"{node.id}:{self.checksums(node)["adler32"]}"'

    # -- references

    def home_path(self, name: str) -> str:
        """The path of a user's home."""
        return f"{MOUNT}/{name[0]}/{name}"

    def space_path(self, space: Space) -> str:
        """The path of a space."""
        return self.home_path(space.name)

    def path_of(self, node: Node, space: Space) -> str:
        """The global path of a node."""
        below = self.tree.path(node)
        return self.space_path(space) + ("" if below == "/" else below)

    @staticmethod
    def space_id(path: str) -> str:
        """The id of the space a path lies in: base32 of the space's path; empty above the homes."""
        segments = path.strip("/").split("/")
        if len(segments) < _DEPTH:
            return ""
        return _base32("/" + "/".join(segments[:_DEPTH]))

    def place(self, request: Any, field: str = "ref") -> Spot:
        """Where the reference of a request leads. Raises: GrpcAbort for a request without one, Refusal."""
        if not request.HasField(field):
            raise GrpcAbort(grpc.StatusCode.INTERNAL, "runtime error: invalid memory address or nil pointer dereference")
        return self.resolve(getattr(request, field))

    def resolve(self, reference: Any) -> Spot:
        """Where a reference leads, whether or not something is there. Raises: Refusal."""
        if not reference.HasField("resource_id"):
            return self.resolve_path(reference.path, "path")
        rid = reference.resource_id
        if not (rid.storage_id or rid.opaque_id or rid.space_id):
            raise Refusal(proto.NOT_FOUND, "gateway: could not find provider for the reference")
        if rid.storage_id != STORAGE_ID:
            raise Refusal(proto.INTERNAL, "error finding the storage provider: storage registry: unknown storage id")
        node = self.tree.nodes.get(rid.opaque_id)
        space = self.spaces.of(node) if node is not None else None
        if node is None or space is None:
            raise Refusal(proto.NOT_FOUND, "path not found when statting")
        form = "relative" if reference.path else "id"
        return self.resolve_path(posixpath.join(self.path_of(node, space), reference.path), form)

    def resolve_path(self, path: str, form: str) -> Spot:
        """Where a global path leads. Raises: Refusal."""
        if not path.startswith("/"):
            raise Refusal(proto.NOT_FOUND, "gateway: could not find provider for the reference")
        cleaned = clean(path)
        for space in self.spaces:
            home = self.space_path(space)
            if cleaned == home or cleaned.startswith(home + "/"):
                return self._walk(space, cleaned, form)
        if any(self.space_path(space).startswith(cleaned) for space in self.spaces) or cleaned.startswith(MOUNT):
            return Spot(cleaned, None, None, None, posixpath.basename(cleaned), form)
        raise Refusal(proto.NOT_FOUND, "gateway: could not find provider for the reference")

    def _walk(self, space: Space, path: str, form: str) -> Spot:
        root = self.spaces.root(space)
        names = path[len(self.space_path(space)) :].strip("/").split("/")
        if names == [""]:
            return Spot(path, space, root, None, space.name, form)
        try:
            folder = self.tree.walk(root, names[:-1])
            node = self.tree.child(folder, names[-1]) if folder is not None else None
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, f"eos: error: {error}") from error
        return Spot(path, space, node, folder, names[-1], form)

    def place_of(self, reference: Any) -> Node | None:
        """The node, or the folder it would be in."""
        spot = self.resolve(reference)
        return spot.node or spot.folder

    def allowed(self, call: Call, node: Node, permission: str) -> None:
        """Refuse what the caller may not do. Raises: Refusal PERMISSION_DENIED."""
        if permission not in self.spaces.permissions(call.user, node):
            raise Refusal(proto.PERMISSION_DENIED, "permission denied")

    def need(self, call: Call, spot: Spot, permission: str, not_found: str) -> Node:
        """The node, if it is there and the caller may do this with it. Raises: Refusal."""
        if spot.node is None:
            # Without rights on the folder above, nobody learns whether a name exists.
            if spot.folder is not None:
                self.allowed(call, spot.folder, "stat")
            raise Refusal(proto.NOT_FOUND, not_found)
        self.allowed(call, spot.node, permission)
        return spot.node

    def describe_reference(self, reference: Any) -> str:
        """The path below the root folder."""
        try:
            spot = self.resolve(reference)
        except Refusal:
            return str(reference.path)
        if spot.space is None:
            return spot.path
        return f"/{spot.space.folder}{spot.path[len(self.space_path(spot.space)) :]}"

    def reference_for(self, path: str) -> Any:
        """A path below a home."""
        space, below = self.split_root_path(path)
        return storage_pb.Reference(path=posixpath.join(self.space_path(space), below).rstrip("/"))

    # -- appearance

    def info(self, node: Node, space: Space, allowed: Iterable[str]) -> Any:
        """The ResourceInfo of a node."""
        path, owner = self.path_of(node, space), self.directory.identified(space.owner)
        info = storage_pb.ResourceInfo(owner=owner.identifier() if owner is not None else None)
        self.fill(info, node, path, proto.permissions(*allowed))
        return info

    def fill(self, info: Any, node: Node, path: str, permission_set: Any) -> None:
        """Everything but the owner."""
        space_id = self.space_id(path)
        info.type = proto.CONTAINER if node.is_folder else proto.FILE
        info.id.storage_id, info.id.space_id, info.id.opaque_id = STORAGE_ID, space_id, node.id
        info.parent_id.storage_id, info.parent_id.space_id = STORAGE_ID, space_id
        info.parent_id.opaque_id = node.parent.id if node.parent is not None else "0"
        info.space.id.opaque_id, info.space.space_type = space_id, "personal"
        info.etag, info.path, info.name, info.size = self.etag(node), path, posixpath.basename(path), node.size
        info.mime_type = mime.FOLDER if node.is_folder else mime.of_name(node.name)
        proto.set_timestamp(info.mtime, node.stamp if node.is_folder else node.mtime_ns)
        info.permission_set.CopyFrom(permission_set)
        if node.parent is None:
            for name in (*proto.GRANTING, "deny_grant"):
                info.permission_set.ClearField(name)
        info.arbitrary_metadata.metadata.update(node.metadata)
        details: dict[str, Any] = {"file": path, "instance": INSTANCE}
        if node.is_folder:
            details |= {"tree_size": node.size, "tree_count": len(node.children)}
        else:
            info.checksum.type, info.checksum.sum = storage_pb.RESOURCE_CHECKSUM_TYPE_ADLER32, self.checksums(node)["adler32"]
        proto.set_opaque(info.opaque, "eos", json.dumps(details), "json")
        lock = self.lock_of(node) if node.lock is not None else None
        if lock is not None:
            info.lock.CopyFrom(self.lock_message(lock))

    def above(self, path: str) -> Any:
        """A folder above the homes: another id at every call, no etag, no permissions."""
        info = storage_pb.ResourceInfo(type=proto.CONTAINER, path=path, mime_type=mime.FOLDER)
        info.id.storage_id, info.id.opaque_id = "/", str(uuid.uuid4())
        info.mtime.SetInParent()
        return info

    def below(self, path: str) -> list[str]:
        """The folders above the homes, and the homes, that lie directly in a folder above the homes."""
        prefix = path.rstrip("/") + "/"
        homes = [self.space_path(space) for space in self.spaces]
        return sorted({prefix + home[len(prefix) :].partition("/")[0] for home in homes if home.startswith(prefix)})

    def lock_of(self, node: Node) -> dict[str, Any] | None:
        """The lock in force on a node."""
        raise NotImplementedError

    def lock_message(self, lock: dict[str, Any]) -> Any:
        """The Lock message."""
        raise NotImplementedError

    def owner(self, space: Space) -> User:
        """The owner of a home."""
        user = self.directory.identified(space.owner)
        assert user is not None
        return user


@functools.lru_cache(maxsize=1024)
def _base32(path: str) -> str:
    return base64.b32encode(path.encode()).decode()
