"""The gateway is gone, and comes back. docs/durability.md names these tests."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trio

from cs3fuse.emulator.server import EmulatorThread
from tests.faults.desk import OLD, OURS, Desk
from tests.support.processes import GatewayProcess
from tests.support.vfs import running_mount

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def gateway(profile: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path / "gateway", profile) as gateway:
        yield gateway


@asynccontextmanager
async def mounted(gateway: GatewayProcess, folder: Path, **options: object) -> AsyncIterator[Desk]:
    # The gateway is a process: only its port is needed, and a desk's ways to spoil it are not used here.
    thread = cast("EmulatorThread", gateway)
    async with running_mount(thread, folder, **options) as mount:
        yield Desk(thread, mount, folder)


def on_server(gateway: GatewayProcess, name: str) -> bytes:
    return (gateway.root / "einstein" / name).read_bytes()


async def test_server_away_for_longer_than_the_budget(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The program gets an error when the budget is used up; reads show the bytes; they go by themselves when the server is back."""
    async with mounted(gateway, tmp_path / "mount") as desk:
        assert await desk.save("a", OLD) == 0
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                gateway.stop(how=signal.SIGKILL)
        assert caught.value.errno in {errno.EHOSTDOWN, errno.ETIMEDOUT}
        assert [name for name, _ in desk.unsent()] == ["a"]
        assert await desk.calls.read("a") == OURS
        assert on_server(gateway, "a") == OLD
        await trio.to_thread.run_sync(gateway.start)
        await desk.all_sent()
        assert on_server(gateway, "a") == OURS


@pytest.mark.parametrize("profile", ["opencloud"], indirect=True)
async def test_server_away_until_the_next_mount(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The mount ends while the server is away; the next one brings the bytes."""
    async with mounted(gateway, tmp_path / "mount") as desk:
        assert await desk.save("a", OLD) == 0
        with pytest.raises(OSError):
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                gateway.stop(how=signal.SIGKILL)
    await trio.to_thread.run_sync(gateway.start)
    async with mounted(gateway, tmp_path / "mount") as desk:
        await desk.all_sent()
        assert on_server(gateway, "a") == OURS


@pytest.mark.parametrize("profile", ["opencloud"], indirect=True)
async def test_server_away_in_the_background_mode(gateway: GatewayProcess, tmp_path: Path) -> None:
    """close succeeds while the server is away: the journal has the bytes, on disk; they go when it is back."""
    async with mounted(gateway, tmp_path / "mount", commit="background") as desk:
        assert await desk.save("a", OLD) == 0
        await desk.all_sent()
        async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
            await desk.calls.pwrite(fh, OURS, 0)
            gateway.stop(how=signal.SIGKILL)
        assert [name for name, _ in desk.unsent()] == ["a"]
        assert await desk.calls.read("a") == OURS
        await trio.to_thread.run_sync(gateway.start)
        await desk.all_sent()
        assert on_server(gateway, "a") == OURS
