"""Public links: made by a user, used by whoever knows the token and the password.

Owns the link book (kept in the state), the RPCs about links, the sign-in through one (authentication type
`publicshares`), and the limits of a token got that way. Mixed into every profile; runs on the server's loop only.

Source: reva pkg/auth/manager/publicshares, pkg/auth/scope; OpenCloud as measured: the caller becomes the owner of the
link, may do what the link says inside what it shares, and is told "core access token is invalid" for anything else.
"""

import secrets
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from cs3.sharing.link.v1beta1 import link_api_pb2 as link_api_pb
from cs3.sharing.link.v1beta1 import resources_pb2 as link_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.profiles import Call, Profile
from cs3fuse.emulator.proto import storage_pb
from cs3fuse.emulator.state import State
from cs3fuse.emulator.users import User

_ALWAYS = frozenset({"WhoAmI", "GetPublicShareByToken"})
_NEEDED = {
    "Stat": "stat",
    "ListContainer": "list_container",
    "InitiateFileDownload": "initiate_file_download",
    "InitiateFileUpload": "initiate_file_upload",
    "CreateContainer": "create_container",
    "TouchFile": "initiate_file_upload",
    "Delete": "delete",
    "Move": "move",
    "SetArbitraryMetadata": "initiate_file_upload",
    "GetLock": "stat",
    "SetLock": "initiate_file_upload",
    "RefreshLock": "initiate_file_upload",
    "Unlock": "initiate_file_upload",
}
"""What a link must allow for a call; calls that are not listed are refused."""


@dataclass
class Link:
    """One public link.

    Args:
        resource: storage id, space id, opaque id of what it shares.
        permissions: names of the fields of ResourcePermissions.
        password: in clear; empty for none.
        expires_s: [s since the epoch]; 0 never.

    """

    id: str
    token: str
    resource: tuple[str, str, str]
    name: str
    owner: str
    creator: str
    permissions: list[str]
    password: str
    created_s: float
    expires_s: float = 0.0


class LinkBook:
    """All links by token."""

    def __init__(self, state: State) -> None:
        self._state = state
        records = state.load("links")
        self._links = {key: Link(**{**record, "resource": tuple(record["resource"])}) for key, record in records.items()}

    def all(self) -> list[Link]:
        """Every link, oldest first."""
        return sorted(self._links.values(), key=lambda link: link.created_s)

    def get(self, token: str, now_s: float) -> Link | None:
        """The link with this token, unless it has expired."""
        link = self._links.get(token)
        return link if link is not None and not 0 < link.expires_s <= now_s else None

    def put(self, link: Link) -> None:
        """Add a link."""
        self._links[link.token] = link
        self._state.put("links", link.token, asdict(link))

    def drop(self, link: Link) -> None:
        """Remove a link."""
        self._links.pop(link.token, None)
        self._state.drop("links", link.token)


