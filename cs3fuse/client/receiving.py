"""Bodies of answers, received into one buffer of the thread that reads them.

Owns the way from the socket to memory: large pieces, few system calls, no new memory. Each call of the system gives the interpreter's
lock away and has to wait for it, which costs more than the bytes as soon as several transfers run. ``client.connections`` makes the
answers, ``client.transfers`` reads their bodies; an answer belongs to one worker thread.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import mmap
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

PIECE_BYTES: Final = 1 << 20
_LEAST_BYTES: Final = 1 << 17
"""The first piece, and any after a slow one: a block of the store."""
_QUICK_S: Final = 0.01
"""A piece that came within this time is followed by one twice as large."""
_LOOK_S: Final = 0.2
"""How long bytes that came are held back at most while the rest of their piece is due."""

_memory = threading.local()


def buffer() -> memoryview:
    """The buffer of this thread: for bytes that are done with before the thread does anything else."""
    found: memoryview | None = getattr(_memory, "buffer", None)
    if found is None:
        # Mapped: a bytearray is zeroed first, 0.5 ms for a thread that may only receive a few bytes.
        found = _memory.buffer = memoryview(mmap.mmap(-1, PIECE_BYTES))
    return found


class Answer(http.client.HTTPResponse):
    """An answer with a body of known length that can be received without copies, beside all that http.client offers."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._socket = sock
        # What came together with the head lies in the file object's own buffer.
        self._has_buffered = True
        self._waits_in_kernel = False

    @property
    def can_be_received(self) -> bool:
        """Whether the length of the body is known, so that ``receive`` may be used instead of ``read``."""
        return self.length is not None and not self.chunked and self.fp is not None

    def receive(self) -> Iterator[memoryview]:
        """The body in pieces, as far as it comes: what is missing then is ``length``. A piece is valid until the next one is asked for.

        Close the iterator before anything else is done with the answer. A socket that is shut down ends the body.

        Raises: TimeoutError: nothing came for the time-out that the socket had; OSError.
        """
        wanted = _LEAST_BYTES
        patience_s = self._socket.gettimeout()
        try:
            while self.length:
                began = time.monotonic()
                piece = self._piece(buffer()[: min(wanted, self.length)], patience_s)
                if not piece:
                    return
                self.length -= len(piece)
                wanted = min(wanted * 2, PIECE_BYTES) if time.monotonic() - began < _QUICK_S else _LEAST_BYTES
                yield piece
        finally:
            if self._waits_in_kernel:
                # As others expect it; it may be closed by now.
                with contextlib.suppress(OSError):
                    self._socket.settimeout(patience_s)

    def _piece(self, view: memoryview, patience_s: float | None) -> memoryview:
        if self._has_buffered:
            # One read gives all that is buffered, or asks the socket; as large as the buffer it leaves nothing behind in it.
            piece = self.fp.read1(len(view))
            self._has_buffered = len(view) < io.DEFAULT_BUFFER_SIZE
            return memoryview(piece)
        if isinstance(self._socket, ssl.SSLSocket):
            return view[: self._decrypt(view, self._socket)]
        if not self._waits_in_kernel:
            self._waits_in_kernel = True
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(_LOOK_S * 1_000_000)))
        until = math.inf if patience_s is None else time.monotonic() + patience_s
        while True:
            try:
                return view[: self._socket.recv_into(view, len(view), socket.MSG_WAITALL)]
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise TimeoutError(f"nothing came for {patience_s:.0f} s") from None

    @staticmethod
    def _decrypt(view: memoryview, sock: ssl.SSLSocket) -> int:
        """Fill the view from TLS records (16 KiB each) that are there; waits for the first one only."""
        count = sock.recv_into(view)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while 0 < count < len(view) and (sock.pending() or poll.poll(0)):
            more = sock.recv_into(view[count:])
            if not more:
                break
            count += more
        return count
