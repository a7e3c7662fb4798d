"""Site A is away while marie works at site B: short, with seeds, and for ten real minutes (marked slow, ``make test-mesh``).

Live: the servers of ``sharing_world``, and in CS3FUSE_LIVE_AWAY and CS3FUSE_LIVE_BACK shell commands that freeze or end einstein's server, and
bring it back.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.away import AWAY, BACK_WITHIN_S, Report, Scene, play, scene
from tests.mount.sharing_world import live, names

pytestmark = pytest.mark.mount

_MINUTES = 10
_LISTING_S = 0.05
_REQUEST_DEADLINE_S = 60.0


def check(at: Scene, report: Report) -> None:
    """What holds however long it was: errors as promised, no call beyond its deadline, nothing left behind, nothing lost."""
    assert not report.surprises
    assert report.slowest < _REQUEST_DEADLINE_S
    assert report.before is not None and report.after is not None
    assert report.after.fits_into(report.before), f"{report.before} became {report.after}"
    assert report.back_s <= BACK_WITHIN_S
    assert len(report.written) == 6
    assert not [path.name for path in at.disk.iterdir() if "conflict" in path.name]
    told = at.marie.status()
    assert (told["unsent"], told["conflicts"]) == (0, 0)


@pytest.mark.parametrize(("seed", "ways"), [(1, ("frozen", "stopped"))])
def test_work_goes_on_while_a_site_is_away(seed: int, ways: tuple[str, ...], tmp_path: Path) -> None:
    """Twice within one mount, each for a few seconds."""
    with scene(tmp_path, site_timeout_s=1.0) as at:
        for how in ways:
            report = play(at, how, 4.0, seed, calm_s=0.0)
            print(report)
            check(at, report)


@pytest.mark.slow
@pytest.mark.timeout(_MINUTES * 60 + 300)
@pytest.mark.parametrize("how", ["frozen", "stopped"])
def test_site_is_away_for_ten_minutes(how: str, tmp_path: Path) -> None:
    """With the options that people have; listing everything else stays below 50 ms at p99 all the while."""
    with scene(tmp_path, site_timeout_s=10.0) as at:
        report = play(at, how, _MINUTES * 60.0, 1, calm_s=15.0)
        print(report)
        check(at, report)
        assert report.percentile(0.99) < _LISTING_S


def is_away(call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in AWAY


@pytest.mark.live
@pytest.mark.timeout(300)
def test_live_site_is_away_and_comes_back(tmp_path: Path) -> None:
    """The share says so, what is cached is read, the rest of the mount works; then it works again, and what was written is there."""
    if not os.environ.get("CS3FUSE_LIVE_AWAY") or not os.environ.get("CS3FUSE_LIVE_PEER"):
        pytest.skip("CS3FUSE_LIVE_AWAY names no command")
    with live(tmp_path) as world:
        marie = world.receivers["marie"]
        folder = world.make(world.name("away"))
        (folder / "known").write_text("known here")
        world.give(folder, marie, "editor")
        shared = marie.shares / folder.name
        assert (shared / "known").read_text() == "known here"
        fd = os.open(shared / "written", os.O_WRONLY | os.O_CREAT)
        subprocess.run(os.environ["CS3FUSE_LIVE_AWAY"], shell=True, check=True)  # closes its copy of fd, which commits
        try:
            os.write(fd, b"while it was away")
            time.sleep(2.0)  # until then the last answers hold
            is_away(lambda: (shared / "never seen").stat())
            is_away(lambda: names(shared))
            is_away(lambda: os.close(fd))
            assert (shared / "known").read_text() == "known here"
            assert folder.name in names(marie.shares) and os.getxattr(shared, "user.cs3.error")
            (marie.mount.path / "home" / world.name("mine")).write_text("mine")
            assert world.name("mine") in names(marie.mount.path / "home")
        finally:
            subprocess.run(os.environ["CS3FUSE_LIVE_BACK"], shell=True, check=True)
        until = time.monotonic() + BACK_WITHIN_S
        while not _lists(shared):
            assert time.monotonic() < until
            time.sleep(0.2)
        while marie.mount.status()["unsent"]:
            assert time.monotonic() < until + BACK_WITHIN_S
            time.sleep(0.2)
        assert (folder / "written").read_text() == "while it was away"
        assert marie.mount.status()["conflicts"] == 0


def _lists(folder: Path) -> bool:
    try:
        return bool(names(folder))
    except OSError:
        return False
