"""Calls and transfers of the minimal mount: gRPC futures on trio, plain sockets, no retries.

Owns the connections. ``request`` runs on the trio thread, ``download`` and ``send_file`` block and run in threads.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import trio

from bench.bare import Bare, Ticket
from bench.content import MIB

_CALL_S = 60.0


class WireError(Exception):
    """Any failure: it is EIO for the program."""


class Wire:
    """The gateway and the data server of a signed-in user."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self._idle: list[socket.socket] = []

    async def call(self, name: str, request: Any) -> Any:
        """One call. Raises: WireError, also for a status that is not OK."""
        future = getattr(self.bare.stub, name).future(request, metadata=self.bare.metadata, timeout=_CALL_S)
        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        future.add_done_callback(lambda _: token.run_sync_soon(done.set))
        await done.wait()
        answer = future.result()
        if answer.status.code != 1:
            raise WireError(f"{name}: {answer.status.code} {answer.status.message}")
        return answer

    async def request(self, method: str, ticket: Ticket, body: bytes = b"", *, wanted: str = "") -> bytes:
        """One small request over a kept connection; the answer's body. Raises: WireError, OSError."""
        sock = self._idle.pop() if self._idle else None
        if sock is None:
            sock = _connected(ticket)
            sock.settimeout(0)
        rest = memoryview(_head(method, ticket, len(body), wanted) + body)
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
        head, data = b"", b""
        while not head:
            data += await _received(sock)
            head, _, left = data.partition(b"\r\n\r\n") if b"\r\n\r\n" in data else (b"", b"", b"")
        length = _checked(head)
        while len(left) < length:
            left += await _received(sock)
        self._idle.append(sock)
        return left


def _connected(ticket: Ticket) -> socket.socket:
    url = urlsplit(ticket.url)
    sock = socket.create_connection((url.hostname, url.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _head(method: str, ticket: Ticket, length: int, wanted: str) -> bytes:
    url = urlsplit(ticket.url)
    lines = [f"{method} {url.path}{f'?{url.query}' if url.query else ''} HTTP/1.1", f"Host: {url.netloc}"]
    lines += [f"{name}: {value}" for name, value in ticket.headers.items()]
    if method == "PUT":
        lines.append(f"Content-Length: {length}")
    if wanted:
        lines.append(f"Range: bytes={wanted}")
    return "\r\n".join((*lines, "\r\n")).encode()


def _checked(head: bytes) -> int:
    """The length of the body. Raises: WireError: no success."""
    if head[9:10] != b"2":
        raise WireError(head.split(b"\r\n", 1)[0].decode(errors="replace"))
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def _received(sock: socket.socket) -> bytes:
    while True:
        try:
            piece = sock.recv(MIB)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not piece:
            raise WireError("the connection was closed")
        return piece


def _answer_head(sock: socket.socket) -> bytes:
    """What came with the head of the body, in a thread. Raises: WireError."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            raise WireError("the connection was closed")
        data += piece
    head, _, left = data.partition(b"\r\n\r\n")
    _checked(head)
    return left


def download(ticket: Ticket, fd: int, size: int, buffer: memoryview, moved: Callable[[int], None]) -> None:
    """GET into a file, in a thread; ``moved`` hears how far it came."""
    with _connected(ticket) as sock:
        sock.sendall(_head("GET", ticket, 0, ""))
        left = _answer_head(sock)
        position = os.pwrite(fd, left, 0) if left else 0
        while position < size:
            count = sock.recv_into(buffer, min(len(buffer), size - position), socket.MSG_WAITALL)
            if not count:
                raise WireError("the connection was closed")
            os.pwrite(fd, buffer[:count], position)
            position += count
            moved(position)


def send_file(ticket: Ticket, fd: int, size: int) -> None:
    """PUT of a file, in a thread."""
    with _connected(ticket) as sock:
        sock.sendall(_head("PUT", ticket, size, ""))
        position = 0
        while position < size:
            position += os.sendfile(sock.fileno(), fd, position, size - position)
        _answer_head(sock)
