"""Gateways to ask: one emulator per profile for a whole test session, started when first asked for."""

from collections.abc import Iterator

import pytest

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Caller
from tests.emulator.recorded import Fact
from tests.emulator.scenario import ask_everything


@pytest.fixture(scope="session")
def reva_facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fact]]:
    """What profile reva answers to the probe."""
    config = EmulatorConfig(root=tmp_path_factory.mktemp("reva"), profile="reva", seed=1)
    with EmulatorThread(config) as gateway, Caller(f"127.0.0.1:{gateway.grpc_port}") as caller:
        probe = ask_everything(caller, "/local/einstein", "einstein", "relativity")
    assert probe.failure is None, f"The probe ended early: {probe.failure!r}"
    yield probe.facts
