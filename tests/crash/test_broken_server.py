"""The gateway is killed and started again, and uploads break off, while a program saves files through a real mount that goes on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign
from tests.crash.test_kill_daemon import campaign

pytestmark = pytest.mark.mount

PROFILES = ["reva", "opencloud"]
BREAKS = [
    *(
        {"method": "PUT", "direction": "request", "reset_after_bytes": n, "probability": 0.05}
        for n in (0, 1, 1000, 50_000, 400_000)
    ),
    {"method": "PUT", "direction": "request", "reset_after_bytes": 10_000, "probability": 0.05, "how": "close"},
    {"method": "PUT", "drop_answer": True, "probability": 0.08},
    {"method": "PUT", "http_status": 503, "probability": 0.03},
    {"method": "PUT", "http_status": 500, "probability": 0.03},
    {"call": "InitiateFileUpload", "drop_answer": True, "probability": 0.05},
    {"call": "Stat", "grpc": "UNAVAILABLE", "probability": 0.02},
]


def kill_gateway(running: Campaign, seed: str, times: int) -> Iterator[None]:
    """Down for a moment or for seconds, at any moment."""
    chance = random.Random(f"{seed}/{running.numbers.rounds}")
    for _ in range(times):
        time.sleep(chance.uniform(0.2, 1.2))
        running.gateway.stop(how=signal.SIGKILL)
        time.sleep(chance.choice([0.3, 1.0, 2.0]))
        running.note_journal()
        running.gateway.start()
        yield


def break_uploads(running: Campaign, seconds: float) -> Iterator[None]:
    """One PUT in three breaks off, at one place or another."""
    for rule in BREAKS:
        running.control.fault(**rule)
    time.sleep(seconds)
    yield


def with_killed_gateway(profile: str, folder: Path, seed: str, rounds: int, times: int, more: int = 0) -> None:
    """Run `rounds` rounds, and up to `more` until a death met something: one death alone may fall between two saves."""
    with campaign(profile, folder, seed) as running:
        for number in range(rounds + more):
            if number >= rounds and running.numbers.hits:
                break
            running.run_through(2.0 * times, kill_gateway(running, seed, times))
        running.check_with_second_client()
    print(f"{profile}: {running.numbers}")
    assert running.numbers.acknowledged
    assert running.numbers.hits, f"no death met anything in the journal: {running.numbers}"


def with_broken_uploads(profile: str, folder: Path, seed: str, rounds: int, seconds: float) -> None:
    with campaign(profile, folder, seed) as running:
        for _ in range(rounds):
            running.run_through(seconds, break_uploads(running, seconds))
        running.check_with_second_client()
        put = running.control.log()
    broken = sum(call["name"] == "PUT" and call["code"] not in {"200", "201"} for call in put)
    print(f"{profile}: {running.numbers}, {broken} broken uploads")
    assert broken
    assert not running.numbers.refused, "a break of the wire reached the program"
    assert not running.numbers.conflict_copies


@pytest.mark.parametrize("profile", PROFILES)
def test_killed_gateway_loses_nothing(profile: str, tmp_path: Path) -> None:
    """The gateway dies in the middle: acknowledged bytes are on its disk, the rest follows by itself."""
    with_killed_gateway(profile, tmp_path, "short", rounds=1, times=1, more=7)


@pytest.mark.parametrize("profile", PROFILES)
def test_broken_uploads_reach_no_program(profile: str, tmp_path: Path) -> None:
    """Every third PUT breaks off or loses its answer: no program sees an error, no byte is lost or doubled."""
    with_broken_uploads(profile, tmp_path, "short", rounds=1, seconds=2.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", [*PROFILES, "eos"])
def test_killed_gateway_loses_nothing_in_fifty_deaths(profile: str, tmp_path: Path) -> None:
    """The whole campaign."""
    with_killed_gateway(profile, tmp_path, "long", rounds=10, times=5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("profile", [*PROFILES, "eos"])
def test_broken_uploads_reach_no_program_in_two_minutes(profile: str, tmp_path: Path) -> None:
    """The whole campaign."""
    with_broken_uploads(profile, tmp_path, "long", rounds=8, seconds=15.0)
