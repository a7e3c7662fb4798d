"""Old versions and the trash through the real kernel: read by path, brought back on the command line, and never changed in place."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

TEXTS = [b"the first", b"the second one", b"the third and last one"]
KNOWN = {"reva": False, "opencloud": True, "eos": True}


def refused(numbers: set[int], call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in numbers, errno.errorcode[caught.value.errno or 0]


def versions_of(mounted: MountProcess, path: Path) -> Path:
    return mounted.path / ".cs3" / "versions" / path.relative_to(mounted.path)


def ask(mounted: MountProcess, command: str, path: Path | str = "") -> dict[str, Any]:
    """What the command line asks, without the time that starting it takes."""
    below = Path(path).relative_to(mounted.path).as_posix() if path else ""
    return request(socket_path(mounted.path), command, path=below, timeout_s=60)


def trash_items(mounted: MountProcess) -> list[dict[str, Any]]:
    return [item for each in ask(mounted, "trash")["trash"] for item in each["items"]]


def serves_versions(profile: str, mounted: MountProcess, path: Path) -> bool:
    """Whether old bytes can be had; a live server may be any, and is believed once one of them was tried."""
    if profile in KNOWN:
        return KNOWN[profile]
    next(versions_of(mounted, path).iterdir()).stat()
    return ask(mounted, "versions", path)["is_readable"] is not False


@pytest.fixture
def written(work: Path) -> Path:
    """A file that was saved three times, each at another second of its own."""
    path = work / "data ü.csv"
    for number, text in enumerate(TEXTS):
        path.write_bytes(text)
        os.utime(path, (0, 1_700_000_000 + number))
    return path


def test_each_version_is_read_by_path(profile: str, mounted: MountProcess, written: Path) -> None:
    """A job opens an old version by its path; where the bytes cannot be had, open says so and nothing else is shown instead."""
    folder = versions_of(mounted, written)
    found = {entry.name: entry for entry in os.scandir(folder)}
    assert len(found) >= 2
    listed = ask(mounted, "versions", written)
    is_served = serves_versions(profile, mounted, written)
    assert [each["name"] for each in listed["versions"]] == list(found)
    for name, entry in found.items():
        if is_served:
            content = (folder / name).read_bytes()
            assert entry.stat().st_size == len(content)
            assert content in TEXTS[:-1]
        else:
            refused({errno.EOPNOTSUPP}, (folder / name).read_bytes)
        assert stat.S_IMODE(entry.stat().st_mode) == 0o444
    if is_served:
        assert {(folder / name).read_bytes() for name in found} == set(TEXTS[:-1])
        if profile == "opencloud":  # EOS keeps no times of ours
            assert "2023-11-14T22-13-20Z" in found, "named after when it was written, in UTC"
    else:
        assert "does not serve" in mounted.log()
        assert "does not serve" in mounted.run("versions", str(written)).stdout
    assert json.loads(mounted.run("versions", str(written), "--json").stdout)["versions"] == listed["versions"]
    assert written.read_bytes() == TEXTS[-1]


def test_hidden_and_never_changed(mounted: MountProcess, written: Path) -> None:
    """No listing shows it, lookup finds it, and every change in it is refused."""
    door = mounted.path / ".cs3"
    assert ".cs3" not in os.listdir(mounted.path)
    assert sorted(os.listdir(door)) == ["trash", "versions"]
    folder = versions_of(mounted, written)
    old = next(iter(folder.iterdir()))
    never = {errno.EACCES, errno.EPERM, errno.EROFS}
    for where in (door, door / "versions", door / "trash", folder.parent, folder):
        assert not where.stat().st_mode & 0o222
        refused(never, (where / "new").mkdir)
        refused(never, lambda where=where: (where / "new").write_bytes(b"x"))
    refused(never, lambda: os.open(old, os.O_WRONLY))
    refused(never, lambda: os.truncate(old, 0))
    refused(never, old.unlink)
    refused(never, lambda: old.rename(folder / "other"))
    refused({errno.EXDEV}, lambda: old.rename(written.parent / "out"))
    refused({errno.EXDEV}, lambda: written.rename(folder / "in"))
    refused(never, lambda: old.chmod(0o666))
    refused(never, lambda: os.utime(old, (0, 0)))
    refused(never, lambda: os.setxattr(old, "user.note", b"x"))
    refused(never, folder.rmdir)
    refused(never, door.rmdir)
    refused(never, lambda: door.rename(mounted.path / "other"))
    refused(never, lambda: os.rename(written.parent, door))
    refused({errno.ENOENT}, (folder / "2001-01-01T00-00-00Z").stat)
    refused({errno.ENOENT}, (folder / "nothing").stat)
    refused({errno.ENOENT}, (door / "nothing").stat)
    assert written.read_bytes() == TEXTS[-1]
    assert os.getxattr(old, "user.cs3.key")


def test_restore_a_version(profile: str, mounted: MountProcess, written: Path) -> None:
    """What was is there again at once, and what is replaced can be had back."""
    assert written.read_bytes() == TEXTS[-1]
    versions = ask(mounted, "versions", written)["versions"]
    wanted = next(each for each in versions if each["size"] == len(TEXTS[0]))
    said = mounted.run("restore", str(written), wanted["name"]).stdout
    assert "is again as it was" in said
    assert written.read_bytes() == TEXTS[0]
    assert written.stat().st_size == len(TEXTS[0])
    again = ask(mounted, "versions", written)["versions"]
    last = next(each for each in again if each["size"] == len(TEXTS[-1]))
    if serves_versions(profile, mounted, written):
        assert (versions_of(mounted, written) / last["name"]).read_bytes() == TEXTS[-1]
    mounted.run("restore", str(written), last["key"])
    assert written.read_bytes() == TEXTS[-1]
    assert mounted.run("restore", str(written), "nothing", check=False).returncode == 1


def test_restore_respects_who_writes(mounted: MountProcess, written: Path) -> None:
    """A file that is open for writing here is left alone, with a sentence; once it is closed it can be restored."""
    key = ask(mounted, "versions", written)["versions"][0]["key"]
    with written.open("r+b") as file:
        file.write(b"THE")
        done = mounted.run("restore", str(written), key, check=False)
        assert done.returncode == 1
        assert "open for writing" in done.stderr
    assert written.read_bytes() == b"THE" + TEXTS[-1][3:]
    mounted.run("restore", str(written), key)
    assert written.read_bytes() in TEXTS[:-1]


def test_trash(mounted: MountProcess, written: Path) -> None:
    """Deleted, listed, brought back, deleted again, gone for good; a name that is taken is never replaced."""
    text = written.read_bytes()
    written.unlink()
    (item,) = [each for each in trash_items(mounted) if each["path"] == str(written)]
    shown = Path(item["shown_at"])
    assert shown.name in os.listdir(shown.parent)
    refused({errno.EOPNOTSUPP}, shown.read_bytes)
    refused({errno.EACCES, errno.EPERM}, shown.unlink)

    written.write_bytes(b"newer")
    done = mounted.run("trash", "restore", item["key"], check=False)
    assert done.returncode == 1
    assert "exists now" in done.stderr
    assert written.read_bytes() == b"newer"
    other = written.parent / "other.csv"
    mounted.run("trash", "restore", str(written), "--to", str(other))
    assert other.read_bytes() == text
    assert written.read_bytes() == b"newer"
    assert shown.name not in os.listdir(shown.parent)

    other.unlink()
    assert not other.exists()
    mounted.run("trash", "restore", str(other))
    assert other.read_bytes() == text
    other.unlink()
    (item,) = [each for each in trash_items(mounted) if each["path"] == str(other)]
    done = mounted.run("trash", "purge", item["key"], check=False)
    assert done.returncode == 1
    assert "--yes" in done.stderr
    mounted.run("trash", "purge", item["key"], "--yes")
    assert item["key"] not in {each["key"] for each in trash_items(mounted)}
    assert mounted.run("trash", "restore", item["key"], check=False).returncode == 1


@pytest.fixture
def of_two(tmp_path: Path) -> Iterator[tuple[GatewayProcess, MountProcess]]:
    """marie's view, with a share of einstein's in it."""
    with GatewayProcess(tmp_path / "gateway", "opencloud") as gateway:
        control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
        for user in ("einstein", "marie"):
            (gateway.root / user).mkdir(parents=True, exist_ok=True)
            control.change("home", user)
        control.mkdir("/einstein/lab", "einstein")
        for text in TEXTS:
            control.write("/einstein/lab/f.txt", text, "einstein")
        control.share("/einstein/lab", "einstein", "marie", "editor")
        with MountProcess(gateway.source(), tmp_path / "marie", "marie", {"view": "mesh"}) as mount:
            yield gateway, mount


def test_in_the_view_each_root_has_its_own(of_two: tuple[GatewayProcess, MountProcess]) -> None:
    """``.cs3/versions`` has the folders of the view; the trash is the home's, and what is deleted in a share is its owner's."""
    _gateway, mount = of_two
    path = mount.path / "home" / "mine.txt"
    for text in TEXTS:
        path.write_bytes(text)
    versions = mount.path / ".cs3" / "versions"
    assert ".cs3" not in os.listdir(mount.path)
    assert {"home", "shares"} <= set(os.listdir(versions))
    assert len(os.listdir(versions / "home" / "mine.txt")) >= 2
    shared = versions / "shares" / "lab" / "f.txt"
    assert len(os.listdir(shared)) >= 2
    assert {each.read_bytes() for each in shared.iterdir()} == set(TEXTS[:-1])
    path.unlink()
    assert "home" in os.listdir(mount.path / ".cs3" / "trash")
    assert [name[21:] for name in os.listdir(mount.path / ".cs3" / "trash" / "home")] == ["mine.txt"]
    done = mount.run("trash", "ls", str(mount.path / "shares" / "lab"), check=False)
    assert done.returncode == 1
    assert "its owner's" in done.stderr
    mount.run("trash", "restore", str(path))
    assert path.read_bytes() == TEXTS[-1]
