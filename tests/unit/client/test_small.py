"""Files of at most a block: fetched and sent without a thread, with the same meaning as by one (``test_data``)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from cs3fuse import errors
from cs3fuse.client import connections, fetching
from cs3fuse.client.data import Cs3Data
from cs3fuse.client.exchange import SMALL_BYTES
from cs3fuse.model import ByteRange, Entry, Kind, Location, PathRoot
from cs3fuse.ports import ExpectAbsent, UploadSource
from tests.unit.client.fakes import FakeDataServer, FakeStub, MemorySink, answer, download_at, info, replying, serving, upload_at

A = Location(PathRoot("/home"), "a")
CONTENT = bytes(range(256)) * 20
SIZE = len(CONTENT)
ENTRY = Entry("a", Kind.FILE, size=SIZE, mtime_ns=1_000_000_000_000, etag='"e1"')
LARGE = bytes(range(256)) * 2048
STAT = answer("Stat", info=info("/home/a", size=SIZE))


@pytest.fixture(autouse=True)
def no_threads(data: Cs3Data, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which transfers went to a thread; pauses are short."""
    monkeypatch.setattr(fetching, "_RETRY_PAUSES_S", (0.001, 0.001, 0.001))
    taken: list[str] = []
    for threads in (data._uploads, data._downloading.threads):
        run = threads.run

        async def counted(work: Any, run: Any = run) -> Any:
            taken.append("thread")
            return await run(work)

        monkeypatch.setattr(threads, "run", counted)
    return taken


async def fetch(data: Cs3Data, wanted: ByteRange | None = None, *, expected: Entry = ENTRY, sink: Any = None) -> bytes:
    sink = sink or MemorySink()
    await data.fetch(A, wanted, sink, expected=expected)
    return bytes(sink.data)


def chunked(handler: Any) -> None:
    """A data server that does not tell lengths."""
    handler.note()
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 0-9/{SIZE}")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"a\r\n" + CONTENT[:10] + b"\r\n0\r\n\r\n")


# -- downloads -------------------------------------------------------------------------------------------------------------------


async def test_whole_file(data: Cs3Data, stub: FakeStub, server: FakeDataServer, no_threads: list[str]) -> None:
    """With the headers that a thread would send."""
    server.on(serving(CONTENT, etag='"e1"'))
    stub.on("InitiateFileDownload", download_at(server.url))
    sink = MemorySink()
    fetched = await data.fetch(A, None, sink, expected=ENTRY)
    assert (bytes(sink.data), fetched.total, fetched.etag) == (CONTENT, SIZE, '"e1"')
    assert no_threads == []
    assert server.seen[0].headers == {
        "host": server.url.split("/")[2],
        "x-access-token": "token-1",
        "user-agent": "cs3fuse",
        "x-reva-transfer": "transfer",
        "accept-encoding": "identity",
    }


async def test_ranges_of_a_large_file(data: Cs3Data, stub: FakeStub, server: FakeDataServer, no_threads: list[str]) -> None:
    """What is small is the answer, not the file; a larger range takes a thread."""
    server.on(serving(LARGE))
    stub.on("InitiateFileDownload", download_at(server.url))
    expected = Entry("a", Kind.FILE, size=len(LARGE))
    for wanted in (ByteRange(7, 11), ByteRange(SMALL_BYTES, 2 * SMALL_BYTES)):
        assert await fetch(data, wanted, expected=expected) == LARGE[wanted.start : wanted.stop]
    assert no_threads == []
    assert await fetch(data, ByteRange(0, SMALL_BYTES + 1), expected=expected) == LARGE[: SMALL_BYTES + 1]
    assert no_threads == ["thread"]


async def test_the_slice_of_an_answer_without_ranges(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, no_threads: list[str]
) -> None:
    """200 to a range, whole: of a small file it is cut here, of a large one a thread passes over what comes before."""
    stub.on("InitiateFileDownload", download_at(server.url))
    for content in (CONTENT, LARGE):
        server.on(replying(200, content))
        expected = Entry("a", Kind.FILE, size=len(content))
        assert await fetch(data, ByteRange(100, 200), expected=expected) == content[100:200]
    assert no_threads == ["thread"]


