"""What common programs cost: requests of the kernel and calls to the server are counted, not timed.

A number here is a promise that a change may lower and must not raise without a reason.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from cs3fuse.kernel.operations import drops_pages
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

# Where ranges are served, and counted.
WITH_RANGES = ["opencloud", "eos"]


@pytest.fixture
def calls_of(gateway: GatewayProcess | None) -> Callable[[Callable[[], object]], Counter[str]]:
    """Counts the server's calls, by name, while something is done."""
    if gateway is None:
        pytest.skip("a live gateway does not tell its calls")
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")

    def count(work: Callable[[], object]) -> Counter[str]:
        control.clear_log()
        work()
        return Counter(control.names())

    return count


def list_long(folder: Path) -> None:
    subprocess.run(["ls", "-l", str(folder)], stdout=subprocess.DEVNULL, check=True, env={**os.environ, "LC_ALL": "C"})


def test_long_listing_costs_one_call_and_few_requests(
    mounted: MountProcess, work: Path, calls_of: Callable[[Callable[[], object]], Counter[str]]
) -> None:
    """``ls -l`` asks for two attributes of every file where it is not told that there are none of their kind."""
    for number in range(40):
        (work / f"{number:02}").touch()
    before = mounted.status()["requests"]
    calls = calls_of(lambda: list_long(work))
    assert calls["ListContainer"] <= 1
    assert calls.total() <= 3
    assert mounted.status()["requests"] - before < 20


def test_buffered_writes_are_few_requests(mounted: MountProcess, work: Path) -> None:
    """Python's open() takes st_blksize as its buffer: a writer of small pieces must not pay a request for each."""
    path = work / "lines.txt"
    for _ in range(2):  # a new file, then an existing one
        before = mounted.status()["requests"]
        with path.open("wb") as file:
            for number in range(5000):
                file.write(b"%08d\n" % number)
        assert mounted.status()["requests"] - before < 20
    assert path.stat().st_size == 45_000


@pytest.mark.skipif(
    not drops_pages(os.uname().release), reason="this kernel keeps stale pages of what is written past its page cache"
)
def test_write_is_one_request(mounted: MountProcess, work: Path) -> None:
    """With a page cache the kernel asks for the attribute security.capability before each write(2)."""
    before = mounted.status()["requests"]
    with (work / "pieces").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(5000))
    assert mounted.status()["requests"] - before < 110


@pytest.mark.parametrize("profile", WITH_RANGES, indirect=True, scope="module")
def test_buffered_reads_fetch_little(work: Path, gateway: GatewayProcess | None, tmp_path: Path) -> None:
    """A reader that jumps about, as uproot does by way of fsspec, must not fetch mebibytes for a few bytes."""
    assert gateway is not None
    pieces, apart = 10, 2 << 20
    (work / "large.bin").write_bytes(bytes(pieces * apart))
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    with MountProcess(gateway.source(), tmp_path / "reader") as reader:
        control.clear_log()
        for number in reversed(range(pieces)):
            with (reader.path / work.name / "large.bin").open("rb") as file:  # anew for each piece, as fsspec does
                file.seek(number * apart + 1000)
                assert len(file.read(1000)) == 1000
        assert sum(entry["sent"] for entry in control.log()) < pieces * (256 << 10)


@pytest.mark.parametrize("profile", WITH_RANGES, indirect=True, scope="module")
def test_direct_reads_are_fetched_each_time(work: Path, gateway: GatewayProcess | None) -> None:
    """O_DIRECT passes the cache by, also where it has the bytes: who uses it wants to know what the server has."""
    assert gateway is not None
    content = random.Random(7).randbytes(1 << 20)
    (work / "direct.bin").write_bytes(content)
    assert (work / "direct.bin").read_bytes() == content
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    page = mmap.mmap(-1, 4096)  # O_DIRECT may want aligned memory
    fd = os.open(work / "direct.bin", os.O_RDONLY | os.O_DIRECT)
    try:
        for _ in range(2):
            control.clear_log()
            assert os.preadv(fd, [page], 8192) == 4096
            assert bytes(page) == content[8192 : 8192 + 4096]
            assert [entry["sent"] for entry in control.log() if entry["name"] == "GET"] == [4096]
    finally:
        os.close(fd)
        page.close()


@pytest.mark.parametrize("command", ["echo new > file", "cat source > file", "echo new > fresh", "(echo new; cat source) > file"])
def test_redirection_of_a_shell_is_one_upload(
    work: Path,
    mounted: MountProcess,
    gateway: GatewayProcess | None,
    calls_of: Callable[[Callable[[], object]], Counter[str]],
    command: str,
) -> None:
    """It closes a descriptor before the command writes: no empty file may be seen on the server, or kept as a version."""
    (work / "file").write_text("old")
    (work / "source").write_text("source")
    calls = calls_of(lambda: subprocess.run(["sh", "-c", command], cwd=work, check=True))
    assert calls["PUT"] == 1
    assert calls["InitiateFileUpload"] == 1
    written = work / command.rpartition(" ")[2]
    assert written.read_text() in {"new\n", "source", "new\nsource"}
    assert gateway is not None
    on_server = gateway.root / "einstein" / written.relative_to(mounted.path)
    assert on_server.read_text() == written.read_text()


