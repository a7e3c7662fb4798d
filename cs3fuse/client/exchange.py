"""Small requests over HTTP/1.1 on the trio thread: one request, one answer, both of bounded size.

Owns kept-alive connections of its own, apart from those of the worker threads (``client.connections``): a thread costs a small file more
than its bytes do (measured for a GET of 4 KiB: 0.35 ms of CPU and 0.41 ms in a thread, 0.09 and 0.12 ms here). Called by ``client.small``,
from the trio thread only; any number of requests may be under way, each has a connection to itself. Nothing here repeats a request,
follows a redirect or decodes a body: what is not a plain answer of known length is for the worker threads.
Source: RFC 9112 (HTTP/1.1), RFC 9110 (status codes, Content-Length).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from cs3fuse.client import connections
from cs3fuse.client.heads import BadAnswerError, Head, parse_head

SMALL_BYTES: Final = 128 * 1024
"""The largest body that is carried here, of a request and of an answer."""
_MOST_HEAD_BYTES: Final = 64 * 1024
_MOST_IDLE: Final = 16
_PIECE_BYTES: Final = SMALL_BYTES + 4096

# What may be sent as it stands; any other address is for a client that encodes and normalises.
_PLAIN_URL: Final = re.compile(
    r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?((?:/[\w.~!$&'()*+,;=:@%-]*)*)(\?[\w.~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)
_DOTS: Final = re.compile(r"/\.\.?(?:/|\Z)")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")


class BrokenExchangeError(Exception):
    """There is no answer. ``has_sent``: whether anything, a header included, may have reached the server."""

    def __init__(self, reason: str, *, has_sent: bool) -> None:
        super().__init__(reason)
        self.has_sent = has_sent


class ClosedExchangeError(Exception):
    """The mount is ending."""


@dataclass(frozen=True, slots=True)
class _Server:
    """Where a connection goes to."""

    scheme: str
    host: str
    port: int


class _Connection:
    """A connection that never blocks: TLS or not, both ends of it told to wait on trio."""

    def __init__(self, server: _Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.buffered = b""

    @property
    def is_fresh(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    async def handshake(self, tls: ssl.SSLContext) -> None:
        """Begin TLS. Raises: OSError (of ssl)."""
        wrapped = tls.wrap_socket(self.sock, server_hostname=self.server.host, do_handshake_on_connect=False)
        self.sock = wrapped
        while True:
            try:
                wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(wrapped)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(wrapped)
            else:
                return

    async def send(self, data: memoryview) -> int:
        """Send some of it. Returns: how much. Raises: OSError, TimeoutError when nothing leaves for ``PROGRESS_S``."""
        while True:
            try:
                return self.sock.send(data)
            except ssl.SSLWantReadError:
                await _moved(trio.lowlevel.wait_readable, self.sock)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await _moved(trio.lowlevel.wait_writable, self.sock)

    async def receive(self) -> bytes:
        """What comes next, b"" at the end. Raises: OSError, TimeoutError when nothing comes for ``PROGRESS_S``."""
        while True:
            try:
                return self.sock.recv(_PIECE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                await _moved(trio.lowlevel.wait_readable, self.sock)
            except ssl.SSLWantWriteError:
                await _moved(trio.lowlevel.wait_writable, self.sock)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def close(self) -> None:
        """Close it, whoever waits for it gets trio.ClosedResourceError."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()


async def _moved(wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket) -> None:
    with trio.move_on_after(connections.PROGRESS_S) as scope:
        await wait(sock)
    if scope.cancelled_caught:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


class Answer:
    """An answer whose body may still be on its way. Close it. ``is_request_taken``: all of the request was sent before it came."""

    def __init__(self, owner: Exchanges, connection: _Connection, head: Head, *, is_request_taken: bool) -> None:
        self._owner = owner
        self._connection = connection
        self._keeps = head.keeps
        self.status = head.status
        self.headers = head.headers
        self.length_remaining = head.length
        self.is_request_taken = is_request_taken

    async def piece(self) -> bytes:
        """What came next of the body, whose length is known; b"" after its end.

        Raises: OSError, TimeoutError, EOFError: it ended early; ClosedExchangeError. Cancellation: the connection is closed with the answer.
        """
        length, connection = self.length_remaining, self._connection
        assert length is not None
        if not length:
            return b""
        piece, connection.buffered = connection.buffered, b""
        if not piece:
            try:
                piece = await connection.receive()
            except trio.ClosedResourceError:
                raise ClosedExchangeError from None
            if not piece:
                raise EOFError("the connection was closed")
        if len(piece) > length:  # nobody asked for more: what follows belongs to no request
            self._keeps = False
            piece = piece[:length]
        self.length_remaining = length - len(piece)
        return piece

    def close(self) -> None:
        """Keep the connection for the next request if this answer is through, else close it."""
        connection = self._connection
        if self.length_remaining and len(connection.buffered) == self.length_remaining:
            self.length_remaining, connection.buffered = 0, b""
        self._owner.give_back(connection, keeps=self._keeps and self.length_remaining == 0 and not connection.buffered)


