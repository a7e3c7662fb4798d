"""The gRPC side: every method of cs3.gateway.v1beta1.GatewayAPI, checked, spoiled on request, logged, answered.

Owns the way of one call: token, faults, the profile's handler, the two channels of failure. Registered with the
generated `add_GatewayAPIServicer_to_server`. Runs on the server's loop; handlers are atomic between their awaits.
"""

import inspect
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.faults import CallLog, FaultBook, FaultRule, Served
from cs3fuse.emulator.profiles import Call, Profile
from cs3fuse.emulator.proto import code_pb2
from cs3fuse.emulator.tokens import BadTokenError

UNPROTECTED = frozenset(
    {
        "Authenticate",
        "ListAuthProviders",
        "GetUser",
        "GetUserByClaim",
        "GetUserGroups",
        "GetAppPassword",
        "GetPublicShareByToken",
        "GetOCMShareByToken",
        "AddAppProvider",
        "ListSupportedMimeTypes",
        "AcceptInvite",
        "GetAcceptedUser",
        "IsProviderAllowed",
        "ListAllProviders",
        "CreateOCMIncomingShare",
    }
)
"""Methods that need no access token (reva internal/grpc/services/gateway/gateway.go)."""


class GatewayServicer:
    """One attribute per RPC, as the generated code expects of a servicer."""

    def __init__(self, profile: Profile, faults: FaultBook, log: CallLog) -> None:
        self._profile = profile
        self._faults = faults
        self._log = log
        for name, _, response_class, streams in proto.gateway_methods():
            method = self._streaming(name) if streams else self._unary(name, response_class)
            setattr(self, name, method)

    def _unary(self, name: str, response_class: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        handler = self._profile.handler(name)

        async def serve(request: Any, context: Any) -> Any:
            entry = self._log.begin("grpc", name)
            response: Any = None
            abort: GrpcAbort | None = None
            try:
                response = await self._answer(name, handler, response_class, request, context, entry)
            except GrpcAbort as error:
                abort, entry.code = error, error.code.name
            self._log.finish(entry)
            if abort is not None:
                await context.abort(abort.code, abort.details)
            return response

        return serve

    def _streaming(self, name: str) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            # Source: the gateway answers both stream methods with this error in every version.
            entry = self._log.begin("grpc", name)
            entry.code = grpc.StatusCode.UNKNOWN.name
            self._log.finish(entry)
            await context.abort(grpc.StatusCode.UNKNOWN, "error: not supported: Unimplemented")
            yield

        return serve

    async def _answer(self, name: str, handler: Any, response_class: Any, request: Any, context: Any, entry: Served) -> Any:
        """The response, whatever its status. Raises: GrpcAbort."""
        token = _token(context)
        entry.path = self._profile.describe(request)
        effects: tuple[FaultRule, ...] = ()
        if self._faults.rules:
            entry.user = self._user_name(token)
            effects = self._faults.effects("grpc", name, entry.path, entry.user)
            for rule in effects:
                if rule.expire_tokens:
                    self._profile.tokens.expire_all()
            await self._faults.hold(effects)
        try:
            response = await self._work(name, handler, request, token, entry, effects)
            response.status.code = proto.OK
            if name == "ListContainer":
                self._finish_listing(response, effects)
        except Refusal as refusal:
            response = response_class()
            response.status.code = refusal.code
            response.status.message = refusal.message
        response.status.trace = secrets.token_hex(16)
        entry.code = code_pb2.Code.Name(response.status.code).removeprefix("CODE_")
        await self._faults.hold_answer(effects)
        if any(rule.drop_answer for rule in effects):
            raise GrpcAbort(grpc.StatusCode.UNAVAILABLE, "connection reset before the answer")
        return response

    def _finish_listing(self, response: Any, effects: tuple[FaultRule, ...]) -> None:
        """Add the entries a fault asks for; refuse what is larger than the inner connections carry. Raises: GrpcAbort."""
        for extra in [extra for rule in effects for extra in rule.extra_entries]:
            info = response.infos.add(type=proto.FILE, name=extra, path=f"/{extra}", etag='"extra"')
            info.id.storage_id, info.id.opaque_id = "extra", extra
        limit = self._profile.largest_message
        if limit is not None and response.ByteSize() > limit:
            details = f"grpc: received message larger than max ({response.ByteSize()} vs. {limit})"
            raise GrpcAbort(grpc.StatusCode.RESOURCE_EXHAUSTED, details)

    async def _work(self, name: str, handler: Any, request: Any, token: str, entry: Served, effects: tuple[FaultRule, ...]) -> Any:
        """The handler's response. Raises: Refusal, GrpcAbort."""
        for rule in effects:
            if rule.grpc is not None:
                raise GrpcAbort(grpc.StatusCode[rule.grpc], rule.message)
            if rule.status is not None:
                raise Refusal(proto.code_number(rule.status), rule.message)
        access = None
        if name not in UNPROTECTED:
            try:
                access = self._profile.tokens.check_access(token, self._profile.token_leeway_s)
            except BadTokenError:
                raise self._profile.bad_token(name, request, missing=not token) from None
            entry.user = access.user.name
        if handler is None:
            raise self._profile.not_served(name)
        call = Call(name, access)
        self._profile.check_link(call, request)
        try:
            response = handler(call, request)
            return await response if inspect.isawaitable(response) else response
        except UnicodeEncodeError as error:
            # A name on disk that is not UTF-8: the whole answer cannot be written down.
            details = "grpc: error while marshaling: string field contains invalid UTF-8"
            raise GrpcAbort(grpc.StatusCode.INTERNAL, details) from error

    def _user_name(self, token: str) -> str:
        try:
            return self._profile.tokens.check_access(token).user.name
        except BadTokenError:
            return ""


def _token(context: Any) -> str:
    """The first `x-access-token` of the call's metadata, or nothing."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-access-token":
            return str(value)
    return ""
