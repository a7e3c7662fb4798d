"""The life of a CS3 lock through a real mount, as the official client sees it: each way it can go, once."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cs3client.exceptions import FileLockedException, NotFoundException

from cs3fuse.emulator.control_client import ControlClient
from cs3fuse.model import IdRoot, Location, ResourceId
from tests.interop.official import Official, official
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

_SHORTEST_LIFE_S = 30


@pytest.fixture(scope="module", params=["opencloud", "eos"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), request.param) as process:
        yield process


@pytest.fixture(scope="module")
def mounted(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("mount")) as mount:
        yield mount


@pytest.fixture
def other(gateway: GatewayProcess) -> Iterator[Official]:
    with official(gateway.grpc_port) as client:
        yield client


@pytest.fixture
def control(gateway: GatewayProcess) -> Iterator[ControlClient]:
    client = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    yield client
    client.skew_clock(0)


@pytest.fixture
def file(mounted: MountProcess, request: pytest.FixtureRequest) -> Path:
    """A file of the test's own, unlocked."""
    path = mounted.path / f"{request.node.originalname}.txt"
    path.write_bytes(b"content")
    return path


def on_server(path: Path) -> Location:
    """Where the official client finds a file of the mount."""
    storage, _, rest = os.getxattr(path, "user.cs3.id").decode().partition("$")
    space, _, opaque = rest.partition("!")
    return Location(IdRoot(ResourceId(storage, space, opaque)))


def seen(other: Official, at: Location) -> dict[str, Any] | None:
    """The lock, None where there is none."""
    try:
        return other.get_lock(at)
    except NotFoundException:
        return None


