"""The storage has no room left for this user. docs/durability.md names these tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.faults.desk import Desk

QUOTA = 1_000_000


@pytest.fixture(params=["opencloud", "eos"])
def profile(request: pytest.FixtureRequest) -> str:
    """Driver local of Reva has no quota: there the disk fills up, which is the failure 500 of ``test_uploads``."""
    return str(request.param)


@pytest.fixture
def emulator(profile: str, tmp_path: Path) -> Iterator[EmulatorThread]:
    config = EmulatorConfig(root=tmp_path / "gateway", profile=profile, seed=1, quota_bytes=QUOTA)
    with EmulatorThread(config) as emulator:
        yield emulator


async def test_full_quota_is_edquot_at_close(desk: Desk) -> None:
    """EDQUOT from close, not an hour later; the bytes are readable here and go when there is room."""
    assert await desk.save("big", os.urandom(700_000)) == 0
    data = os.urandom(500_000)
    assert await desk.save("a", data) == errno.EDQUOT
    assert desk.on_server("a") is None
    assert [name for name, _ in desk.unsent()] == ["a"]
    assert await desk.calls.read("a") == data
    desk.other("delete", "/einstein/big")
    desk.other("write", "/einstein/big", b"")
    await desk.all_sent()
    assert desk.on_server("a") == data


async def test_full_quota_leaves_the_old_version(desk: Desk) -> None:
    """An overwrite that does not fit: the old version stands, whole."""
    old = os.urandom(400_000)
    assert await desk.save("a", old) == 0
    assert await desk.save("a", os.urandom(1_200_000)) == errno.EDQUOT
    assert desk.on_server("a") == old
    assert [name for name, _ in desk.unsent()] == ["a"]


async def test_full_quota_and_the_file_is_removed(desk: Desk) -> None:
    """Who deletes the file that does not fit has nothing unsent left."""
    assert await desk.save("a", os.urandom(1_200_000)) == errno.EDQUOT
    await desk.calls.unlink("a")
    await desk.all_sent()
    assert desk.names() == []
