"""``-o commit=background`` with the kernel: close returns when the journal has the bytes, and everything arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.crash import left
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

HOLD_S = 1.5


@pytest.fixture(scope="module", params=["reva", "opencloud"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def control(gateway: GatewayProcess) -> Iterator[ControlClient]:
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    yield control
    control.clear_faults()


@pytest.fixture(scope="module")
def mounted(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    """One mount for all; tests that end it mount it again."""
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("mount"), options={"commit": "background"}) as mount:
        yield mount


@pytest.fixture
def there(gateway: GatewayProcess, work: Path) -> Path:
    """The folder ``work`` on the server's own disk."""
    return gateway.root / "einstein" / work.name


def state(path: Path) -> str:
    return os.getxattr(path, "user.cs3.state").decode()


def wait_for(path: Path, wanted: bytes) -> None:
    """Until the server's disk has a content."""
    until = time.monotonic() + 20
    while not path.exists() or path.read_bytes() != wanted:
        assert time.monotonic() < until, f"{path.name} does not arrive"
        time.sleep(0.02)


def test_close_does_not_wait_for_the_server(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """close returns while the PUT is held; the file reads as written, its state is told, and it arrives by itself."""
    data = os.urandom(1_000_000)
    control.fault(method="PUT", delay_s=HOLD_S)
    begun = time.monotonic()
    (work / "f").write_bytes(data)
    closed = time.monotonic() - begun
    assert state(work / "f") in {"queued", "uploading"}
    assert (work / "f").read_bytes() == data
    assert (work / "f").stat().st_size == len(data)
    assert not (there / "f").exists()
    assert closed < HOLD_S
    wait_for(there / "f", data)
    until = time.monotonic() + 10
    while state(work / "f") != "clean":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert mounted.status()["unsent"] == 0


def test_state_of_an_open_file(control: ControlClient, mounted: MountProcess, work: Path) -> None:
    """dirty while it is being written, then queued or uploading, clean in the end."""
    control.fault(method="PUT", delay_s=HOLD_S)
    with (work / "f").open("wb", buffering=0) as file:
        file.write(b"some bytes")
        assert state(work / "f") == "dirty"
        os.close(os.dup(file.fileno()))  # close(2) of another descriptor commits, and the file stays open
        assert state(work / "f") in {"queued", "uploading"}
        os.fsync(file.fileno())  # waits for the server in every mode
        assert state(work / "f") == "clean"
        file.write(b", more bytes")
    mounted.run("flush", str(mounted.path))
    assert state(work / "f") == "clean"


def test_order_of_one_file_is_kept(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """Ten saves of one file while uploads are slow: the server ends with the last, and never shows an older one after a newer."""
    control.fault(method="PUT", delay_s=0.15)
    seen: list[int] = []
    for number in range(10):
        (work / "f").write_bytes(b"%03d" % number * 1000)
        assert (work / "f").read_bytes() == b"%03d" % number * 1000
    until = time.monotonic() + 20
    while not seen or seen[-1] != 9:
        assert time.monotonic() < until, seen
        if (there / "f").exists() and (content := (there / "f").read_bytes()):
            seen.append(int(content[:3]))
            assert content == content[:3] * 1000
        time.sleep(0.01)
    assert seen == sorted(seen)


def test_files_are_sent_in_parallel(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """Eight files with slow uploads take about two rounds of four workers, not eight."""
    control.fault(method="PUT", delay_s=0.5)
    begun = time.monotonic()
    for number in range(8):
        (work / f"f{number}").write_bytes(b"x" * 1000)
    mounted.run("flush", str(mounted.path))
    assert time.monotonic() - begun < 8 * 0.5
    assert sorted(path.name for path in there.iterdir()) == [f"f{number}" for number in range(8)]


def test_umount_waits_for_what_is_unsent(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """umount returns 0 when everything has arrived."""
    data = os.urandom(100_000)
    control.fault(method="PUT", delay_s=HOLD_S)
    (work / "f").write_bytes(data)
    assert not (there / "f").exists()
    assert mounted.umount().returncode == 0
    assert (there / "f").read_bytes() == data
    assert left.journal(mounted.state, of_dead=True) == []
    mounted.mount()


def test_killed_daemon_sends_at_the_next_mount(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """Closed files that were not sent when the daemon was killed are on the server before the next mount serves."""
    data = {f"f{number}": os.urandom(50_000 * (number + 1)) for number in range(6)}
    control.fault(method="PUT", delay_s=20.0)
    for name, content in data.items():
        (work / name).write_bytes(content)
    mounted.kill(mounted.pid)
    control.clear_faults()
    assert len([row for row in left.journal(mounted.state, of_dead=True) if row.is_sealed]) == len(data)
    mounted.mount()
    assert left.journal(mounted.state) == []
    for name, content in data.items():
        assert (there / name).read_bytes() == content
        assert (work / name).read_bytes() == content


def test_unsent_file_can_be_renamed_and_removed(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """What a program does with a file that it closed a moment ago works as if it were on the server."""
    control.fault(method="PUT", delay_s=0.3)
    (work / "a").write_bytes(b"a" * 1000)
    (work / "a").rename(work / "b")
    (work / "c").write_bytes(b"c" * 1000)
    (work / "c").unlink()
    (work / "old").write_bytes(b"old")
    (work / "new").write_bytes(b"new")
    (work / "new").replace(work / "old")
    assert sorted(path.name for path in work.iterdir()) == ["b", "old"]
    mounted.run("flush", str(mounted.path))
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {"b": b"a" * 1000, "old": b"new"}


@pytest.mark.parametrize("profile", ["reva"], indirect=True)
def test_conflict_is_told_afterwards(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """close succeeded, somebody else had been faster: both are there, and `cs3fuse conflicts` lists it."""
    (work / "f.txt").write_bytes(b"old")
    mounted.run("flush", str(mounted.path))
    with (work / "f.txt").open("wb") as file:
        file.write(b"ours")
        control.write(f"/einstein/{work.name}/f.txt", b"theirs", "einstein")
    mounted.run("flush", str(mounted.path), check=False)
    found = {path.name: path.read_bytes() for path in there.iterdir()}
    assert found.pop("f.txt") == b"theirs"
    ((name, content),) = found.items()
    assert content == b"ours"
    assert name in mounted.run("conflicts", str(mounted.path)).stdout


def test_program_that_ends_at_once(control: ControlClient, mounted: MountProcess, work: Path, there: Path) -> None:
    """A program that writes and exits without closing: its bytes arrive too."""
    control.fault(method="PUT", delay_s=0.2)
    code = "import os,sys; os.write(os.open(sys.argv[1], os.O_WRONLY|os.O_CREAT), b'x'*70000); os._exit(0)"
    assert subprocess.run([sys.executable, "-c", code, str(work / "f")], check=False, timeout=30).returncode == 0
    wait_for(there / "f", b"x" * 70000)
