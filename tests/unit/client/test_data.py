"""Downloads and uploads against a data server that answers what the test says; the gateway is a script."""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from cs3fuse import errors
from cs3fuse.client import connections, fetching
from cs3fuse.client.calls import Calls
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.data import Cs3Data, mtime_text
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.model import ByteRange, Entry, Kind, Location, Lock, PathRoot
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag, Fetched, UploadSource
from tests.unit.client.fakes import (
    FakeDataServer,
    FakeStub,
    FakeTokens,
    MemorySink,
    answer,
    broken,
    download_at,
    folder,
    info,
    plain,
    replying,
    serving,
    stat_by_path,
    upload_at,
)

A = Location(PathRoot("/home"), "a")
CONTENT = bytes(range(256)) * 12_000  # about 3 MiB: several pieces
ENTRY = Entry("a", Kind.FILE, size=len(CONTENT), mtime_ns=1_000_000_000_000, etag='"e1"')
STAT = answer("Stat", info=info("/home/a", size=len(CONTENT)))
GOOD_TOKEN = answer("WhoAmI")
BAD_TOKEN = answer("WhoAmI", "UNAUTHENTICATED", "error dismantling token")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sockets need the real clock: pauses are short instead."""
    monkeypatch.setattr(fetching, "_RETRY_PAUSES_S", (0.001, 0.001, 0.001))


async def fetch(
    data: Cs3Data, wanted: ByteRange | None = None, *, expected: Entry = ENTRY, sink: Any = None
) -> tuple[bytes, Fetched]:
    sink = sink or MemorySink()
    fetched = await data.fetch(A, wanted, sink, expected=expected)
    if wanted is not None and sink.first is not None:
        assert sink.first == wanted.start
    return bytes(sink.data), fetched


# -- downloads: what is right ----------------------------------------------------------------------------------------------------


async def test_whole_file(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """All bytes, both tokens sent, nothing compressed."""
    server.on(serving(CONTENT, etag='"e1"'))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert await fetch(data) == (CONTENT, Fetched('"e1"', len(CONTENT)))
    headers = server.seen[0].headers
    assert (headers["x-access-token"], headers["x-reva-transfer"], headers["accept-encoding"]) == (
        "token-1",
        "transfer",
        "identity",
    )


@pytest.mark.parametrize(
    "wanted", [ByteRange(0, 1), ByteRange(5, 2_500_000), ByteRange(len(CONTENT) - 1, len(CONTENT)), ByteRange(0, len(CONTENT))]
)
async def test_ranges(data: Cs3Data, stub: FakeStub, server: FakeDataServer, wanted: ByteRange) -> None:
    """Exactly the bytes asked for, at their place."""
    server.on(serving(CONTENT, etag='"e1"'))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert (await fetch(data, wanted))[0] == CONTENT[wanted.start : wanted.stop]


async def test_ranges_past_the_end_are_clipped(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Readers round up to blocks; nothing beyond the end costs no request."""
    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    start = len(CONTENT) - 10
    assert (await fetch(data, ByteRange(start, start + 1000)))[0] == CONTENT[-10:]
    assert (await fetch(data, ByteRange(len(CONTENT), len(CONTENT) + 1)))[0] == b""
    assert len(server.seen) == 1


