"""Bodies received into a reused buffer: every byte in order, none held back for long, no wait without an end."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trustme

from cs3fuse.client.receiving import PIECE_BYTES, Answer

BODY = os.urandom(3 * PIECE_BYTES + 12_345)


def head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()


@contextlib.contextmanager
def answered(serve: Callable[[socket.socket], None], *, patience_s: float = 5.0) -> Iterator[Answer]:
    """An answer whose head was read; ``serve`` sends it from another thread."""
    ours, theirs = socket.socketpair()
    ours.settimeout(patience_s)
    server = threading.Thread(target=serve, args=(theirs,))
    server.start()
    try:
        answer = Answer(ours, method="GET")
        answer.begin()
        yield answer
    finally:
        ours.close()
        server.join()
        theirs.close()


def stalling(release: threading.Event) -> Callable[[socket.socket], None]:
    """A server that sends 100 000 bytes of the body and then nothing, until it is released."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(head(len(BODY)) + BODY[:100_000])
        release.wait(10)

    return serve


def received(answer: Answer) -> bytes:
    return b"".join(bytes(piece) for piece in answer.receive())


@pytest.mark.parametrize("length", [1, 100, 8191, 8192, 8193, 200_000, PIECE_BYTES, len(BODY)])
def test_all_of_a_body_comes_in_order(length: int):
    """Whatever of it lies in the buffer that the head was read through."""
    with answered(lambda sock: sock.sendall(head(length) + BODY[:length])) as answer:
        assert received(answer) == BODY[:length]
        assert answer.length == 0


def test_a_body_that_begins_after_its_head():
    """Nothing is in the buffer then."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(head(len(BODY)))
        time.sleep(0.05)
        sock.sendall(BODY)

    with answered(serve) as answer:
        assert received(answer) == BODY


def test_what_came_is_not_held_back_for_the_rest_of_its_piece():
    """A slow server: the first block can be read while the second is on its way."""
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(head(len(BODY)) + BODY[:200_000])
        go_on.wait(10)
        sock.sendall(BODY[200_000:])

    with answered(serve) as answer:
        pieces = answer.receive()
        got = b""
        while len(got) < 200_000:
            got += bytes(next(pieces))
        assert not go_on.is_set()
        go_on.set()
        assert got + b"".join(bytes(piece) for piece in pieces) == BODY


def test_a_server_that_stalls_is_not_waited_for():
    """The time-out that the socket had holds for each piece, and is the socket's again."""
    release = threading.Event()
    with answered(stalling(release), patience_s=0.3) as answer:
        try:
            got = b""
            with pytest.raises(TimeoutError):
                for piece in answer.receive():
                    got += bytes(piece)
        finally:
            release.set()
        assert got == BODY[:100_000]
        assert answer._socket.gettimeout() == 0.3


def test_a_socket_that_is_shut_down_ends_the_body():
    """That is how a transfer is given up from outside, while its thread waits."""
    release = threading.Event()
    with answered(stalling(release), patience_s=60) as answer:
        try:
            pieces = answer.receive()
            next(pieces)
            threading.Timer(0.3, answer._socket.shutdown, [socket.SHUT_RDWR]).start()
            assert sum(len(piece) for piece in pieces) < 100_000
        finally:
            release.set()


def test_a_connection_that_ends_early_ends_the_body():
    """What is missing is told by the length."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(head(len(BODY)) + BODY[:500_000])
        sock.shutdown(socket.SHUT_WR)

    with answered(serve) as answer:
        assert received(answer) == BODY[:500_000]
        assert answer.length == len(BODY) - 500_000


def test_a_body_of_unknown_length_is_not_received():
    """It is for ``read``."""
    with answered(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")) as answer:
        assert not answer.can_be_received


def test_over_tls_records_are_put_together():
    """Pieces of more than a record each, every byte in order."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server_context.wrap_socket(theirs, server_side=True) as sock:
            sock.sendall(head(len(BODY)) + BODY)

    server = threading.Thread(target=serve)
    server.start()
    with client_context.wrap_socket(ours, server_hostname="localhost") as sock:
        sock.settimeout(5)
        answer = Answer(sock, method="GET")
        answer.begin()
        pieces = []
        for piece in answer.receive():
            pieces.append(bytes(piece))
            time.sleep(0.005)  # so that records are there when the next piece is asked for, however busy the machine is
    server.join()
    assert b"".join(pieces) == BODY
    assert len(pieces) < len(BODY) // (16 * 1024) // 2
