"""HTTP connections to the data server that can be stopped from outside.

Owns the urllib3 pool and the way a running transfer is ended: its socket is shut down, so that the worker thread fails at once wherever
it waits. Used by ``client.transfers``: requests from worker threads, ``Transfer.stop`` and ``ConnectionPool.close`` from the trio thread.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - urllib3 and socket look it up for each host name, the first read should not wait for its import
import errno
import logging
import os
import select
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from cs3fuse.client.receiving import PIECE_BYTES, Answer, buffer
from cs3fuse.errors import LocalStorageError, UnavailableError

CONNECT_S = 10.0
PROGRESS_S = 60.0
BLOCK_BYTES = PIECE_BYTES

_ownership = threading.Lock()
_running = threading.local()


class StoppedError(Exception):
    """The transfer was told to stop; only the worker thread sees this."""


class Transfer:
    """One running request. ``stop`` may be called from any thread, at any time, more than once."""

    def __init__(self) -> None:
        self._is_stopped = False
        self._connection: _StoppableMixin | None = None
        # Whether anything, a header included, may have reached the server.
        self.has_sent = False
        # Bytes of a file that were handed to the connection; written by the worker thread, read by anybody.
        self.sent_bytes = 0

    @property
    def is_stopped(self) -> bool:
        """Whether somebody gave this transfer up."""
        return self._is_stopped

    def stop(self) -> None:
        """End it: a thread that waits for the network fails at once."""
        with _ownership:
            self._is_stopped = True
            connection = self._connection
            # A connection that went back to the pool may serve somebody else by now.
            if connection is not None and connection.owner is self and connection.live_socket is not None:
                _shut_down(connection.live_socket)

    def finish(self) -> None:
        """Let go of the connection, which may be kept for the next request: ``stop`` does not touch it any more."""
        with _ownership:
            if self._connection is not None and self._connection.owner is self:
                self._connection.owner = None
            self._connection = None

    def run_unless_stopped(self, action: Callable[[], int]) -> int:
        """Do something short that must not happen after ``stop`` returned. Raises: StoppedError."""
        with _ownership:
            if self._is_stopped:
                raise StoppedError
            return action()

    def check(self) -> None:
        """Raise StoppedError if somebody gave this transfer up."""
        if self._is_stopped:
            raise StoppedError

    def take(self, connection: _StoppableMixin) -> None:
        """Become the owner of a connection for one request."""
        with _ownership:
            if self._is_stopped:
                raise StoppedError
            self._connection = connection
            connection.owner = self


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not SSLSocket.shutdown: it drops the TLS state first, and a thread in the middle of a write would go on in plain text.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of an open file as a piece of a body. ``path`` is for sentences."""

    fd: int
    offset: int
    size: int
    path: str

    def unreadable(self, exc: OSError) -> LocalStorageError:
        """What to raise when its bytes cannot be read."""
        return LocalStorageError(f"The local copy of {self.path} cannot be read: {exc.strerror}.", call="PUT", path=self.path)

    def too_short(self) -> LocalStorageError:
        """What to raise when they are not there."""
        return LocalStorageError(
            f"The local copy of {self.path} is shorter than {self.offset + self.size} bytes.", call="PUT", path=self.path
        )


