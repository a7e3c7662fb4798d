"""Questions to a running mount, as a person asks them: what is printed, which exit status, what it does to files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from cs3fuse.commit.inspection import inspect
from cs3fuse.emulator.control_client import ControlClient
from cs3fuse.kernel.mounts import mounted_type
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

AWAY = {"method": "PUT", "http_status": 503}

# A process of its own: when a test starts a command, its own descriptors are closed in the child, which saves their files.
PROGRAM = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(fd, sys.argv[2].encode())
print("written", flush=True)
sys.stdin.readline()
try:
    os.fsync(fd)
    os.close(fd)
except OSError as error:
    print(error.errno)
else:
    print(0)
"""


class Program:
    """Opens a file, writes something over its beginning, and keeps it open until ``close``, which returns the errno of saving."""

    def __init__(self, path: Path, text: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(path), text]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "written\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def close(self) -> int:
        told, _ = self._process.communicate("\n", timeout=60)
        return int(told)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The profile with everything: locks, ranges, ids."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), "opencloud") as process:
        yield process


@pytest.fixture(scope="module")
def shared(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    """A mount for the questions that leave it as it was; attributes are kept long, so that only refresh shows changes."""
    options = {"commit": "background", "attribute_timeout_s": 3600}
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("shared"), options=options) as mount:
        yield mount


