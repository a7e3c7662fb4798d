"""The daemon is killed (-9) at seeded moments while a program saves files through a real mount."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign
from tests.support.processes import GatewayProcess

pytestmark = pytest.mark.mount


@contextmanager
def campaign(profile: str, folder: Path, seed: str, **options: object) -> Iterator[Campaign]:
    with GatewayProcess(folder / "gateway", profile) as gateway:
        running = Campaign(gateway, folder, seed, **options)
        with running.mount:
            yield running


def kill_often(profile: str, folder: Path, seed: str, rounds: int, more: int = 0, **options: object) -> Campaign:
    """Run `rounds` rounds, and up to `more` until a kill met something in the journal."""
    with campaign(profile, folder, seed, **options) as running:
        for number in range(rounds + more):
            if number >= rounds and running.numbers.hits:
                break
            running.kill_round()
        running.check_with_second_client()
    print(f"{profile}: {running.numbers}")
    assert running.numbers.hits, f"no kill met anything in the journal: {running.numbers}"
    assert running.numbers.acknowledged
    return running


@pytest.mark.parametrize("profile", ["reva", "opencloud"])
def test_killed_daemon_loses_nothing(profile: str, tmp_path: Path) -> None:
    """A few seeded rounds: acknowledged bytes are on the server, sealed ones after the remount."""
    kill_often(profile, tmp_path, "short", 4, more=8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", ["reva", "opencloud", "eos"])
def test_killed_daemon_loses_nothing_in_a_hundred_rounds(profile: str, tmp_path: Path) -> None:
    """The whole campaign."""
    kill_often(profile, tmp_path, "long", 100)
