"""Stand-ins for a gateway and a data server that answer what a test says, for answers that no emulator gives.

``FakeStub`` answers calls without a socket, ``FakeDataServer`` speaks HTTP on loopback in a thread.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc
from cs3.gateway.v1beta1 import gateway_api_pb2
from cs3.rpc.v1beta1 import code_pb2, status_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from cs3.types.v1beta1 import types_pb2

_SERVICE = gateway_api_pb2.DESCRIPTOR.services_by_name["GatewayAPI"]


class FakeRpcError(grpc.RpcError):
    """A gRPC error as a finished future raises it."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class FakeFuture:
    """A future that is finished from the start, or never."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.is_cancelled = False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._outcome is not NEVER:
            callback(self)

    def cancel(self) -> None:
        self.is_cancelled = True

    def result(self) -> Any:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


NEVER = object()
"""An outcome: no answer comes."""


@dataclass
class Made:
    """One call that was made."""

    method: str
    request: Any
    token: str
    timeout: float
    future: FakeFuture


@dataclass
class FakeStub:
    """A gateway stub. ``answers[method]`` is a list of outcomes, the last of which stays; an outcome may be a function of the request."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)
    is_closed: bool = False

    def on(self, method: str, *outcomes: Any) -> FakeStub:
        self.answers[method] = list(outcomes)
        return self

    def methods(self) -> list[str]:
        return [made.method for made in self.made]

    def requests(self, method: str) -> list[Any]:
        return [made.request for made in self.made if made.method == method]

    def __getattr__(self, method: str) -> Any:
        if method not in _SERVICE.methods_by_name:
            raise AttributeError(method)
        return _FakeCallable(self, method)


class _FakeCallable:
    def __init__(self, stub: FakeStub, method: str) -> None:
        self._stub = stub
        self._method = method

    def future(self, request: Any, timeout: float | None = None, metadata: Any = None) -> FakeFuture:
        if self._stub.is_closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        outcomes = self._stub.answers.get(self._method)
        assert outcomes, f"no answer prepared for {self._method}"
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if callable(outcome):
            outcome = outcome(request)
        future = FakeFuture(outcome)
        self._stub.made.append(Made(self._method, request, dict(metadata or ()).get("x-access-token", ""), timeout or 0.0, future))
        return future


class FakeTokens:
    """A token source that counts: "token-1", "token-2", ... at each renewal."""

    def __init__(self) -> None:
        self.number = 1
        self.refused: list[str] = []

    async def token(self) -> str:
        return f"token-{self.number}"

    async def renew(self, refused: str) -> str:
        self.refused.append(refused)
        self.number += 1
        return f"token-{self.number}"


def status(code: str = "OK", message: str = "") -> status_pb2.Status:
    return status_pb2.Status(code=code_pb2.Code.Value(f"CODE_{code}"), message=message, trace="trace-1")


def answer(method: str, code: str = "OK", message: str = "", **fields: Any) -> Any:
    """A response message of a call with a status."""
    descriptor = _SERVICE.methods_by_name[method].output_type
    return descriptor._concrete_class(status=status(code, message), **fields)


def broken(code: str, details: str = "") -> FakeRpcError:
    return FakeRpcError(grpc.StatusCode[code], details)


REFUSED = "failed to connect to all addresses; last error: Connection refused"


def info(path: str = "/home/f", **fields: Any) -> resources_pb2.ResourceInfo:
    """A file's ResourceInfo; ``fields`` replace and add."""
    values: dict[str, Any] = {
        "path": path,
        "type": resources_pb2.RESOURCE_TYPE_FILE,
        "id": resources_pb2.ResourceId(storage_id="s", space_id="p", opaque_id=path),
        "etag": '"e1"',
        "size": 10,
        "mtime": types_pb2.Timestamp(seconds=1000),
    }
    values.update(fields)
    return resources_pb2.ResourceInfo(**{name: value for name, value in values.items() if value is not None})


