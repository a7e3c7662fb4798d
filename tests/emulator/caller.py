"""A plain client of a CS3 gateway that hides nothing: every answer as JSON, failures too.

Owns the connection and the sign-in of one user. It shares no code with `cs3fuse.client`, so that one misunderstanding cannot be
on both sides of a comparison. Synchronous; one instance per thread.
"""

import contextlib
import hashlib
import socket
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import urllib3
from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.gateway.v1beta1 import gateway_api_pb2_grpc as gateway_grpc
from cs3.rpc.v1beta1 import code_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.types.v1beta1 import types_pb2
from google.protobuf.json_format import MessageToDict

from tests.emulator.recorded import Fact

_LARGEST_MESSAGE = 1 << 28
_TIMEOUT_S = 20.0
_SIMPLE = ("simple", "spaces")
"""The protocols of one plain GET or PUT, best first."""


@dataclass(frozen=True)
class Answer:
    """Status of a gRPC call as JSON, and its message if there was one."""

    status: Fact
    message: Any

    @property
    def code(self) -> str:
        """The CS3 code without CODE_, or the gRPC code."""
        return str(self.status.get("code", self.status.get("grpc"))).removeprefix("CODE_")

    def get(self, field: str) -> Any:
        """A field of the message; None if the call failed below CS3."""
        return getattr(self.message, field, None)


@dataclass(frozen=True)
class Endpoint:
    """One way to transfer, from an initiation."""

    protocol: str
    url: str
    token: str


@dataclass(frozen=True)
class HttpAnswer:
    """What the data server answered; status "broken" when it closed the connection instead, `error` how that showed."""

    status: int | str
    headers: dict[str, str]
    body: bytes
    error: str = ""

    @property
    def sha(self) -> str:
        """The first ten digits of the content's sha1."""
        return hashlib.sha1(self.body).hexdigest()[:10]


@dataclass(frozen=True)
class Transfer:
    """An initiation and, if that gave endpoints, the request to the simple one."""

    init: Answer
    endpoints: list[Endpoint]
    http: HttpAnswer | None


