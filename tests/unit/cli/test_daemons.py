"""From a path of a person to the mount that holds it."""

from pathlib import Path

import pytest

from cs3fuse.cli import daemons
from cs3fuse.errors import BadRequestError

MOUNTS = [Path("/home/e/cs3"), Path("/home/e/cs3/shared"), Path("/mnt/data")]


@pytest.fixture(autouse=True)
def mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "our_mount_points", lambda: MOUNTS)


@pytest.mark.parametrize(
    ("path", "mount_point", "below"),
    [
        ("/home/e/cs3", "/home/e/cs3", ""),
        ("/home/e/cs3/a/b", "/home/e/cs3", "a/b"),
        ("/home/e/cs3/shared/x", "/home/e/cs3/shared", "x"),
        ("/home/e/cs3/sharedx", "/home/e/cs3", "sharedx"),
        ("/mnt/data/a/../b/", "/mnt/data", "b"),
    ],
)
def test_the_innermost_mount_holds_a_path(path: str, mount_point: str, below: str) -> None:
    """A mount inside a mount is the one that is meant; a name that only begins alike is not."""
    assert daemons.mount_of(Path(path)) == (Path(mount_point), below)


def test_relative_paths_are_those_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """From where the person stands."""
    monkeypatch.setattr(daemons, "our_mount_points", lambda: [Path.cwd()])
    assert daemons.mount_of(Path("a/b")) == (Path.cwd(), "a/b")


def test_links_into_a_mount_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People have links to their folders; a path that is in a mount as written is not touched."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "link").symlink_to(mounted)
    monkeypatch.setattr(daemons, "our_mount_points", lambda: [mounted.resolve()])
    assert daemons.mount_of(tmp_path / "link" / "file") == (mounted.resolve(), "file")


@pytest.mark.parametrize("path", ["/home/e", "/", "/mnt/database"])
def test_a_path_outside_is_refused(path: str) -> None:
    """With a sentence, not with the question of another mount."""
    with pytest.raises(BadRequestError, match="in no cs3fuse mount"):
        daemons.mount_of(Path(path))
