"""What was shared with us and what we share: user shares, public links, the mesh (OCM).

Owns the calls of the sharing APIs and what their answers mean; holds no state. Called by ``mesh`` (which shares are shown) and
``control`` (the commands of a person), from the trio thread. Lists are the servers' own: what is rejected, hidden or over stays in them
and is judged by the caller.
Source: cs3/sharing/{collaboration,link,ocm}/v1beta1, cs3/ocm/{invite,provider}/v1beta1.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from cs3.identity.group.v1beta1 import group_api_pb2
from cs3.identity.group.v1beta1 import resources_pb2 as group_pb2
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb2
from cs3.identity.user.v1beta1 import user_api_pb2
from cs3.ocm.invite.v1beta1 import invite_api_pb2
from cs3.ocm.invite.v1beta1 import resources_pb2 as invite_pb2
from cs3.ocm.provider.v1beta1 import provider_api_pb2 as ocm_provider_api_pb2
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb2
from cs3.sharing.link.v1beta1 import link_api_pb2
from cs3.sharing.link.v1beta1 import resources_pb2 as link_pb2
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from google.protobuf import field_mask_pb2

from cs3fuse.client import decode
from cs3fuse.client.calls import Calls, Effect
from cs3fuse.client.references import reference, resource_id, shown
from cs3fuse.errors import BadDataError, Cs3FuseError, ExistsError, NotFoundError, ServerError, UnsupportedError
from cs3fuse.model import Entry, Kind, Location, ResourceId

_READING = ("get_path", "initiate_file_download", "list_container", "stat", "get_quota", "list_recycle")
_WRITING = (
    "create_container",
    "delete",
    "initiate_file_upload",
    "list_file_versions",
    "move",
    "restore_file_version",
    "restore_recycle_item",
)

_OF_FOLDERS = frozenset({"create_container", "delete", "move"})
"""OpenCloud refuses a share of a file that grants them."""


class Role(enum.Enum):
    """What the receiver of a share may do."""

    VIEWER = "viewer"
    EDITOR = "editor"

    @property
    def permissions(self) -> tuple[str, ...]:
        """Names of CS3 ResourcePermissions."""
        return _READING if self is Role.VIEWER else _READING + _WRITING


class ShareState(enum.Enum):
    """What the receiver made of a share. The values are those of CS3, the same for user shares and OCM."""

    UNKNOWN = 0
    PENDING = 1
    ACCEPTED = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class ReceivedShare:
    """A user or group share that was given to us. ``owner`` is an opaque user id; times are unix seconds, ``expires_s`` None = never.

    ``mount_name`` is the name that the server gave it for us (OpenCloud), else "".
    """

    id: str
    resource: ResourceId
    permissions: frozenset[str]
    owner: str
    state: ShareState
    is_hidden: bool
    mount_name: str
    created_s: float
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class OcmShare:
    """A share of a user of another site that was given to us. ``site`` is the domain of the owner's provider."""

    id: str
    name: str
    kind: Kind
    permissions: frozenset[str]
    owner: str
    site: str
    state: ShareState
    is_hidden: bool
    created_s: float
    mtime_s: float
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class GivenShare:
    """Something of ours that somebody else may use. ``kind`` is "user", "group", "mesh" or "link"; ``receiver`` is its opaque id,
    ``USER@SITE``, or the link's token.
    """

    kind: str
    id: str
    resource: ResourceId
    receiver: str
    permissions: frozenset[str]
    created_s: float
    expires_s: float | None
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class PublicLink:
    """A public link as who knows its token and password sees it."""

    token: str
    name: str
    resource: ResourceId
    permissions: frozenset[str]
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A token that makes somebody of another site a known person here. ``expires_s`` None where the server does not say."""

    token: str
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Person:
    """A user of this site or (``site`` not "") of another."""

    opaque_id: str
    username: str
    display_name: str
    site: str
    message: Any


@dataclass(frozen=True, slots=True)
class Group:
    """A group of this site. ``message`` is the server's own id of it."""

    opaque_id: str
    name: str
    message: Any


