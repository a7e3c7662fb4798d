"""Desks and running gateways for the tests of the emulator."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.unit.emulator.desk import Desk
from tests.unit.emulator.running import RawClient


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Opens desks over the test's folder and closes them; opening one twice is a restart."""
    opened: list[Desk] = []

    def opener(profile: str, **settings: Any) -> Desk:
        for desk in opened:
            desk.close()
        opened[:] = [Desk(profile, tmp_path / "root", **settings)]
        return opened[0]

    yield opener
    for desk in opened:
        desk.close()


@pytest.fixture
def reva(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk("reva")


@pytest.fixture
def opencloud(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk("opencloud", quirks={"processing_s": 0.0, "share_accept_s": 0.0})


@pytest.fixture
def eos(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk("eos")


@pytest.fixture
def run_gateway(tmp_path: Path) -> Iterator[Callable[..., tuple[EmulatorThread, RawClient]]]:
    """Starts one gateway with sockets and a client signed in to it; both end with the test."""
    with ExitStack() as stack:

        def start(profile: str = "reva", **settings: Any) -> tuple[EmulatorThread, RawClient]:
            gateway = stack.enter_context(EmulatorThread(EmulatorConfig(root=tmp_path / "root", profile=profile, **settings)))
            client = RawClient(gateway.grpc_port)
            stack.callback(client.close)
            return gateway, client

        yield start
