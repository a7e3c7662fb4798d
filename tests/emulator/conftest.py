"""What the emulators answered: asked once per test session, when the first test wants to know."""

import pytest

from tests.emulator import gateways
from tests.emulator.caller import Caller
from tests.emulator.closer.round import look_closer
from tests.emulator.mesh.round import ask_the_mesh
from tests.emulator.mesh.settling import settle
from tests.emulator.recorded import Fact
from tests.emulator.scenario import ask_everything


@pytest.fixture(scope="session")
def reva_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fact]:
    """What profile reva answers to the probe, by absolute path."""
    with gateways.reva(tmp_path_factory.mktemp("reva")) as gateway, Caller(gateways.target(gateway)) as caller:
        probe = ask_everything(caller, "/local/einstein", "einstein", "relativity")
    assert not probe.failures
    return probe.facts


@pytest.fixture(scope="session")
def opencloud_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fact]:
    """What profile opencloud answers to the probe, relative to the personal space."""
    with gateways.opencloud(tmp_path_factory.mktemp("opencloud")) as gateway, Caller(gateways.target(gateway)) as caller:
        caller.sign_in("admin", "admin")
        gateways.enter_home(caller)
        probe = ask_everything(caller, "", "admin", "admin")
    assert not probe.failures
    return probe.facts


@pytest.fixture(scope="session")
def closer_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fact]:
    """What profile opencloud answers to the closer look."""
    with gateways.opencloud(tmp_path_factory.mktemp("closer")) as gateway:
        desk = look_closer(gateway)
    assert not desk.failures
    return desk.facts


@pytest.fixture(scope="session")
def mesh_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fact]:
    """What two sites of profile reva answer to the questions about the mesh."""
    with gateways.mesh(tmp_path_factory.mktemp("mesh")) as desk:
        ask_the_mesh(desk)
    assert not desk.failures
    ports = {desk.a.http_port: 21001, desk.b.http_port: 22001}
    return {name: settle(name, fact, ports) or {} for name, fact in desk.facts.items()}