class Sharing:
    """The sharing calls of one signed-in user."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    # -- user and group shares ---------------------------------------------------------------------------------------

    async def received(self) -> list[ReceivedShare]:
        """Every user and group share given to us, in whatever state, oldest first. Raises: UnsupportedError."""
        request = collaboration_api_pb2.ListReceivedSharesRequest()
        response = await self._calls.invoke("ListReceivedShares", request, path="the received shares")
        found = {share.id: share for share in map(_received, response.shares) if share is not None}
        return sorted(found.values(), key=lambda share: (share.created_s, share.id))

    async def shared_entry(self, resource: ResourceId) -> tuple[Entry, str]:
        """What a share leads to: its entry under its own name, and its absolute path where the server tells one, else "".

        The id is sent bare: only so Reva tells the path. Raises: NotFoundError: its owner deleted or renamed it.
        """
        request = provider_api_pb2.StatRequest(ref=resources_pb2.Reference(resource_id=resource_id(resource)))
        response = await self._calls.invoke("Stat", request, path=f"the shared {resource}")
        path = response.info.path.rstrip("/")
        name = response.info.name or path.rpartition("/")[2]
        try:
            entry = decode.entry(response.info, name=name)
        except decode.UnusableEntryError as exc:
            raise BadDataError(f"The share {name!r} is neither a file nor a folder.", call="Stat") from exc
        return entry, path if path.startswith("/") else ""

    async def answer(self, share_id: str, state: ShareState) -> None:
        """Accept or decline a user share. Raises: NotFoundError."""
        request = collaboration_api_pb2.UpdateReceivedShareRequest(
            share=share_pb2.ReceivedShare(share=share_pb2.Share(id=share_pb2.ShareId(opaque_id=share_id)), state=state.value),
            update_mask=field_mask_pb2.FieldMask(paths=["state"]),
        )
        await self._calls.invoke("UpdateReceivedShare", request, path=f"the share {share_id}", effect=Effect.MUTATION)

    async def share(self, at: Location, person: Person, role: Role, expires_s: float | None) -> str:
        """Give a user of this site access. Returns: the share's id. Raises: ExistsError; AccessDeniedError; NotFoundError."""
        grantee = resources_pb2.Grantee(type=resources_pb2.GRANTEE_TYPE_USER, user_id=person.message.id)
        return await self._create_share(at, grantee, role, expires_s)

    async def share_with_group(self, at: Location, group: Group, role: Role, expires_s: float | None) -> str:
        """Give a group of this site access. As ``share``."""
        grantee = resources_pb2.Grantee(type=resources_pb2.GRANTEE_TYPE_GROUP, group_id=group.message)
        return await self._create_share(at, grantee, role, expires_s)

    async def _create_share(self, at: Location, grantee: Any, role: Role, expires_s: float | None) -> str:
        info = await self._info(at)
        grant = share_pb2.ShareGrant(grantee=grantee, permissions=share_pb2.SharePermissions(permissions=_granted(role, info)))
        if expires_s is not None:
            grant.expiration.seconds = int(expires_s)
        request = collaboration_api_pb2.CreateShareRequest(resource_info=info, grant=grant)
        failure: Cs3FuseError
        try:
            response = await self._calls.invoke("CreateShare", request, path=shown(at), effect=Effect.MUTATION)
        except (ServerError, UnsupportedError) as exc:
            failure = exc
        else:
            return str(response.share.id.opaque_id)
        # The sql manager answers gRPC UNKNOWN for a second share with one receiver.
        if await self._is_shared_with(at, grantee):
            raise ExistsError(f"{shown(at)} is shared with them already.", call="CreateShare", path=shown(at)) from failure
        raise failure

    async def _is_shared_with(self, at: Location, grantee: Any) -> bool:
        receiver = grantee.user_id.opaque_id or grantee.group_id.opaque_id
        shared = (await self._info(at)).id.opaque_id
        return any(each.resource.opaque_id == shared and each.receiver == receiver for each in await self.given_shares())

    async def given_shares(self) -> list[GivenShare]:
        """The user and group shares that we gave. Raises: UnsupportedError."""
        response = await self._calls.invoke(
            "ListShares", collaboration_api_pb2.ListSharesRequest(), path="the shares given", effect=Effect.READ
        )
        return [_given(share) for share in response.shares]

    async def unshare(self, share_id: str) -> None:
        """Take a user or group share back. Raises: NotFoundError."""
        request = collaboration_api_pb2.RemoveShareRequest(ref=share_pb2.ShareReference(id=share_pb2.ShareId(opaque_id=share_id)))
        await self._calls.invoke("RemoveShare", request, path=f"the share {share_id}", effect=Effect.MUTATION)

    # -- people ------------------------------------------------------------------------------------------------------

    async def user_named(self, name: str) -> Person | None:
        """The user of this site with this name, None if there is none."""
        request = user_api_pb2.GetUserByClaimRequest(claim="username", value=name)
        return await self._person("GetUserByClaim", request, name)

    async def user_with_id(self, opaque_id: str) -> Person | None:
        """The user of this site with this opaque id, None if there is none."""
        request = user_api_pb2.GetUserRequest(user_id=user_pb2.UserId(opaque_id=opaque_id))
        return await self._person("GetUser", request, opaque_id)

    async def _person(self, method: str, request: Any, who: str) -> Person | None:
        try:
            response = await self._calls.invoke(method, request, path=f"the user {who}")
        except (NotFoundError, ServerError, UnsupportedError):
            return None
        user = response.user
        return Person(user.id.opaque_id, user.username, user.display_name, "", user)

    async def group_named(self, name: str) -> Group | None:
        """The group of this site with this name, None if there is none. Servers without groups have none."""
        request = group_api_pb2.GetGroupByClaimRequest(claim="group_name", value=name, skip_fetching_members=True)
        return await self._group("GetGroupByClaim", request, name)

    async def group_with_id(self, opaque_id: str) -> Group | None:
        """The group of this site with this opaque id, None if there is none."""
        request = group_api_pb2.GetGroupRequest(group_id=group_pb2.GroupId(opaque_id=opaque_id), skip_fetching_members=True)
        return await self._group("GetGroup", request, opaque_id)

    async def _group(self, method: str, request: Any, which: str) -> Group | None:
        try:
            response = await self._calls.invoke(method, request, path=f"the group {which}")
        except (NotFoundError, ServerError, UnsupportedError):
            return None
        group = response.group
        return Group(group.id.opaque_id, group.group_name or group.id.opaque_id, group.id) if group.id.opaque_id else None

    # -- public links ------------------------------------------------------------------------------------------------

    async def create_link(self, at: Location, role: Role, password: str, expires_s: float | None) -> str:
        """Make a public link. Returns: its token. Raises: BadRequestError: the site wants a (better) password."""
        info = await self._info(at)
        grant = link_pb2.Grant(permissions=link_pb2.PublicSharePermissions(permissions=_granted(role, info)))
        grant.password = password
        if expires_s is not None:
            grant.expiration.seconds = int(expires_s)
        request = link_api_pb2.CreatePublicShareRequest(resource_info=info, grant=grant)
        response = await self._calls.invoke("CreatePublicShare", request, path=shown(at), effect=Effect.MUTATION)
        return str(response.share.token)

    async def given_links(self) -> list[GivenShare]:
        """The public links that we made. Raises: UnsupportedError."""
        response = await self._calls.invoke("ListPublicShares", link_api_pb2.ListPublicSharesRequest(), path="the public links")
        return [
            GivenShare(
                kind="link",
                id=share.id.opaque_id,
                resource=_resource(share.resource_id),
                receiver=share.token,
                permissions=_names(share.permissions.permissions),
                created_s=_time(share, "ctime") or 0.0,
                expires_s=_time(share, "expiration"),
                has_password=share.password_protected,
            )
            for share in response.share
        ]

    async def remove_link(self, link_id: str) -> None:
        """Take a public link back. Raises: NotFoundError."""
        ref = link_pb2.PublicShareReference(id=link_pb2.PublicShareId(opaque_id=link_id))
        request = link_api_pb2.RemovePublicShareRequest(ref=ref)
        await self._calls.invoke("RemovePublicShare", request, path=f"the link {link_id}", effect=Effect.MUTATION)

    async def link(self, token: str, password: str) -> PublicLink:
        """What a public link of this site leads to. Raises: NotFoundError; AccessDeniedError: wrong password."""
        request = link_api_pb2.GetPublicShareByTokenRequest(
            token=token, authentication=link_pb2.PublicShareAuthentication(password=password)
        )
        share = (await self._calls.invoke("GetPublicShareByToken", request, path="the public link")).share
        return PublicLink(
            token=share.token or token,
            name=share.display_name,
            resource=_resource(share.resource_id),
            permissions=_names(share.permissions.permissions),
            expires_s=_time(share, "expiration"),
        )

    # -- the mesh ----------------------------------------------------------------------------------------------------

    async def received_ocm(self) -> list[OcmShare]:
        """Every OCM share given to us that has files, in whatever state, oldest first; the server's own order is random.

        Answered by our own site alone. Raises: UnsupportedError.
        """
        request = ocm_api_pb2.ListReceivedOCMSharesRequest()
        response = await self._calls.invoke("ListReceivedOCMShares", request, path="the shares of other sites")
        found = {share.id: share for share in map(_ocm, response.shares) if share is not None}
        return sorted(found.values(), key=lambda share: (share.created_s, share.id))

    async def answer_ocm(self, share_id: str, state: ShareState) -> None:
        """Accept or decline an OCM share. Raises: NotFoundError."""
        request = ocm_api_pb2.UpdateReceivedOCMShareRequest(
            share=ocm_pb2.ReceivedShare(id=ocm_pb2.ShareId(opaque_id=share_id), state=state.value),
            update_mask=field_mask_pb2.FieldMask(paths=["state"]),
        )
        await self._calls.invoke("UpdateReceivedOCMShare", request, path=f"the share {share_id}", effect=Effect.MUTATION)

    async def share_ocm(self, at: Location, person: Person, role: Role, expires_s: float | None) -> str:
        """Give a known person of another site access. Returns: the share's id. Raises: NotFoundError: their site is not known here."""
        provider = await self._provider(person.site)
        info = await self._info(at)
        access = ocm_pb2.AccessMethod(webdav_options=ocm_pb2.WebDAVAccessMethod(permissions=_granted(role, info)))
        request = ocm_api_pb2.CreateOCMShareRequest(
            resource_id=info.id,
            grantee=resources_pb2.Grantee(type=resources_pb2.GRANTEE_TYPE_USER, user_id=person.message.id),
            recipient_mesh_provider=provider,
            access_methods=[access],
        )
        if expires_s is not None:
            request.expiration.seconds = int(expires_s)
        response = await self._calls.invoke("CreateOCMShare", request, path=shown(at), effect=Effect.MUTATION)
        return str(response.share.id.opaque_id)

    async def given_ocm(self) -> list[GivenShare]:
        """The OCM shares that we gave. Raises: UnsupportedError."""
        response = await self._calls.invoke(
            "ListOCMShares", ocm_api_pb2.ListOCMSharesRequest(), path="the shares given to other sites"
        )
        return [
            GivenShare(
                kind="mesh",
                id=share.id.opaque_id,
                resource=_resource(share.resource_id),
                receiver=f"{share.grantee.user_id.opaque_id}@{share.grantee.user_id.idp}",
                permissions=frozenset().union(
                    *(_names(each.webdav_options.permissions) for each in share.access_methods if each.HasField("webdav_options"))
                ),
                created_s=_time(share, "ctime") or 0.0,
                expires_s=_time(share, "expiration"),
            )
            for share in response.shares
        ]

    async def unshare_ocm(self, share_id: str) -> None:
        """Take an OCM share back. Raises: NotFoundError."""
        request = ocm_api_pb2.RemoveOCMShareRequest(ref=ocm_pb2.ShareReference(id=ocm_pb2.ShareId(opaque_id=share_id)))
        await self._calls.invoke("RemoveOCMShare", request, path=f"the share {share_id}", effect=Effect.MUTATION)

    async def known_people(self) -> list[Person]:
        """Users of other sites with whom an invitation was accepted. Raises: UnsupportedError."""
        response = await self._calls.invoke(
            "FindAcceptedUsers", invite_api_pb2.FindAcceptedUsersRequest(), path="the people of other sites"
        )
        return [Person(user.id.opaque_id, _name_of(user), user.display_name, user.id.idp, user) for user in response.accepted_users]

    async def invite(self, description: str) -> Invitation:
        """Make an invitation for somebody of another site. Raises: UnsupportedError."""
        request = invite_api_pb2.GenerateInviteTokenRequest(description=description)
        response = await self._calls.invoke("GenerateInviteToken", request, path="an invitation", effect=Effect.MUTATION)
        return Invitation(response.invite_token.token, _time(response.invite_token, "expiration"))

    async def accept_invitation(self, token: str, site: str) -> str:
        """Accept an invitation of a user of another site. Returns: who that is.

        Raises: NotFoundError: the site is not known here; ExistsError: you know each other already.
        """
        request = invite_api_pb2.ForwardInviteRequest(
            invite_token=invite_pb2.InviteToken(token=token), origin_system_provider=await self._provider(site)
        )
        try:
            response = await self._calls.invoke("ForwardInvite", request, path=f"the invitation of {site}", effect=Effect.MUTATION)
        except ExistsError as exc:
            raise ExistsError(
                f"You know this user of {site} already, and can share with each other.", call="ForwardInvite"
            ) from exc
        return f"{response.user_id.opaque_id}@{response.user_id.idp or site}"

    async def _provider(self, site: str) -> Any:
        request = ocm_provider_api_pb2.GetInfoByDomainRequest(domain=site)
        try:
            response = await self._calls.invoke("GetInfoByDomain", request, path=f"the site {site}")
        except (ServerError, NotFoundError) as exc:
            raise NotFoundError(f"This site does not know the site {site}.", call="GetInfoByDomain") from exc
        return response.provider_info

    async def _info(self, at: Location) -> Any:
        """The server's own description of a resource, which the sharing calls want back as it is."""
        request = provider_api_pb2.StatRequest(ref=reference(at))
        return (await self._calls.invoke("Stat", request, path=shown(at))).info


