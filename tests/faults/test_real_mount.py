"""A handful of the faults once more with the kernel between: what a program's close(2) really returns. docs/durability.md names these tests."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

QUOTA = 4_000_000
OLD = b"old" * 1000


@pytest.fixture(scope="module", params=["reva", "opencloud"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), str(request.param), "--quota", str(QUOTA)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def mount(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("mount"), options={"locks": "off"}) as mount:
        yield mount


@pytest.fixture
def control(gateway: GatewayProcess) -> Iterator[ControlClient]:
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    yield control
    control.clear_faults()


def save(path: Path, data: bytes) -> int:
    """open, write, close; the errno of close."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, data)
    try:
        os.close(fd)
    except OSError as error:
        return error.errno or -1
    return 0


def all_sent(mount: MountProcess) -> None:
    until = time.monotonic() + 30
    while mount.status()["unsent"]:
        assert time.monotonic() < until, mount.log()
        time.sleep(0.05)


def test_broken_off_put_reaches_no_program(gateway: GatewayProcess, mount: MountProcess, control: ControlClient) -> None:
    """The connection dies in the middle of two uploads in a row: close returns 0 and the server has the new content."""
    data = os.urandom(1_500_000)
    assert save(mount.path / "a", OLD) == 0
    control.fault(method="PUT", times=2, direction="request", reset_after_bytes=700_000)
    assert save(mount.path / "a", data) == 0
    assert (gateway.root / "einstein" / "a").read_bytes() == data
    assert mount.status()["unsent"] == 0


def test_full_quota_is_told_at_close(gateway: GatewayProcess, mount: MountProcess, control: ControlClient) -> None:
    """EDQUOT from close(2); the bytes are readable, and go to the server when there is room (`cs3fuse flush` does not wait for it)."""
    data = os.urandom(1_000_000)
    assert save(mount.path / "q", OLD) == 0
    control.fault(method="PUT", path="/q$", http_status=507)
    assert save(mount.path / "q", data) == errno.EDQUOT
    assert (gateway.root / "einstein" / "q").read_bytes() == OLD
    assert (mount.path / "q").read_bytes() == data
    assert mount.status()["unsent"] == 1
    control.clear_faults()
    mount.run("flush", str(mount.path))
    all_sent(mount)
    assert (gateway.root / "einstein" / "q").read_bytes() == data


def test_another_clients_save_is_not_overwritten(gateway: GatewayProcess, mount: MountProcess, control: ControlClient) -> None:
    """ESTALE from close(2); theirs stands, ours is beside it, `cs3fuse conflicts` lists it."""
    path = mount.path / "c.txt"
    assert save(path, OLD) == 0
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"ours")
    control.write("/einstein/c.txt", b"theirs", "einstein")
    with pytest.raises(OSError) as caught:
        os.close(fd)
    assert caught.value.errno == errno.ESTALE
    assert path.read_bytes() == b"theirs"
    (copy,) = [name for name in os.listdir(mount.path) if name.startswith("c (conflict einstein ")]
    assert (mount.path / copy).read_bytes() == b"ours"
    assert copy in mount.run("conflicts", str(mount.path)).stdout
