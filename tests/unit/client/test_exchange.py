"""Small requests on the trio thread: what goes over the wire, what comes back, and what a hostile or broken server can do."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.client import connections
from cs3fuse.client.exchange import (
    SMALL_BYTES,
    Answer,
    BrokenExchangeError,
    ClosedExchangeError,
    Exchanges,
)
from cs3fuse.client.heads import BadAnswerError, Head, parse_head
from tests.unit.client.fakes import FakeDataServer, replying, serving

CONTENT = bytes(range(256)) * 20


@pytest.fixture
async def exchanges() -> AsyncIterator[Exchanges]:
    exchanges = Exchanges(ssl.create_default_context())
    yield exchanges
    exchanges.close()


async def get(exchanges: Exchanges, url: str) -> tuple[int, bytes]:
    answer = await exchanges.request("GET", url, {"x-access-token": "t"})
    try:
        return answer.status, await whole(answer)
    finally:
        answer.close()


async def whole(answer: Answer) -> bytes:
    data = b""
    while piece := await answer.piece():
        data += piece
    return data


def raw(text: bytes, *, hangs_up: bool = True) -> Callable[[Any], None]:
    """A server that says just this."""

    def serve(handler: Any) -> None:
        handler.note()
        handler.wfile.write(text)
        handler.wfile.flush()
        handler.close_connection = hangs_up

    return serve


# -- what is right ---------------------------------------------------------------------------------------------------------------


async def test_answers_come_whole_over_one_connection(exchanges: Exchanges, server: FakeDataServer) -> None:
    """Kept alive; the request is a plain one."""
    server.on(serving(CONTENT, etag='"e"'))
    for _ in range(3):
        assert await get(exchanges, server.url + "?a=b") == (200, CONTENT)
    assert server.connections == 1
    assert server.seen[0].path == "/data?a=b"
    assert server.seen[0].headers == {"host": server.url.split("/")[2], "x-access-token": "t"}


async def test_requests_at_once_have_a_connection_each(exchanges: Exchanges, server: FakeDataServer) -> None:
    """None waits for another."""
    both = threading.Barrier(2, timeout=10)

    def together(handler: Any) -> None:
        handler.note()
        both.wait()
        handler.reply(200, body=CONTENT)

    server.on(together)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(get, exchanges, server.url)
    assert server.connections == 2


async def test_a_body_is_sent_and_counted(exchanges: Exchanges, server: FakeDataServer) -> None:
    """The largest one here."""
    body = bytes(SMALL_BYTES)
    server.on(replying(201, b"made"))
    answer = await exchanges.request("PUT", server.url, {"Content-Length": str(len(body))}, body)
    answer.close()
    assert answer.status == 201
    assert answer.is_request_taken
    assert server.seen[0].body == body
    assert exchanges.sent_bytes == len(body)


async def test_the_largest_body_in_small_pieces(exchanges: Exchanges, server: FakeDataServer) -> None:
    """Also where the head comes apart in the middle of its end."""
    body = bytes(range(256)) * (SMALL_BYTES // 256)

    def trickle(handler: Any) -> None:
        handler.note()
        text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        at = text.index(b"\r\n\r\n")
        for piece in (text[:5], text[5 : at + 1], text[at + 1 : at + 3], text[at + 3 : at + 10], text[at + 10 :]):
            handler.wfile.write(piece)
            handler.wfile.flush()
            threading.Event().wait(0.01)

    server.on(trickle)
    assert await get(exchanges, server.url) == (200, body)


async def test_over_tls() -> None:
    """With the authority that was given, and with no other."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    with FakeDataServer() as server:
        server.wrap_tls(theirs)
        server.on(serving(CONTENT))
        url = server.url.replace("http:", "https:")
        trusting, other = Exchanges(ours), Exchanges(ssl.create_default_context())
        for _ in range(2):
            assert await get(trusting, url) == (200, CONTENT)
        assert server.connections == 1
        with pytest.raises(BrokenExchangeError, match="certificate") as caught:
            await get(other, url)
        assert not caught.value.has_sent
        trusting.close()
        other.close()