class Caller:
    """One user of one gateway.

    Args:
        target: `host:port` of the gRPC side.
        root: `storage$space!opaque`; references are relative to it. None: references are absolute paths.

    """

    def __init__(self, target: str, root: str | None = None) -> None:
        self.target = target
        self.root = root
        self.token = ""
        self._channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE)])
        self._gateway = gateway_grpc.GatewayAPIStub(self._channel)
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._pool.clear()
        self._channel.close()

    # -- gRPC

    def call(self, rpc: str, request: Any, *, token: str | None = None, timeout_s: float = _TIMEOUT_S) -> Answer:
        """Call any method; `token` "" sends none, None the caller's own."""
        token = self.token if token is None else token
        metadata = [("x-access-token", token)] if token else []
        try:
            message = getattr(self._gateway, rpc)(request, metadata=metadata, timeout=timeout_s)
        except grpc.RpcError as error:
            return Answer({"grpc": error.code().name, "details": error.details()}, None)
        return Answer({"code": code_pb2.Code.Name(message.status.code), "msg": message.status.message}, message)

    def sign_in(self, user: str, secret: str, kind: str = "basic") -> Answer:
        """Authenticate and use the token from now on."""
        answer = self.authenticate(user, secret, kind)
        if answer.get("token"):
            self.token = answer.message.token
        return answer

    def authenticate(self, user: str, secret: str, kind: str = "basic", token: str = "") -> Answer:
        """Authenticate only; `token` is what the metadata carries."""
        request = gateway_pb.AuthenticateRequest(type=kind, client_id=user, client_secret=secret)
        return self.call("Authenticate", request, token=token)

    def reference(self, path: str) -> Any:
        """A path as a Reference: absolute, or relative to the root."""
        if self.root is None:
            return storage_pb.Reference(path=path)
        return storage_pb.Reference(resource_id=parse_id(self.root), path=f".{path}")

    def stat(self, path: str) -> Answer:
        """Stat of a path."""
        return self.call("Stat", provider_pb.StatRequest(ref=self.reference(path)))

    def info(self, path: str) -> Fact:
        """The ResourceInfo of a path as JSON, or the status if there is none."""
        answer = self.stat(path)
        return MessageToDict(answer.message.info) if answer.code == "OK" else answer.status

    def on(self, rpc: str, path: str, *, timeout_s: float = _TIMEOUT_S, **fields: Any) -> Answer:
        """Call a method of the provider API whose request has a `ref`: CreateContainer, Delete, SetLock, ..."""
        return self.call(rpc, getattr(provider_pb, f"{rpc}Request")(ref=self.reference(path), **fields), timeout_s=timeout_s)

    def move(self, source: str, destination: str, timeout_s: float = _TIMEOUT_S) -> Answer:
        """Move."""
        request = provider_pb.MoveRequest(source=self.reference(source), destination=self.reference(destination))
        return self.call("Move", request, timeout_s=timeout_s)

    # -- transfers

    def initiate_upload(self, reference: Any, opaque: Mapping[str, str], **conditions: Any) -> Answer:
        """InitiateFileUpload with entries of the opaque and fields of the request (if_match, lock_id, ...)."""
        request = provider_pb.InitiateFileUploadRequest(ref=reference, **conditions)
        for key, value in opaque.items():
            request.opaque.map[key].CopyFrom(types_pb2.OpaqueEntry(decoder="plain", value=value.encode()))
        return self.call("InitiateFileUpload", request)

    def initiate_download(self, reference: Any) -> Answer:
        """InitiateFileDownload."""
        return self.call("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=reference))

    def upload(self, path: str, data: bytes, **conditions: Any) -> Transfer:
        """A whole upload of announced length."""
        answer = self.initiate_upload(self.reference(path), {"Upload-Length": str(len(data))}, **conditions)
        ways = endpoints(answer)
        return Transfer(answer, ways, self.put(simple(ways), data, path) if ways else None)

    def download(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Transfer:
        """A whole download, or whatever part the headers ask for."""
        answer = self.initiate_download(self.reference(path))
        ways = endpoints(answer)
        return Transfer(answer, ways, self.http(method, simple(ways), headers=headers) if ways else None)

    def put(self, endpoint: Endpoint, data: bytes, path: str = "", **headers: str) -> HttpAnswer:
        """PUT with the headers that clients of the data gateway send."""
        sizes = {"Upload-Length": str(len(data)), "File-Path": urllib.parse.quote(path), "File-Size": str(len(data))}
        return self.http("PUT", endpoint, body=data, headers={**sizes, **headers})

    def http(
        self,
        method: str,
        endpoint: Endpoint,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> HttpAnswer:
        """One request to the data server; `token` "" sends no access token, None the caller's own."""
        token = self.token if token is None else token
        everything = ({"x-access-token": token} if token else {}) | endpoint_headers(endpoint) | dict(headers or {})
        try:
            response = self._pool.request(
                method, endpoint.url, body=body, headers=everything, decode_content=False, timeout=timeout_s
            )
        except urllib3.exceptions.HTTPError as error:
            return HttpAnswer("broken", {}, str(error).encode(), type(error).__name__)
        return HttpAnswer(response.status, dict(response.headers), response.data)

    def put_and_break_off(self, endpoint: Endpoint, data: bytes, announced: int) -> None:
        """Announce a body [bytes], send a part of it and close the connection."""
        url = urllib.parse.urlsplit(endpoint.url)
        headers = {"Host": url.netloc, "x-access-token": self.token, **endpoint_headers(endpoint), "Content-Length": str(announced)}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        target = url.path + (f"?{url.query}" if url.query else "")
        with contextlib.closing(socket.create_connection((url.hostname or "", url.port or 80), _TIMEOUT_S)) as connection:
            connection.sendall(f"PUT {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
            time.sleep(_SETTLE_S)
        time.sleep(_SETTLE_S)


_SETTLE_S = 0.15
"""How long a server in the same process takes at most to see what arrived on a connection [s]."""


def endpoint_headers(endpoint: Endpoint) -> dict[str, str]:
    """The header with the transfer token, if there is one."""
    return {"X-Reva-Transfer": endpoint.token} if endpoint.token else {}


def endpoints(answer: Answer) -> list[Endpoint]:
    """The ways to transfer that an initiation offers."""
    if answer.message is None:
        return []
    return [
        Endpoint(way.protocol, getattr(way, "upload_endpoint", "") or getattr(way, "download_endpoint", ""), way.token)
        for way in answer.message.protocols
    ]


def simple(ways: list[Endpoint]) -> Endpoint:
    """The way of one plain GET or PUT; the first way if there is none of that kind."""
    return next((way for name in _SIMPLE for way in ways if way.protocol == name), ways[0])


def parse_id(text: str) -> Any:
    """`storage$space!opaque` as a ResourceId."""
    storage_id, _, rest = text.partition("$")
    space_id, _, opaque_id = rest.partition("!")
    return storage_pb.ResourceId(storage_id=storage_id, space_id=space_id, opaque_id=opaque_id)


def lock(lock_id: str, kind: int = storage_pb.LOCK_TYPE_WRITE, life_s: float = 60, **fields: Any) -> Any:
    """A Lock that ends in `life_s` seconds."""
    ends = types_pb2.Timestamp(seconds=int(time.time() + life_s))
    return storage_pb.Lock(**{"lock_id": lock_id, "type": kind, "app_name": "probe", "expiration": ends, **fields})


@contextlib.contextmanager
def signed_in(target: str, user: str, secret: str, root: str | None = None) -> Iterator[Caller]:
    """A caller with a token."""
    with Caller(target, root) as caller:
        answer = caller.sign_in(user, secret)
        assert caller.token, f"Signing in as {user} failed: {answer.status}."
        yield caller
