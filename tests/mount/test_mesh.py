"""The mesh as folders, through the real kernel: home, spaces and shares of one gateway."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    told = json.loads(os.getxattr(marie.path / "home", "user.cs3.quota"))
    of_mount = os.statvfs(marie.path)
    assert of_mount.f_blocks > 0
    assert told["total"] is None or told["total"] // 4096 == of_mount.f_blocks
    assert 0 < told["used"] < 1 << 50
    refused(errno.ENODATA, lambda: os.getxattr(marie.path / "home" / "a", "user.cs3.quota"))
    refused(errno.EPERM, lambda: os.setxattr(marie.path / "home", "user.cs3.quota", b"1"))


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


def test_share_and_answer_on_the_command_line(site: Site, marie: MountProcess) -> None:
    """share, shares, decline, accept, unshare: what each shows in the other's folder, and user.cs3.shares."""
    with site.mount("einstein") as einstein:
        given = einstein.path / "home" / "given"
        given.mkdir()
        (given / "f").write_text("f")
        einstein.run("share", str(given), "--with", "marie", "--role", "viewer", "--until", "2099-12-31")
        shares = marie.path / "shares"
        eventually(lambda: "given" in names(shares))
        assert (shares / "given" / "f").read_text() == "f"
        told = json.loads(os.getxattr(given, "user.cs3.shares"))
        assert [each["role"] for each in told] == ["viewer"]
        refused(errno.EPERM, lambda: os.setxattr(given, "user.cs3.shares", b"x"))
        refused(errno.ENODATA, lambda: os.getxattr(given / "f", "user.cs3.shares"))
        again = einstein.run("share", str(given), "--with", "marie", check=False)
        assert again.returncode == 1 and "already" in again.stderr
        nobody = einstein.run("share", str(given), "--with", "nobody", check=False)
        assert nobody.returncode == 1 and "no user and no group called nobody" in nobody.stderr
        assert "given" in einstein.run("shares", str(einstein.path), "--given").stdout

        marie.run("decline", "given", "--mount", str(marie.path))
        eventually(lambda: "given" not in names(shares), 3)
        received = json.loads(marie.run("shares", str(marie.path), "--json").stdout)[0]["received"]
        assert next(each for each in received if each["name"] == "given")["state"] == "rejected"
        said = marie.run("accept", "given", "--mount", str(marie.path)).stdout
        assert str(shares / "given") in said
        assert (shares / "given" / "f").read_text() == "f"

        einstein.run("unshare", str(given), "--with", "marie")
        eventually(lambda: "given" not in names(shares))
        gone = einstein.run("unshare", str(given), check=False)
        assert gone.returncode == 1 and "is not shared" in gone.stderr


def test_expired_shares_do_not_show(site: Site, marie: MountProcess) -> None:
    """Servers go on listing some; a day in the past is refused."""
    with site.mount("einstein") as einstein:
        folder = einstein.path / "home" / "brief"
        folder.mkdir()
        late = einstein.run("share", str(folder), "--with", "marie", "--until", "2001-01-01", check=False)
        assert late.returncode == 1 and "is over" in late.stderr
        soon = datetime.now().astimezone() + timedelta(seconds=6)
        einstein.run("share", str(folder), "--with", "marie", "--until", soon.isoformat(timespec="seconds"))
        eventually(lambda: "brief" in names(marie.path / "shares"), 5)
        eventually(lambda: "brief" not in names(marie.path / "shares"), 12)


def test_links_of_the_configuration(site: Site, marie: MountProcess, tmp_path: Path) -> None:
    """A viewer's and an editor's link with passwords, and one that cannot be used, beside each other."""
    with site.mount("einstein") as einstein:
        tokens = {}
        for role in ("viewer", "editor"):
            folder = einstein.path / "home" / f"linked-{role}"
            folder.mkdir()
            (folder / "f").write_text("f")
            done = subprocess.run(
                [sys.executable, "-m", "cs3fuse", "link", str(folder), "--role", role, "--password"],
                env=einstein.environment(), input="S3cret-word!\n", capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            tokens[role] = done.stdout.strip()
    toml = tmp_path / "links.toml"
    toml.write_text(
        f'source = "{site.gateway.source()}"\nview = "mesh"\n'
        + "".join(f'[links.{role}]\ntoken = "{token}"\npassword = "S3cret-word!"\n' for role, token in tokens.items())
        + f'[links.wrong]\ntoken = "{tokens["viewer"]}"\npassword = "other"\n[links.none]\ntoken = "nothing"\n'
    )
    toml.chmod(0o600)
    with MountProcess(str(toml), site.folder / "links", "richard", {"view": "mesh"}) as richard:
        links = richard.path / "links"
        assert names(links) == {"viewer", "editor", "wrong", "none"}
        assert not _error(links / "viewer")
        assert (links / "viewer" / "f").read_text() == "f"
        refused(errno.EACCES, lambda: (links / "viewer" / "f").write_text("x"))
        (links / "editor" / "f").write_text("written through a link")
        assert (site.gateway.root / "einstein" / "linked-editor" / "f").read_text() == "written through a link"
        for name in ("wrong", "none"):
            assert stat.S_IMODE((links / name).lstat().st_mode) == 0
            assert b"link cannot be used" in os.getxattr(links / name, "user.cs3.error")
            with pytest.raises(OSError):
                os.listdir(links / name)


def _error(path: Path) -> str:
    try:
        return os.getxattr(path, "user.cs3.error").decode()
    except OSError:
        return ""