async def test_an_answer_without_a_length_is_for_a_thread(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, no_threads: list[str]
) -> None:
    """It knows chunks; the GET is made once more."""
    server.on(chunked)
    stub.on("InitiateFileDownload", download_at(server.url))
    assert await fetch(data, ByteRange(0, 10)) == CONTENT[:10]
    assert no_threads == ["thread"]
    assert len(server.seen) == 2


async def test_an_address_that_is_not_plain_is_for_a_thread(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, no_threads: list[str]
) -> None:
    """It encodes what has to be encoded."""
    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url + "/ü b"))
    assert await fetch(data) == CONTENT
    assert no_threads == ["thread"]
    assert server.seen[0].path == "/data/%C3%BC%20b"


@pytest.mark.parametrize(
    ("serve", "failure"),
    [
        (replying(200, CONTENT, ETag='"e2"'), errors.StaleError),
        (replying(200, CONTENT[:-1]), errors.BadDataError),
        (replying(200, CONTENT, length=-1), errors.BadDataError),
        (replying(206, CONTENT, Content_Range=f"bytes 0-{SIZE - 1}/{SIZE}"), errors.BadDataError),
        (replying(403), errors.AccessDeniedError),
        (replying(302, Location="http://127.0.0.1:1/"), errors.Cs3FuseError),
        (replying(204), errors.Cs3FuseError),
    ],
)
async def test_what_is_not_the_file_is_refused(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, serve: Any, failure: type[Exception], no_threads: list[str]
) -> None:
    """Before a byte of it reaches the sink."""
    server.on(serve)
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", STAT)
    sink = MemorySink()
    with trio.fail_after(5), pytest.raises(failure):
        await fetch(data, sink=sink)
    assert sink.writes == 0
    assert no_threads == []


