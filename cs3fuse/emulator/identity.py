"""Authenticate, WhoAmI and the user look-ups, the same for all profiles but for their texts.

Owns the handlers of these RPCs; mixed into every profile. Runs on the server's loop.

Source: reva internal/grpc/services/gateway/authprovider.go and pkg/auth/manager/*; OpenCloud as measured.
"""

import secrets
from typing import Any

from cs3.auth.applications.v1beta1 import applications_api_pb2 as app_pb
from cs3.auth.applications.v1beta1 import resources_pb2 as app_resources_pb
from cs3.auth.registry.v1beta1 import registry_api_pb2 as registry_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.profiles import Call, Profile
from cs3fuse.emulator.proto import gateway_pb, user_api_pb
from cs3fuse.emulator.tokens import BadTokenError
from cs3fuse.emulator.users import MACHINE_SECRET, User

AUTH_TYPES = ("basic", "bearer", "machine", "publicshares", "appauth")


class IdentityHandlers(Profile):
    """Who the caller is and who the others are."""

    def wrong_password(self, client_id: str) -> Refusal:
        """The refusal of a wrong password or an unknown user."""
        return Refusal(proto.PERMISSION_DENIED, "wrong password")

    def link_owner(self, token: str, secret: str) -> User:
        """The user a public link signs in as. Raises: Refusal."""
        raise Refusal(proto.NOT_FOUND, f"unknown client id: {token}")

    def authenticate(self, call: Call, request: Any) -> Any:
        """Authenticate: by type, client id and secret."""
        if request.type not in AUTH_TYPES:
            raise Refusal(proto.INTERNAL, "error getting auth provider client")
        link = request.client_id if request.type == "publicshares" else None
        user = self._signed_in(request.type, request.client_id, request.client_secret)
        return gateway_pb.AuthenticateResponse(token=self.tokens.access_token(user, link), user=user.message())

    def _signed_in(self, kind: str, client_id: str, secret: str) -> User:
        directory = self.directory
        if kind == "publicshares":
            return self.link_owner(client_id, secret)
        if kind == "basic":
            user = directory.named(client_id)
            if user is None or directory.passwords[client_id] != secret:
                raise self.wrong_password(client_id)
            return user
        if kind == "bearer":
            user = directory.named(directory.bearer_tokens.get(secret, ""))
            if user is None:
                raise Refusal(proto.UNAUTHENTICATED, "error authenticating user")
            return user
        if kind == "appauth":
            user = directory.named(directory.app_passwords.get(secret, ""))
            if user is None or user.name != client_id:
                raise Refusal(proto.INTERNAL, "error authenticating user")
            return user
        claim, colon, value = client_id.partition(":")
        user = directory.claimed(claim, value) if colon else directory.named(client_id)
        if secret != MACHINE_SECRET or user is None:
            raise Refusal(proto.NOT_FOUND, f"unknown client id: {client_id}")
        return user

    def who_am_i(self, call: Call, request: Any) -> Any:
        """WhoAmI: the user of the token in the body."""
        try:
            access = self.tokens.check_access(request.token)
        except BadTokenError:
            raise Refusal(proto.UNAUTHENTICATED, "error dismantling token") from None
        return gateway_pb.WhoAmIResponse(user=access.user.message())

    def list_auth_providers(self, call: Call, request: Any) -> Any:
        """ListAuthProviders: as many empty strings as there are types, then the types."""
        return registry_pb.ListAuthProvidersResponse(types=[""] * len(AUTH_TYPES) + list(AUTH_TYPES))

    def get_user(self, call: Call, request: Any) -> Any:
        """GetUser by id."""
        return user_api_pb.GetUserResponse(user=self._known(self.directory.identified(request.user_id.opaque_id)).message())

    def get_user_by_claim(self, call: Call, request: Any) -> Any:
        """GetUserByClaim: mail, username, userid or uid."""
        user = self._known(self.directory.claimed(request.claim, request.value))
        return user_api_pb.GetUserByClaimResponse(user=user.message())

    def get_user_groups(self, call: Call, request: Any) -> Any:
        """GetUserGroups."""
        user = self._known(self.directory.identified(request.user_id.opaque_id))
        return user_api_pb.GetUserGroupsResponse(groups=list(user.groups))

    def find_users(self, call: Call, request: Any) -> Any:
        """FindUsers: by the text of the first query filter, or everybody."""
        text = next((item.query for item in request.filters if item.HasField("query")), "")
        return user_api_pb.FindUsersResponse(users=[user.message() for user in self.directory.found(text)])

    def _known(self, user: User | None) -> User:
        if user is None:
            raise Refusal(proto.NOT_FOUND, "user not found")
        return user

    def generate_app_password(self, call: Call, request: Any) -> Any:
        """GenerateAppPassword: shown in clear only here."""
        password = secrets.token_urlsafe(12)
        self.directory.app_passwords[password] = call.user.name
        answer = app_resources_pb.AppPassword(password=password, label=request.label, user=call.user.identifier())
        return app_pb.GenerateAppPasswordResponse(app_password=answer)