def _name_of(user: Any) -> str:
    """What people call a user of another site: where ids are UUIDs and no user name comes along, the mail address has it."""
    return str(user.username or user.mail.partition("@")[0] or user.id.opaque_id)


def _received(message: Any) -> ReceivedShare | None:
    share = message.share
    if not share.id.opaque_id or not share.resource_id.opaque_id:
        return None
    return ReceivedShare(
        id=share.id.opaque_id,
        resource=_resource(share.resource_id),
        permissions=_names(share.permissions.permissions),
        owner=share.owner.opaque_id,
        state=_state(message.state),
        is_hidden=message.hidden,
        mount_name=message.mount_point.path.strip("/").removeprefix("./") if message.HasField("mount_point") else "",
        created_s=_time(share, "ctime") or 0.0,
        expires_s=_time(share, "expiration"),
    )


def _ocm(message: Any) -> OcmShare | None:
    access = next((each.webdav_options for each in message.protocols if each.HasField("webdav_options")), None)
    if access is None or not message.id.opaque_id:
        return None
    permissions = _names(access.permissions.permissions) or _names(access.share_permissions)
    created = _time(message, "ctime") or 0.0
    is_file = message.shared_resource_type == ocm_pb2.SHARE_RESOURCE_TYPE_FILE or (
        message.resource_type == resources_pb2.RESOURCE_TYPE_FILE
    )
    return OcmShare(
        id=message.id.opaque_id,
        name=message.name,
        kind=Kind.FILE if is_file else Kind.DIRECTORY,
        permissions=permissions,
        owner=message.owner.opaque_id,
        site=message.owner.idp,
        state=_state(message.state),
        is_hidden=message.hidden,
        created_s=created,
        mtime_s=_time(message, "mtime") or created,
        expires_s=_time(message, "expiration"),
    )


