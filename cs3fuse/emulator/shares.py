"""User shares: who gave what to whom, and the RPCs about it.

Owns the share book (kept in the state) and the handlers of the collaboration API, mixed into every profile. What a
share gives access to is decided by the profile (`spaces.Spaces.permissions`; driver local of Reva lets everybody
everywhere). Runs on the server's loop only. OCM shares and the jail of OpenCloud belong beside this module.

Source: reva internal/grpc/services/gateway/usershareprovider.go, pkg/share/manager/sql; OpenCloud as measured.
"""

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.profiles import Call, Profile
from cs3fuse.emulator.proto import storage_pb
from cs3fuse.emulator.state import State
from cs3fuse.emulator.users import User

PENDING, ACCEPTED, REJECTED = 1, 2, 3
GRANTEE_USER, GRANTEE_GROUP = 1, 2


@dataclass
class Share:
    """One share with one grantee.

    Args:
        resource: storage id, space id, opaque id.
        name: last name of the shared path, the first proposal for a mount point.
        grantee: opaque user id, or group name.
        permissions: names of the fields of ResourcePermissions.
        state: PENDING, ACCEPTED or REJECTED, as the receiver sees it.
        accepts_at: when it accepts itself [s since the epoch]; 0 never.

    """

    id: str
    resource: tuple[str, str, str]
    name: str
    owner: str
    creator: str
    grantee_type: int
    grantee: str
    permissions: list[str]
    created_s: float
    state: int = ACCEPTED
    accepts_at: float = 0.0
    mount_point: str = ""
    hidden: bool = False
    expires_s: float = 0.0

    def reaches(self, user: User) -> bool:
        """Whether the user is the grantee."""
        return self.grantee == user.opaque_id if self.grantee_type == GRANTEE_USER else self.grantee in user.groups


class ShareBook:
    """All shares by id."""

    def __init__(self, state: State) -> None:
        self._state = state
        records = state.load("shares")
        self._shares = {key: Share(**{**record, "resource": tuple(record["resource"])}) for key, record in records.items()}

    def all(self) -> list[Share]:
        """Every share, oldest first."""
        return sorted(self._shares.values(), key=lambda share: share.created_s)

    def get(self, share_id: str) -> Share | None:
        """The share with this id."""
        return self._shares.get(share_id)

    def put(self, share: Share) -> None:
        """Add or change a share."""
        self._shares[share.id] = share
        self._state.put("shares", share.id, asdict(share))

    def drop(self, share: Share) -> None:
        """Remove a share."""
        self._shares.pop(share.id, None)
        self._state.drop("shares", share.id)

    def received(self, user: User, now_s: float) -> list[Share]:
        """Shares given to a user, those that accept themselves accepted by now."""
        found = [share for share in self.all() if share.reaches(user) and not 0 < share.expires_s <= now_s]
        for share in found:
            if share.state == PENDING and share.accepts_at and now_s >= share.accepts_at:
                share.state = ACCEPTED
                self.put(share)
        return found

    def reaching(self, user: User, node_ids: Iterable[str]) -> list[Share]:
        """Shares of any of these nodes with a user. A rejected share still gives access, as measured."""
        wanted = set(node_ids)
        return [share for share in self._shares.values() if share.resource[2] in wanted and share.reaches(user)]


