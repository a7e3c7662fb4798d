"""Profile `opencloud`: how resources are addressed, how they look, and what an unusable token gets.

Owns references (space ids with relative paths; absolute paths below /users and /projects), ResourceInfo and the
messages that go with them. Base of the other `opencloud_*` modules; runs on the server's loop only.

Source: answers recorded of OpenCloud (build of February 2025, decomposedfs).
"""

import hashlib
import json
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.history import Version
from cs3fuse.emulator.profile_nodes import NodeProfile
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import storage_pb, user_pb
from cs3fuse.emulator.spaces import Space
from cs3fuse.emulator.tree import Node
from cs3fuse.emulator.users import MACHINE_SECRET, User

STORAGE_ID = "e3ecfc60-9c1b-439a-bc0e-6c69163a699e"
JAIL_ID = "a0ca6a90-a365-4782-871e-d44447bbc668"
FAVORITE = "http://owncloud.org/ns/favorite"
NO_QUOTA = 2**64 - 1
_BY_SPACE = ("Stat", "ListContainer")
_NAMING_THE_REFERENCE = ("Move", "GetQuota", "ListRecycle")
_NAMING_THEMSELVES = ("GetLock", "RefreshLock", "Unlock")
_AUTHENTICATE = "authsvc: error in Authenticate: error"


@dataclass(frozen=True)
class Spot:
    """A resolved reference.

    Args:
        text: the reference as it stands in messages.
        node: what is there, None if nothing.
        folder: the folder it is or would be in; None for a root or when the folder is missing too.
        missing: the text of "not found" messages.
        full_path: answers carry the path from the root of the space, not the base name.
        version: the reference names an old version of `node`.

    """

    space: Space
    text: str
    node: Node | None
    folder: Node | None
    name: str
    missing: str
    full_path: bool
    relative: str
    version: Version | None = None


