"""The way of one upload is broken: connections, statuses, tokens. docs/durability.md names these tests.

Each test goes through its cases with one mount, a file for each; a failure names the case.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from cs3fuse.auth import tokens
from tests.faults.conftest import AtDesk
from tests.faults.desk import OLD, OURS, Desk

ONCE = {"method": "PUT", "times": 1}
PLACES = {"0": 0, "1": 1, "half": len(OURS) // 2, "length-1": len(OURS) - 1, "length": len(OURS)}
REFUSALS = {
    401: errno.EACCES,
    403: errno.EACCES,
    409: errno.EBUSY,
    413: errno.EDQUOT,
    423: errno.EBUSY,
    500: errno.EIO,
    502: errno.EIO,
    503: errno.EIO,
    507: errno.EDQUOT,
}
INITIATION: list[dict[str, Any]] = [{"grpc": "UNAVAILABLE"}, {"drop_answer": True}, {"status": "RESOURCE_EXHAUSTED"}]


async def prepare(desk: Desk, name: str, kind: str) -> None:
    desk.mend()
    if kind != "new":
        assert await desk.save(name, OLD) == 0


@pytest.mark.parametrize("kind", ["new", "overwrite", "patch"])
async def test_broken_off_put_is_sent_again(desk: Desk, kind: str) -> None:
    """The connection dies after n bytes: the program sees nothing, the server has exactly the new content, nothing is left."""
    saved = {}
    for place, count in PLACES.items():
        for how in ("reset", "close"):
            name = f"{place}-{how}"
            await prepare(desk, name, kind)
            rule = desk.fault(**ONCE, direction="request", reset_after_bytes=count, how=how)
            outcome = await desk.patch(name, OURS, 10) if kind == "patch" else await desk.save(name)
            assert (outcome, rule.fired) == (0, 1), name
            saved[name] = OLD[:10] + OURS + OLD[10 + len(OURS) :] if kind == "patch" else OURS
            assert desk.on_server(name) == saved[name], name
    assert desk.names() == sorted(saved)
    await desk.all_sent()
    for name, content in saved.items():
        assert await desk.calls.read(name) == content, name


@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_lost_answer_is_settled_without_a_second_put(desk: Desk, kind: str) -> None:
    """The server stored the bytes and the answer was lost: looked up, or read back, but never sent twice."""
    await prepare(desk, "a", kind)
    before = len(desk.served("PUT"))
    desk.fault(**ONCE, drop_answer=True)
    assert await desk.save("a") == 0
    assert len(desk.served("PUT")) == before + 1
    assert desk.on_server("a") == OURS
    await desk.all_sent()


async def test_lost_answer_and_a_later_save_of_somebody_else(at_desk: AtDesk) -> None:
    """While we wonder, somebody else saves: theirs stands, ours is beside it, and the program is told."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        async with desk.during_put(lambda: desk.other_writes("a"), drop_answer=True):
            assert await desk.save("a") == errno.ESTALE
        assert desk.on_server("a") == b"theirs"
        assert desk.copies() == [OURS]
        await desk.all_sent()


@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_passing_failure_of_the_data_server(desk: Desk, kind: str) -> None:
    """A status that may pass by: sent again within the same close."""
    names = []
    for status in (408, 419, 425, 429, 500, 502, 503, 504):
        names.append(str(status))
        await prepare(desk, names[-1], kind)
        rule = desk.fault(**ONCE, http_status=status)
        assert (await desk.save(names[-1]), rule.fired) == (0, 1), status
        assert desk.on_server(names[-1]) == OURS, status
    assert desk.names() == names
    await desk.all_sent()


@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_lasting_refusal_reaches_the_program(desk: Desk, kind: str) -> None:
    """The program sees why, the server has what it had, the bytes are readable here and go when the refusal ends."""
    for status in REFUSALS:
        await prepare(desk, str(status), kind)
    for status, number in REFUSALS.items():
        desk.fault(method="PUT", path=f"/{status}$", http_status=status)
        outcome = await desk.save(str(status))
        assert errno.errorcode.get(outcome) == errno.errorcode[number], status
        assert desk.on_server(str(status)) == (OLD if kind == "overwrite" else None)
        assert await desk.calls.read(str(status)) == OURS
        assert (await desk.calls.stat(str(status))).size == len(OURS)
    assert sorted(name for name, _ in desk.unsent()) == sorted(map(str, REFUSALS))
    desk.mend()
    await desk.all_sent()
    assert {name: desk.on_server(name) for name in desk.names()} == {str(status): OURS for status in REFUSALS}


async def test_refused_bytes_survive_a_remount(at_desk: AtDesk) -> None:
    """Refused, unmounted, mounted again: the bytes are sent before the mount serves."""
    async with at_desk() as desk:
        assert await desk.save("a", OLD) == 0
        desk.fault(method="PUT", http_status=507)
        assert await desk.save("a") == errno.EDQUOT
    desk.mend()
    async with at_desk() as desk:
        assert desk.on_server("a") == OURS
        await desk.all_sent()


@pytest.fixture
def old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was issued a moment ago may be refused; else another one is not asked for within seconds."""
    monkeypatch.setattr(tokens, "_MIN_INTERVAL_S", 0.0)


@pytest.mark.usefixtures("old_enough")
async def test_token_that_ends_between_initiation_and_put(desk: Desk) -> None:
    """One more sign-in, one more initiation; the program sees nothing."""
    assert await desk.save("a", OLD) == 0
    signed_in = len(desk.served("Authenticate"))
    rule = desk.fault(**ONCE, expire_tokens=True)
    assert await desk.save("a") == 0
    assert rule.fired == 1
    assert len(desk.served("Authenticate")) == signed_in + 1
    assert desk.on_server("a") == OURS
    await desk.all_sent()


@pytest.mark.usefixtures("old_enough")
async def test_token_that_ends_while_a_file_is_open(desk: Desk) -> None:
    """Hours between open and close: the close signs in again."""
    assert await desk.save("a", OLD) == 0
    async with desk.calls.opened("a", 1) as fh:
        await desk.calls.pwrite(fh, b"NEW", 4)
        desk.emulator.emulator.tokens.expire_all()
    assert desk.on_server("a") == OLD[:4] + b"NEW" + OLD[7:]
    await desk.all_sent()


async def test_broken_initiation_is_repeated(desk: Desk) -> None:
    """The call before the PUT fails once, for files with bytes and without (OpenCloud empties a file at the initiation)."""
    for number, rule in enumerate(INITIATION):
        for size in (0, len(OURS)):
            name = f"{number}-{size}"
            await prepare(desk, name, "overwrite")
            desk.fault(call="InitiateFileUpload", times=1, **rule)
            assert await desk.save(name, OURS[:size]) == 0, name
            assert desk.on_server(name) == OURS[:size], name
    await desk.all_sent()


async def test_look_after_the_upload_fails(desk: Desk) -> None:
    """The bytes are there, the Stat that proves it fails for a while: asked again, not sent again."""
    assert await desk.save("a", OLD) == 0
    before = len(desk.served("PUT"))
    async with desk.during_put(lambda: desk.fault(call="Stat", times=2, grpc="UNAVAILABLE")):
        assert await desk.save("a") == 0
    assert len(desk.served("PUT")) == before + 1
    assert desk.served("Stat").count("UNAVAILABLE") == 2
    assert desk.on_server("a") == OURS
    await desk.all_sent()
