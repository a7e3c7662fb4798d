"""Mounts that give up and try again within moments, so that the tests need not wait as long as people may."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from cs3fuse.commit import engine, sender
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.faults.desk import Desk
from tests.support.vfs import running_mount

ALL = ["reva", "opencloud", "eos"]


@pytest.fixture(params=ALL)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit tries for half a second and is tried again after a moment; else it would be 20 s and 5 s."""
    quick = RetryPolicy(budget_s=0.5, first_delay_s=0.02, longest_delay_s=0.2)
    monkeypatch.setattr("cs3fuse.app.EngineOptions", functools.partial(engine.EngineOptions, retry=quick, recovery_retry=quick))
    monkeypatch.setattr(sender, "RETRY_FIRST_S", 0.2)
    monkeypatch.setattr(sender, "RETRY_LONGEST_S", 0.5)
    monkeypatch.setattr(engine, "SNAPSHOT_EVERY_S", 0.05)


@pytest.fixture
def emulator(profile: str, tmp_path: Path) -> Iterator[EmulatorThread]:
    with EmulatorThread(EmulatorConfig(root=tmp_path / "gateway", profile=profile, seed=1)) as emulator:
        yield emulator


class AtDesk(Protocol):
    def __call__(self, folder: str = "mount", **options: object) -> AbstractAsyncContextManager[Desk]: ...


@pytest.fixture
def at_desk(hurried: None, emulator: EmulatorThread, tmp_path: Path) -> AtDesk:
    """Open desks; the same ``folder`` again is the same mount after its end."""

    @asynccontextmanager
    async def open_desk(folder: str = "mount", **options: object) -> AsyncIterator[Desk]:
        async with running_mount(emulator, tmp_path / folder, **options) as mount:
            yield Desk(emulator, mount, tmp_path / folder)

    return open_desk


@pytest.fixture
async def desk(at_desk: AtDesk) -> AsyncIterator[Desk]:
    async with at_desk() as desk:
        yield desk
