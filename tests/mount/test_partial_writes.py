"""Writing a few bytes into a large file, and several writers of one file, with the kernel."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

GIB = 1 << 30
MIB = 1 << 20
MEMORY = 64 * MIB
_APPENDER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(150):
    os.write(fd, (sys.argv[2] * (1 + number * 37 % 5000) + "\\n").encode())
os.close(fd)
"""


@pytest.fixture(scope="module", params=["reva", "opencloud", "eos"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def control(gateway: GatewayProcess) -> Iterator[ControlClient]:
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    yield control
    control.clear_faults()


class Memory:
    """Resident memory of a process: the highest since the start of the watch [bytes]."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = self._field("VmRSS")

    def _field(self, name: str) -> int:
        return next(int(line.split()[1]) * 1024 for line in self._status.read_text().splitlines() if line.startswith(name))

    @property
    def grown(self) -> int:
        return self._field("VmHWM") - self._before


def sparse(gateway: GatewayProcess, name: str, size: int) -> Path:
    """A file of zeros on the server's disk, made at once."""
    path = gateway.root / "einstein" / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def write_a_little(path: Path, size: int) -> tuple[int, int, float]:
    """Append 1 KiB and rewrite 4 KiB through two descriptors, which stay open. Returns them, and how long it took."""
    begun = time.monotonic()
    appender = os.open(path, os.O_WRONLY | os.O_APPEND)
    assert os.write(appender, b"a" * 1024) == 1024
    patcher = os.open(path, os.O_RDWR)
    assert os.pwrite(patcher, b"p" * 4096, size // 2) == 4096
    assert os.fstat(patcher).st_size == size + 1024
    return appender, patcher, time.monotonic() - begun


@pytest.mark.parametrize("profile", ["reva"], indirect=True)
def test_few_bytes_of_a_gibibyte_are_written_before_any_download(
    gateway: GatewayProcess, control: ControlClient, tmp_path: Path
) -> None:
    """The server answers no GET at all: both writes return at once, in bounded memory."""
    sparse(gateway, "gibibyte", GIB)
    with MountProcess(gateway.source(), tmp_path) as mount:
        pid = mount.pid
        memory = Memory(pid)
        control.fault(method="GET", freeze=True)
        appender, patcher, seconds = write_a_little(mount.path / "gibibyte", GIB)
        assert seconds < 10
        assert [rule["seen"] for rule in control.faults()] == [0], "something was fetched"
        assert memory.grown < MEMORY
        mount.kill(pid)  # else close would send the whole file
        for fd in (appender, patcher):
            with pytest.raises(OSError):
                os.close(fd)


@pytest.mark.parametrize("size", [24 * MIB, pytest.param(GIB, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_commit_of_a_few_bytes_streams_the_rest(gateway: GatewayProcess, mounted: MountProcess, size: int) -> None:
    """close completes the file from the old version as a stream: right bytes, bounded memory."""
    name = f"patched-{size}"
    there = sparse(gateway, name, size)
    memory = Memory(mounted.pid)
    appender, patcher, _ = write_a_little(mounted.path / name, size)
    assert os.pread(patcher, 6000, size // 2 - 1000) == bytes(1000) + b"p" * 4096 + bytes(904)
    os.close(appender)
    os.close(patcher)
    assert memory.grown < MEMORY
    assert there.stat().st_size == size + 1024
    with there.open("rb") as file:
        file.seek(size // 2 - 10)
        assert file.read(4116) == bytes(10) + b"p" * 4096 + bytes(10)
        file.seek(size - 10)
        assert file.read() == bytes(10) + b"a" * 1024
        file.seek(0)
        assert file.read(MIB) == bytes(MIB)
    (mounted.path / name).unlink()


def test_two_descriptors_are_one_file(gateway: GatewayProcess, mounted: MountProcess) -> None:
    """Random reads, writes, truncations and fsyncs through two descriptors, and writes through a third that cannot read, against a byte
    array; then against the server.
    """
    chance = random.Random(5)
    model = bytearray(chance.randbytes(3_000_000))
    there = gateway.root / "einstein" / "both"
    path = mounted.path / "both"
    path.write_bytes(model)
    fds = [os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)]
    writers = [*fds, os.open(path, os.O_WRONLY)]  # the last one without page cache, see kernel.operations
    for _ in range(120):
        fd, offset = chance.choice(fds), chance.randrange(len(model))
        match chance.choice(["read", "read", "write", "write", "truncate", "fsync"]):
            case "read":
                size = chance.choice([1, 4096, 300_000])
                assert os.pread(fd, size, offset) == model[offset : offset + size]
            case "write":
                data = chance.randbytes(chance.choice([1, 5000, 200_000]))
                assert os.pwrite(chance.choice(writers), data, offset) == len(data)
                model[offset : offset + len(data)] = data
            case "truncate":
                size = max(1, len(model) + chance.randint(-100_000, 100_000))
                os.ftruncate(fd, size)
                model = model[:size] + bytes(max(0, size - len(model)))
            case "fsync":
                os.fsync(fd)
                assert there.read_bytes() == model
    for fd in writers:
        os.close(fd)
    assert there.read_bytes() == model
    path.unlink()


def test_mapping_shows_what_another_descriptor_writes(mounted: MountProcess) -> None:
    """Also one that only writes: no page of the mapping may be left as it was."""
    path = mounted.path / "mapped-and-written"
    path.write_bytes(b"a" * 300_000)
    with path.open("rb") as reader, mmap.mmap(reader.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        assert mapping[:] == b"a" * 300_000
        for offset in (0, 5, 4096, 131_072, 299_990):
            writer = os.open(path, os.O_WRONLY)
            os.pwrite(writer, b"B" * 10, offset)
            assert mapping[offset : offset + 10] == b"B" * 10
            os.close(writer)
    path.unlink()


def test_shared_mapping_of_a_part(gateway: GatewayProcess, mounted: MountProcess) -> None:
    """Bytes written through mmap(MAP_SHARED), also after the descriptor's close, are on the server in the end."""
    there = sparse(gateway, "mapped", 4 * MIB)
    path = mounted.path / "mapped"
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 2 * MIB, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=MIB)
        mapped[10:15] = b"early"
        mapped.flush()
        os.fsync(file.fileno())
        assert there.read_bytes()[MIB + 10 : MIB + 15] == b"early"
    mapped[MIB : MIB + 4] = b"late"
    mapped.close()
    until = time.monotonic() + 20
    while there.read_bytes()[2 * MIB : 2 * MIB + 4] != b"late":
        assert time.monotonic() < until, "what a mapping wrote after the last close is not on the server"
        time.sleep(0.05)
    content = there.read_bytes()
    assert len(content) == 4 * MIB
    assert content.count(0) == 4 * MIB - 9
    path.unlink()


def test_two_appending_processes_interleave_whole_writes(gateway: GatewayProcess, mounted: MountProcess) -> None:
    """O_APPEND from two processes: no line is torn, none is lost, each process's are in order."""
    path = mounted.path / "log"
    path.write_bytes(b"start\n")
    writers = [subprocess.Popen([sys.executable, "-c", _APPENDER, str(path), letter]) for letter in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = (gateway.root / "einstein" / "log").read_text().splitlines()
    assert lines[0] == "start"
    for letter in "ab":
        assert [line for line in lines if line.startswith(letter)] == [letter * (1 + number * 37 % 5000) for number in range(150)]
    assert len(lines) == 301
    path.unlink()
