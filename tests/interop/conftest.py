"""A gateway for each profile, einstein's mount on it, and the official client of the same user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cs3fuse.app import Mount
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.interop.official import Official, official
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount


@pytest.fixture(params=["opencloud", "eos"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def emulator(profile: str, tmp_path: Path) -> Iterator[EmulatorThread]:
    with EmulatorThread(EmulatorConfig(root=tmp_path / "gateway", profile=profile, seed=1)) as emulator:
        yield emulator


@pytest.fixture
async def mount(emulator: EmulatorThread, tmp_path: Path) -> AsyncIterator[Mount]:
    async with running_mount(emulator, tmp_path / "mount") as mount:
        yield mount


@pytest.fixture
def calls(mount: Mount) -> Syscalls:
    return Syscalls(mount.vfs)


@pytest.fixture
def other(emulator: EmulatorThread) -> Iterator[Official]:
    with official(emulator.grpc_port) as client:
        yield client
