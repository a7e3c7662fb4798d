"""What every profile has in common, and what the two servers (`gateway`, `datagateway`) ask of one.

Owns the `Profile` base class and the values handed through it. A profile's public methods named like an RPC in
snake case are its handlers: `gateway` looks them up by name; a missing one is answered as "not implemented". All of
it runs on the server's loop, so a handler is atomic between its awaits.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

import grpc

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.failures import GrpcAbort, HttpRefusal
from cs3fuse.emulator.proto import has_reference, service_behind
from cs3fuse.emulator.ranges import RangePolicy
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tokens import Access, TokenMaker
from cs3fuse.emulator.users import Directory, User

QUIRKS: Mapping[str, tuple[float, str]] = {
    "overwrite_window_s": (0.0, "reva: seconds between archiving the old content and renaming the new one into place"),
    "internal_after_rename": (0.0, "reva: 1 answers INTERNAL to a Move that was carried out"),
    "database_locked": (0.0, "reva: 1 answers INTERNAL to metadata writes, as a busy sqlite does"),
    "vanishing_entry": (0.0, "reva: 1 fails every ListContainer, as an entry that vanishes meanwhile does"),
    "processing_s": (0.005, "opencloud: seconds of post-processing after a PUT"),
    "ocm_dropped_s": (
        30.0,
        "ocm: seconds until a connection attempt fails when packets are dropped; the first to a share tries twice",
    ),
    "ocm_timeout_s": (10.0, "ocm: seconds that invitations, share notices and token exchanges wait for the other site"),
    "share_accept_s": (0.02, "opencloud: seconds until a received share accepts itself"),
}
"""Switchable habits: name to (default, meaning)."""


@dataclass
class Services:
    """What a profile works with."""

    config: EmulatorConfig
    clock: Clock
    state: State
    directory: Directory
    tokens: TokenMaker
    random: random.Random
    quirks: dict[str, float]
    base_url: str = ""
    """`http://host:port`, known when the HTTP server listens."""


@dataclass(frozen=True, slots=True)
class Call:
    """One gRPC call on its way to a handler. `access` is None for the methods that need no token."""

    name: str
    access: Access | None

    @property
    def user(self) -> User:
        """The caller. Only methods that need a token may ask."""
        assert self.access is not None
        return self.access.user

    @property
    def link(self) -> str | None:
        """The public link the caller came through."""
        return self.access.link if self.access is not None else None


@dataclass(frozen=True, slots=True)
class DataCall:
    """One HTTP data request, its tokens already checked.

    Args:
        base: first segment of the inner URL, which names the data server: data, data-other.
        protocol: second segment of the inner URL: simple, spaces or tus.
        tail: the rest of the inner URL, decoded, without a leading slash.
        length: Content-Length [bytes]; None for a chunked body.
        forwarded: it came through the data gateway, which loses the Content-Length.

    """

    method: str
    access: Access
    base: str
    protocol: str
    tail: str
    headers: Mapping[str, str]
    length: int | None
    version_key: str = ""
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and headers of an answer without a body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


class RemoteBody(Protocol):
    """The body of a file that comes from another server."""

    content_type: str
    """What to announce; empty: nothing."""

    async def read(self) -> bytes:
        """The next bytes; nothing at the end. Raises: ConnectionError when the other server breaks off."""

    def close(self) -> None:
        """Let go of the connection."""


@dataclass(slots=True)
class Download:
    """An open file to send.

    Args:
        size: announced size [bytes]; may be wrong on purpose.
        abort: announce the size, then close without a body.
        fetch: opens the body at another server instead of `file`. Raises: HttpRefusal.

    """

    file: BinaryIO | None
    size: int
    content_type: str
    ranges: RangePolicy
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    abort: bool = False
    fetch: Callable[[], Awaitable[RemoteBody]] | None = None


class UploadSink(Protocol):
    """Where the body of a PUT or PATCH goes."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""

    async def finish(self) -> HttpAnswer:
        """The whole body has arrived: carry it out and answer. Raises: HttpRefusal."""

    async def broken(self) -> None:
        """The connection ended in the middle of the body; nobody will read an answer."""

    def abandon(self) -> None:
        """The server itself failed in the middle of the body: keep the bytes so far, carry nothing out.

        Also called after `finish` and `broken`, and then does nothing.
        """


