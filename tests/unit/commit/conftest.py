"""Fixtures of the commit tests: a fake server in each profile, a running engine, and a second life of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.engine import CommitEngine, EngineOptions
from tests.unit.commit.fakes import PROFILES, FakeContent, FakeServer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """A clock that jumps whenever nothing can run, and work that threads would do done in place: the same on any machine.

    A clock that jumps does not know of threads: beside one that writes to the disk, hours would pass.
    """

    async def run_in_place(work: Callable[..., object], *args: object, **_: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_place)
    return MockClock(autojump_threshold=0)


Running = Callable[..., AbstractAsyncContextManager[CommitEngine]]


@pytest.fixture(params=PROFILES)
def server(request: pytest.FixtureRequest) -> FakeServer:
    return FakeServer(request.param)


@pytest.fixture
def content(server: FakeServer) -> FakeContent:
    return FakeContent(server)


@pytest.fixture
def book() -> CapabilityBook:
    return CapabilityBook()


@pytest.fixture
def running(server: FakeServer, content: FakeContent, book: CapabilityBook, tmp_path: Path) -> Running:
    """A context manager that runs an engine on the same state folder each time; leaving it is a kill: nothing is waited for."""

    @asynccontextmanager
    async def run(identity: str = "server|einstein", **options: Any) -> AsyncIterator[CommitEngine]:
        engine = CommitEngine(
            server,
            server,
            content,
            book,
            state_folder=tmp_path / "state",
            identity=identity,
            username="einstein",
            options=EngineOptions(**{"wall_clock": lambda: 1767362645.0, **options}),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()

    return run