@pytest.mark.parametrize("wanted", [ByteRange(0, 10), ByteRange(1_500_000, 1_500_100), ByteRange(len(CONTENT) - 7, len(CONTENT))])
async def test_the_slice_of_an_answer_without_ranges(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, wanted: ByteRange
) -> None:
    """200 to a ranged request is the whole file: the slice is taken here."""
    server.on(replying(200, CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert (await fetch(data, wanted))[0] == CONTENT[wanted.start : wanted.stop]


async def test_many_ranges_use_one_ticket_and_one_connection(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Initiations and connections cost more than small ranges."""
    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    for start in range(0, 1000, 100):
        await fetch(data, ByteRange(start, start + 100))
    assert stub.methods() == ["InitiateFileDownload"]
    assert server.connections == 1


async def test_empty_file(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Nothing arrives, and that is right."""
    server.on(serving(b""))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert (await fetch(data, expected=Entry("a", Kind.FILE)))[0] == b""


async def test_folders_are_not_fetched(data: Cs3Data, stub: FakeStub) -> None:
    """Driver local answers 200 with a length and no body."""
    with pytest.raises(errors.IsDirectoryError):
        await fetch(data, expected=Entry("a", Kind.DIRECTORY))
    assert not stub.made


# -- downloads: what must not pass for the file's bytes -----------------------------------------------------------------------------

HTML = b"<html>Bad gateway</html>"
BAD_ANSWERS: list[tuple[str, Any, ByteRange | None, type[errors.Cs3FuseError]]] = [
    ("other etag", serving(CONTENT, etag='"e2"'), None, errors.StaleError),
    ("other etag of a range", serving(CONTENT, etag='"e2"'), ByteRange(0, 10), errors.StaleError),
    ("error page with 200", replying(200, HTML, Content_Type="text/html"), None, errors.BadDataError),
    ("error page for a range", replying(200, HTML, Content_Type="text/html"), ByteRange(0, 10), errors.BadDataError),
    ("no length", replying(200, CONTENT, length=-1, Connection="close"), None, errors.BadDataError),
    ("short body", replying(200, CONTENT[:-1], length=len(CONTENT)), None, errors.BadDataError),
    (
        "short range",
        replying(206, b"12345", length=10, Content_Range=f"bytes 0-9/{len(CONTENT)}"),
        ByteRange(0, 10),
        errors.BadDataError,
    ),
    ("longer file", serving(CONTENT + b"x"), ByteRange(0, 10), errors.BadDataError),
    (
        "other range",
        replying(206, b"1234567890", Content_Range=f"bytes 1-10/{len(CONTENT)}"),
        ByteRange(0, 10),
        errors.BadDataError,
    ),
    ("range without its place", replying(206, b"1234567890"), ByteRange(0, 10), errors.BadDataError),
    ("range of unknown size", replying(206, b"1234567890", Content_Range="bytes 0-9/*"), ByteRange(0, 10), errors.BadDataError),
    (
        "several parts",
        replying(206, b"--x", Content_Type="multipart/byteranges; boundary=x"),
        ByteRange(0, 10),
        errors.BadDataError,
    ),
    (
        "length against range",
        replying(206, b"12345678901", Content_Range=f"bytes 0-9/{len(CONTENT)}"),
        ByteRange(0, 10),
        errors.BadDataError,
    ),
    ("piece instead of whole", replying(206, CONTENT[:10], Content_Range=f"bytes 0-9/{len(CONTENT)}"), None, errors.BadDataError),
    ("moved", replying(302, Location="http://127.0.0.1:1/steal"), None, errors.ServerError),
    ("no ranges", serving(CONTENT, ranges=False), ByteRange(0, 10), errors.RangesUnsupportedError),
    ("shorter now", replying(416, Content_Range="bytes */5"), ByteRange(0, 10), errors.BadDataError),
]


@pytest.mark.parametrize(("answered", "wanted", "kind"), [row[1:] for row in BAD_ANSWERS], ids=[row[0] for row in BAD_ANSWERS])
async def test_what_is_not_the_file_is_refused(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, answered: Any, wanted: ByteRange | None, kind: type[errors.Cs3FuseError]
) -> None:
    """Wrong version, wrong size, error page, wrong place: an error, and but for cut bodies not a byte reaches the sink."""
    server.on(answered)
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", STAT)
    sink = MemorySink()
    with pytest.raises(errors.Cs3FuseError) as caught:
        await fetch(data, wanted, sink=sink)
    assert type(caught.value) is kind
    assert sink.data == b"" or (CONTENT.startswith(sink.data) and kind is errors.BadDataError) or sink.data == b"12345"


@pytest.mark.parametrize("answered", [serving(CONTENT[:100]), replying(416, Content_Range="bytes */100")])
async def test_another_size_that_stat_confirms_is_another_version(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, answered: Any
) -> None:
    """Reva's answers carry no etag: Stat decides between "changed" and "not the file"."""
    server.on(answered)
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", answer("Stat", info=info(size=100)))
    with pytest.raises(errors.StaleError):
        await fetch(data, ByteRange(0, 100_000))


@pytest.mark.parametrize(("told", "known"), [('"e1"', "e1"), ("e1", '"e1"'), ('W/"e1"', '"e1"')])
async def test_etags_are_compared_without_their_quotes(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, told: str, known: str
) -> None:
    """cephfs tells them without, proxies make them weak."""
    server.on(serving(CONTENT, etag=told))
    stub.on("InitiateFileDownload", download_at(server.url))
    await fetch(data, expected=Entry("a", Kind.FILE, size=len(CONTENT), etag=known))


async def test_a_body_that_breaks_off_with_a_reset(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """What had arrived was right; the rest is an error, and it is not tried again over it."""

    def serve(handler: Any) -> None:
        handler.note()
        handler.reply(200, body=CONTENT[:1_000_000], length=len(CONTENT))
        handler.reset()

    server.on(serve)
    stub.on("InitiateFileDownload", download_at(server.url))
    with pytest.raises(errors.BadDataError):
        await fetch(data)
    assert len(server.seen) == 1


async def test_what_the_sink_raises_comes_through(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Also an OSError, which must not be taken for one of the network."""
    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))

    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await fetch(data, sink=MemorySink(full))
    assert len(server.seen) == 1


# -- downloads: what is tried again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 409])
async def test_a_reused_ticket_that_is_refused_costs_one_initiation(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, status: int
) -> None:
    """Transfer tokens expire and name a path: 403 and 404 may only mean that."""
    server.on(serving(CONTENT), replying(status), serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    await fetch(data)
    assert (await fetch(data))[0] == CONTENT
    assert stub.methods() == ["InitiateFileDownload"] * 2


@pytest.mark.parametrize(
    ("status", "kind"), [(403, errors.AccessDeniedError), (409, errors.LockedError), (405, errors.UnsupportedError)]
)
async def test_a_fresh_ticket_that_is_refused_is_final(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, status: int, kind: type[errors.Cs3FuseError]
) -> None:
    """It cannot have expired."""
    server.on(replying(status))
    stub.on("InitiateFileDownload", download_at(server.url))
    with pytest.raises(kind):
        await fetch(data)
    assert len(server.seen) == 1


async def test_401_renews_the_token_once(data: Cs3Data, stub: FakeStub, server: FakeDataServer, tokens: FakeTokens) -> None:
    """The same transfer token works with a fresh access token."""
    server.on(replying(401), serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url)).on("WhoAmI", BAD_TOKEN)
    assert (await fetch(data))[0] == CONTENT
    assert server.seen[1].headers["x-access-token"] == "token-2"
    assert stub.methods() == ["InitiateFileDownload", "WhoAmI"]


@pytest.mark.parametrize(("whoami", "renewals"), [(GOOD_TOKEN, 0), (BAD_TOKEN, 1)])
async def test_endless_401_is_access_denied(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, tokens: FakeTokens, whoami: Any, renewals: int
) -> None:
    """No login loop, whatever WhoAmI says; not even over several fetches."""
    server.on(replying(401))
    stub.on("InitiateFileDownload", download_at(server.url)).on("WhoAmI", whoami)
    for _ in range(3):
        with pytest.raises(errors.AccessDeniedError):
            await fetch(data)
    assert len(tokens.refused) == renewals


async def test_a_missing_file(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """404 with Stat agreeing is final; with the file there it was being replaced (Reva) and is asked for once more."""
    server.on(replying(404))
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", answer("Stat", "NOT_FOUND"))
    with pytest.raises(errors.NotFoundError):
        await fetch(data)
    server.on(replying(404), serving(CONTENT))
    stub.on("Stat", STAT)
    assert (await fetch(data))[0] == CONTENT


async def test_a_file_in_processing_is_waited_for(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """OpenCloud answers 500 until it is done with a new file."""
    processing = answer("Stat", info=info(size=len(CONTENT), opaque=plain({"status": "processing"})))
    server.on(replying(500), replying(500), replying(500), serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", processing, processing, STAT)
    assert (await fetch(data))[0] == CONTENT


async def test_a_file_that_stays_in_processing_is_busy(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """The reason is told before the caller's time is over."""
    server.on(replying(500))
    processing = answer("Stat", info=info(size=len(CONTENT), opaque=plain({"status": "processing"})))
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", processing)
    with trio.fail_after(2), pytest.raises(errors.BusyError):
        await fetch(data)


async def test_500_without_a_reason(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Tried once more, because it may have been finished between GET and Stat; then it is the server's failure."""
    server.on(replying(500))
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", STAT)
    with pytest.raises(errors.ServerError):
        await fetch(data)
    assert len(server.seen) == 2


async def test_500_of_another_version(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """Somebody replaced it."""
    server.on(replying(500))
    stub.on("InitiateFileDownload", download_at(server.url)).on("Stat", answer("Stat", info=info(size=1)))
    with pytest.raises(errors.StaleError):
        await fetch(data)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_overloaded_server_is_asked_again(data: Cs3Data, stub: FakeStub, server: FakeDataServer, status: int) -> None:
    """A few times; then it is said."""
    server.on(replying(status), replying(status), serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert (await fetch(data))[0] == CONTENT
    server.on(replying(status))
    with pytest.raises(errors.UnavailableError):
        await fetch(data)
    assert len(server.seen) == 3 + 4


async def test_no_answer_is_asked_again(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """A kept connection that the server closed in this moment must not be the user's error."""

    def hang_up(handler: Any) -> None:
        handler.note()
        handler.reset()

    server.on(hang_up, serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    assert (await fetch(data))[0] == CONTENT
    server.on(hang_up)
    with pytest.raises(errors.UnavailableError):
        await fetch(data)


async def test_a_server_that_stalls_is_given_up(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte for a minute (here: a moment) ends the transfer; no thread waits for ever."""
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        handler.reply(200, body=CONTENT[:1000], length=len(CONTENT))
        release.wait(10)

    original = data._pool.request
    monkeypatch.setattr(data._pool, "request", lambda *args, **kwargs: original(*args, **{**kwargs, "answer_s": 0.2}))
    server.on(stall)
    stub.on("InitiateFileDownload", download_at(server.url))
    with pytest.raises(errors.DeadlineError):
        await fetch(data)
    release.set()


# -- downloads: given up -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [-1, 0, 100_000])
async def test_a_cancelled_download_ends_its_thread(data: Cs3Data, stub: FakeStub, server: FakeDataServer, sent: int) -> None:
    """Waiting for the answer, for the first byte, or in the middle: the caller returns at once and the thread ends soon after."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        if sent >= 0:
            handler.reply(200, body=CONTENT[:sent], length=len(CONTENT))
        reached.set()
        release.wait(10)

    server.on(stall)
    stub.on("InitiateFileDownload", download_at(server.url))
    sink = MemorySink()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch_into, data, sink)
            await trio.to_thread.run_sync(reached.wait, 10)
            nursery.cancel_scope.cancel()
    await _all_threads_ended(data._downloading.threads)
    written = len(sink.data)
    release.set()
    assert len(sink.data) == written


async def fetch_into(data: Cs3Data, sink: MemorySink) -> None:
    await data.fetch(A, None, sink, expected=ENTRY)


async def _all_threads_ended(threads: Any) -> None:
    """The limiter's places are free again: no thread runs."""
    with trio.fail_after(5):
        while threads._limiter.borrowed_tokens:
            await trio.lowlevel.checkpoint()


async def test_no_byte_after_the_sink_was_given_up(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """A sink that blocks (to pace) when the caller goes sees at most the write that it is in."""
    in_write, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        in_write.set()
        go_on.wait(10)

    server.on(serving(CONTENT))
    stub.on("InitiateFileDownload", download_at(server.url))
    sink = MemorySink(hold)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch_into, data, sink)
        await trio.to_thread.run_sync(in_write.wait, 10)
        nursery.cancel_scope.cancel()
    go_on.set()
    await _all_threads_ended(data._downloading.threads)
    assert sink.writes == 1


async def test_closing_stops_running_transfers(data: Cs3Data, stub: FakeStub, server: FakeDataServer) -> None:
    """The mount can end while a server stalls."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        reached.set()
        release.wait(10)

    server.on(stall)
    stub.on("InitiateFileDownload", download_at(server.url))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_unavailable, data)
            await trio.to_thread.run_sync(reached.wait, 10)
            data.close()
    release.set()


async def _expect_unavailable(data: Cs3Data) -> None:
    with pytest.raises(errors.UnavailableError):
        await fetch(data)


# -- uploads -------------------------------------------------------------------------------------------------------------------------


Source = Callable[[bytes], UploadSource]


async def test_one_initiation_one_put(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """Everything that any server looks at is sent, the bytes arrive, the new etag comes back."""
    server.on(replying(200, ETag='"e2"'))
    stub.on("InitiateFileUpload", upload_at(server.url))
    lock = Lock("L", "cs3fuse-1", 2000.0)
    assert await data.upload(A, source(CONTENT), expect=ExpectEtag('"e1"'), lock=lock) == '"e2"'
    request = stub.made[0].request
    assert {key: entry.value.decode() for key, entry in request.opaque.map.items()} == {
        "Upload-Length": str(len(CONTENT)),
        "Upload-Checksum": f"sha1 {hashlib.sha1(CONTENT).hexdigest()}",
        "X-OC-Mtime": "5.000000007",
    }
    assert (request.if_match, request.if_not_exist, request.lock_id) == ('"e1"', False, "L")
    [seen] = server.seen
    assert seen.body == CONTENT
    expected = {
        "content-length": str(len(CONTENT)),
        "upload-length": str(len(CONTENT)),
        "x-access-token": "token-1",
        "x-reva-transfer": "transfer",
        "x-lock-id": "L",
        "x-lock-holder": "cs3fuse-1",
    }
    assert {key: seen.headers.get(key) for key in expected} == expected
    assert "transfer-encoding" not in seen.headers


async def test_a_file_that_the_kernel_cannot_send_goes_through_memory(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have no sendfile(2)."""

    def refuse(*_args: object) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(connections.os, "sendfile", refuse)
    server.on(replying(200))
    stub.on("InitiateFileUpload", upload_at(server.url))
    await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    [seen] = server.seen
    assert seen.body == CONTENT
    assert data.sent_bytes == len(CONTENT)


async def test_an_upload_over_tls(stub: FakeStub, tokens: FakeTokens, source: Source) -> None:
    """The kernel must not send plain bytes into it."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    calls = Calls(stub, tokens)
    data = Cs3Data(calls, Cs3Tree(calls), ConnectionPool(tls=ours, is_plain_allowed=False, size=1))
    with FakeDataServer() as server:
        server.wrap_tls(theirs)
        server.on(replying(200))
        stub.on("InitiateFileUpload", upload_at(server.url.replace("http:", "https:")))
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
        [seen] = server.seen
    assert seen.body == CONTENT


async def test_sent_bytes_are_counted_while_they_are_sent(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source
) -> None:
    """Whoever waits for uploads sees that they move, failed ones included; the count never falls."""
    seen: list[int] = []

    def watch(handler: Any) -> None:
        handler.note(handler.rfile.read(1_500_000))
        seen.append(data.sent_bytes)
        handler.close_connection = True

    server.on(watch)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert 1_500_000 <= seen[0] <= len(CONTENT)
    before = data.sent_bytes
    assert before >= seen[0]
    server.on(replying(200))
    stub.on("InitiateFileUpload", upload_at(server.url))
    await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert data.sent_bytes == before + len(CONTENT)


@pytest.mark.parametrize(
    ("expect", "if_not_exist", "if_match"),
    [(ExpectAbsent(), True, ""), (ExpectEtag(""), False, ""), (ExpectEtag('"e"'), False, '"e"')],
)
async def test_what_is_expected_is_always_sent(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, expect: Expectation, if_not_exist: bool, if_match: str
) -> None:
    """Whether the server honours it or not; without an etag there is nothing to send."""
    server.on(replying(200))
    stub.on("InitiateFileUpload", upload_at(server.url))
    assert await data.upload(A, source(b"x"), expect=expect) is None
    request = stub.made[0].request
    assert (request.if_not_exist, request.if_match) == (if_not_exist, if_match)


PUT_ANSWERS = [
    (206, errors.BadDataError),
    (400, errors.BadRequestError),
    (404, errors.NotFoundError),
    (405, errors.UnsupportedError),
    (409, errors.LockedError),
    (412, errors.ConflictError),
    (413, errors.QuotaError),
    (419, errors.ChecksumError),
    (423, errors.LockedError),
    (429, errors.UnavailableError),
    (500, errors.OutcomeUnknownError),
    (502, errors.OutcomeUnknownError),
    (503, errors.OutcomeUnknownError),
    (504, errors.OutcomeUnknownError),
    (507, errors.QuotaError),
    (302, errors.ServerError),
]


@pytest.mark.parametrize(("status", "kind"), PUT_ANSWERS)
async def test_refused_puts(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, status: int, kind: type[errors.Cs3FuseError]
) -> None:
    """Each status has its meaning and no PUT is made twice."""
    server.on(replying(status))
    stub.on("InitiateFileUpload", upload_at(server.url)).on("Stat", STAT)
    with pytest.raises(kind) as caught:
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert type(caught.value) is kind
    assert len(server.seen) == 1


@pytest.mark.parametrize("refuses", [True, False])
async def test_asking_for_conditions_sends_nothing(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, *, refuses: bool
) -> None:
    """An initiation for a file that must not be there, of the file's own length: with none OpenCloud would empty it."""
    said = answer("InitiateFileUpload", "ALREADY_EXISTS") if refuses else upload_at(server.url)
    stub.on("InitiateFileUpload", said).on("Stat", STAT)
    assert await data.checks_versions(A, source(CONTENT)) is refuses
    request = stub.made[0].request
    assert request.if_not_exist
    assert request.opaque.map["Upload-Length"].value == str(len(CONTENT)).encode()
    assert server.seen == []


@pytest.mark.parametrize("status", [401, 403])
async def test_an_expired_token_costs_a_new_initiation(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, status: int
) -> None:
    """The second PUT never uses the token of the first, which may hold bytes by now."""
    server.on(replying(status), replying(200))
    stub.on("InitiateFileUpload", upload_at(server.url, token="one"), upload_at(server.url, token="two")).on("WhoAmI", BAD_TOKEN)
    await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert [seen.headers["x-reva-transfer"] for seen in server.seen] == ["one", "two"]
    assert server.seen[1].body == CONTENT


async def test_401_with_a_good_token_is_final(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, tokens: FakeTokens
) -> None:
    """A revoked OCM share answers so; signing in again would not help."""
    server.on(replying(401))
    stub.on("InitiateFileUpload", upload_at(server.url)).on("WhoAmI", GOOD_TOKEN)
    for _ in range(3):
        with pytest.raises(errors.AccessDeniedError):
            await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert tokens.refused == []
    assert len(server.seen) == 3


@pytest.mark.parametrize("received", [0, 1, 1_500_000, len(CONTENT)])
async def test_a_put_that_breaks_is_unknown(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, received: int
) -> None:
    """Reva commits what had arrived: only Stat can tell, and nothing is sent again from here."""

    def break_off(handler: Any) -> None:
        handler.note(handler.rfile.read(received))
        handler.reset()

    server.on(break_off)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())
    assert len(server.seen) == 1
    assert stub.methods() == ["InitiateFileUpload"]


async def test_success_before_the_body_is_no_success(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """A proxy that answers 200 and hangs up has not stored the file."""

    def hasty(handler: Any) -> None:
        handler.note()
        handler.reply(200)
        handler.close_connection = True

    server.on(hasty)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(os.urandom(64 << 20)), expect=ExpectAbsent())


async def test_no_connection_is_certain(data: Cs3Data, stub: FakeStub, source: Source) -> None:
    """Nothing can have been stored where nobody listens."""
    stub.on("InitiateFileUpload", upload_at("http://127.0.0.1:1/data"))
    with pytest.raises(errors.UnavailableError):
        await data.upload(A, source(CONTENT), expect=ExpectAbsent())


async def test_a_stalled_put_is_given_up(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes nothing for a minute (here: a moment) does not hold the commit."""
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.note()
        release.wait(10)
        handler.close_connection = True

    monkeypatch.setattr(connections, "PROGRESS_S", 0.2)
    server.on(stall)
    stub.on("InitiateFileUpload", upload_at(server.url))
    with trio.fail_after(5), pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(os.urandom(32 << 20)), expect=ExpectAbsent())
    release.set()


async def test_a_staged_file_that_shrank_is_not_sent(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """The frozen file is not what was said: a local failure, before a byte is sent."""
    stub.on("InitiateFileUpload", upload_at(server.url))
    short = source(b"abc")
    with pytest.raises(errors.LocalStorageError):
        await data.upload(A, UploadSource(short.fd, 10, short.sha1, 0), expect=ExpectAbsent())
    assert server.seen == []


async def test_a_cancelled_upload_lets_go_of_the_file(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, tmp_path: Path
) -> None:
    """The caller may close and reuse the descriptor at once: the thread has its own and sends nothing of a stranger's file."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        handler.note(handler.rfile.read(1000))
        reached.set()
        release.wait(10)
        handler.close_connection = True

    server.on(stall)
    stub.on("InitiateFileUpload", upload_at(server.url))
    staged = source(os.urandom(32 << 20))
    before = len(os.listdir("/proc/self/fd"))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_upload, data, staged)
            await trio.to_thread.run_sync(reached.wait, 10)
            nursery.cancel_scope.cancel()
    await _all_threads_ended(data._uploads)
    release.set()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the server's end of the connection


async def _upload(data: Cs3Data, staged: UploadSource) -> None:
    await data.upload(A, staged, expect=ExpectAbsent())


@pytest.mark.parametrize(
    ("refusal", "found", "expect", "kind"),
    [
        (("LOCKED", "locked"), {"a": info()}, ExpectEtag('"e1"'), errors.LockedError),
        (("FAILED_PRECONDITION", "etag mismatch"), {"a": info()}, ExpectEtag('"e0"'), errors.ConflictError),
        (("ALREADY_EXISTS", "already exists"), {"a": info()}, ExpectAbsent(), errors.ConflictError),
        (("FAILED_PRECONDITION", "failed precondition"), {"a": folder("/home/a")}, ExpectAbsent(), errors.IsDirectoryError),
        (("FAILED_PRECONDITION", "failed precondition"), {}, ExpectAbsent(), errors.NotFoundError),
        (("FAILED_PRECONDITION", "failed precondition"), {"home": info("/home")}, ExpectAbsent(), errors.NotDirectoryError),
        (("FAILED_PRECONDITION", "failed precondition"), {"home": folder()}, ExpectEtag('"e1"'), errors.ConflictError),
        (("INSUFFICIENT_STORAGE", "quota"), {}, ExpectAbsent(), errors.QuotaError),
        (("PERMISSION_DENIED", "viewer"), {}, ExpectAbsent(), errors.AccessDeniedError),
    ],
)
async def test_refused_initiations(
    data: Cs3Data, stub: FakeStub, source: Source, refusal: tuple[str, str], found: Any, expect: Expectation, kind: Any
) -> None:
    """OpenCloud has one code for several reasons; Stat tells which it was."""
    stub.on("InitiateFileUpload", answer("InitiateFileUpload", *refusal)).on("Stat", stat_by_path(**found))
    with pytest.raises(errors.Cs3FuseError) as caught:
        await data.upload(A, source(b"x"), expect=expect)
    assert type(caught.value) is kind


# -- empty files ---------------------------------------------------------------------------------------------------------------------


async def test_an_empty_file_that_the_initiation_made(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source
) -> None:
    """OpenCloud: it is there, a PUT would answer 400."""
    stub.on("InitiateFileUpload", upload_at(server.url)).on("Stat", answer("Stat", info=info(size=0, etag='"new"')))
    assert await data.upload(A, source(b""), expect=ExpectAbsent()) == '"new"'
    assert server.seen == []


async def test_an_empty_file_that_needs_a_put(data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source) -> None:
    """Reva: nothing is there before, or the old content."""
    server.on(replying(200))
    stub.on("InitiateFileUpload", upload_at(server.url)).on("Stat", stat_by_path())
    await data.upload(A, source(b""), expect=ExpectAbsent())
    stub.on("Stat", STAT)
    await data.upload(A, source(b""), expect=ExpectEtag('"e1"'))
    assert [(seen.method, seen.headers["content-length"]) for seen in server.seen] == [("PUT", "0")] * 2


@pytest.mark.parametrize(
    ("found", "expect", "kind"),
    [
        (info(size=5), ExpectAbsent(), errors.ConflictError),
        (info(size=5, etag='"e2"'), ExpectEtag('"e1"'), errors.ConflictError),
        (folder("/home/a"), ExpectAbsent(), errors.IsDirectoryError),
    ],
)
async def test_an_empty_file_is_never_put_over_a_strangers(
    data: Cs3Data, stub: FakeStub, server: FakeDataServer, source: Source, found: Any, expect: Expectation, kind: Any
) -> None:
    """Reva would replace a file, and even a folder, without a word; the Stat that is made anyway prevents it."""
    stub.on("InitiateFileUpload", upload_at(server.url)).on("Stat", answer("Stat", info=found))
    with pytest.raises(kind):
        await data.upload(A, source(b""), expect=expect)
    assert server.seen == []


async def test_a_lost_initiation_of_an_empty_file_is_unknown(data: Cs3Data, stub: FakeStub, source: Source) -> None:
    """It may have emptied the file; with a length it cannot have done anything."""
    stub.on("InitiateFileUpload", broken("DEADLINE_EXCEEDED"))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(b""), expect=ExpectAbsent())
    with pytest.raises(errors.DeadlineError):
        await data.upload(A, source(b"x"), expect=ExpectAbsent())


async def test_an_empty_file_that_cannot_be_looked_at_is_unknown(data: Cs3Data, stub: FakeStub, source: Source) -> None:
    """The initiation may have emptied it: "unavailable" would say that nothing was done."""
    stub.on("InitiateFileUpload", upload_at("http://127.0.0.1:1/")).on("Stat", answer("Stat", "INTERNAL"))
    with pytest.raises(errors.OutcomeUnknownError):
        await data.upload(A, source(b""), expect=ExpectAbsent())


# -- addresses -----------------------------------------------------------------------------------------------------------------------


async def test_tokens_are_not_sent_in_plain_text(stub: FakeStub, tokens: FakeTokens, source: Source) -> None:
    """A gateway that is spoken to with TLS must not send the token over plain HTTP."""
    calls = Calls(stub, tokens)
    data = Cs3Data(calls, Cs3Tree(calls), ConnectionPool(tls=ssl.create_default_context(), is_plain_allowed=False, size=1))
    stub.on("InitiateFileUpload", upload_at("http://127.0.0.1:1/data")).on(
        "InitiateFileDownload", download_at("http://127.0.0.1:1/")
    )
    with pytest.raises(errors.UnavailableError, match="without TLS"):
        await data.upload(A, source(b"x"), expect=ExpectAbsent())
    with pytest.raises(errors.UnavailableError, match="without TLS"):
        await fetch(data)


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "data", "http:///nohost", "http://[::1/"])
async def test_addresses_that_are_none(data: Cs3Data, stub: FakeStub, url: str) -> None:
    """Whatever the gateway names, it is an error of ours, not a crash."""
    stub.on("InitiateFileDownload", download_at(url))
    with pytest.raises(errors.UnavailableError):
        await fetch(data)


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0.000000000"), (1_500_000_000, "1.500000000"), (-1, "0.000000000"), (7, "0.000000007")]
)
def test_mtime_text(ns: int, text: str) -> None:
    """Nine digits read the same as a fraction and as an integer of nanoseconds."""
    assert mtime_text(ns) == text