def folder(path: str = "/home") -> resources_pb2.ResourceInfo:
    return info(path, type=resources_pb2.RESOURCE_TYPE_CONTAINER)


def stat_by_path(**found: Any) -> Callable[[Any], Any]:
    """Answers Stat by the last component of the path; what is not named is not there."""

    def outcome(request: provider_api_pb2.StatRequest) -> Any:
        name = request.ref.path.rpartition("/")[2]
        known = found.get(name)
        return answer("Stat", info=known) if known is not None else answer("Stat", "NOT_FOUND", "path not found when statting")

    return outcome


def download_at(url: str, *, token: str = "transfer", protocol: str = "simple") -> Any:
    message = answer("InitiateFileDownload")
    message.protocols.add(protocol=protocol, download_endpoint=url, token=token)
    return message


def upload_at(url: str, *, token: str = "transfer", protocol: str = "simple") -> Any:
    message = answer("InitiateFileUpload")
    message.protocols.add(protocol="tus", upload_endpoint=url, token="tus-token")
    message.protocols.add(protocol=protocol, upload_endpoint=url, token=token)
    return message


@dataclass
class HttpSeen:
    """One request that the data server saw."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


HttpAnswer = Callable[["_Handler"], None]


class FakeDataServer:
    """An HTTP server that answers each request with the next of ``answers`` (the last stays)."""

    def __init__(self) -> None:
        self.answers: list[HttpAnswer] = []
        self.seen: list[HttpSeen] = []
        self.connections = 0
        self._server = _QuietServer(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/data"

    def on(self, *answers: HttpAnswer) -> FakeDataServer:
        self.answers = list(answers)
        return self

    def next_answer(self) -> HttpAnswer:
        with self._lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def wrap_tls(self, context: Any) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections += 1

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        try:
            self.server.fake.next_answer()(self)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    do_GET = do_PUT = _serve  # noqa: N815 -- the names that http.server looks for

    def note(self, body: bytes = b"") -> None:
        self.server.fake.seen.append(
            HttpSeen(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        )

    def read_body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.note(body)
        return body

    def reply(self, code: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", *, length: int | None = None) -> None:
        self.send_response(code)
        for key, value in headers:
            self.send_header(key, value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def replying(code: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> HttpAnswer:
    """Takes the whole request, then answers; ``length`` -1 leaves Content-Length out, header names use "_" for "-"."""

    def serve(handler: _Handler) -> None:
        handler.read_body()
        handler.reply(code, [(key.replace("_", "-"), value) for key, value in headers.items()], body, length=length)
        if length is not None and length != len(body):
            handler.close_connection = True

    return serve


def serving(content: bytes, *, etag: str = "", ranges: bool = True) -> HttpAnswer:
    """A well-behaved data server for one file."""

    def serve(handler: _Handler) -> None:
        handler.note()
        headers = [("ETag", etag)] if etag else []
        wanted = handler.headers.get("Range")
        if wanted is None:
            handler.reply(200, headers, content)
        elif not ranges:
            handler.reply(416, [("Accept-Ranges", "bytes")])
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1, len(content))
            handler.reply(206, [*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")], content[start:stop])

    return serve


def plain(values: dict[str, str]) -> types_pb2.Opaque:
    return types_pb2.Opaque(
        map={key: types_pb2.OpaqueEntry(decoder="plain", value=value.encode()) for key, value in values.items()}
    )


class MemorySink:
    """Keeps what it is given; ``hold`` may block a write."""

    def __init__(self, hold: Callable[[], None] | None = None) -> None:
        self.data = bytearray()
        self.first: int | None = None
        self.writes = 0
        self._hold = hold

    def write(self, offset: int, data: memoryview) -> None:
        if self._hold is not None:
            self._hold()
        if self.first is None:
            self.first = offset
        assert offset == self.first + len(self.data), "bytes arrive in ascending order"
        self.data += data
        self.writes += 1