class Exchanges:
    """Kept-alive connections to the data servers of one gateway, for small bodies. ``tls`` is how https servers are checked."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: defaultdict[_Server, list[_Connection]] = defaultdict(list)
        self._running: set[_Connection] = set()
        self._is_closed = False
        self.sent_bytes = 0
        """Bytes of bodies that were sent since the start; it only grows."""

    @staticmethod
    def can_carry(url: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is plain enough; else it is for a general client."""
        found = _PLAIN_URL.fullmatch(url)
        return (
            found is not None
            and int(found[3] or 1) < 1 << 16
            and _DOTS.search(found[4]) is None
            and all(value.isascii() and value.isprintable() for value in headers.values())
        )

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send a request that ``can_carry`` accepts, and return the answer with its body unread.

        Raises: BrokenExchangeError: no connection, or it broke, or nothing moved for ``PROGRESS_S``, or what came is no answer;
        ClosedExchangeError.

        Cancellation: the connection is closed; the server may carry the request out all the same.
        """
        found = _PLAIN_URL.fullmatch(url)
        assert found is not None
        server = _Server(found[1], found[2].strip("[]"), int(found[3] or _DEFAULT_PORTS[found[1]]))
        lines = [f"{method} {found[4] or '/'}{found[5] or ''} HTTP/1.1", f"Host: {found[2]}{f':{found[3]}' if found[3] else ''}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((*lines, "\r\n")).encode("ascii")
        has_sent = False
        connection = None
        try:
            connection = self._kept(server) or await self._connected(server)
            has_sent = True
            is_taken = await self._send(connection, head, body)
            return Answer(self, connection, await self._head(connection), is_request_taken=is_taken)
        except trio.ClosedResourceError:
            self._drop(connection)
            raise ClosedExchangeError from None
        # UnicodeError: a host that no name service can be asked for.
        except (OSError, EOFError, BadAnswerError, UnicodeError) as exc:
            self._drop(connection)
            raise BrokenExchangeError(_reason(exc), has_sent=has_sent) from exc
        except BaseException:
            self._drop(connection)
            raise

    def _kept(self, server: _Server) -> _Connection | None:
        idle = self._idle[server]
        while idle:
            connection = idle.pop()
            if connection.is_fresh:
                self._running.add(connection)
                return connection
            connection.close()
        return None

    async def _connected(self, server: _Server) -> _Connection:
        if self._is_closed:
            raise ClosedExchangeError
        failure: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        with trio.move_on_after(connections.CONNECT_S):
            for family, kind, protocol, _, address in await trio.socket.getaddrinfo(
                server.host, server.port, type=socket.SOCK_STREAM
            ):
                connection = _Connection(server, socket.socket(family, kind, protocol))
                self._running.add(connection)
                try:
                    await self._open(connection, address)
                except OSError as exc:
                    failure = exc
                    self.give_back(connection, keeps=False)
                except BaseException:
                    self.give_back(connection, keeps=False)
                    raise
                else:
                    return connection
        raise failure

    async def _open(self, connection: _Connection, address: Any) -> None:
        sock = connection.sock
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex(address) == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        if connection.server.scheme == "https":
            await connection.handshake(self._tls)

    async def _send(self, connection: _Connection, head: bytes, body: bytes) -> bool:
        """Returns: False where the server stopped listening, which it may explain in an answer."""
        rest = memoryview(head + body)
        while rest:
            try:
                count = await connection.send(rest)
            except (BrokenPipeError, ConnectionResetError):
                return False
            rest = rest[count:]
            self.sent_bytes += max(0, min(count, len(body) - len(rest)))
        return True

    @staticmethod
    async def _head(connection: _Connection) -> Head:
        text = b""
        while True:
            found = _HEAD_END.search(text)
            if found is None:
                if len(text) > _MOST_HEAD_BYTES:
                    raise BadAnswerError("its head has no end")
                piece = await connection.receive()
                if not piece:
                    raise EOFError("the connection was closed without an answer")
                text += piece
                continue
            head = parse_head(text[: found.start()])
            text = text[found.end() :]
            if head.status >= 200:
                connection.buffered = text
                return head

    def _drop(self, connection: _Connection | None) -> None:
        if connection is not None:
            self.give_back(connection, keeps=False)

    def give_back(self, connection: _Connection, *, keeps: bool) -> None:
        """A request is over; keep its connection or close it."""
        self._running.discard(connection)
        idle = self._idle[connection.server]
        if keeps and not self._is_closed and len(idle) < _MOST_IDLE:
            idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all connections; requests that are under way end with ClosedExchangeError."""
        self._is_closed = True
        for connection in (*self._running, *(connection for idle in self._idle.values() for connection in idle)):
            with contextlib.suppress(OSError):
                connection.close()
        self._idle.clear()


def _reason(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
