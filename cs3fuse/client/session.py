"""One gateway and one user: connecting, signing in, finding the home and the spaces.

Owns the channel and the connection pool, and puts the client's parts together. Called by ``app`` (composition) and ``mesh`` (spaces),
from the trio thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from cs3.auth.registry.v1beta1 import registry_api_pb2
from cs3.gateway.v1beta1 import gateway_api_pb2, gateway_api_pb2_grpc
from cs3.rpc.v1beta1 import code_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2, spaces_api_pb2

from cs3fuse.client import completion
from cs3fuse.client.calls import Calls, Effect, Failure, await_future, code_name, start_call
from cs3fuse.client.channel import Endpoint, open_channel, tls_context
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.data import DOWNLOAD_THREADS, UPLOAD_THREADS, Cs3Data
from cs3fuse.client.errors import error_for, printable
from cs3fuse.client.history import Cs3History
from cs3fuse.client.locks import Cs3Locks
from cs3fuse.client.references import model_id
from cs3fuse.client.sharing import Sharing
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.errors import (
    AccessDeniedError,
    Cs3FuseError,
    NotDirectoryError,
    NotFoundError,
    ServerError,
    SignInError,
    UnavailableError,
    UnsupportedError,
)
from cs3fuse.model import Entry, Identity, IdRoot, Kind, Location, PathRoot, ResourceId, Root
from cs3fuse.ports import TokenSource

_log = structlog.get_logger(__name__)


# Storage and space id of OpenCloud's public links; permissions are right through it, and wrong through the shared folder's own id.
_LINK_SPACE = "7993447f-687f-490d-875c-ac95e89a62a4"


@dataclass(frozen=True, slots=True)
class Space:
    """A storage space. ``kind`` is "personal", "project", "mountpoint", "virtual", ...; ``root`` None where the server names none.

    ``path`` is the absolute path of its root where the server tells one, else "".
    """

    id: str
    kind: str
    name: str
    root: Root | None
    path: str
    is_trashed: bool


class Gateway:
    """A channel to a gateway, without anybody signed in."""

    def __init__(self, endpoint: Endpoint, channel: grpc.Channel, pool: ConnectionPool) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self.pool = pool
        self.stub: Any = gateway_api_pb2_grpc.GatewayAPIStub(channel)
        self._is_thread_kept = False

    @classmethod
    async def connect(cls, endpoint: Endpoint) -> Gateway:
        """Prepare the connections. The gateway is first spoken to by ``authenticate``.

        Raises: BadRequestError: an unusable CA file; UnavailableError: with --tls-insecure, the certificate cannot be fetched.
        """
        channel = await open_channel(endpoint)
        pool = ConnectionPool(
            tls=tls_context(endpoint), is_plain_allowed=not endpoint.is_tls, size=DOWNLOAD_THREADS + UPLOAD_THREADS
        )
        gateway = cls(endpoint, channel, pool)
        gateway._is_thread_kept = completion.keep(channel)
        return gateway

    async def authenticate(self, method: str, client_id: str, secret: str) -> str:
        """Sign in once and return the access token. Source: gateway_api.proto, Authenticate.

        Args: ``method`` is a sign-in type of the site ("basic", "bearer", "appauth", "machine", "publicshares").

        Raises: SignInError with the reason, as far as the gateway tells it; UnavailableError, DeadlineError.
        """
        request = gateway_api_pb2.AuthenticateRequest(type=method, client_id=client_id, client_secret=secret)
        try:
            response = await await_future(start_call(self.stub.Authenticate, request))
        except grpc.RpcError as exc:
            failure = Failure("Authenticate", f"gRPC {exc.code().name}", exc.details() or "", str(self.endpoint), cause=exc)
            raise _sign_in_failure(failure, self.endpoint, method) from exc
        status = response.status
        if status.code == code_pb2.CODE_OK and response.token:
            if not (response.token.isascii() and response.token.isprintable()):
                raise SignInError(f"{self.endpoint} sent an access token that cannot be used.", call="Authenticate")
            return str(response.token)
        failure = Failure("Authenticate", code_name(status.code), status.message, str(self.endpoint), trace=status.trace)
        if failure.answer == "INTERNAL" and "auth provider" in failure.text:
            offered = await self._sign_in_methods()
            raise SignInError(
                f"{self.endpoint} has no sign-in of type {method!r}" + (f"; it offers {', '.join(offered)}." if offered else "."),
                call="Authenticate",
                trace=failure.trace,
            )
        raise _sign_in_failure(failure, self.endpoint, method)

    async def _sign_in_methods(self) -> list[str]:
        """What the gateway offers, [] if it does not say. Reva puts as many empty strings before the names."""
        try:
            response = await await_future(start_call(self.stub.ListAuthProviders, registry_api_pb2.ListAuthProvidersRequest()))
        except grpc.RpcError:
            return []
        return sorted({printable(name, limit=40) for name in response.types if name})

    async def aclose(self) -> None:
        """Close channel and connections; calls that are under way fail."""
        if self._is_thread_kept:
            self._is_thread_kept = False
            completion.let_go(self.channel)
        self.channel.close()
        self.pool.close()


class Cs3Client:
    """A signed-in user: ``tree``, ``data`` and ``locks`` are the ports' implementations."""

    def __init__(self, gateway: Gateway, tokens: TokenSource) -> None:
        self.gateway = gateway
        self._calls = Calls(gateway.stub, tokens)
        self.tree = Cs3Tree(self._calls)
        self.data = Cs3Data(self._calls, self.tree, gateway.pool)
        self.locks = Cs3Locks(self._calls, self.tree)
        self.history = Cs3History(self._calls, self.tree, self.data.downloading)
        self.sharing = Sharing(self._calls)

    async def identity(self) -> Identity:
        """Who is signed in; signs in if need be. Raises: SignInError, UnavailableError."""
        user = (await self._calls.who_am_i()).user
        return Identity(user.username or user.id.opaque_id, user.id.opaque_id, user.id.idp, user.display_name)

    async def home(self) -> Root:
        """The root of the user's own files: the personal space where the server names its id, else the home's path.

        A home that does not exist yet is created (OpenCloud has none before the first CreateHome).

        Raises: NotFoundError: there is none and none can be made.
        """
        personal = await self._personal_root()
        if personal is None:
            path = await self._home_path()
            if not await self._is_directory(PathRoot(path)):
                await self._create_home(path)
                personal = await self._personal_root()
            if personal is None:
                return PathRoot(path)
        return personal

    async def link_root(self, link: str) -> Root:
        """The root of a public link for who signed in with it: by the link's space (OpenCloud), else by path (Reva).

        Raises: NotFoundError.
        """
        by_space = IdRoot(ResourceId(_LINK_SPACE, _LINK_SPACE, link))
        try:
            await self.tree.stat(Location(by_space))
        except (NotFoundError, ServerError, AccessDeniedError):
            by_path = PathRoot(f"/public/{link}")
            await self.tree.stat(Location(by_path))
            return by_path
        return by_space

    async def root_at(self, path: str) -> Root:
        """The root for an absolute CS3 path ("" is the global root), by id where the server has spaces: by path it is slow there.

        Raises: NotFoundError, NotDirectoryError.
        """
        root = PathRoot(path.rstrip("/"))
        entry = await self.tree.stat(Location(root))
        if entry.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{root} is not a folder.", path=str(root))
        if entry.id is not None and entry.id.space_id and await self._personal_root() is not None:
            return IdRoot(entry.id)
        return root

    async def spaces(self, kind: str = "") -> Sequence[Space]:
        """The storage spaces of the user, of one kind or all; [] where the server has no spaces service.

        A trashed space is still listed by OpenCloud; it is marked, and its root answers NOT_FOUND.
        """
        try:
            return await self.list_spaces(kind)
        except (UnsupportedError, ServerError, AccessDeniedError) as exc:
            _log.info("no_spaces", reason=str(exc))
            return []

    async def list_spaces(self, kind: str = "") -> Sequence[Space]:
        """As ``spaces``. Raises: UnsupportedError: the server has no spaces service; what else keeps it from answering."""
        response = await self._calls.invoke("ListStorageSpaces", _spaces_request(kind), path="the spaces")
        found: dict[tuple[str, str], Space] = {}
        for message in response.storage_spaces:
            space = _space(message)
            # Reva lists a public space twice.
            found.setdefault((space.id, space.name), space)
        return list(found.values())

    async def aclose(self) -> None:
        """Stop transfers and close the gateway."""
        self.data.close()
        await self.gateway.aclose()

    async def _personal_root(self) -> Root | None:
        """The personal space by id, None where the server has no such thing. Reva lists personal spaces without a root."""
        for space in await self.spaces("personal"):
            if (
                space.kind == "personal"
                and space.root is not None
                and not space.is_trashed
                and await self._is_directory(space.root)
            ):
                return space.root
        return None

    async def _home_path(self) -> str:
        response = await self._calls.invoke("GetHome", provider_api_pb2.GetHomeRequest(), path="the home")
        return str(response.path).rstrip("/")

    async def _create_home(self, path: str) -> None:
        try:
            await self._calls.invoke("CreateHome", provider_api_pb2.CreateHomeRequest(), path=path, effect=Effect.MUTATION)
        except UnavailableError:
            raise
        except Cs3FuseError as exc:
            raise NotFoundError(
                f"The home {path} does not exist and the server does not create it ({exc})", path=path, call="CreateHome"
            ) from exc

    async def _is_directory(self, root: Root) -> bool:
        try:
            entry: Entry = await self.tree.stat(Location(root))
        except NotFoundError:
            return False
        return entry.kind is Kind.DIRECTORY