class LinkHandlers(Profile):
    """RPCs about links, and what a caller who came through one may do."""

    links: LinkBook
    link_password_enforced = False

    def share_target(self, call: Call, info: Any) -> tuple[tuple[str, str, str], str, User]:
        """The (storage, space, opaque) id, the name and the owner of what is to be shared. Raises: Refusal."""
        raise NotImplementedError

    def link_reaches(self, link: Link, reference: Any) -> bool:
        """Whether a reference leads into what a link shares."""
        raise NotImplementedError

    def unknown_link(self) -> Refusal:
        """The refusal of a sign-in through a link that does not exist or has expired."""
        return Refusal(proto.NOT_FOUND, "unknown client id")

    def wrong_link_password(self) -> Refusal:
        """The refusal of a sign-in with a wrong password."""
        return Refusal(proto.PERMISSION_DENIED, "wrong password")

    def beyond_link(self, rpc: str, request: Any) -> Exception:
        """The refusal of a call that the link does not cover."""
        return GrpcAbort(grpc.StatusCode.PERMISSION_DENIED, "auth: core access token is invalid")

    def forbidden_by_link(self, rpc: str, request: Any) -> Exception:
        """The refusal of a call that the link covers but does not allow."""
        return self.beyond_link(rpc, request)

    def link_owner(self, token: str, secret: str) -> User:
        """The user a public link signs in as: its owner. Raises: Refusal."""
        link = self.links.get(token, self.clock.now_s())
        if link is None:
            raise self.unknown_link()
        kind, bar, value = secret.partition("|")
        if not bar or kind != "password" or value != link.password:
            raise self.wrong_link_password()
        owner = self.directory.identified(link.owner)
        assert owner is not None
        return owner

    def check_link(self, call: Call, request: Any) -> None:
        """Refuse what a caller who came through a link may not do. Raises: Refusal, GrpcAbort."""
        if call.link is None or call.name in _ALWAYS:
            return
        link, needed = self.links.get(call.link, self.clock.now_s()), _NEEDED.get(call.name)
        if link is None or needed is None:
            raise self.beyond_link(call.name, request)
        for name in ("ref", "source", "destination"):
            if proto.has_reference(request, name) and not self.link_reaches(link, getattr(request, name)):
                raise self.beyond_link(call.name, request)
        if needed not in link.permissions:
            raise self.forbidden_by_link(call.name, request)

    # -- RPCs

    def create_public_share(self, call: Call, request: Any) -> Any:
        """CreatePublicShare."""
        if not request.grant.password and self.link_password_enforced:
            raise Refusal(proto.INVALID_ARGUMENT, "password protection is enforced")
        resource, name, owner = self.share_target(call, request.resource_info)
        link = Link(
            id=secrets.token_hex(8),
            token=secrets.token_hex(8),
            resource=resource,
            name=name,
            owner=owner.opaque_id,
            creator=call.user.opaque_id,
            permissions=[field.name for field, _ in request.grant.permissions.permissions.ListFields()],
            password=request.grant.password,
            created_s=self.clock.now_s(),
            expires_s=proto.timestamp_s(request.grant.expiration) if request.grant.HasField("expiration") else 0.0,
        )
        self.links.put(link)
        return link_api_pb.CreatePublicShareResponse(share=self.link_message(link))

    def remove_public_share(self, call: Call, request: Any) -> Any:
        """RemovePublicShare: by its owner or creator."""
        wanted = {request.ref.token, request.ref.id.opaque_id}
        for link in self.links.all():
            if wanted & {link.token, link.id} and call.user.opaque_id in {link.owner, link.creator}:
                self.links.drop(link)
                return link_api_pb.RemovePublicShareResponse()
        raise Refusal(proto.NOT_FOUND, "public share not found")

    def list_public_shares(self, call: Call, request: Any) -> Any:
        """ListPublicShares: the caller's."""
        mine = [link for link in self.links.all() if call.user.opaque_id in {link.owner, link.creator}]
        return link_api_pb.ListPublicSharesResponse(share=[self.link_message(link) for link in mine])

    def get_public_share_by_token(self, call: Call, request: Any) -> Any:
        """GetPublicShareByToken: needs no access token, only the password."""
        link = self.links.get(request.token, self.clock.now_s())
        if link is None:
            raise Refusal(proto.NOT_FOUND, "public share not found")
        if link.password and request.authentication.password != link.password:
            raise Refusal(proto.PERMISSION_DENIED, "wrong password")
        return link_api_pb.GetPublicShareByTokenResponse(share=self.link_message(link))

    def link_message(self, link: Link) -> Any:
        """The PublicShare message."""
        storage_id, space_id, opaque_id = link.resource
        rid = storage_pb.ResourceId(storage_id=storage_id, space_id=space_id, opaque_id=opaque_id)
        message = link_pb.PublicShare(token=link.token, resource_id=rid, password_protected=bool(link.password))
        message.id.opaque_id, message.display_name = link.id, link.name
        message.permissions.permissions.CopyFrom(proto.permissions(*link.permissions))
        for field, opaque_id in ((message.owner, link.owner), (message.creator, link.creator)):
            user = self.directory.identified(opaque_id)
            if user is not None:
                field.CopyFrom(user.identifier())
        for stamp in (message.ctime, message.mtime):
            proto.set_timestamp(stamp, int(link.created_s * 1e9))
        if link.expires_s:
            proto.set_timestamp(message.expiration, int(link.expires_s * 1e9))
        return message
