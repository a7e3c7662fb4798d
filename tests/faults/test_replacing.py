"""Saving by rename onto the old file, on a broken way. docs/durability.md names these tests."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.faults.conftest import AtDesk
from tests.faults.desk import OLD, OURS, THEIRS, Desk

PASSING: list[dict[str, Any]] = [
    {"method": "PUT", "direction": "request", "reset_after_bytes": len(OURS) // 2},
    {"method": "PUT", "drop_answer": True},
    {"method": "PUT", "http_status": 500},
    {"call": "Delete", "drop_answer": True},
    {"call": "Delete", "grpc": "UNAVAILABLE"},
]


@pytest.fixture(params=["reva", "opencloud"])
def profile(request: pytest.FixtureRequest) -> str:
    """EOS takes the way of Reva here."""
    return str(request.param)


async def rename(desk: Desk, source: str, destination: str) -> int:
    try:
        await desk.calls.rename(source, destination)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize("rule", PASSING, ids=lambda rule: "-".join(map(str, rule.values())))
async def test_broken_replacement_is_carried_through(desk: Desk, rule: dict[str, Any]) -> None:
    """What breaks once is no error of rename: one file with the new content, under its old name."""
    assert await desk.save("a", OLD) == 0
    assert await desk.save("a.tmp") == 0
    desk.fault(times=1, **rule)
    assert await rename(desk, "a.tmp", "a") == 0
    assert desk.on_server("a") == OURS
    await desk.all_sent()
    assert desk.names() == ["a"]


async def test_refused_replacement_leaves_both(desk: Desk) -> None:
    """The upload is refused: rename says why, each name has one complete version, and nothing is done later behind one's back."""
    assert await desk.save("a", OLD) == 0
    assert await desk.save("a.tmp") == 0
    desk.fault(method="PUT", http_status=507)
    assert await rename(desk, "a.tmp", "a") == errno.EDQUOT
    assert desk.on_server("a") == OLD
    assert desk.on_server("a.tmp") == OURS
    desk.mend()
    await desk.all_sent()
    assert desk.on_server("a.tmp") == OURS
    assert desk.on_server("a") == OLD
    assert await rename(desk, "a.tmp", "a") == 0
    assert desk.names() == ["a"]


async def test_replacement_of_a_file_that_another_client_saved(at_desk: AtDesk) -> None:
    """Somebody else saves the destination in the middle: nothing of theirs is lost, ours keeps a name."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        assert await desk.save("a.tmp") == 0
        async with desk.during_put(lambda: desk.other_writes("a"), before_work=True):
            outcome = await rename(desk, "a.tmp", "a")
        if desk.profile == "opencloud":
            assert outcome == errno.ESTALE
            assert desk.on_server("a") == THEIRS
            assert desk.on_server("a.tmp") == OURS
        else:  # the documented window between check and PUT; theirs is a version of the file
            assert outcome == 0
            assert desk.on_server("a") == OURS
        await desk.all_sent()


async def test_source_that_cannot_be_deleted(desk: Desk) -> None:
    """The destination has the new content, the old name stays for a while and goes by itself."""
    assert await desk.save("a", OLD) == 0
    assert await desk.save("a.tmp") == 0
    desk.fault(call="Delete", status="TOO_EARLY" if desk.profile == "opencloud" else "UNAVAILABLE", times=3)
    assert await rename(desk, "a.tmp", "a") == 0
    assert desk.on_server("a") == OURS
    await desk.all_sent()
    assert desk.names() == ["a"]