def test_emptied_file_is_sent_at_its_close(work: Path, calls_of: Callable[[Callable[[], object]], Counter[str]]) -> None:
    """Nothing is put off where nothing follows: with one descriptor, and when the last of two is closed."""
    path = work / "file"
    path.write_text("old")
    assert calls_of(lambda: subprocess.run(["sh", "-c", ": > file"], cwd=work, check=True))["InitiateFileUpload"] == 1
    path.write_text("old")

    def empty() -> None:
        first = os.open(path, os.O_WRONLY | os.O_TRUNC)
        second = os.dup(first)
        os.close(first)
        os.close(second)

    assert calls_of(empty)["InitiateFileUpload"] == 1
    assert path.stat().st_size == 0


def test_new_file_is_looked_at_once_where_the_server_checks(
    profile: str, mounted: MountProcess, work: Path, calls_of: Callable[[Callable[[], object]], Counter[str]]
) -> None:
    """Whether uploads are conditional is asked once (an initiation that nothing follows); then only what arrived is looked at."""
    (work / "first").write_text("x")
    os.listdir(work)  # as the shell did in which it is made: so it is known that there is no such name
    calls = calls_of(lambda: (work / "second").write_text("y"))
    is_checked = profile == "opencloud"
    assert calls["InitiateFileUpload"] == calls["PUT"] == 1
    assert calls["Stat"] <= (1 if is_checked else 2)
    proven = {storage["conditional_uploads"] for storage in mounted.status()["storages"].values() if storage["times"] is not False}
    assert (True in proven) == is_checked


def test_many_files_in_the_background_are_looked_at_together(
    gateway: GatewayProcess | None, calls_of: Callable[[Callable[[], object]], Counter[str]], tmp_path: Path
) -> None:
    """Forty uploads into one folder: few listings show that they arrived, instead of a Stat for each."""
    assert gateway is not None
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    count = 40
    options = {"commit": "background", "upload_workers": 16}
    with MountProcess(gateway.source(), tmp_path / "writer", options=options) as writer:
        folder = writer.path / "looked-at-together"
        folder.mkdir()
        (folder / "first").write_text("x")  # with it whether uploads are conditional is asked, once
        writer.run("flush", str(writer.path))
        assert os.listdir(folder) == ["first"]

        def save_and_flush() -> None:
            for number in range(count):
                (folder / f"{number}").write_bytes(b"%d" % number * 1000)
            writer.run("flush", str(writer.path))

        control.fault(method="PUT", delay_s=0.5)  # so that many end at once, however slow the machine is
        calls = calls_of(save_and_flush)
        control.clear_faults()
        (folder / "first").unlink()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {f"{n}": b"%d" % n * 1000 for n in range(count)}
    assert calls["PUT"] == calls["InitiateFileUpload"] == count
    before = 0 if gateway.profile == "opencloud" else count  # where the server checks nothing, each name is looked at first
    assert calls["Stat"] <= before + count // 2
    assert 1 <= calls["ListContainer"] <= count // 4


def test_first_read_costs_a_call_less_than_its_bytes_need_in_a_row(
    gateway: GatewayProcess | None, work: Path, tmp_path: Path, calls_of: Callable[[Callable[[], object]], Counter[str]]
) -> None:
    """Where the bytes are is asked while the open asks for the version: once, and not at all for what is here, or empty."""
    assert gateway is not None
    (work / "file").write_bytes(b"x" * 5000)
    (work / "empty").touch()
    with MountProcess(gateway.source(), tmp_path / "reader") as reader:
        folder = reader.path / work.name
        os.listdir(folder)  # so that it is known what is about to be opened
        fd = -1

        def open_it() -> None:
            nonlocal fd
            fd = os.open(folder / "file", os.O_RDONLY)
            until = time.monotonic() + 5
            while not ControlClient(f"http://127.0.0.1:{gateway.http_port}").names().count("InitiateFileDownload"):
                assert time.monotonic() < until, "the open did not ask where the bytes are"
                time.sleep(0.01)

        try:
            assert calls_of(open_it)["InitiateFileDownload"] == 1
            calls = calls_of(lambda: os.pread(fd, 5000, 0))
            assert (calls["InitiateFileDownload"], calls["GET"]) == (0, 1)
        finally:
            os.close(fd)

        def read_again() -> None:
            assert (folder / "file").read_bytes() == b"x" * 5000
            assert (folder / "empty").read_bytes() == b""

        calls = calls_of(read_again)
        assert (calls["InitiateFileDownload"], calls["GET"]) == (0, 0)
