"""Random reads of files that change, through the kernel: short, with seeds, and for an hour in one daemon (marked slow, ``make test-reads``).

What the content store alone does with restarts, damage and every kind of storage is in ``tests/unit/cache/test_content_model.py``.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.mount.random_reads import Play
from tests.support.footprint import Footprint
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

_HOUR_S = float(os.environ.get("CS3FUSE_READS_S", "3600"))
_IDLE_S = 30.0
"""Within which everything that worked for reads is gone: trio's threads end after 10 s without work, unused files are let go after seconds."""
_MEMORY_GROWTH = 32 * 1024 * 1024


@pytest.mark.parametrize("profile", ["reva", "opencloud"])
def test_every_byte_is_right_or_an_error(profile: str, tmp_path: Path) -> None:
    """Ten seconds, in the middle of which the mount is taken away, its cache damaged, and mounted again."""
    with GatewayProcess(tmp_path / "gateway", profile) as gateway:
        mount = MountProcess(gateway.source(), tmp_path, options={"log_level": "warning"})
        play = Play(gateway, mount, seed=7)
        _play_and_damage(play, 2, 5.0)
        print(profile, json.dumps(play.numbers))
        assert play.numbers["reads"] > 100 and play.numbers["changes"] and play.numbers["damaged"]


@pytest.mark.slow
@pytest.mark.timeout(_HOUR_S + 900)
@pytest.mark.parametrize("profile", ["reva", "opencloud"])
def test_an_hour_leaves_nothing_behind(profile: str, tmp_path: Path) -> None:
    """Descriptors, threads and tasks are what they were after the first minutes, and so is memory, but for what an allocator keeps."""
    with GatewayProcess(tmp_path / "gateway", profile) as gateway:
        mount = MountProcess(gateway.source(), tmp_path, options={"log_level": "warning"})
        play = Play(gateway, mount, seed=11)
        _play_and_damage(play, 3, _HOUR_S / 120)
        with mount:
            play.run(_HOUR_S / 30)
            before = _settled(mount)
            play.run(_HOUR_S)
            after = _settled(mount, before)
        print(profile, json.dumps(play.numbers), before, after)
        assert after.fits_into(before), f"{before} became {after}"
        assert after.resident_bytes <= before.resident_bytes + _MEMORY_GROWTH


def _play_and_damage(play: Play, times: int, seconds: float) -> None:
    """Mount, play, and damage the cache that is left, so often."""
    for _ in range(times):
        with play.mount:
            play.run(seconds)
            play.read_all()
        play.damage()


def _settled(mount: MountProcess, goal: Footprint | None = None) -> Footprint:
    """What is left once nothing runs any more; the first time the whole wait, then until it is as before."""
    until = time.monotonic() + _IDLE_S
    while True:
        now = Footprint.of(mount)
        if time.monotonic() > until or (goal is not None and now.fits_into(goal)):
            return now
        time.sleep(1.0)
