"""An open sees what was closed before, whatever the kernel was told of the file a moment ago."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module", params=["reva", "opencloud"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), request.param) as process:
        yield process


@pytest.fixture(scope="module")
def mounted(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    """The kernel may keep attributes for half a minute."""
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("mount"), options={"attribute_timeout_s": 60}) as mount:
        yield mount


@pytest.mark.parametrize("size", [50, 3, 200_000], ids=["longer", "shorter", "much longer"])
@pytest.mark.parametrize("was_read", [False, True], ids=["looked at", "read"])
def test_open_sees_another_size_than_the_kernel_knows(
    gateway: GatewayProcess, mounted: MountProcess, size: int, was_read: bool
) -> None:
    """Somebody else replaced the file since it was looked at, or read: all of the new bytes, and no zeros behind them."""
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    path: Path = mounted.path / f"f-{size}-{was_read}"
    path.write_bytes(b"old bytes")
    assert path.stat().st_size == 9 and (not was_read or path.read_bytes() == b"old bytes")
    control.write(f"/einstein/{path.name}", b"n" * size, "einstein")
    with path.open("rb") as file:
        assert os.fstat(file.fileno()).st_size == size
        assert file.read() == b"n" * size


def test_append_goes_to_the_end_that_is_there_now(gateway: GatewayProcess, mounted: MountProcess) -> None:
    """Not to the end that the kernel remembers."""
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    path = mounted.path / "log"
    path.write_bytes(b"old")
    assert path.stat().st_size == 3
    control.write("/einstein/log", b"a longer log", "einstein")
    with path.open("ab") as file:
        file.write(b", and more")
    assert path.read_bytes() == b"a longer log, and more"
