"""The RPCs about the mesh's sites and about invitations between their users.

Owns who may share with whom. Mixed into a profile by `ocm`; runs on the server's loop only.

Source: reva internal/grpc/services/{ocminvitemanager,ocmproviderauthorizer}, as measured.
"""

import secrets
import uuid
from typing import Any

import grpc
from cs3.ocm.invite.v1beta1 import invite_api_pb2 as invite_api_pb
from cs3.ocm.invite.v1beta1 import resources_pb2 as invite_pb
from cs3.ocm.provider.v1beta1 import provider_api_pb2 as site_api_pb
from cs3.ocm.provider.v1beta1 import resources_pb2 as site_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.ocm_book import Friend, Invite, MeshBook
from cs3fuse.emulator.ocm_peers import PeerError, Peers
from cs3fuse.emulator.profiles import Call, Profile
from cs3fuse.emulator.proto import user_pb

_INVITE_LIFE_S = 86400.0


def federated(opaque_id: str, site: str) -> Any:
    """The UserId of a user of another site."""
    return user_pb.UserId(idp=site, opaque_id=opaque_id, type=user_pb.USER_TYPE_FEDERATED)


class InviteHandlers(Profile):
    """Sites and invitations."""

    peers: Peers
    book: MeshBook

    # -- sites

    def list_all_providers(self, call: Call, request: Any) -> Any:
        """ListAllProviders: this site and the others."""
        return site_api_pb.ListAllProvidersResponse(providers=[self._site_message(site) for site in self.peers.sites()])

    def get_info_by_domain(self, call: Call, request: Any) -> Any:
        """GetInfoByDomain."""
        if self.peers.find(request.domain) is None:
            raise Refusal(proto.INTERNAL, "error getting provider info")
        return site_api_pb.GetInfoByDomainResponse(provider_info=self._site_message(request.domain))

    def is_provider_allowed(self, call: Call, request: Any) -> Any:
        """IsProviderAllowed: every site that is known."""
        if self.peers.find(request.provider.domain) is None:
            raise Refusal(proto.NOT_FOUND, "error verifying mesh provider")
        return site_api_pb.IsProviderAllowedResponse()

    def _site_message(self, site: str) -> Any:
        link = self.peers.find(site)
        assert link is not None
        message = site_pb.ProviderInfo(name=site, full_name=f"Site {site}", domain=site, homepage=link.url, organization="Mesh")
        service = message.services.add(host=link.url.partition("://")[2].rpartition(":")[0], api_version="0.0.1")
        service.endpoint.type.name, service.endpoint.type.description = "OCM", "OCM API"
        service.endpoint.name, service.endpoint.path = f"{site} OCM", f"{link.url}/ocm/"
        return message

    def site_and_url(self, provider: Any) -> tuple[str, str]:
        """The name of a site and the URL of its HTTP side, from what a client says about it. Raises: Refusal."""
        link = self.peers.find(provider.domain)
        if link is not None:
            return link.site, link.url
        for service in provider.services:
            if service.endpoint.type.name == "OCM":
                return str(provider.domain), str(service.endpoint.path).rstrip("/").removesuffix("/ocm")
        raise Refusal(proto.INTERNAL, "error getting ocm endpoint: no OCM service")

    # -- invitations

    def generate_invite_token(self, call: Call, request: Any) -> Any:
        """GenerateInviteToken: good for a day."""
        expires_s = self.clock.now_s() + _INVITE_LIFE_S
        invite = Invite(str(uuid.uuid4()), call.user.opaque_id, expires_s, request.description)
        self.book.invites.put(invite.token, invite)
        return invite_api_pb.GenerateInviteTokenResponse(invite_token=self._invite_message(call, invite))

    def list_invite_tokens(self, call: Call, request: Any) -> Any:
        """ListInviteTokens: the caller's, those in force."""
        now_s = self.clock.now_s()
        mine = [item for item in self.book.invites.all() if item.user == call.user.opaque_id and item.expires_s > now_s]
        return invite_api_pb.ListInviteTokensResponse(invite_tokens=[self._invite_message(call, item) for item in mine])

    @staticmethod
    def _invite_message(call: Call, invite: Invite) -> Any:
        message = invite_pb.InviteToken(token=invite.token, user_id=call.user.identifier(), description=invite.description)
        message.expiration.seconds = int(invite.expires_s)
        return message

    async def forward_invite(self, call: Call, request: Any) -> Any:
        """ForwardInvite: accept an invitation of another site."""
        if not request.HasField("origin_system_provider"):
            text = "rpc error: code = Internal desc = runtime error: invalid memory address or nil pointer dereference"
            raise GrpcAbort(grpc.StatusCode.INTERNAL, f"gateway: error calling ForwardInvite: {text}")
        site, url = self.site_and_url(request.origin_system_provider)
        user = call.user
        values = {
            "recipientProvider": self.config.site_name,
            "token": request.invite_token.token,
            "userID": user.opaque_id,
            "email": user.mail,
            "name": user.display_name,
        }
        try:
            status, answer = await self.peers.notify(site, f"{url}/ocm/invite-accepted", values)
        except PeerError as error:
            raise Refusal(proto.INTERNAL, str(error)) from error
        if status == 409:
            raise Refusal(proto.ALREADY_EXISTS, "invitation already accepted")
        if status != 200:
            raise Refusal(proto.INVALID_ARGUMENT, "token invalid or not found")
        friend = Friend(user.opaque_id, str(answer["userID"]), site, str(answer["email"]), str(answer["name"]))
        self.book.befriend(friend)
        response = invite_api_pb.ForwardInviteResponse(email=friend.mail, display_name=friend.display_name)
        response.user_id.CopyFrom(federated(friend.opaque_id, site))
        return response

    def accept_invite(self, call: Call, request: Any) -> Any:
        """AcceptInvite: what the other site calls here; needs no token of a user."""
        other = request.remote_user
        friend = Friend("", other.id.opaque_id, other.id.idp, other.mail, other.display_name)
        user = self.accepted(request.invite_token.token, friend)
        return invite_api_pb.AcceptInviteResponse(user_id=user.identifier(), email=user.mail, display_name=user.display_name)

    def accepted(self, token: str, friend: Friend) -> Any:
        """Note that a user of another site accepted an invitation; returns the user who invited. Raises: Refusal."""
        invite = self.book.invites.get(token)
        user = None if invite is None else self.directory.identified(invite.user)
        if invite is None or user is None or invite.expires_s <= self.clock.now_s():
            raise Refusal(proto.INVALID_ARGUMENT, "token invalid or not found")
        friend.user = user.opaque_id
        if not self.book.befriend(friend):
            raise Refusal(proto.ALREADY_EXISTS, "invitation already accepted")
        return user

    def find_accepted_users(self, call: Call, request: Any) -> Any:
        """FindAcceptedUsers: those whose name or mail contains the filter, the caller's only."""
        wanted = request.filter.lower()
        users = [
            self._friend_message(friend)
            for friend in self.book.friends(call.user.opaque_id)
            if wanted in f"{friend.opaque_id} {friend.display_name} {friend.mail}".lower()
        ]
        return invite_api_pb.FindAcceptedUsersResponse(accepted_users=users)

    def get_accepted_user(self, call: Call, request: Any) -> Any:
        """GetAcceptedUser: needs no token of a user, so it looks at everybody's."""
        wanted = request.remote_user_id
        for user in self.directory:
            friend = self.book.friend(user.opaque_id, wanted.opaque_id, wanted.idp)
            if friend is not None:
                return invite_api_pb.GetAcceptedUserResponse(remote_user=self._friend_message(friend))
        raise Refusal(proto.NOT_FOUND, "user not found")

    def delete_accepted_user(self, call: Call, request: Any) -> Any:
        """DeleteAcceptedUser."""
        wanted = request.remote_user_id
        friend = self.book.friend(call.user.opaque_id, wanted.opaque_id, wanted.idp)
        if friend is None:
            raise Refusal(proto.NOT_FOUND, "user not found")
        self.book.forget(friend)
        return invite_api_pb.DeleteAcceptedUserResponse()

    @staticmethod
    def _friend_message(friend: Friend) -> Any:
        message = user_pb.User(mail=friend.mail, display_name=friend.display_name)
        message.id.CopyFrom(federated(friend.opaque_id, friend.site))
        return message


def new_secret() -> str:
    """The secret of a share."""
    return secrets.token_urlsafe(24)