def _spaces_request(kind: str) -> spaces_api_pb2.ListStorageSpacesRequest:
    """One type filter at most: of two, OpenCloud honours only the last."""
    request = spaces_api_pb2.ListStorageSpacesRequest()
    if kind:
        request.filters.add(type=spaces_api_pb2.ListStorageSpacesRequest.Filter.TYPE_SPACE_TYPE, space_type=kind)
    return request


def _space(message: Any) -> Space:
    """A StorageSpace message. ``root``, not ``root_info.id``: that lacks the storage id on OpenCloud."""
    opaque = message.opaque.map if message.HasField("opaque") else {}
    path = message.root_info.path
    if "path" in opaque:
        path = opaque["path"].value.decode("utf-8", "replace")
    root_id = model_id(message.root) if message.HasField("root") else None
    return Space(
        id=message.id.opaque_id,
        kind=message.space_type,
        name=message.name,
        root=IdRoot(root_id) if root_id is not None and root_id.storage_id else None,
        path=path.rstrip("/") if path.startswith("/") else "",
        is_trashed="trashed" in opaque,
    )


# What Authenticate's refusals mean; the texts differ by site and auth manager.
# Source: Reva internal/grpc/services/gateway/authprovider.go, .../authprovider/authprovider.go.
_SIGN_IN_REASONS = {
    "PERMISSION_DENIED": "the user name or the secret is wrong, or the user is blocked",
    "UNAUTHENTICATED": "the token is invalid or has expired, or its issuer is not accepted",
    "NOT_FOUND": "the user is not known",
    "ABORTED": "this account is linked to another one; use that",
    "INTERNAL": "the secret is wrong, or the server failed",
    "INVALID_ARGUMENT": "the user name or the secret is malformed",
    "gRPC UNKNOWN": "the sign-in may be right, but the server could not check the user's home",
    "OK": "it answered without a token",
}


def _sign_in_failure(failure: Failure, endpoint: Endpoint, method: str) -> Cs3FuseError:
    """The sentence for a refused sign-in; unreachable and slow servers keep their own."""
    if failure.is_transient or failure.answer == "gRPC RESOURCE_EXHAUSTED":
        return error_for("Authenticate", failure.answer, failure.path, text=failure.text)
    reason = _SIGN_IN_REASONS.get(failure.answer, "the server failed")
    if "creating user home" in failure.text:
        reason = "the user has no home on the server and it could not be created; ask the site's administrator"
    said = printable(failure.text) or failure.answer
    return SignInError(
        f"{endpoint} refuses the sign-in ({method}): {reason}. The server says: {said}", call="Authenticate", trace=failure.trace
    )
