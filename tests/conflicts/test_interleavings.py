"""Random interleavings of two mounts that edit one file, through two whole mounts without a kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.conflicts.interleaving import ACTIONS, OPENINGS, Play, Step

PROFILES = ["reva", "opencloud", "eos"]
ANY = st.tuples(st.integers(0, 1), st.sampled_from(ACTIONS))
BOTH_OPEN = st.permutations([0, 1]).flatmap(
    lambda order: st.tuples(*[st.tuples(st.just(n), st.sampled_from(OPENINGS)) for n in order])
)
STEPS = st.builds(lambda first, rest: [*first, *rest], BOTH_OPEN, st.lists(ANY, min_size=4, max_size=24))
CONTENTS = st.sampled_from([b"", b"short", b"a file of some length, " * 20])


def play_many(profile: str, folder: Path, examples: int) -> set[str]:
    """Returns what was met."""
    met: set[str] = set()
    with EmulatorThread(EmulatorConfig(root=folder / "gateway", profile=profile, seed=1, quirks={"processing_s": 0.0})) as emulator:

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(steps=STEPS, initial=CONTENTS)
        def one(steps: list[Step], initial: bytes) -> None:
            shutil.rmtree(folder / "mounts", ignore_errors=True)
            play = Play(emulator, folder / "mounts")
            trio.run(play.run, steps, initial)
            met.update(play.seen)

        one()
    return met


@pytest.mark.parametrize("profile", PROFILES)
def test_two_mounts_in_any_order(profile: str, tmp_path: Path) -> None:
    """Some seeded interleavings: nothing is overwritten, nothing is lost, every byte is where the model says."""
    assert {"committed", "conflict"} <= play_many(profile, tmp_path, 25)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("profile", PROFILES)
def test_two_mounts_in_two_hundred_orders(profile: str, tmp_path: Path) -> None:
    """The whole campaign."""
    assert {"committed", "conflict", "stuck"} <= play_many(profile, tmp_path, 200)
