"""Two mounts and the official client, for hundreds of steps; see ``campaign``."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.locks import manager
from tests.interop.official import official
from tests.locks.campaign import Campaign, Numbers
from tests.support.vfs import signed_in

PROFILES = ["opencloud", "eos"]


async def play(profile: str, folder: Path, seed: str, steps: int) -> Numbers:
    """One campaign on a gateway of its own."""
    with EmulatorThread(EmulatorConfig(root=folder / "gateway", profile=profile, seed=1)) as emulator:
        with official(emulator.grpc_port) as client:
            async with signed_in(emulator) as witness, trio.open_nursery() as nursery:
                numbers = await Campaign(emulator, folder, witness, client, nursery, seed).run(steps)
    return numbers


@pytest.fixture(autouse=True)
def quick_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes go by in a moment here: leases are looked at accordingly often."""
    monkeypatch.setattr(manager, "CHECK_EVERY_S", 0.02)


@pytest.mark.parametrize("profile", PROFILES)
async def test_sixty_steps(profile: str, tmp_path: Path) -> None:
    """One seed: never two writers, nothing acknowledged lost, no lock left."""
    numbers = await play(profile, tmp_path, "short", 60)
    assert numbers.met["saved"]
    assert numbers.met["open refused"]
    assert numbers.met["official locked"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("profile", PROFILES)
async def test_three_hundred_steps(profile: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten seeds; the numbers are printed."""
    numbers = await play(profile, tmp_path, f"{profile} {seed}", 300)
    with capsys.disabled():
        print(f"\n{profile}, seed {seed}: {numbers}")