async def test_a_storage_without_ranges(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """As Reva's local driver says it."""
    server.on(serving(LARGE, ranges=False))
    stub.on("InitiateFileDownload", download_at(server.url))
    with pytest.raises(errors.RangesUnsupportedError):
        await fetch(data, ByteRange(5, 10), expected=Entry("a", Kind.FILE, size=len(LARGE)))


async def test_a_body_that_breaks_off(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """It is not the file; the sink has what came, as from a thread."""
    server.on(replying(200, CONTENT[:100], length=SIZE))
    stub.on("InitiateFileDownload", download_at(server.url))
    sink = MemorySink()
    with pytest.raises(errors.BadDataError):
        await fetch(data, sink=sink)
    assert bytes(sink.data) == CONTENT[:100]


async def test_a_slow_body_is_seen_to_move(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Whoever watches for stalls looks at the sink: it gets each part as it comes."""
    sink, came = MemorySink(), []

    def trickle(handler: Any) -> None:
        handler.note()
        handler.reply(200, body=CONTENT[:7], length=SIZE)
        while not sink.data:
            threading.Event().wait(0.005)
        came.append(bytes(sink.data))
        handler.wfile.write(CONTENT[7:])

    server.on(trickle)
    stub.on("InitiateFileDownload", download_at(server.url))
    with trio.fail_after(5):
        assert await fetch(data, sink=sink) == CONTENT
    assert came == [CONTENT[:7]]


async def test_no_answer_is_asked_again(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Some times."""

    def hang_up(handler: Any) -> None:
        handler.note()
        handler.reset()

    server.on(hang_up, serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert await fetch(data) == CONTENT
    server.on(hang_up)
    with pytest.raises(errors.UnavailableError):
        await fetch(data)


async def test_a_server_that_stalls_is_given_up(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte for a minute (here: a moment)."""
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        handler.reply(200, body=CONTENT[:100], length=SIZE)
        release.wait(10)

    monkeypatch.setattr(connections, "PROGRESS_S", 0.2)
    server.on(stall)
    stub.on("InitiateFileDownload", download_at(server.url))
    with trio.fail_after(5), pytest.raises(errors.DeadlineError):
        await fetch(data)
    release.set()


async def test_what_the_sink_raises_comes_through(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """And costs nothing else: the connection goes on."""

    def full() -> None:
        raise OSError(28, "no space")

    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    with pytest.raises(OSError, match="no space"):
        await fetch(data, sink=MemorySink(full))
    assert await fetch(data) == CONTENT
    assert server.connections == 1


async def test_closing_stops_running_transfers(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Callable[[bytes], UploadSource]
) -> None:
    """The mount can end while a server stalls."""
    reached, release = threading.Barrier(3, timeout=10), threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        reached.wait()
        release.wait(10)
        handler.close_connection = True

    async def expect_unavailable(call: Callable[[], Any]) -> None:
        with pytest.raises(errors.UnavailableError):
            await call()

    server.on(stall)
    stub.on("InitiateFileDownload", download_at(server.url)).on("InitiateFileUpload", upload_at(server.url))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_unavailable, lambda: fetch(data))
            nursery.start_soon(expect_unavailable, lambda: data.upload(A, source(CONTENT), expect=ExpectAbsent()))
            await trio.to_thread.run_sync(reached.wait)
            data.close()
    release.set()


# -- uploads -----------------------------------------------------------------------------------------------------------------------


Source = Callable[[bytes], UploadSource]


async def test_one_put(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, no_threads: list[str]) -> None:
    """Exact length, the two tokens, the answer's etag; one byte more than a block takes a thread."""
    server.on(replying(201, ETag='"new"'))
    stub.on("InitiateFileUpload", upload_at(server.url))
    assert await data.upload(A, source(bytes(SMALL_BYTES)), expect=ExpectAbsent()) == '"new"'
    [seen] = server.seen
    assert seen.body == bytes(SMALL_BYTES)
    assert seen.headers == {
        "host": server.url.split("/")[2],
        "x-access-token": "token-1",
        "user-agent": "cs3fuse",
        "x-reva-transfer": "transfer",
        "content-type": "application/octet-stream",
        "upload-length": str(SMALL_BYTES),
        "content-length": str(SMALL_BYTES),
    }
    assert data.sent_bytes == SMALL_BYTES
    assert no_threads == []
    await data.upload(A, source(bytes(SMALL_BYTES + 1)), expect=ExpectAbsent())
    assert no_threads == ["thread"]
    assert data.sent_bytes == 2 * SMALL_BYTES + 1


@pytest.mark.parametrize("received", [0, 1, SIZE])
async def test_a_put_that_breaks_is_unknown(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, received: int
) -> None:
    """Nothing is sent again from here."""

    def break_off(handler: Any) -> None:
        handler.note(handler.rfile.read(received))
        handler.reset()

    server.on(break_off)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert len(server.seen) == 1
    assert stub.methods() == ["InitiateFileUpload"]


async def test_an_answer_that_is_none_is_unknown(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """The file may have been stored."""

    def babble(handler: Any) -> None:
        handler.read_body()
        handler.wfile.write(b"stored!\r\n\r\n")
        handler.close_connection = True

    server.on(babble)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())


async def test_a_put_without_an_answer_is_given_up(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute (here: a moment)."""
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.read_body()
        release.wait(10)
        handler.close_connection = True

    monkeypatch.setattr(connections, "PROGRESS_S", 0.2)
    server.on(stall)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with trio.fail_after(5), pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    release.set()


async def test_success_before_the_body_is_no_success(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """Where the rest could not be sent any more."""

    def hasty(handler: Any) -> None:
        handler.note()
        handler.reply(200)
        handler.reset()

    server.on(hasty)
    stub.on("InitiateFileUpload", upload_at(server.url))
    data._exchanges._send = _cut_off(data)  # type: ignore[method-assign]
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())


def _cut_off(data: Cs3Data) -> Any:
    """Send the head, then find the connection broken: the kernel would take a small body at once."""
    send = data._exchanges._send

    async def cut(connection: Any, head: bytes, body: bytes) -> bool:
        await send(connection, head, b"")
        return False

    return cut


async def test_no_connection_is_certain(data: Cs3Data, stub: FakeStub, source: Source) -> None:
    """Nothing can have been stored where nobody listens."""
    stub.on("InitiateFileUpload", upload_at("http://127.0.0.1:1/data"))
    with pytest.raises(errors.UnavailableError, match="Connection refused"):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())


async def test_a_staged_file_that_shrank_is_not_sent(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """A local failure, before a byte is sent."""
    stub.on("InitiateFileUpload", upload_at(server.url))
    short = source(b"abc")
    with pytest.raises(errors.LocalStorageError):
        await data.upload(A, UploadSource(short.fd, 10, short.sha1, 0), expect=ExpectAbsent())
    reader, writer = os.pipe()
    with pytest.raises(errors.LocalStorageError):
        await data.upload(A, UploadSource(reader, 10, short.sha1, 0), expect=ExpectAbsent())
    os.close(reader)
    os.close(writer)
    assert server.seen == []
