"""Two sites of a mesh through the real kernel: sharing by OCM on the command line, and a site that goes away and comes back."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mesh import OCM_MOUNT, A, B, Sites, two_sites
from tests.support.processes import MountProcess

pytestmark = pytest.mark.mount

_SITE_TIMEOUT_S = 2.0


@dataclass
class Mesh:
    """einstein at site A and marie at site B, each with a mount."""

    sites: Sites
    einstein: MountProcess
    marie: MountProcess

    @property
    def received(self) -> Path:
        return self.marie.path / "mesh"

    @property
    def home(self) -> Path:
        return self.einstein.path / "home"

    @property
    def disk(self) -> Path:
        return self.sites.gateway_a.root / "einstein"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("sites")
    options = {"view": "mesh", "ocm_mount": OCM_MOUNT, "site_timeout_s": _SITE_TIMEOUT_S, "attribute_timeout_s": 0.5}
    with (
        two_sites(folder) as sites,
        MountProcess(sites.gateway_a.source(), folder / "einstein", "einstein", {**options}) as einstein,
        MountProcess(sites.gateway_b.source(), folder / "marie", "marie", {**options}) as marie,
    ):
        invitation = einstein.run("invite", "--mount", str(einstein.path)).stdout.strip()
        assert invitation.endswith(f"@{A}")
        marie.run("invite", "accept", invitation, "--mount", str(marie.path))
        yield Mesh(sites, einstein, marie)


def refused(numbers: set[int], call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in numbers, errno.errorcode[caught.value.errno or 0]


def eventually(is_so: Callable[[], bool], within_s: float = 10.0) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, "it did not become so"
        time.sleep(0.05)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)}


def is_gone(folder: Path) -> bool:
    """Whether it cannot be listed any more; what was listed within the refresh time still can."""
    try:
        names(folder)
    except OSError as refusal:
        assert refusal.errno in {errno.EIO, errno.EHOSTDOWN, errno.ENOENT, errno.EACCES}, refusal
        return True
    return False


def give(mesh: Mesh, name: str, role: str = "editor", *, accept: bool = True) -> None:
    mesh.einstein.run("share", str(mesh.home / name), "--with", f"marie@{B}", "--role", role)
    if accept:
        mesh.marie.run("accept", name, "--mount", str(mesh.marie.path))


def test_share_with_another_site(mesh: Mesh) -> None:
    """Pending until accepted; the editor writes and the owner sees it; unshared it disappears."""
    folder = mesh.home / "Dätén"
    folder.mkdir()
    (folder / "f.txt").write_text("from einstein")
    give(mesh, "Dätén", accept=False)
    assert "Dätén" not in names(mesh.received)
    assert "Dätén" in mesh.marie.run("shares", str(mesh.marie.path), "--pending").stdout
    mesh.marie.run("accept", "Dätén", "--mount", str(mesh.marie.path))
    eventually(lambda: "Dätén" in names(mesh.received))
    shared = mesh.received / "Dätén"
    assert (shared / "f.txt").read_text() == "from einstein"
    (shared / "f.txt").write_text("from marie, longer")
    assert (folder / "f.txt").read_text() == "from marie, longer"
    (shared / "empty").touch()
    (shared / "sub").mkdir()
    (shared / "sub" / "g").write_text("g")
    assert names(shared) == {"f.txt", "empty", "sub"}
    assert (mesh.disk / "Dätén" / "sub" / "g").read_text() == "g"
    (shared / "sub" / "g").unlink()
    (shared / "sub").rmdir()
    refused({errno.EPERM}, lambda: shared.rmdir())
    refused({errno.EINVAL}, lambda: (shared / "tab\there").write_text("x"))
    refused({errno.EOPNOTSUPP}, lambda: os.setxattr(shared / "f.txt", "user.note", b"x"))
    storage = mesh.marie.status()["storages"]["ocm-received"]  # what it cannot do is shown
    assert (storage["locks"], storage["ranges"], storage["renames"], storage["conditional_uploads"]) == (
        "none",
        False,
        False,
        False,
    )
    told = json.loads(os.getxattr(folder, "user.cs3.shares"))
    assert told[0]["kind"] == "mesh" and told[0]["with"].startswith("marie@")
    mesh.einstein.run("unshare", str(folder), "--with", f"marie@{B}")
    eventually(lambda: is_gone(mesh.received / "Dätén"), 3)


def test_files_are_renamed_and_folders_copied(mesh: Mesh) -> None:
    """Another site cannot rename: a notebook is saved all the same; a folder is EXDEV, so that mv copies."""
    (mesh.home / "renamed").mkdir()
    give(mesh, "renamed")
    shared = mesh.received / "renamed"
    (shared / "book.ipynb").write_text("old")
    (shared / ".~book.ipynb").write_text("new and longer")
    (shared / ".~book.ipynb").rename(shared / "book.ipynb")
    assert names(shared) == {"book.ipynb"} and (shared / "book.ipynb").read_text() == "new and longer"
    (shared / "book.ipynb").rename(shared / "other.ipynb")
    assert names(shared) == {"other.ipynb"} and (mesh.disk / "renamed" / "other.ipynb").read_text() == "new and longer"
    (shared / "folder").mkdir()
    refused({errno.EXDEV}, lambda: (shared / "folder").rename(shared / "moved"))


def test_viewer_and_file_share(mesh: Mesh) -> None:
    """A viewer is refused at open; a shared file has its size at once, is read and written by its name."""
    (mesh.home / "looked at").mkdir()
    (mesh.home / "looked at" / "f").write_text("f")
    (mesh.home / "one.txt").write_text("one file")
    give(mesh, "looked at", "viewer")
    give(mesh, "one.txt")
    viewed, one = mesh.received / "looked at", mesh.received / "one.txt"
    assert (viewed / "f").read_text() == "f"
    assert not (viewed / "f").stat().st_mode & 0o222
    refused({errno.EACCES}, lambda: os.open(viewed / "f", os.O_WRONLY))
    refused({errno.EACCES}, lambda: (viewed / "g").write_text("g"))
    refused({errno.EACCES}, lambda: (viewed / "f").unlink())
    names(mesh.received)
    assert one.stat().st_size == 8 and one.read_text() == "one file"
    one.write_text("one file, written by marie")
    assert (mesh.disk / "one.txt").read_text() == "one file, written by marie"
    refused({errno.EPERM}, one.unlink)


@pytest.fixture
def reachable(mesh: Mesh) -> Iterator[None]:
    yield
    mesh.sites.way("ok")


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("state", ["frozen", "refused"])
def test_site_away_and_back(mesh: Mesh, state: str) -> None:
    """Everything else is as fast as before; the dead share answers in time, then at once; it comes back by itself; nothing is lost."""
    name = f"away-{state}"
    (mesh.home / name).mkdir()
    (mesh.home / name / "cached").write_text("known here")
    (mesh.home / f"{name}-unseen").mkdir()
    give(mesh, name)
    give(mesh, f"{name}-unseen")
    shared = mesh.received / name
    assert (shared / "cached").read_text() == "known here"
    assert names(shared) == {"cached"}
    (mesh.marie.path / "home" / "mine").write_text("mine")
    writing = os.open(shared / "written", os.O_WRONLY | os.O_CREAT)
    os.write(writing, b"while it was away")
    mesh.sites.way(state)
    time.sleep(0.6)

    began = time.monotonic()
    refused({errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO}, lambda: (shared / "never seen").stat())
    assert time.monotonic() - began < _SITE_TIMEOUT_S * 2 + 3
    for _ in range(5):
        began = time.monotonic()
        refused({errno.ETIMEDOUT, errno.EHOSTDOWN}, lambda: (shared / "never seen").stat())
        assert time.monotonic() - began < 0.5
    took = []
    for _ in range(40):
        began = time.monotonic()
        for folder in (mesh.received, mesh.marie.path, mesh.marie.path / "home", mesh.marie.path / "shares"):
            names(folder)
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.2
    assert (shared / "cached").read_text() == "known here"
    assert os.getxattr(shared, "user.cs3.error")
    refused({errno.ETIMEDOUT, errno.EHOSTDOWN}, lambda: names(mesh.received / f"{name}-unseen"))
    eventually(lambda: stat.S_IMODE((mesh.received / f"{name}-unseen").lstat().st_mode) == 0, 5)
    assert b"site" in os.getxattr(mesh.received / f"{name}-unseen", "user.cs3.error")
    with pytest.raises(OSError):
        os.close(writing)

    mesh.sites.way("ok")
    eventually(lambda: _is_there(mesh.disk / name / "written"), 30)
    eventually(lambda: _is_there(shared / "written"), 30)
    assert (shared / "written").read_text() == "while it was away"
    assert (mesh.disk / name / "written").read_text() == "while it was away"
    refused({errno.ENODATA}, lambda: os.getxattr(shared, "user.cs3.error"))


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