def _wait_until_writable(sock: socket.socket) -> None:
    """Raises: TimeoutError after as long as the socket's time-out."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    patience_s = sock.gettimeout()
    if not poll.poll(None if patience_s is None else patience_s * 1000):
        raise TimeoutError("timed out")


class _StoppableMixin:
    """What our connections add to urllib3's: they know whose request they carry, and send with a time-out per progress."""

    owner: Transfer | None = None
    live_socket: socket.socket | None = None
    answer: Answer | None = None

    def response_class(self, *args: Any, **kwargs: Any) -> Answer:
        """How http.client makes an answer; the last one is kept, so that its body can be received without copies."""
        self.answer = Answer(*args, **kwargs)
        return self.answer

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request; called by the pool in the worker thread."""
        transfer = getattr(_running, "transfer", None)
        if transfer is not None:
            transfer.take(self)
        super().request(*args, **kwargs)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        """Send bytes or a part of a file; the socket's time-out holds for each piece that leaves, not for all together (as ``sendall`` would)."""
        if isinstance(data, FilePart):
            self._send_part(data)
            return
        if not isinstance(data, (bytes, bytearray, memoryview)):
            super().send(data)  # type: ignore[misc]
            return
        sock = getattr(self, "sock", None)
        if sock is None:
            self.connect()  # type: ignore[attr-defined]
            sock = self.sock  # type: ignore[attr-defined]
        self._watch(sock)
        # urllib3 sends under the time-out for connecting.
        sock.settimeout(PROGRESS_S)
        view = memoryview(data)
        while view:
            if self.owner is not None:
                self.owner.check()
                self.owner.has_sent = True
            view = view[sock.send(view) :]

    def _send_part(self, part: FilePart) -> None:
        """The kernel sends it from its page cache; what was encrypted, or lies where that cannot be done, goes through memory."""
        sock = self.live_socket  # a body comes after a head
        owner = self.owner
        assert sock is not None
        assert owner is not None
        offset, stop = part.offset, part.offset + part.size
        can_send_file = not isinstance(sock, ssl.SSLSocket)
        while offset < stop:
            owner.check()
            if not can_send_file:
                offset += (count := self._send_read(sock, part, offset))
                owner.sent_bytes += count
                continue
            try:
                count = os.sendfile(sock.fileno(), part.fd, offset, stop - offset)
            except BlockingIOError:
                _wait_until_writable(sock)
                continue
            except OSError as exc:
                if exc.errno == errno.EIO:
                    raise part.unreadable(exc) from exc
                can_send_file = exc.errno not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
                if can_send_file:
                    raise
                continue
            if not count:
                raise part.too_short()
            offset += count
            owner.sent_bytes += count

    @staticmethod
    def _send_read(sock: socket.socket, part: FilePart, offset: int) -> int:
        view = buffer()[: part.offset + part.size - offset]
        try:
            count = os.preadv(part.fd, [view], offset)
        except OSError as exc:
            raise part.unreadable(exc) from exc
        if not count:
            raise part.too_short()
        return sock.send(view[:count])

    def _watch(self, sock: socket.socket) -> None:
        if self.live_socket is sock:
            return
        with _ownership:
            self.live_socket = sock


def answer_of(response: urllib3.BaseHTTPResponse) -> Answer | None:
    """The answer below a response whose body was not read yet; None if its connection is not one of ours."""
    return getattr(response.connection, "answer", None)


class _StoppableHTTP(_StoppableMixin, HTTPConnection):  # type: ignore[misc] # response_class is a class there
    """Plain HTTP."""


class _StoppableHTTPS(_StoppableMixin, HTTPSConnection):  # type: ignore[misc] # as above
    """HTTP over TLS."""


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _StoppableHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _StoppableHTTPS


class ConnectionPool:
    """Kept-alive connections to the data servers of one gateway. Never retries, never follows a redirect.

    Args: ``tls`` is how https data servers are checked; ``is_plain_allowed``: the gateway itself is spoken to without TLS, so data
    may be too (OpenCloud's gRPC is plain and its data server TLS, so both settings are needed at once).
    """

    def __init__(self, *, tls: ssl.SSLContext, is_plain_allowed: bool, size: int) -> None:
        self.tls = tls
        self._is_plain_allowed = is_plain_allowed
        # At DEBUG it logs addresses, which contain the transfer token on public links.
        logging.getLogger("urllib3").setLevel(logging.INFO)
        is_verified = tls.verify_mode is ssl.CERT_REQUIRED
        if not is_verified:
            # Said once, loudly, when the channel was opened; not again for each connection.
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        self._pool = urllib3.PoolManager(
            num_pools=16,
            maxsize=size,
            retries=False,
            ssl_context=tls,
            cert_reqs="CERT_REQUIRED" if is_verified else "CERT_NONE",
            assert_hostname=None if is_verified else False,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=PROGRESS_S),
            # http.client would send files in pieces of 16 KiB otherwise.
            blocksize=BLOCK_BYTES,
        )
        self._pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def check_url(self, url: str) -> None:
        """Raise UnavailableError for an address that must not be used: the token would be readable on the way."""
        scheme = url.partition("://")[0].lower()
        if scheme == "https" or (scheme == "http" and self._is_plain_allowed):
            return
        if scheme == "http":
            raise UnavailableError(
                "The gateway wants data to be sent without TLS, although it is spoken to with TLS; that is refused. "
                "Let the server announce an https address, or mount cs3+plain://."
            )
        raise UnavailableError(f"The gateway names a data server that is not one: {url[:80]!r}.")

    def request(
        self, transfer: Transfer, method: str, url: str, headers: dict[str, str], *, body: Any = None, answer_s: float = PROGRESS_S
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the response with its body unread. Raises urllib3's errors, and StoppedError."""
        transfer.check()
        _running.transfer = transfer
        try:
            return self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=answer_s),
            )
        finally:
            _running.transfer = None

    def close(self) -> None:
        """Close what is idle."""
        self._pool.clear()