def _given(share: Any) -> GivenShare:
    is_group = share.grantee.type == resources_pb2.GRANTEE_TYPE_GROUP
    return GivenShare(
        kind="group" if is_group else "user",
        id=share.id.opaque_id,
        resource=_resource(share.resource_id),
        receiver=share.grantee.group_id.opaque_id if is_group else share.grantee.user_id.opaque_id,
        permissions=_names(share.permissions.permissions),
        created_s=_time(share, "ctime") or 0.0,
        expires_s=_time(share, "expiration"),
    )


def _state(value: int) -> ShareState:
    return ShareState(value) if value in {1, 2, 3} else ShareState.UNKNOWN


def _resource(message: Any) -> ResourceId:
    return ResourceId(message.storage_id, message.space_id, message.opaque_id)


def _names(permissions: Any) -> frozenset[str]:
    return frozenset(field.name for field, value in permissions.ListFields() if value is True)


def _granted(role: Role, info: Any) -> Any:
    """What a role means for a folder or for a file."""
    is_file = info.type == resources_pb2.RESOURCE_TYPE_FILE
    names = [name for name in role.permissions if not (is_file and name in _OF_FOLDERS)]
    return resources_pb2.ResourcePermissions(**dict.fromkeys(names, True))


def _time(message: Any, field: str) -> float | None:
    if not message.HasField(field):
        return None
    stamp = getattr(message, field)
    return float(stamp.seconds) + float(getattr(stamp, "nanos", 0)) / 1e9 if stamp.seconds else None


def is_over(expires_s: float | None, now_s: float) -> bool:
    """Whether an expiration has passed; servers go on listing and serving such shares."""
    return expires_s is not None and expires_s <= now_s
