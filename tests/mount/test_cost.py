"""What common programs cost: requests of the kernel and calls to the server are counted, not timed.

A number here is a promise that a change may lower and must not raise without a reason.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount


@pytest.fixture
def calls_of(gateway: GatewayProcess | None) -> Callable[[Callable[[], object]], Counter[str]]:
    """Counts the server's calls, by name, while something is done."""
    if gateway is None:
        pytest.skip("a live gateway does not tell its calls")
    control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")

    def count(work: Callable[[], object]) -> Counter[str]:
        control.clear_log()
        work()
        return Counter(control.names())

    return count


def list_long(folder: Path) -> None:
    subprocess.run(["ls", "-l", str(folder)], stdout=subprocess.DEVNULL, check=True, env={**os.environ, "LC_ALL": "C"})


def test_long_listing_costs_one_call_and_few_requests(
    mounted: MountProcess, work: Path, calls_of: Callable[[Callable[[], object]], Counter[str]]
) -> None:
    """``ls -l`` asks for two attributes of every file where it is not told that there are none of their kind."""
    for number in range(40):
        (work / f"{number:02}").touch()
    before = mounted.status()["requests"]
    calls = calls_of(lambda: list_long(work))
    assert calls["ListContainer"] <= 1
    assert calls.total() <= 3
    assert mounted.status()["requests"] - before < 20
