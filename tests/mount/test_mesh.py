"""The mesh as folders, through the real kernel: home, spaces and shares of one gateway."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

_SEEN_WITHIN_S = 10.0


@dataclass
class Site:
    """One gateway with everybody's homes, and the mounts of its users."""

    gateway: GatewayProcess
    control: ControlClient
    folder: Path

    def mount(self, user: str, **options: object) -> MountProcess:
        return MountProcess(self.gateway.source(), self.folder / f"{user}-{time.monotonic_ns()}", user, {"view": "mesh", **options})


@pytest.fixture(scope="module", params=["reva", "opencloud", "eos"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mesh")
    with GatewayProcess(folder / "gateway", request.param) as gateway:
        control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
        for user in ("einstein", "marie", "richard"):
            (gateway.root / user).mkdir(parents=True, exist_ok=True)
            control.change("home", user)
        yield Site(gateway, control, folder)


@pytest.fixture(scope="module")
def marie(site: Site) -> Iterator[MountProcess]:
    with site.mount("marie") as mount:
        yield mount


def refused(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


def eventually(is_so: Callable[[], bool], within_s: float = _SEEN_WITHIN_S) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, "it did not become so"
        time.sleep(0.1)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)}


def share(site: Site, path: str, role: str = "editor", owner: str = "einstein", receiver: str = "marie") -> str:
    return site.control.share(f"/{owner}/{path}", owner, receiver, role)


def test_top_has_a_folder_for_each_kind(site: Site, marie: MountProcess) -> None:
    """home/, spaces/ and shares/; nothing can be made or removed there; df shows the home's quota."""
    assert {"home", "shares", "spaces"} <= names(marie.path)
    refused(errno.EACCES, lambda: (marie.path / "new").mkdir())
    refused(errno.EACCES, lambda: (marie.path / "shares" / "new").write_text("x"))
    refused(errno.EPERM, lambda: (marie.path / "shares").rmdir())
    refused(errno.EPERM, lambda: (marie.path / "home").rmdir())
    refused(errno.EPERM, lambda: (marie.path / "home").rename(marie.path / "other"))
    assert stat.S_IMODE((marie.path / "shares").stat().st_mode) == 0o555
    (marie.path / "home" / "a").write_text("mine")
    assert (site.gateway.root / "marie" / "a").read_text() == "mine"
    assert os.statvfs(marie.path).f_blocks > 0


def test_editor_and_viewer(site: Site, marie: MountProcess) -> None:
    """An editor's bytes reach the owner; a viewer is refused at open, and sees it in the mode."""
    for name, role in (("edited", "editor"), ("viewed", "viewer")):
        site.control.mkdir(f"/einstein/{name}", "einstein")
        site.control.write(f"/einstein/{name}/f.txt", b"from einstein", "einstein")
        share(site, name, role)
    shares = marie.path / "shares"
    eventually(lambda: {"edited", "viewed"} <= names(shares))
    edited, viewed = shares / "edited", shares / "viewed"
    assert viewed.joinpath("f.txt").read_bytes() == edited.joinpath("f.txt").read_bytes() == b"from einstein"
    (edited / "f.txt").write_text("from marie")
    (edited / "new").mkdir()
    (edited / "new" / "g").write_text("g")
    assert (site.gateway.root / "einstein" / "edited" / "f.txt").read_text() == "from marie"
    assert (site.gateway.root / "einstein" / "edited" / "new" / "g").read_text() == "g"
    refused(errno.EACCES, lambda: os.open(viewed / "f.txt", os.O_WRONLY))
    refused(errno.EACCES, lambda: os.open(viewed / "f.txt", os.O_RDWR | os.O_TRUNC))
    refused(errno.EACCES, lambda: (viewed / "n").write_text("x"))
    refused(errno.EACCES, lambda: (viewed / "d").mkdir())
    refused(errno.EACCES, lambda: (viewed / "f.txt").unlink())
    refused(errno.EACCES, lambda: (viewed / "f.txt").rename(viewed / "g.txt"))
    refused(errno.EACCES, lambda: os.setxattr(viewed / "f.txt", "user.note", b"x"))
    assert not (viewed / "f.txt").stat().st_mode & 0o222
    assert not viewed.stat().st_mode & 0o222
    assert (site.gateway.root / "einstein" / "viewed" / "f.txt").read_text() == "from einstein"


def test_root_of_a_share_is_not_removed(site: Site, marie: MountProcess) -> None:
    """rmdir, rename and unlink of a share are EPERM: the owner would lose the folder; mv into the home copies."""
    site.control.mkdir("/einstein/kept", "einstein")
    site.control.write("/einstein/kept.txt", b"kept", "einstein")
    share(site, "kept")
    share(site, "kept.txt")
    shares = marie.path / "shares"
    eventually(lambda: {"kept", "kept.txt"} <= names(shares))
    refused(errno.EPERM, lambda: (shares / "kept").rmdir())
    refused(errno.EPERM, lambda: (shares / "kept").rename(shares / "renamed"))
    refused(errno.EPERM, lambda: (shares / "kept.txt").unlink())
    (shares / "kept" / "f").write_text("f")
    refused(errno.EXDEV, lambda: (shares / "kept" / "f").rename(marie.path / "home" / "f"))
    shutil.move(shares / "kept" / "f", marie.path / "home" / "f")
    assert (marie.path / "home" / "f").read_text() == "f"
    assert (site.gateway.root / "einstein" / "kept").is_dir()


def test_shared_file_is_like_a_shared_folder(site: Site, marie: MountProcess) -> None:
    """A file share is read, written, and grows by path; its viewer is refused."""
    for name, role in (("one.txt", "editor"), ("two.txt", "viewer")):
        site.control.write(f"/einstein/{name}", b"first", "einstein")
        share(site, name, role)
    shares = marie.path / "shares"
    eventually(lambda: {"one.txt", "two.txt"} <= names(shares))
    assert (shares / "one.txt").read_text() == "first"
    (shares / "one.txt").write_text("a longer second text")
    assert (site.gateway.root / "einstein" / "one.txt").read_text() == "a longer second text"
    with (shares / "one.txt").open("a") as file:
        file.write(", and more")
    assert (shares / "one.txt").read_text() == "a longer second text, and more"
    refused(errno.EACCES, lambda: (shares / "two.txt").write_text("x"))
    refused(errno.ENOTDIR, lambda: (shares / "two.txt" / "x").stat())


def test_names_are_told_apart(site: Site, marie: MountProcess) -> None:
    """Equal names of two owners: the first keeps its name, the second has its owner's; unicode passes unchanged."""
    for owner in ("einstein", "richard"):
        site.control.mkdir(f"/{owner}/Dätén ☃", owner)
        site.control.write(f"/{owner}/Dätén ☃/who", owner.encode(), owner)
        share(site, "Dätén ☃", owner=owner)
    shares = marie.path / "shares"
    eventually(lambda: {"Dätén ☃", "Dätén ☃ (richard)"} <= names(shares))
    assert (shares / "Dätén ☃" / "who").read_text() == "einstein"
    assert (shares / "Dätén ☃ (richard)" / "who").read_text() == "richard"


def test_what_the_owner_deletes_disappears(site: Site, marie: MountProcess) -> None:
    """A share whose folder is gone stays in the server's list, and not in ours; the others are still there."""
    for name in ("gone", "stays"):
        site.control.mkdir(f"/einstein/{name}", "einstein")
        share(site, name)
    shares = marie.path / "shares"
    eventually(lambda: {"gone", "stays"} <= names(shares))
    site.control.delete("/einstein/gone", "einstein")
    eventually(lambda: "gone" not in names(shares))
    assert "stays" in names(shares)
    eventually(lambda: not (shares / "gone").exists())
