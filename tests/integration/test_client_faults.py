"""The client while the server fails: expired tokens, lost answers, broken connections, on every kind of server."""

from __future__ import annotations

import pytest
import trio

from cs3fuse import errors
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag
from tests.integration.clients import Bench, only
from tests.integration.test_client_data import CONTENT, fetched
from tests.unit.client.fakes import MemorySink


def _expire(bench: Bench) -> None:
    bench.emulator.call(bench.emulator.emulator.tokens.expire_all)


async def test_expired_tokens_are_renewed_behind_every_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never "not found", never "permission denied", whatever the server answers for it."""
    monkeypatch.setattr("cs3fuse.auth.tokens._MIN_INTERVAL_S", 0.0)
    tree, data = bench.client.tree, bench.client.data
    entry = await bench.put("f", b"hello")
    at = bench.folder.child("f")
    steps = {
        "stat": lambda: tree.stat(at),
        "list": lambda: tree.list(bench.folder),
        "mkdir": lambda: tree.mkdir(bench.folder.child("d")),
        "create": lambda: tree.create(bench.folder.child("e")),
        "move": lambda: tree.move(bench.folder.child("e"), bench.folder.child("e2")),
        "delete": lambda: tree.delete(bench.folder.child("e2")),
        "quota": lambda: tree.quota(bench.folder),
        "set": lambda: tree.set_metadata(at, {"k": "v"}),
        "unset": lambda: tree.unset_metadata(at, ["k"]),
        "upload": lambda: data.upload(bench.folder.child("u"), bench.source(b"x"), expect=ExpectAbsent()),
        "home": bench.client.home,
        "spaces": bench.client.spaces,
        "identity": bench.client.identity,
    }
    for step in steps.values():
        _expire(bench)
        await step()
    _expire(bench)
    sink = MemorySink()
    await data.fetch(at, None, sink, expected=await tree.stat(at))
    assert sink.data == b"hello"
    assert (await tree.stat(at)).version == entry.version
    assert {"f", "d", "u"} == await bench.names()


@pytest.mark.parametrize("call", ["GET", "PUT"])
async def test_a_token_that_expires_before_the_data(bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between initiation and transfer: one renewal, and the bytes are right."""
    monkeypatch.setattr("cs3fuse.auth.tokens._MIN_INTERVAL_S", 0.0)
    if call == "GET":
        await bench.put("f", CONTENT)
    bench.emulator.faults.add(method=call, expire_tokens=True, times=1)
    if call == "PUT":
        await bench.put("f", CONTENT)
    assert await fetched(bench, "f") == CONTENT


@pytest.mark.parametrize("step", ["mkdir", "create", "delete", "move"])
async def test_lost_answers_are_settled(bench: Bench, step: str) -> None:
    """The work was done, the answer did not come: success, and the call was made once."""
    tree, at, to = bench.client.tree, bench.folder.child("a"), bench.folder.child("b")
    bench.emulator.quirks["processing_s"] = 0.0
    if step in {"delete", "move"}:
        await bench.put("a", b"x")
        await fetched(bench, "a")
    names = {"mkdir": "CreateContainer", "create": "TouchFile", "delete": "Delete", "move": "Move"}
    rule = bench.emulator.faults.add(call=names[step], drop_answer=True)
    await {
        "mkdir": lambda: tree.mkdir(at),
        "create": lambda: tree.create(at),
        "delete": lambda: tree.delete(at),
        "move": lambda: tree.move(at, to),
    }[step]()
    assert rule.fired == 1
    assert await bench.names() == {"delete": set(), "move": {"b"}}.get(step, {"a"})


@only("reva")
async def test_internal_after_a_rename_that_was_done(bench: Bench) -> None:
    """Driver local, when its metadata rows collide."""
    await bench.put("a", b"x")
    bench.emulator.quirks["internal_after_rename"] = 1.0
    await bench.client.tree.move(bench.folder.child("a"), bench.folder.child("b"))
    assert await bench.names() == {"b"}