class Profile:
    """Base of the profiles: says "not implemented" to everything."""

    name = ""
    data_path = "/datagateway"
    """Where the data gateway is served."""
    data_bases: tuple[str, ...] = ("data",)
    """First path segments of the data servers behind it."""
    largest_message: int | None = None
    """Largest listing the server can answer [bytes]; None is any size."""
    token_leeway_s = 0.0
    """How long after its expiry an access token is still taken [s]."""
    http_headers: Mapping[str, str] = MappingProxyType({})
    """Headers of every HTTP answer."""
    answers_have_request_id = True
    """Whether HTTP answers carry X-Request-Id twice, as Reva's do."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.config = services.config
        self.clock = services.clock
        self.state = services.state
        self.directory = services.directory
        self.tokens = services.tokens
        self.quirks = services.quirks

    def handler(self, rpc: str) -> Any:
        """The method that answers an RPC, None if there is none."""
        return getattr(self, snake_case(rpc), None)

    def bad_token(self, rpc: str, request: Any, *, missing: bool) -> Exception:
        """The failure of a protected call without a usable token: a Refusal or a GrpcAbort."""
        if missing:
            return GrpcAbort(grpc.StatusCode.UNAUTHENTICATED, "auth: core access token not found")
        return GrpcAbort(grpc.StatusCode.PERMISSION_DENIED, "auth: core access token is invalid")

    def check_link(self, call: Call, request: Any) -> None:
        """Refuse what a caller who came through a public link may not do. Raises: Refusal, GrpcAbort."""

    def not_served(self, rpc: str) -> Exception:
        """The failure of an RPC this server does not have."""
        service = service_behind(rpc)
        text = f"gateway: error calling {rpc}: rpc error: code = Unimplemented desc = unknown service {service}"
        return GrpcAbort(grpc.StatusCode.UNIMPLEMENTED, text)

    def describe(self, request: Any) -> str:
        """The path a request is about, for the log and for the matching of faults; empty when it has none."""
        for name in ("ref", "source"):
            if has_reference(request, name) and request.HasField(name):
                return self.describe_reference(getattr(request, name))
        return ""

    def describe_reference(self, reference: Any) -> str:
        """A reference as a path below the root, `/einstein/a`, as far as it can be resolved."""
        return str(reference.path)

    def reference_for(self, path: str) -> Any:
        """The Reference of a path below the root folder, `/einstein/a`: the inverse of `describe_reference`. Raises: Refusal."""
        raise NotImplementedError

    def describe_data(self, base: str, protocol: str, tail: str) -> str:
        """The path an inner data URL is about."""
        return f"/{tail}"

    def download(self, call: DataCall) -> Download | Awaitable[Download]:
        """Open what a GET or HEAD asks for. Raises: HttpRefusal."""
        raise NotImplementedError

    def upload(self, call: DataCall) -> UploadSink:
        """Prepare for the body of a PUT. Raises: HttpRefusal."""
        raise NotImplementedError

    def tus_status(self, call: DataCall) -> HttpAnswer:
        """Answer a HEAD of the tus protocol. Raises: HttpRefusal."""
        raise HttpRefusal(501)

    def tus_patch(self, call: DataCall) -> UploadSink:
        """Prepare for the body of a PATCH of the tus protocol. Raises: HttpRefusal."""
        raise HttpRefusal(501)

    async def stop(self) -> None:
        """End everything that still runs on the loop; called once, after the last call and before `close`."""

    def close(self) -> None:
        """Let go of everything; called once, after the last call."""


def snake_case(rpc: str) -> str:
    """`ListOCMShares` as `list_ocm_shares`."""
    letters = []
    for index, letter in enumerate(rpc):
        if letter.isupper() and index and (not rpc[index - 1].isupper() or rpc[index + 1 : index + 2].islower()):
            letters.append("_")
        letters.append(letter.lower())
    return "".join(letters)