@pytest.fixture(scope="module")
def plain(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    """A mount whose close waits for the server."""
    with MountProcess(gateway.source(), tmp_path_factory.mktemp("plain")) as mount:
        yield mount


@pytest.fixture
def control(gateway: GatewayProcess) -> Iterator[ControlClient]:
    """Faults and other clients; nothing of them is left to the next test."""
    client = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
    yield client
    client.clear_faults()


def asked(mount: MountProcess, *words: str | Path, status: int | None = 0) -> Any:
    """The JSON answer of a command that ends with this status (None: with any)."""
    done = mount.run(*map(str, words), "--json", check=False)
    assert status is None or done.returncode == status, done.stderr
    return json.loads(done.stdout)


def on_server(gateway: GatewayProcess, name: str) -> bytes:
    """The file as the server's disk has it."""
    return (gateway.root / "einstein" / name).read_bytes()


def test_queue_and_flush_tell_what_is_not_on_the_server(
    shared: MountProcess, control: ControlClient, gateway: GatewayProcess
) -> None:
    """While the server refuses: path, reason and exit status 3; when it does not any more, flush waits until the file is there."""
    assert asked(shared, "queue", shared.path) == [{"mount_point": str(shared.path), "files": [], "unfinished": []}]
    control.fault(**AWAY)
    path = shared.path / "waiting"
    path.write_bytes(b"some bytes")
    done = shared.run("flush", str(path), "--timeout", "1", check=False)
    assert done.returncode == 3
    assert str(path) in done.stderr
    [told] = asked(shared, "queue", shared.path)
    [item] = told["files"]
    assert (item["path"], item["size"]) == (str(path), 10)
    assert item["state"] in {"queued", "uploading"}
    assert item["attempts"] > 0
    assert "503" in item["reason"]
    assert asked(shared, "info", path)["state"] == item["state"]
    assert shared.run("flush", str(shared.path / "elsewhere")).returncode == 0, "what is elsewhere is not waited for"
    control.clear_faults()
    assert "verything is on the server" in shared.run("flush", str(shared.path)).stdout
    assert on_server(gateway, "waiting") == b"some bytes"
    assert asked(shared, "queue", shared.path)[0]["files"] == []


def test_flush_says_that_a_program_has_not_closed_a_file(shared: MountProcess) -> None:
    """Such bytes are nobody's promise yet, but flush must not say that everything is on the server."""
    with Program(shared.path / "open", "x") as program:
        done = shared.run("flush", str(shared.path), check=False)
        assert done.returncode == 3
        assert "has not closed it" in done.stderr
        assert program.close() == 0
    assert shared.run("flush", str(shared.path)).returncode == 0


def test_a_conflict_is_shown_and_forgotten(plain: MountProcess, control: ControlClient, gateway: GatewayProcess) -> None:
    """Theirs is in place, ours beside it; info and conflicts say so until somebody has seen it."""
    path = plain.path / "report.txt"
    path.write_text("first")
    with Program(path, "ours") as program:
        lock = asked(plain, "info", path)["lock"]
        assert lock["is_ours"]
        assert "lock_id" not in lock
        plain.run("unlock", str(path))
        control.write("/einstein/report.txt", b"theirs", "einstein")
        assert program.close() == errno.ESTALE
    [told] = asked(plain, "conflicts", plain.path)
    [conflict] = told["conflicts"]
    assert conflict["path"] == str(path)
    assert Path(conflict["copy"]).read_bytes() == b"ourst"
    assert on_server(gateway, "report.txt") == b"theirs"
    info = asked(plain, "info", path)
    assert info["conflict_copies"] == [conflict["copy"]]
    assert info["recent_failures"][0]["errno"] == "ESTALE"
    plain.run("conflicts", str(plain.path), "--forget", str(conflict["id"]))
    assert asked(plain, "conflicts", plain.path)[0]["conflicts"] == []
    assert plain.run("conflicts", str(plain.path), "--forget", "999", check=False).returncode == 1


def test_our_lock_is_listed_and_released(shared: MountProcess, control: ControlClient) -> None:
    """unlock releases it on the server although a program has the file open; what that writes is saved all the same."""
    path = shared.path / "ours"
    path.write_text("x")
    shared.run("flush", str(shared.path))
    with Program(path, "y") as program:
        [ours] = asked(shared, "locks", shared.path)[0]["ours"]
        assert (ours["path"], ours["open_files"]) == (str(path), 1)
        assert "is released" in shared.run("unlock", str(path)).stdout
        control.change("lock", "einstein", "/einstein/ours", lock_id="other", app_name="collabora")
        control.change("unlock", "einstein", "/einstein/ours", lock_id="other", app_name="collabora")
        assert program.close() == 0
    shared.run("flush", str(path))
    assert path.read_text() == "y"
    assert asked(shared, "locks", shared.path)[0]["ours"] == []
    assert "is not locked" in shared.run("unlock", str(path), check=False).stderr


def test_a_foreign_lock_is_shown_and_released_only_on_demand(shared: MountProcess, control: ControlClient) -> None:
    """It is never released by accident: not without --force, and not without a yes."""
    path = shared.path / "theirs"
    path.write_text("x")
    shared.run("flush", str(shared.path))
    control.change("lock", "einstein", "/einstein/theirs", lock_id="secret-lock-id", app_name="collabora")
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        path.open("r+").close()
    [foreign] = asked(shared, "locks", shared.path)[0]["foreign"]
    assert (foreign["path"], foreign["application"]) == (str(path), "collabora")
    info = asked(shared, "info", path)
    assert info["lock"]["application"] == "collabora"
    assert not info["lock"]["is_ours"]
    assert "secret-lock-id" not in json.dumps(info)
    assert info["recent_failures"][0]["errno"] == "EBUSY"
    done = shared.run("unlock", str(path), check=False)
    assert done.returncode == 1
    assert "--force" in done.stderr
    done = shared.run("unlock", str(path), "--force", check=False)
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert asked(shared, "info", path)["lock"] is not None
    shared.run("unlock", str(path), "--force", "--yes")
    assert asked(shared, "info", path)["lock"] is None
    path.open("r+").close()


def test_refresh_shows_what_others_did(shared: MountProcess, control: ControlClient) -> None:
    """A mount that keeps attributes for an hour sees nothing of it before, and everything after."""
    folder = shared.path / "fresh"
    folder.mkdir()
    for name in ("changed", "removed", "by_xattr"):
        (folder / name).write_bytes(b"old")
    shared.run("flush", str(shared.path))
    names = sorted(os.listdir(folder))
    assert {name: (folder / name).stat().st_size for name in names} == dict.fromkeys(names, 3)
    for name in ("changed", "by_xattr", "new"):
        control.write(f"/einstein/fresh/{name}", b"changed", "einstein")
    control.delete("/einstein/fresh/removed", "einstein")
    assert sorted(os.listdir(folder)) == names
    assert (folder / "changed").stat().st_size == 3
    shared.run("refresh", str(folder / "changed"))
    assert (folder / "changed").stat().st_size == 7
    assert (folder / "by_xattr").stat().st_size == 3
    os.setxattr(folder / "by_xattr", "user.cs3.refresh", b"1")
    assert (folder / "by_xattr").stat().st_size == 7
    fd = os.open(folder, os.O_PATH)
    shared.run("refresh", str(folder))
    assert os.readlink(f"/proc/self/fd/{fd}") == str(folder), "a shell that stands there keeps its place"
    os.close(fd)
    assert sorted(os.listdir(folder)) == ["by_xattr", "changed", "new"]
    assert not (folder / "removed").exists()


def test_info_goes_on_without_the_server(shared: MountProcess, control: ControlClient) -> None:
    """What is known here is told, with the reason why the rest is not."""
    path = shared.path / "known"
    path.write_bytes(b"x" * 1000)
    shared.run("flush", str(shared.path))
    told = asked(shared, "info", path)
    assert (told["kind"], told["size"], told["cached_bytes"], told["state"]) == ("file", 1000, 1000, "clean")
    assert told["storage"]["locks"] == "full"
    assert "initiate_file_upload" in told["permissions"]
    assert "1000 bytes" in shared.run("info", str(path)).stdout
    control.fault(call="Stat", grpc="UNAVAILABLE")
    told = asked(shared, "info", path)
    assert told["server_problem"]
    assert told["size"] == 1000
    control.clear_faults()
    done = shared.run("info", str(shared.path / "nonesuch"), check=False)
    assert done.returncode == 1
    assert "nonesuch" in done.stderr
    done = shared.run("info", "/", check=False)
    assert "in no cs3fuse mount" in done.stderr


def test_warm_and_cache(shared: MountProcess, control: ControlClient) -> None:
    """Files come into the cache by folder, pattern or list; --check tells how much is there, cache clears, verifies and limits it."""
    control.mkdir("/einstein/data", "einstein")
    for number in range(12):
        control.write(f"/einstein/data/{number}.bin", os.urandom(300_000), "einstein")
    folder = shared.path / "data"
    shared.run("cache", "clear", str(shared.path))
    told = asked(shared, "warm", folder, "--check", status=3)
    assert (told["files"], told["here_bytes"], told["total_bytes"]) == (12, 0, 3_600_000)
    control.clear_log()
    assert asked(shared, "warm", folder / "[36].bin")["here_bytes"] == 600_000
    listed = subprocess.run(
        [sys.executable, "-m", "cs3fuse", "warm", "-", "--json"],
        env=shared.environment(), input=f"{folder / '9.bin'}\n{folder / '1.bin'}\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(listed.stdout)["here_bytes"] == 600_000
    # More where the next ones were fetched ahead of a program that seems to read one after the other.
    assert asked(shared, "warm", folder, "--check", status=None)["here_bytes"] >= 1_200_000
    assert asked(shared, "warm", folder)["here_bytes"] == 3_600_000
    gets = [entry for entry in control.log() if entry["name"] == "GET"]
    assert len(gets) == 12, "what is here is not fetched again"
    assert asked(shared, "warm", folder, "--check")["failed"] == 0
    assert asked(shared, "cache", shared.path)[0]["used_bytes"] >= 3_600_000
    assert "as they were written" in shared.run("cache", "verify", str(shared.path)).stdout
    shared.run("cache", "limit", "20M", str(shared.path))
    assert asked(shared, "cache", shared.path)[0]["budget_bytes"] == 20 << 20
    assert "MiB deleted" in shared.run("cache", "clear", str(shared.path)).stdout
    assert asked(shared, "warm", folder, "--check", status=3)["here_bytes"] == 0
    done = shared.run("warm", str(folder / "nonesuch*"), check=False)
    assert done.returncode == 1
    assert "Nothing matches" in done.stderr


def test_a_server_that_is_away_does_not_keep_a_mount(
    gateway: GatewayProcess, control: ControlClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """umount gives up and says where the bytes are; recover lists and sends them, for their owner only."""
    mount = MountProcess(gateway.source(), tmp_path, options={"commit": "background", "drain_timeout_s": 2})
    with mount:
        control.fault(**AWAY)
        (mount.path / "left").write_bytes(b"left behind")
        refused = mount.run("recover", str(mount.state), check=False)
        assert "running mount uses this folder" in refused.stderr
        done = mount.run("umount", str(mount.path), "--timeout", "1", check=False)
    assert done.returncode == 3
    assert "1 file did not reach the server" in done.stderr
    assert "503" in done.stderr
    assert f"cs3fuse recover {mount.state}" in done.stderr
    assert mounted_type(mount.path) is None
    [folder] = asked(mount, "recover", mount.state, "--list")
    [item] = folder["files"]
    assert (folder["user"], item["path"], item["size"]) == ("einstein", "left", 11)
    mount.run("recover", str(mount.state), "--export", str(tmp_path / "out"))
    assert (tmp_path / "out" / "left").read_bytes() == b"left behind"
    control.clear_faults()
    mount.user = "marie"
    done = mount.run("recover", str(mount.state), "--user", "marie", check=False)
    assert done.returncode == 3
    assert "unsent files of einstein" in done.stderr
    mount.user = "einstein"
    assert not (gateway.root / "einstein" / "left").exists()
    assert "left: on the server" in mount.run("recover", str(mount.state)).stdout
    assert on_server(gateway, "left") == b"left behind"
    assert inspect(mount.state).records == ()


def test_ctrl_c_leaves_the_rest_in_the_journal(gateway: GatewayProcess, control: ControlClient, tmp_path: Path) -> None:
    """The wait ends at once, the mount is gone, the exit status tells; the next mount sends the rest."""
    mount = MountProcess(gateway.source(), tmp_path, options={"commit": "background", "drain_timeout_s": 2})
    with mount:
        control.fault(**AWAY)
        (mount.path / "interrupted").write_bytes(b"to be sent")
        command = ["env", "--default-signal=INT", sys.executable, "-m", "cs3fuse", "umount", str(mount.path)]
        # As from a terminal: a shell starts its background jobs with SIGINT ignored, and that would be inherited.
        process = subprocess.Popen(command, env=mount.environment(), stderr=subprocess.PIPE, text=True)
        while "command=flush" not in mount.log():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert process.returncode == 3, complaint
    assert "stays in the journal" in complaint
    assert mounted_type(mount.path) is None
    control.clear_faults()
    with mount:
        assert on_server(gateway, "interrupted") == b"to be sent"


def test_unfinished_files_can_be_saved_and_discarded(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A program that never closed its file, and a daemon that was killed: nothing is sent by itself, nothing is thrown away."""
    mount = MountProcess(gateway.source(), tmp_path)
    mount.mount()
    pid = mount.pid
    with Program(mount.path / "half", "half of it"), Program(mount.path / "other", "half of it"):
        # The journal learns how far they came every two seconds.
        while sum(record.size for record in inspect(mount.state).unfinished) < 20:
            time.sleep(0.05)
        mount.kill(pid)
    [folder] = asked(mount, "recover", mount.state, "--list")
    numbers = {item["path"]: item["id"] for item in folder["files"] if item["state"] == "unfinished"}
    assert set(numbers) == {"half", "other"}
    told = asked(mount, "recover", mount.state, "--save", numbers["half"], "--discard", numbers["other"])
    [saved] = told[0]["saved"]
    assert on_server(gateway, saved["copy"]) == b"half of it"
    assert not (gateway.root / "einstein" / "half").exists()
    assert asked(mount, "recover", mount.state, "--list") == []


def test_a_terminated_daemon_tells_by_its_status(gateway: GatewayProcess, control: ControlClient, tmp_path: Path) -> None:
    """Under a service manager: SIGTERM waits within its bound and leaves with status 3 if something is left."""
    mount = MountProcess(gateway.source(), tmp_path)
    mount.path.mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "cs3fuse",
        "mount",
        "-f",
        mount.source,
        str(mount.path),
        "--user",
        "einstein",
        "--view",
        "home",
    ]
    for option in (f"state_folder={mount.state}", f"cache_folder={tmp_path / 'cache'}", "drain_timeout_s=1", "commit=background"):
        command += ["-o", option]
    process = subprocess.Popen(command, env=mount.environment(), stderr=subprocess.PIPE, text=True)
    try:
        while mounted_type(mount.path) is None:
            assert process.poll() is None
        control.fault(**AWAY)
        (mount.path / "unsent").write_bytes(b"x")
        process.terminate()
        _, log = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        mount.clean_up()
    assert process.returncode == 3, log
    assert "1 file" in log
    assert mounted_type(mount.path) is None