class ShareHandlers(Profile):
    """The collaboration RPCs."""

    shares: ShareBook
    share_state = ACCEPTED
    """State of a new share in the receiver's eyes."""
    names_mount_points = False
    """Whether received shares have mount points."""

    def share_target(self, call: Call, info: Any) -> tuple[tuple[str, str, str], str, User]:
        """The (storage, space, opaque) id, the name and the owner of what is to be shared. Raises: Refusal."""
        raise NotImplementedError

    def share_id(self, resource: tuple[str, str, str]) -> str:
        """A new share id."""
        return str(uuid.uuid4())

    def kept_permissions(self, names: list[str]) -> list[str]:
        """The permissions that the server keeps of those that were asked for."""
        return names

    def check_new_share(self, resource: tuple[str, str, str], kind: int, who: str, permissions: list[str]) -> None:
        """Refuse a share that cannot be. Raises: Refusal, GrpcAbort."""
        if kind == GRANTEE_USER and self.directory.identified(who) is None:
            raise Refusal(proto.NOT_FOUND, "grantee not found")
        if self.has_share(resource, kind, who):
            raise Refusal(proto.ALREADY_EXISTS, "error creating share: error: already exists")

    def has_share(self, resource: tuple[str, str, str], kind: int, who: str) -> bool:
        """Whether a resource is shared with somebody."""
        return any(s.resource == resource and (s.grantee_type, s.grantee) == (kind, who) for s in self.shares.all())

    def create_share(self, call: Call, request: Any) -> Any:
        """CreateShare: with one user or group."""
        resource, name, owner = self.share_target(call, request.resource_info)
        grantee = request.grant.grantee
        kind, who = grantee.type, grantee.group_id.opaque_id if grantee.type == GRANTEE_GROUP else grantee.user_id.opaque_id
        permissions = self.kept_permissions(_names(request.grant.permissions.permissions))
        self.check_new_share(resource, kind, who, permissions)
        share = Share(
            id=self.share_id(resource),
            resource=resource,
            name=name,
            owner=owner.opaque_id,
            creator=call.user.opaque_id,
            grantee_type=kind,
            grantee=who,
            permissions=permissions,
            created_s=self.clock.now_s(),
            state=self.share_state,
            expires_s=proto.timestamp_s(request.grant.expiration) if request.grant.HasField("expiration") else 0.0,
        )
        if self.share_state == PENDING:
            share.accepts_at = self.clock.now_s() + self.quirks["share_accept_s"]
        if self.names_mount_points:
            share.mount_point = self._free_mount_point(share)
        self.shares.put(share)
        return share_api_pb.CreateShareResponse(share=self.share_message(share))

    def _free_mount_point(self, share: Share) -> str:
        taken = {item.mount_point for item in self.shares.all() if item.grantee == share.grantee}
        name, number = share.name, 0
        while name in taken:
            number += 1
            name = f"{share.name} ({number})"
        return name

    def remove_share(self, call: Call, request: Any) -> Any:
        """RemoveShare: by its owner or creator."""
        self.shares.drop(self.own_share(call, request.ref.id.opaque_id))
        return share_api_pb.RemoveShareResponse()

    def update_share(self, call: Call, request: Any) -> Any:
        """UpdateShare: new permissions."""
        share = self.own_share(call, request.ref.id.opaque_id or request.share.id.opaque_id)
        field = request.field.permissions if request.HasField("field") else request.share.permissions
        share.permissions = self.kept_permissions(_names(field.permissions))
        self.shares.put(share)
        return share_api_pb.UpdateShareResponse(share=self.share_message(share))

    def own_share(self, call: Call, share_id: str) -> Share:
        """A share that the caller gave. Raises: Refusal, GrpcAbort."""
        share = self.shares.get(share_id)
        if share is None or call.user.opaque_id not in {share.owner, share.creator}:
            raise Refusal(proto.NOT_FOUND, f"share not found: {share_id}")
        return share

    def get_share(self, call: Call, request: Any) -> Any:
        """GetShare: by id, for those it concerns."""
        share = self.shares.get(request.ref.id.opaque_id)
        if share is None or not (share.reaches(call.user) or call.user.opaque_id in {share.owner, share.creator}):
            raise Refusal(proto.NOT_FOUND, "share not found")
        return share_api_pb.GetShareResponse(share=self.share_message(share))

    def list_shares(self, call: Call, request: Any) -> Any:
        """ListShares: what the caller gave."""
        given = [share for share in self.shares.all() if call.user.opaque_id in {share.owner, share.creator}]
        for wanted in request.filters:
            if wanted.HasField("resource_id"):
                given = [share for share in given if share.resource[2] == wanted.resource_id.opaque_id]
        return share_api_pb.ListSharesResponse(shares=[self.share_message(share) for share in given])

    def list_received_shares(self, call: Call, request: Any) -> Any:
        """ListReceivedShares: what the caller got, in every state."""
        found = self.shares.received(call.user, self.clock.now_s())
        return share_api_pb.ListReceivedSharesResponse(shares=[self.received_message(share) for share in found])

    def get_received_share(self, call: Call, request: Any) -> Any:
        """GetReceivedShare: by id."""
        share = self._received(call, request.ref.id.opaque_id)
        return share_api_pb.GetReceivedShareResponse(share=self.received_message(share))

    def update_received_share(self, call: Call, request: Any) -> Any:
        """UpdateReceivedShare: state, mount point, hidden; another mask is INTERNAL."""
        if not request.share.share.id.opaque_id:
            raise Refusal(proto.INVALID_ARGUMENT, "updating requires a received share object with an id")
        share = self._received(call, request.share.share.id.opaque_id)
        for field in request.update_mask.paths:
            if field == "state":
                share.state, share.accepts_at = int(request.share.state), 0.0
            elif field == "mount_point" and self.names_mount_points:
                share.mount_point = request.share.mount_point.path
            elif field == "hidden":
                share.hidden = bool(request.share.hidden)
            else:
                raise Refusal(proto.INTERNAL, "error getting received share")
        self.shares.put(share)
        return share_api_pb.UpdateReceivedShareResponse(share=self.received_message(share))

    def _received(self, call: Call, share_id: str) -> Share:
        for share in self.shares.received(call.user, self.clock.now_s()):
            if share.id == share_id:
                return share
        raise Refusal(proto.NOT_FOUND, "share not found")

    def share_message(self, share: Share) -> Any:
        """The Share message."""
        message = share_pb.Share()
        message.id.opaque_id = share.id
        storage_id, space_id, opaque_id = share.resource
        message.resource_id.CopyFrom(storage_pb.ResourceId(storage_id=storage_id, space_id=space_id, opaque_id=opaque_id))
        message.permissions.permissions.CopyFrom(proto.permissions(*share.permissions))
        message.grantee.type = share.grantee_type
        if share.grantee_type == GRANTEE_GROUP:
            message.grantee.group_id.opaque_id = share.grantee
        else:
            message.grantee.user_id.CopyFrom(self.share_identifier(share.grantee))
        message.owner.CopyFrom(self.share_identifier(share.owner))
        message.creator.CopyFrom(self.share_identifier(share.creator))
        for stamp in (message.ctime, message.mtime):
            proto.set_timestamp(stamp, int(share.created_s * 1e9))
        if share.expires_s:
            proto.set_timestamp(message.expiration, int(share.expires_s * 1e9))
        return message

    def received_message(self, share: Share) -> Any:
        """The ReceivedShare message."""
        message = share_pb.ReceivedShare(share=self.share_message(share), state=share.state, hidden=share.hidden)
        if share.mount_point:
            message.mount_point.path = share.mount_point
        return message

    def share_identifier(self, opaque_id: str) -> Any:
        """A user's id in a share."""
        user = self.directory.identified(opaque_id)
        assert user is not None
        return user.identifier()


def _names(permissions: Any) -> list[str]:
    return [field.name for field, _ in permissions.ListFields()]
