"""Site A is away while marie works at site B: short, with seeds, and for ten real minutes (marked slow, ``make test-mesh``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mount.away import BACK_WITHIN_S, Report, Scene, play, scene

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
