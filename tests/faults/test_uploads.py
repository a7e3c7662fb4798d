"""The way of one upload is broken: connections, statuses, tokens. docs/durability.md names these tests."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from cs3fuse.auth import tokens
from tests.faults.conftest import AtDesk
from tests.faults.desk import OLD, OURS, Desk

ONCE = {"method": "PUT", "times": 1}
PLACES = {"0": 0, "1": 1, "half": len(OURS) // 2, "length-1": len(OURS) - 1, "length": len(OURS)}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["overwrite", "patch", "new"])
async def test_broken_off_put_is_sent_again(desk: Desk, kind: str, place: str, how: str) -> None:
    """The connection dies after n bytes: the program sees nothing, the server has exactly the new content, nothing is left."""
    wanted = OURS
    if kind != "new":
        assert await desk.save("a", OLD) == 0
    rule = desk.fault(**ONCE, direction="request", reset_after_bytes=PLACES[place], how=how)
    if kind == "patch":
        wanted = OLD[:10] + OURS + OLD[10 + len(OURS) :]
        assert await desk.patch("a", OURS, 10) == 0
    else:
        assert await desk.save("a") == 0
    assert rule.fired == 1
    assert desk.on_server("a") == wanted
    assert desk.names() == ["a"]
    await desk.all_sent()
    assert await desk.calls.read("a") == wanted


@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_lost_answer_is_settled_without_a_second_put(desk: Desk, kind: str) -> None:
    """The server stored the bytes and the answer was lost: looked up, or read back, but never sent twice."""
    if kind == "overwrite":
        assert await desk.save("a", OLD) == 0
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


@pytest.mark.parametrize("status", [408, 419, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_passing_failure_of_the_data_server(desk: Desk, kind: str, status: int) -> None:
    """A status that may pass by: sent again within the same close."""
    if kind == "overwrite":
        assert await desk.save("a", OLD) == 0
    rule = desk.fault(**ONCE, http_status=status)
    assert await desk.save("a") == 0
    assert rule.fired == 1
    assert desk.on_server("a") == OURS
    assert desk.names() == ["a"]
    await desk.all_sent()


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


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("kind", ["new", "overwrite"])
async def test_lasting_refusal_reaches_the_program(desk: Desk, kind: str, status: int) -> None:
    """The program sees why, the server has what it had, the bytes are readable here and go when the refusal ends."""
    if kind == "overwrite":
        assert await desk.save("a", OLD) == 0
    desk.fault(method="PUT", http_status=status)
    outcome = await desk.save("a")
    assert errno.errorcode[outcome] == errno.errorcode[REFUSALS[status]]
    assert desk.on_server("a") == (OLD if kind == "overwrite" else None)
    assert [name for name, _ in desk.unsent()] == ["a"]
    assert await desk.calls.read("a") == OURS
    assert (await desk.calls.stat("a")).size == len(OURS)
    desk.mend()
    await desk.all_sent()
    assert desk.on_server("a") == OURS
    assert desk.names() == ["a"]


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


INITIATION: list[dict[str, Any]] = [
    {"grpc": "UNAVAILABLE"},
    {"drop_answer": True},
    {"status": "RESOURCE_EXHAUSTED"},
]


@pytest.mark.parametrize("rule", INITIATION, ids=lambda rule: "-".join(map(str, next(iter(rule.items())))))
@pytest.mark.parametrize("size", [0, len(OURS)])
async def test_broken_initiation_is_repeated(desk: Desk, rule: dict[str, Any], size: int) -> None:
    """The call before the PUT fails once, for a file with and (OpenCloud empties at the initiation) without bytes."""
    assert await desk.save("a", OLD) == 0
    desk.fault(call="InitiateFileUpload", times=1, **rule)
    assert await desk.save("a", OURS[:size]) == 0
    assert desk.on_server("a") == OURS[:size]
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