async def test_reads_survive_a_short_outage(bench: Bench) -> None:
    """UNAVAILABLE twice, then an answer."""
    bench.emulator.faults.add(call="Stat|ListContainer", grpc="UNAVAILABLE", times=2)
    await bench.client.tree.stat(bench.folder)
    assert await bench.names() == set()


async def test_a_frozen_server_does_not_hold_the_caller(bench: Bench) -> None:
    """The caller's scope ends the call; a mutation's outcome is then unknown."""
    frozen = bench.emulator.faults.add(call="Stat|CreateContainer", freeze=True)
    for step in (bench.client.tree.stat(bench.folder), bench.client.tree.mkdir(bench.folder.child("d"))):
        with trio.move_on_after(0.2) as scope:
            await step
        assert scope.cancelled_caught
    bench.emulator.faults.remove(frozen)
    await bench.client.tree.stat(bench.folder)


@only("opencloud")
async def test_a_processed_file_is_waited_for(bench: Bench) -> None:
    """OpenCloud: GET 500 and Delete TOO_EARLY for a moment after each upload."""
    bench.emulator.quirks["processing_s"] = 0.3
    entry = await bench.put("f", CONTENT)
    assert entry.is_processing
    assert await fetched(bench, "f") == CONTENT
    await bench.put("g", CONTENT)
    await bench.client.tree.delete(bench.folder.child("g"))
    assert await bench.names() == {"f"}


@pytest.mark.parametrize("sent", [0, 1, 1_000_000])
async def test_a_download_that_breaks(bench: Bench, sent: int) -> None:
    """An error; what had reached the sink is right; the next try works."""
    await bench.put("f", CONTENT)
    await fetched(bench, "f")
    bench.emulator.faults.add(method="GET", reset_after_bytes=sent, times=1)
    sink = MemorySink()
    entry = await bench.client.tree.stat(bench.folder.child("f"))
    with pytest.raises(errors.BadDataError):
        await bench.client.data.fetch(bench.folder.child("f"), None, sink, expected=entry)
    assert CONTENT.startswith(sink.data)
    assert await fetched(bench, "f") == CONTENT


@pytest.mark.parametrize("sent", [0, 1, 1_000_000])
async def test_an_upload_that_breaks_is_unknown_and_can_be_sent_anew(bench: Bench, sent: int) -> None:
    """Whatever the server made of the first bytes: the second upload, with its own initiation, has exactly its own."""
    bench.emulator.faults.add(method="PUT", reset_after_bytes=sent, direction="request", times=1)
    with pytest.raises(errors.OutcomeUnknownError):
        await bench.put("f", CONTENT)
    rule = bench.emulator.faults.rules[0]
    assert rule.fired == 1
    try:
        expect = await _expect_what_is_there(bench)
    finally:
        bench.emulator.faults.clear()
    await bench.put("f", CONTENT, expect)
    assert await fetched(bench, "f") == CONTENT


async def _expect_what_is_there(bench: Bench) -> Expectation:
    try:
        return ExpectEtag((await bench.client.tree.stat(bench.folder.child("f"))).etag)
    except errors.NotFoundError:
        return ExpectAbsent()


async def test_an_upload_whose_answer_is_lost_is_never_repeated(bench: Bench) -> None:
    """Stored, but unknown to us: one PUT."""
    rule = bench.emulator.faults.add(method="PUT", drop_answer=True)
    with pytest.raises(errors.OutcomeUnknownError):
        await bench.put("f", CONTENT)
    assert rule.seen == 1
    assert (await bench.client.tree.stat(bench.folder.child("f"))).size == len(CONTENT)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_put_that_fails_after_the_body_is_unknown(bench: Bench, status: int) -> None:
    """One PUT, no repetition."""
    rule = bench.emulator.faults.add(method="PUT", http_status=status)
    with pytest.raises(errors.OutcomeUnknownError):
        await bench.put("f", CONTENT)
    assert rule.seen == 1
