"""The command line against a real mount: what is printed, which exit status, what is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cs3fuse.kernel.mounts import mounted_type
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway is enough: these tests are about our own process."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), "opencloud") as process:
        yield process


def fails(mount: MountProcess, words: str) -> None:
    """Mounting fails with exit status 1 and one sentence, and leaves nothing mounted."""
    done = mount.mount(check=False)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("cs3fuse: ")
    assert "Traceback" not in done.stderr
    assert mounted_type(mount.path) is None


def test_mount_status_umount(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The life of a mount as a person sees it."""
    mount = MountProcess(gateway.source(), tmp_path)
    with mount:
        assert mounted_type(mount.path) == "fuse.cs3fuse"
        (mount.path / "f").write_text("x")
        with (mount.path / "f").open("r+") as file:
            file.write("y")
        told = json.loads(mount.run("status", str(mount.path), "--json").stdout)[0]
        assert told["identity"]["user"] == "einstein"
        (storage,) = [s for s in told["storages"].values() if s["locks"]]
        assert storage["locks"] == "full"
        assert told["open_files"] == 0
        assert told["unsent"] == 0
        shown = mount.run("status").stdout
        assert str(mount.path) in shown
        assert "einstein" in shown
        pid = mount.pid
        assert mount.umount().returncode == 0
        assert mounted_type(mount.path) is None
        mount.wait_for_end(pid, limit_s=1)
        again = mount.umount(check=False)
        assert again.returncode == 1
        assert "Nothing is mounted" in again.stderr


def test_storage_capabilities_are_shown(tmp_path: Path) -> None:
    """What was proven of the storage: here Reva's local driver, which has neither ranges nor locks."""
    with GatewayProcess(tmp_path / "gw", "reva") as gateway, MountProcess(gateway.source(), tmp_path) as mount:
        (mount.path / "f").write_bytes(b"x" * 3_000_000)
        with MountProcess(gateway.source(), tmp_path / "other") as other:
            assert (other.path / "f").read_bytes() == b"x" * 3_000_000
            with (other.path / "f").open("r+b") as file:
                file.write(b"y")
            (storage,) = [s for s in other.status()["storages"].values() if s["locks"]]
            assert storage["ranges"] is False
            assert storage["locks"] == "none"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("cs3+plain://127.0.0.1:1", "cannot be reached"),
        ("cs3+plain://127.0.0.1", "port"),
        ("http://127.0.0.1:1", "cs3://HOST:PORT"),
        ("nonesuch", "nonesuch.toml"),
    ],
)
def test_a_wrong_source_is_explained(source: str, words: str, tmp_path: Path) -> None:
    """Host away, malformed address, unknown name."""
    fails(MountProcess(source, tmp_path), words)


def test_a_wrong_password_is_explained(gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person learns that it is the password, and for whom."""
    from tests.support import processes

    monkeypatch.setitem(processes.SECRETS, "einstein", "wrong")
    fails(MountProcess(gateway.source(), tmp_path), "einstein")


def test_a_missing_path_is_explained(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A typo in SOURCE is not an empty folder."""
    fails(MountProcess(gateway.source("/no/such/folder"), tmp_path), "/no/such/folder")


def test_an_unfit_mount_point_is_explained(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Not there, a file, not empty, already mounted."""
    mount = MountProcess(gateway.source(), tmp_path)
    arguments = [sys.executable, "-m", "cs3fuse", "mount", mount.source, str(mount.path), "--user", "einstein", "--view", "home"]

    def complaint() -> str:
        done = subprocess.run(arguments, env=mount.environment(), capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "does not exist" in complaint()
    mount.path.write_text("")
    assert "not a directory" in complaint()
    mount.path.unlink()
    mount.path.mkdir()
    (mount.path / "x").write_text("")
    assert "not empty" in complaint()
    (mount.path / "x").unlink()
    with mount:
        assert "already mounted" in complaint()


def test_a_cache_folder_in_use_is_explained(gateway: GatewayProcess, tmp_path: Path) -> None:
    """One daemon per folder: two would damage each other's content."""
    with MountProcess(gateway.source(), tmp_path / "a"):
        second = MountProcess(gateway.source(), tmp_path / "b", options={"cache_folder": tmp_path / "a" / "cache"})
        fails(second, "another cs3fuse")
        third = MountProcess(gateway.source(), tmp_path / "c", options={"state_folder": tmp_path / "a" / "state"})
        fails(third, "another cs3fuse")


def test_missing_fusermount_is_explained(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The package is named."""
    mount = MountProcess(gateway.source(), tmp_path)
    mount.path.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    environment = {**mount.environment(), "PATH": str(tmp_path / "bin")}
    arguments = [sys.executable, "-m", "cs3fuse", "mount", mount.source, str(mount.path), "--user", "einstein", "--view", "home"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=30, check=False)
    if os.geteuid() != 0:
        assert "install the package fuse3" in done.stderr
    elif mounted_type(mount.path):  # root mounts without the helper
        subprocess.run(["fusermount3", "-u", str(mount.path)], check=True)


def test_secrets_are_refused_on_the_command_line(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Everybody on the machine can read argv."""
    done = MountProcess(gateway.source(), tmp_path, options={"secret": "relativity"}).mount(check=False)
    assert done.returncode == 1
    assert "CS3FUSE_SECRET" in done.stderr


def test_the_secret_is_not_in_the_daemons_arguments_or_environment(gateway: GatewayProcess, tmp_path: Path) -> None:
    """It travels through a pipe."""
    with MountProcess(gateway.source(), tmp_path) as mount:
        pid = mount.pid
        assert b"relativity" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"relativity" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert "relativity" not in mount.log()


def test_a_toml_file_in_the_configuration_folder_is_a_source(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Name instead of URL; the secret in a private file."""
    mount = MountProcess("work", tmp_path)
    folder = tmp_path / "xdg-config" / "cs3fuse"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("relativity\n")
    secret.chmod(0o600)
    (folder / "work.toml").write_text(f'source = "{gateway.source()}"\nuser = "einstein"\nsecret_file = "{secret}"\n')
    with mount:
        (mount.path / "toml").write_text("x")
    assert mounted_type(mount.path) is None


def test_sigterm_sends_and_unmounts(gateway: GatewayProcess, tmp_path: Path) -> None:
    """As a service manager ends it: bytes of a file that is still open arrive, the mount point is free."""
    mount = MountProcess(gateway.source(), tmp_path)
    with mount:
        pid = mount.pid
        fd = os.open(mount.path / "open", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"written, not closed")
        os.kill(pid, signal.SIGTERM)
        mount.wait_for_end(pid)
        with contextlib.suppress(OSError):  # the daemon is gone: ENOTCONN
            os.close(fd)
    assert mounted_type(mount.path) is None
    with MountProcess(gateway.source(), tmp_path / "second") as second:
        assert (second.path / "open").read_bytes() == b"written, not closed"


def test_umount_refuses_while_a_program_uses_it(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A sentence that says how to find the program; the mount goes on."""
    with MountProcess(gateway.source(), tmp_path) as mount:
        fd = os.open(mount.path, os.O_RDONLY)
        try:
            done = mount.umount(check=False)
            assert done.returncode == 1
            assert "fuser" in done.stderr
            assert mount.path.is_dir()
        finally:
            os.close(fd)