class OpenCloudReferences(NodeProfile):
    """Addressing and appearance."""

    name = "opencloud"
    data_path = "/data"
    answers_have_request_id = False
    token_leeway_s = 5.0
    checksum_names = ("sha1", "md5", "adler32")
    link_password_enforced = True

    def version_key(self, node: Node) -> str:
        """The id of the node and the mtime of the content."""
        # Made of the mtime of the content, which is why the list of versions is in the order of mtimes.
        seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{node.id}.REV.{stamp}.{nanoseconds:09d}".rstrip("0").rstrip(".") + "Z"

    def etag(self, node: Node) -> str:
        """A file's is made of id and mtime, a folder's of id and the moment of the last change below it."""
        moment = node.stamp if node.is_folder else node.mtime_ns
        return f'"{hashlib.md5(f"{node.id}{moment}".encode(), usedforsecurity=False).hexdigest()}"'

    # -- tokens

    def bad_token(self, rpc: str, request: Any, *, missing: bool) -> Exception:
        """Every RPC has its own way to refuse a bad token; Stat and ListContainer say NOT_FOUND."""
        state, text = (
            ("Unauthenticated", "core access token not found") if missing else ("PermissionDenied", "core access token is invalid")
        )
        code = proto.UNAUTHENTICATED if missing else proto.PERMISSION_DENIED
        detail = f"rpc error: code = {state} desc = auth: {text}"
        if rpc in _BY_SPACE:
            return self.no_space(request.ref if request.HasField("ref") else None)
        if rpc == "ListStorageSpaces":
            return Refusal(proto.INTERNAL, "gateway could not call ListStorageSpaces:user not found in context")
        if rpc == "GetHome":
            return GrpcAbort(grpc.StatusCode.UNKNOWN, "user not found in context")
        if rpc == "CreateHome":
            return Refusal(proto.PERMISSION_DENIED, "can't create home for anonymous user")
        if rpc == "WhoAmI":
            return Refusal(proto.UNAUTHENTICATED, "error dismantling token")
        if proto.has_reference(request, "ref") or rpc == "Move":
            return Refusal(code, f"{_lost_reference(rpc, request)}: gateway: error calling ListStorageProviders: {detail}")
        status = grpc.StatusCode.UNAUTHENTICATED if missing else grpc.StatusCode.PERMISSION_DENIED
        return GrpcAbort(status, f"gateway: error calling {rpc}: {detail}")

    def not_served(self, rpc: str) -> Exception:
        """The gateway knows no such method."""
        return GrpcAbort(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {rpc}")

    def wrong_password(self, client_id: str) -> Refusal:
        """An unknown user is NOT_FOUND, a wrong password PERMISSION_DENIED."""
        if self.directory.named(client_id) is None:
            who = f"(&(objectclass=inetOrgPerson)(|(uid={client_id})))"
            return Refusal(proto.NOT_FOUND, f"{_AUTHENTICATE}: not found: {who}")
        return Refusal(proto.PERMISSION_DENIED, f"{_AUTHENTICATE}: invalid credentials: {client_id}")

    def unknown_link(self) -> Refusal:
        """Also for an expired link."""
        return Refusal(proto.NOT_FOUND, f"{_AUTHENTICATE}: not found: unknown token")

    def wrong_link_password(self) -> Refusal:
        """Also for a secret without "password|"."""
        return Refusal(proto.PERMISSION_DENIED, f"{_AUTHENTICATE}: invalid credentials: wrong password")

    def beyond_link(self, rpc: str, request: Any) -> Exception:
        """Looking outside finds nothing; other calls are told that the token is invalid."""
        if rpc in _BY_SPACE:
            return self.no_space(request.ref)
        if rpc == "ListFileVersions":
            return super().beyond_link(rpc, request)
        detail = "rpc error: code = PermissionDenied desc = auth: core access token is invalid"
        reference = f", ref={proto.go_text(request.ref)}" if rpc == "InitiateFileUpload" else ""
        return Refusal(proto.PERMISSION_DENIED, f"gateway could not call {rpc}{reference}: {detail}")

    def _signed_in(self, kind: str, client_id: str, secret: str) -> User:
        if kind == "machine" and secret != MACHINE_SECRET:
            raise Refusal(proto.PERMISSION_DENIED, f"{_AUTHENTICATE}: invalid credentials: ")
        if kind == "appauth" and self.directory.named(client_id) is None:
            raise Refusal(proto.NOT_FOUND, f"{_AUTHENTICATE}: not found: user not found username {client_id}")
        wrong_app_password = kind == "appauth" and self.directory.app_passwords.get(secret) != client_id
        if wrong_app_password or (kind == "basic" and not secret and self.directory.named(client_id) is not None):
            raise Refusal(proto.INTERNAL, f"error authenticating credentials to auth provider for type: {kind}")
        return super()._signed_in(kind, client_id, secret)

    # -- references

    def no_space(self, reference: Any) -> Refusal:
        """The refusal of a reference that leads into no space."""
        text = "<nil>" if reference is None else proto.go_text(reference)
        return Refusal(proto.NOT_FOUND, f"gateway could not find space for ref={text}")

    def locate(self, verb: str, request: Any, field: str = "ref") -> Spot:
        """Where the reference of a request leads, whether or not something is there. Raises: Refusal."""
        if not request.HasField(field):
            raise self.no_space(None)
        return self.resolve(verb, getattr(request, field))

    def resolve(self, verb: str, reference: Any) -> Spot:
        """Where a reference leads. Raises: Refusal."""
        if not reference.HasField("resource_id"):
            space, relative = self._by_path(reference)
            return self._walk(verb, space, self.spaces.root(space), relative, f"./{relative}", full_path=False)
        rid = reference.resource_id
        if rid.storage_id not in {"", STORAGE_ID} or not rid.space_id:
            raise self.no_space(reference)
        found = self.spaces.get(rid.space_id)
        version = self.history.by_key(rid.opaque_id) if ".REV." in rid.opaque_id else None
        node = version[0] if version else self.tree.nodes.get(rid.opaque_id or rid.space_id)
        full_path = not reference.path.startswith(".")
        if found is None or found.trashed or node is None or self.spaces.of(node) is not found:
            rest = reference.path.removeprefix(".").strip("/")
            missing = rid.space_id if found is None else rid.opaque_id
            raise Refusal(proto.NOT_FOUND, f"{verb}: error: not found: {missing}" + (f"/{rest}" if rest else ""))
        spot = self._walk(verb, found, node, reference.path, self._text(reference), full_path=full_path)
        return spot if version is None else Spot(**{**spot.__dict__, "version": version[1]})

    def place_of(self, reference: Any) -> Node | None:
        """The node, or the folder it would be in."""
        spot = self.resolve("stat", reference)
        return spot.node or spot.folder

    def _by_path(self, reference: Any) -> tuple[Space, str]:
        parts = [part for part in reference.path.split("/") if part]
        if reference.path.startswith("/") and len(parts) >= 2:
            for space in self.spaces:
                if not space.trashed and self.space_path(space) == f"/{parts[0]}/{parts[1]}":
                    return space, "/".join(parts[2:])
        raise self.no_space(reference)

    def space_path(self, space: Space) -> str:
        """The absolute path of a space."""
        return f"/users/{space.owner}" if space.kind == "personal" else f"/projects/{space.name}"

    @staticmethod
    def _text(reference: Any) -> str:
        rid = reference.resource_id
        relative = reference.path.removeprefix(".").strip("/")
        base = f"{rid.storage_id}${rid.space_id}!{rid.opaque_id}"
        return f"{base}/{relative}" if relative else base

    def _walk(self, verb: str, space: Space, start: Node, path: str, text: str, *, full_path: bool) -> Spot:
        names: list[str] = []
        for part in path.split("/"):
            if part == "..":
                if not names:
                    raise disk_refusal(verb, "invalid argument")
                names.pop()
            elif part not in {"", "."}:
                names.append(part)
        relative = "/".join(names)
        if not names:
            parent = start.parent
            return Spot(space, text, start, parent, start.name, f"{start.id}", full_path, relative)
        folder: Node | None = start
        try:
            for name in names[:-1]:
                below = self.tree.child(folder, name) if folder is not None else None
                if below is None:
                    return Spot(space, text, None, None, names[-1], name, full_path, relative)
                folder = below
            assert folder is not None
            node = self.tree.child(folder, names[-1])
        except (OSError, ValueError) as error:
            raise disk_refusal(verb, str(error)) from error
        return Spot(space, text, node, folder, names[-1], f"{folder.id}/{names[-1]}", full_path, relative)

    def need(self, verb: str, call: Call, spot: Spot, permission: str) -> Node:
        """The node, if it is there and the caller may do this with it.

        Raises:
            Refusal: NOT_FOUND for a missing node and for one the caller may not even see, else PERMISSION_DENIED.

        """
        node = spot.node
        if node is None:
            raise Refusal(proto.NOT_FOUND, f"{verb}: error: not found: {spot.missing}")
        allowed = self.spaces.permissions(call.user, node)
        if permission not in allowed:
            if not allowed and permission in {"stat", "list_container"}:
                raise Refusal(proto.NOT_FOUND, f"{verb}: error: not found: {spot.text}")
            raise Refusal(proto.PERMISSION_DENIED, f"{verb}: error: permission denied: {spot.text}")
        return node

    def describe_reference(self, reference: Any) -> str:
        """The path below the root folder, as far as it exists."""
        try:
            spot = self.resolve("", reference)
        except Refusal:
            return str(reference.path)
        if spot.node is not None:
            return f"/{spot.space.folder}{self.tree.path(spot.node)}".rstrip("/")
        if spot.folder is not None:
            return f"/{spot.space.folder}{self.tree.path(spot.folder)}".rstrip("/") + f"/{spot.name}"
        return f"/{spot.space.folder}/{spot.relative}"

    def reference_for(self, path: str) -> Any:
        """The root of a space and a relative path."""
        space, below = self.split_root_path(path)
        rid = storage_pb.ResourceId(storage_id=STORAGE_ID, space_id=space.id, opaque_id=space.id)
        return storage_pb.Reference(resource_id=rid, path=f"./{below}" if below else ".")

    # -- appearance

    def is_processing(self, node: Node) -> bool:
        """Whether the content of a file is still in post-processing."""
        return node.processing_until > time.monotonic()

    def owner_of(self, space: Space) -> Any:
        """The owner as told for everything in a space."""
        user = self.directory.identified(space.owner)
        if user is not None:
            return user.identifier()
        return user_pb.UserId(opaque_id=space.id, type=user_pb.USER_TYPE_SPACE_OWNER)

    def identifier(self, node: Node, space: Space) -> Any:
        """The ResourceId of a node."""
        return storage_pb.ResourceId(storage_id=STORAGE_ID, space_id=space.id, opaque_id=node.id)

    def info(self, node: Node, space: Space, allowed: Iterable[str], *, full_path: bool) -> Any:
        """The ResourceInfo of a node, without the space it is in."""
        info = storage_pb.ResourceInfo(id=self.identifier(node, space), owner=self.owner_of(space), etag=self.etag(node))
        info.permission_set.CopyFrom(proto.permissions(*allowed))
        self.fill(info, node, space, full_path=full_path)
        is_project = node.parent is None and space.kind == "project"
        if is_project or any(share.resource[2] == node.id for share in self.shares.all()):
            proto.set_opaque(info.opaque, "share-types", "1")
        return info

    def fill(self, info: Any, node: Node, space: Space, *, full_path: bool) -> None:
        """The fields that belong to the node itself."""
        is_root = node.parent is None
        info.type = proto.CONTAINER if node.is_folder else proto.FILE
        info.mime_type = mime.FOLDER if node.is_folder else mime.of_name(node.name)
        proto.set_timestamp(info.mtime, node.stamp if node.is_folder else node.mtime_ns)
        info.name = self.space_label(space) if is_root else node.name
        info.path = "." if is_root else (self.tree.path(node) if full_path else node.name)
        info.size = node.size
        info.arbitrary_metadata.metadata[FAVORITE] = ""
        if node.metadata:
            info.arbitrary_metadata.metadata.update(node.metadata)
        info.parent_id.storage_id, info.parent_id.space_id = STORAGE_ID, space.id
        if node.parent is not None:
            info.parent_id.opaque_id = node.parent.id
        elif space.quota is not None and space.kind == "project":
            proto.set_opaque(info.opaque, "quota", str(space.quota))
        if not node.is_folder:
            self._fill_file(info, node)
        if node.lock is not None and self.lock_of(node) is not None:
            self._fill_lock(info, node.lock)

    def _fill_file(self, info: Any, node: Node) -> None:
        sums = self.checksums(node) if node.size or node.checksums is not None else {}
        if sums:
            info.checksum.type, info.checksum.sum = storage_pb.RESOURCE_CHECKSUM_TYPE_SHA1, sums["sha1"]
            proto.set_opaque(info.opaque, "adler32", sums["adler32"])
            if "md5" in sums:
                proto.set_opaque(info.opaque, "md5", sums["md5"])
        if node.processing_until and self.is_processing(node):
            proto.set_opaque(info.opaque, "status", "processing")

    def _fill_lock(self, info: Any, lock: dict[str, Any]) -> None:
        info.lock.CopyFrom(self.lock_message(lock))
        shown = {key: lock[key] for key in ("lock_id", "type", "user", "app_name", "expiration") if lock.get(key)}
        proto.set_opaque(info.opaque, "lock", json.dumps(shown, separators=(",", ":")), "json")

    def lock_of(self, node: Node) -> dict[str, Any] | None:
        """The lock in force on a node."""
        raise NotImplementedError

    def lock_message(self, lock: dict[str, Any]) -> Any:
        """The Lock message."""
        raise NotImplementedError

    def space_label(self, space: Space) -> str:
        """The name of a space, which is also the name of its root."""
        user = self.directory.identified(space.owner)
        return user.display_name if user is not None else space.name

    def shuffled(self, items: list[Any]) -> list[Any]:
        """The same items in another order at every call, as OpenCloud lists them."""
        chance: random.Random = self.services.random
        chance.shuffle(items)
        return items

    def home_space(self, user: User) -> Space | None:
        """The user's personal space, if it was created."""
        return self.spaces.get(user.opaque_id)


def _lost_reference(rpc: str, request: Any) -> str:
    """How an RPC with a bad token says which reference it could not follow."""
    if rpc == "TouchFile":
        return f"{rpc} ref=<nil>"
    text = proto.go_text(request.source if rpc == "Move" else request.ref)
    if rpc in _NAMING_THEMSELVES:
        return f"{rpc} ref={text}"
    return f"gateway could not find space for ref={text if rpc in _NAMING_THE_REFERENCE else '<nil>'}"


def disk_refusal(verb: str, detail: str) -> Refusal:
    """How an RPC passes on that the disk does not like a name."""
    prefix = "internal error: " if verb == "touch file" else ""
    return Refusal(proto.INTERNAL, f"{verb}:{prefix}decomposedfs: Wrap: readlink error: readlink {detail}")