def eventually(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """close(2) does not wait for the release of the lock."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def take_away(other: Official, at: Location) -> None:
    """Release the mount's lock as an administrator or a restart of the server does."""
    found = seen(other, at)
    assert found is not None
    name, other.app_name = other.app_name, found["app_name"]
    other.unlock(at, found["lock_id"])
    other.app_name = name


def test_taken_shared_and_released(file: Path, other: Official) -> None:
    """Taken by the first writer, kept for the second, gone after the last; a reader takes none."""
    at = on_server(file)
    with file.open("rb") as reader:
        assert reader.read() == b"content"
        assert seen(other, at) is None
    with file.open("r+b") as first:
        held = seen(other, at)
        assert held is not None
        assert held["app_name"].startswith("cs3fuse-")
        with file.open("r+b"):
            pass
        assert (seen(other, at) or {})["lock_id"] == held["lock_id"]
        told = json.loads(os.getxattr(file, "user.cs3.lock"))
        assert told["ours"] is True
        with pytest.raises(FileLockedException):
            other.lock(at)
        first.write(b"CONTENT")
    eventually(lambda: seen(other, at) is None)


def test_new_file_is_locked_from_its_first_fsync(mounted: MountProcess, other: Official) -> None:
    """Best effort: there is nothing to lock before."""
    path = mounted.path / "new.txt"
    with path.open("wb") as file:
        file.write(b"first")
        file.flush()
        os.fsync(file.fileno())
        at = on_server(path)
        held = seen(other, at)
        assert held is not None
        assert held["app_name"].startswith("cs3fuse-")
        file.write(b", second")
    eventually(lambda: seen(other, at) is None)
    assert other.read(at) == b"first, second"


def test_refused_by_a_foreign_lock(file: Path, mounted: MountProcess, other: Official) -> None:
    """EBUSY to open for writing, truncate, unlink and rename; the log and the attribute say who; readers read; then it is free."""
    at = on_server(file)
    eventually(lambda: seen(other, at) is None)
    other.lock(at)
    beside = file.with_suffix(".tmp")
    beside.write_bytes(b"newer")
    for attempt in (
        lambda: file.open("r+b"),
        lambda: file.open("ab"),
        lambda: os.truncate(file, 0),
        file.unlink,
        lambda: file.rename(file.with_suffix(".moved")),
        lambda: beside.rename(file),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EBUSY
    assert file.read_bytes() == b"content"
    told = json.loads(os.getxattr(file, "user.cs3.lock"))
    assert (told["application"], told["ours"]) == ("cs3-jupyter", False)
    assert told["until"]
    assert "locked by cs3-jupyter" in mounted.log()
    other.unlock(at)
    beside.rename(file)
    assert file.read_bytes() == b"newer"


def test_forgotten_by_the_server(file: Path, other: Official) -> None:
    """Nobody changed the file: close succeeds, under a new lock that is released."""
    at = on_server(file)
    with file.open("r+b") as writer:
        writer.write(b"CONTENT")
        take_away(other, at)
    assert other.read(at) == b"CONTENT"
    eventually(lambda: seen(other, at) is None)


def test_lost_and_the_file_changed(file: Path, other: Official) -> None:
    """ESTALE at close; theirs under the name, ours beside."""
    at = on_server(file)
    writer = os.open(file, os.O_RDWR)
    os.write(writer, b"ours---")
    take_away(other, at)
    other.write(at, b"theirs, longer")
    with pytest.raises(OSError) as caught:
        os.close(writer)
    assert caught.value.errno == errno.ESTALE
    eventually(lambda: file.read_bytes() == b"theirs, longer")
    (copy,) = file.parent.glob(f"{file.stem} (conflict *")
    assert copy.read_bytes() == b"ours---"


def test_run_out_and_taken(file: Path, mounted: MountProcess, other: Official, control: ControlClient) -> None:
    """The server's clock is past our lock, somebody else has it: EBUSY at close; the bytes are kept and sent when it is free."""
    at = on_server(file)
    writer = os.open(file, os.O_RDWR)
    os.write(writer, b"ours---")
    control.skew_clock(400)
    other.set_lock_life(900)
    other.lock(at)
    with pytest.raises(OSError) as caught:
        os.close(writer)
    assert caught.value.errno == errno.EBUSY
    assert other.read(at) == b"content"
    assert file.read_bytes() == b"ours---"
    assert mounted.status()["unsent"] == 1
    other.unlock(at)
    control.skew_clock(0)
    mounted.run("flush", str(mounted.path))
    assert other.read(at) == b"ours---"
    eventually(lambda: seen(other, at) is None)


def test_released_by_hand(file: Path, mounted: MountProcess, other: Official) -> None:
    """``cs3fuse unlock`` gives it up; the program that has the file open saves all the same."""
    at = on_server(file)
    with file.open("r+b") as writer:
        writer.write(b"CONTENT")
        listed = json.loads(mounted.run("locks", str(mounted.path), "--json").stdout)
        assert [Path(each["path"]).name for told in listed for each in told["ours"]] == [file.name]
        mounted.run("unlock", str(file))
        assert seen(other, at) is None
    assert other.read(at) == b"CONTENT"
    eventually(lambda: seen(other, at) is None)


def test_left_by_a_killed_daemon(gateway: GatewayProcess, tmp_path: Path, other: Official) -> None:
    """kill -9 with a file open: the next mount on the state folder knows the lock as its own and releases it."""
    with MountProcess(gateway.source(), tmp_path) as mount:
        path = mount.path / "killed.txt"
        path.write_bytes(b"content")
        at = on_server(path)
        writer = os.open(path, os.O_RDWR)
        held = seen(other, at)
        assert held is not None
        mount.kill(mount.pid)
        with pytest.raises(OSError):
            os.close(writer)
        assert (seen(other, at) or {})["lock_id"] == held["lock_id"]
        mount.mount()
        path.write_bytes(b"goes through at once")
        eventually(lambda: seen(other, at) is None)
        assert other.read(at) == b"goes through at once"


def test_released_at_umount(gateway: GatewayProcess, tmp_path: Path, other: Official) -> None:
    """Two files are open until just before; nothing is left on the server."""
    with MountProcess(gateway.source(), tmp_path) as mount:
        paths = [mount.path / name for name in ("umount-a.txt", "umount-b.txt")]
        for path in paths:
            path.write_bytes(b"content")
        places = [on_server(path) for path in paths]
        for path in paths:
            with path.open("r+b") as file:
                file.write(b"C")
        mount.umount()
    assert [seen(other, at) for at in places] == [None, None]


@pytest.mark.slow
def test_refreshed_ahead_of_its_end(gateway: GatewayProcess, tmp_path: Path, other: Official) -> None:
    """A short lease is prolonged while the file is open, in real time."""
    with MountProcess(gateway.source(), tmp_path, options={"lock_ttl_s": _SHORTEST_LIFE_S}) as mount:
        path = mount.path / "refreshed.txt"
        path.write_bytes(b"content")
        at = on_server(path)
        with path.open("r+b"):
            first = (seen(other, at) or {})["expiration"]["seconds"]
            time.sleep(_SHORTEST_LIFE_S + 5)
            again = seen(other, at)
            assert again is not None
            assert again["expiration"]["seconds"] >= first + 20
        eventually(lambda: seen(other, at) is None)


@pytest.mark.slow
def test_laptop_that_slept(gateway: GatewayProcess, tmp_path: Path, other: Official) -> None:
    """The daemon stands still for longer than its lock lives; somebody locks, saves and unlocks meanwhile: neither is lost."""
    with MountProcess(gateway.source(), tmp_path, options={"lock_ttl_s": _SHORTEST_LIFE_S}) as mount:
        path = mount.path / "slept.txt"
        path.write_bytes(b"content")
        at = on_server(path)
        writer = os.open(path, os.O_RDWR)
        os.write(writer, b"ours---")
        pid = mount.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(_SHORTEST_LIFE_S + 2)
            other.lock(at)
            other.write(at, b"theirs, longer", "official")
            other.unlock(at)
        finally:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises(OSError) as caught:
            os.close(writer)
        assert caught.value.errno == errno.ESTALE
        eventually(lambda: path.read_bytes() == b"theirs, longer")
        (copy,) = path.parent.glob("slept (conflict *")
        assert copy.read_bytes() == b"ours---"
