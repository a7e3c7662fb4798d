"""One gateway per profile and module, without faults between tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cs3fuse.emulator.config import PROFILES
from cs3fuse.emulator.server import EmulatorThread
from tests.integration import clients
from tests.integration.clients import Bench


@pytest.fixture(scope="module", params=PROFILES)
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorThread]:
    with clients.emulated(request.param, tmp_path_factory.mktemp(request.param)) as emulator:
        yield emulator


@pytest.fixture
def emulator(gateway: EmulatorThread) -> Iterator[EmulatorThread]:
    quirks = dict(gateway.quirks)
    yield gateway
    gateway.faults.clear()
    gateway.quirks.update(quirks)


@pytest.fixture
async def bench(emulator: EmulatorThread) -> AsyncIterator[Bench]:
    async with clients.bench(emulator) as bench:
        yield bench