async def test_informational_answers_are_passed_over(exchanges: Exchanges, server: FakeDataServer) -> None:
    """100 and 103 come before the answer."""
    server.on(
        raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        )
    )
    assert await get(exchanges, server.url) == (200, b"ok")


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok"],
)
async def test_a_connection_that_ends_is_not_used_again(exchanges: Exchanges, server: FakeDataServer, head: bytes) -> None:
    """Whether the server said so or speaks an older version."""
    server.on(raw(head, hangs_up=False))
    for _ in range(2):
        assert await get(exchanges, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_a_kept_connection_that_the_server_closed_is_not_used(exchanges: Exchanges, server: FakeDataServer) -> None:
    """Without a word, as servers do after a while: the next request must not be the one that notices."""
    server.on(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    assert await get(exchanges, server.url) == (200, b"ok")
    [[kept]] = exchanges._idle.values()
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(kept.sock)
    assert await get(exchanges, server.url) == (200, b"ok")
    assert server.connections == 2


async def test_a_kept_connection_that_has_more_to_say_is_not_used(exchanges: Exchanges, server: FakeDataServer) -> None:
    """The next answer would be that of another request."""
    server.on(serving(CONTENT), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", hangs_up=False))
    await get(exchanges, server.url)
    assert await get(exchanges, server.url) == (200, b"ok")
    server.on(serving(CONTENT))
    assert await get(exchanges, server.url) == (200, CONTENT)
    assert server.connections == 2


async def test_the_body_of_a_refusal_does_not_cost_the_connection(exchanges: Exchanges, server: FakeDataServer) -> None:
    """If it came with the head, as it mostly does; it is never given to the next request."""
    server.on(raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", hangs_up=False), serving(CONTENT))
    answer = await exchanges.request("GET", server.url, {})
    answer.close()
    assert answer.status == 404
    assert await get(exchanges, server.url) == (200, CONTENT)
    assert server.connections == 1


# -- what is wrong -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
async def test_what_is_no_answer_is_refused(exchanges: Exchanges, server: FakeDataServer, text: bytes) -> None:
    """An endless head too; the request may have reached somebody."""
    server.on(raw(text))
    with trio.fail_after(5), pytest.raises(BrokenExchangeError) as caught:
        await get(exchanges, server.url)
    assert caught.value.has_sent


async def test_a_body_that_ends_early(exchanges: Exchanges, server: FakeDataServer) -> None:
    """It is not the file, and the connection is not kept."""
    server.on(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), serving(CONTENT))
    with pytest.raises(EOFError):
        await get(exchanges, server.url)
    assert await get(exchanges, server.url) == (200, CONTENT)


async def test_lengths_that_are_not_told(exchanges: Exchanges, server: FakeDataServer) -> None:
    """Chunked or until the end: the head is given, the rest is somebody else's work, the connection is not kept."""
    for head in (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"\r\nabc"):
        server.on(raw(b"HTTP/1.1 200 OK\r\n" + head, hangs_up=False))
        answer = await exchanges.request("GET", server.url, {})
        assert (answer.status, answer.length_remaining) == (200, None)
        answer.close()
    assert not any(exchanges._idle.values())


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"])
async def test_a_server_that_stalls_is_given_up(
    exchanges: Exchanges, server: FakeDataServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Before its answer or in the middle of it."""
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        handler.wfile.write(sent)
        handler.wfile.flush()
        release.wait(10)

    monkeypatch.setattr(connections, "PROGRESS_S", 0.2)
    server.on(stall)
    with trio.fail_after(5), pytest.raises((BrokenExchangeError, TimeoutError)):
        answer = await exchanges.request("GET", server.url, {})
        try:
            await whole(answer)
        finally:
            answer.close()
    release.set()
    assert not exchanges._running


async def test_nobody_listens(exchanges: Exchanges) -> None:
    """Nothing was sent, and that is known."""
    with pytest.raises(BrokenExchangeError, match="Connection refused") as caught:
        await get(exchanges, "http://127.0.0.1:1/x")
    assert not caught.value.has_sent


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_hosts_that_are_no_names(exchanges: Exchanges, host: str) -> None:
    """As if nobody listened."""
    with pytest.raises(BrokenExchangeError) as caught:
        await get(exchanges, f"http://{host}/x")
    assert not caught.value.has_sent


async def test_a_connection_that_never_comes(exchanges: Exchanges, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that drops packets: here one whose queue is full."""
    monkeypatch.setattr(connections, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            waiting.append(sock)
        with trio.fail_after(5), pytest.raises(BrokenExchangeError, match="timed out") as caught:
            await get(exchanges, f"http://127.0.0.1:{port}/x")
        for sock in waiting:
            sock.close()
    assert not caught.value.has_sent
    assert not exchanges._running


async def test_a_refusal_before_the_body_was_taken(exchanges: Exchanges, server: FakeDataServer) -> None:
    """The answer is read although the rest of the body can not be sent any more."""

    def refuse(handler: Any) -> None:
        handler.note()
        handler.reply(413)
        handler.connection.shutdown(socket.SHUT_RD)
        handler.close_connection = True

    server.on(refuse)
    answer = await exchanges.request("PUT", server.url, {"Content-Length": str(SMALL_BYTES)}, bytes(SMALL_BYTES))
    answer.close()
    assert answer.status == 413


# -- given up -----------------------------------------------------------------------------------------------------------------------


async def test_cancelled_requests_close_their_connection(exchanges: Exchanges, server: FakeDataServer) -> None:
    """The next request must not get the answer of this one."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        reached.set()
        release.wait(10)
        handler.reply(200, body=b"late")

    server.on(stall, serving(CONTENT))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get, exchanges, server.url)
            await trio.to_thread.run_sync(reached.wait, 10)
            nursery.cancel_scope.cancel()
        assert not exchanges._running
        release.set()
        assert await get(exchanges, server.url) == (200, CONTENT)


async def test_closing_ends_what_is_under_way(exchanges: Exchanges, server: FakeDataServer) -> None:
    """The mount can end while a server stalls, and nothing begins after that."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        reached.set()
        release.wait(10)

    async def ended() -> None:
        with pytest.raises(ClosedExchangeError):
            await get(exchanges, server.url)

    server.on(stall)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ended)
            await trio.to_thread.run_sync(reached.wait, 10)
            exchanges.close()
        with pytest.raises(ClosedExchangeError):
            await get(exchanges, server.url)
    release.set()


# -- which requests -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "can"),
    [
        ("http://127.0.0.1:9998/data/eyJ.aGk_-", True),
        ("https://data.example.org", True),
        ("https://[::1]:9998/a%20b?x=y", True),
        ("http://h/a b", False),
        ("http://h/ü", False),
        ("http://h/a\r\nX: y", False),
        ("http://h/a\n", False),
        ("http://h/a/../b", False),
        ("http://h/a/.", False),
        ("http://h/a#b", False),
        ("http://user:secret@h/a", False),
        ("http://h:port/a", False),
        ("http://h:65536/a", False),
        ("http:///a", False),
        ("ftp://h/a", False),
        ("", False),
    ],
)
def test_only_plain_addresses_are_carried(url: str, can: bool) -> None:
    """What has to be encoded or normalised first is for a general client."""
    assert Exchanges.can_carry(url, {}) is can


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\n", "ü"])
def test_header_fields_cannot_be_smuggled(value: str) -> None:
    """A lock's holder is named by people."""
    assert not Exchanges.can_carry("http://h/a", {"X-Lock-Holder": value})


@given(st.binary(max_size=300))
def test_any_bytes_are_a_head_or_none(text: bytes) -> None:
    """Nothing but BadAnswerError leaves the parser."""
    try:
        head = parse_head(b"HTTP/1.1 200 OK\r\n" + text)
    except BadAnswerError:
        return
    assert isinstance(head, Head)
    assert head.length is None or head.length >= 0


def test_header_fields_are_found_under_any_spelling() -> None:
    """As servers write them."""
    head = parse_head(b'HTTP/1.1 206 Partial\r\nETAG:\t"e" \r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 3, 3')
    assert head == Head(206, head.headers, 3, keeps=True)
    assert (head.headers.get("ETag"), head.headers.get("X-a"), head.headers.get("none")) == ('"e"', "1, 2", None)
    assert "etag" in head.headers
    assert "ETag" in head.headers
