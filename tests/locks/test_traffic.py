"""What locks cost, by the gateway's call log: a save two calls, an hour one call each lease period, reading none."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.locks import manager
from cs3fuse.locks.lease import REFRESH_AFTER
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

LEASE_S = 300.0
PERIOD_S = LEASE_S * REFRESH_AFTER
LOCK_CALLS = {"SetLock", "GetLock", "RefreshLock", "Unlock"}


@pytest.fixture(params=["opencloud", "eos"])
def emulator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmulatorThread]:
    config = EmulatorConfig(root=tmp_path / "gateway", profile=request.param, seed=1, quirks={"processing_s": 0.0})
    with EmulatorThread(config) as emulator:
        yield emulator


@pytest.fixture
async def mount(emulator: EmulatorThread, tmp_path: Path) -> AsyncIterator[Mount]:
    """A mount that has found out what the locks are worth, on the gateway's clock."""
    async with running_mount(emulator, tmp_path / "mount", clock=lambda: time.time() + emulator.clock.skew_s) as mount:
        await Syscalls(mount.vfs).write("probed", b"new")
        await Syscalls(mount.vfs).write("probed", b"existing")
        await mount.leases.drain()
        emulator.log.clear()
        yield mount


@pytest.fixture
def calls(mount: Mount) -> Syscalls:
    return Syscalls(mount.vfs)


async def served(emulator: EmulatorThread, mount: Mount) -> Counter[str]:
    """The calls since the last time, once all releases are done."""
    await mount.leases.drain()
    counted = Counter(entry.name for entry in emulator.log.entries())
    emulator.log.clear()
    return counted


def of_locks(counted: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counted.items() if name in LOCK_CALLS}


async def test_a_save_costs_one_lock_and_one_unlock(
    calls: Syscalls, mount: Mount, emulator: EmulatorThread, tmp_path: Path
) -> None:
    """Nothing else differs from a mount without locks."""
    async with running_mount(emulator, tmp_path / "off", locks="off") as off:
        without = Syscalls(off.vfs)
        for saver in (calls, without):  # the same state of both caches
            await saver.write("f", b"first")
            await saver.read("f")
        await served(emulator, mount)
        await without.write("f", b"second")
        plain = await served(emulator, mount)
        await calls.read("f")
        await served(emulator, mount)
        await calls.write("f", b"third")
        locked = await served(emulator, mount)
    assert of_locks(locked) == {"SetLock": 1, "Unlock": 1}
    assert not of_locks(plain)
    assert locked - plain == Counter({"SetLock": 1, "Unlock": 1})
    assert not plain - locked


async def test_many_handles_cost_one_lock(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Opened five times, written through each, closed one after the other."""
    await calls.write("f", b"content")
    await served(emulator, mount)
    async with calls.at("f") as ino:
        handles = [(await mount.vfs.files.open(ino, os.O_RDWR)).fh for _ in range(5)]
        for number, fh in enumerate(handles):
            await calls.pwrite(fh, b"%d" % number, number)
            await mount.vfs.files.flush(fh)
            await mount.vfs.files.release(fh)
    assert of_locks(await served(emulator, mount)) == {"SetLock": 1, "Unlock": 1}


async def test_save_after_save_keeps_the_lock_if_it_was_not_released_yet(
    calls: Syscalls, mount: Mount, emulator: EmulatorThread
) -> None:
    """Three saves in a row cost three times two calls at most."""
    await calls.write("f", b"content")
    await served(emulator, mount)
    for number in range(3):
        await calls.write("f", b"save %d" % number)
    counted = of_locks(await served(emulator, mount))
    assert counted["SetLock"] == counted["Unlock"]
    assert counted["SetLock"] <= 3
    assert counted.keys() == {"SetLock", "Unlock"}


async def test_reading_costs_none(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Nor do stat, listing, and a new file that is written and closed."""
    await calls.write("new", b"content")
    await calls.read("new")
    await calls.stat("new")
    await calls.listdir()
    assert not of_locks(await served(emulator, mount))


async def test_an_hour_costs_one_refresh_each_period(
    calls: Syscalls, mount: Mount, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor keeps a file open; the lock never runs out."""
    monkeypatch.setattr(manager, "CHECK_EVERY_S", 0.01)
    await trio.sleep(2.1)  # the check that was under way with the old period
    await calls.write("f", b"content")
    await served(emulator, mount)
    async with calls.opened("f", os.O_RDWR):
        lease = mount.leases.lease_at(mount.root.child("f"))
        assert lease is not None
        for _ in range(60):
            until = lease.machine.expires_at
            emulator.clock.skew_s += 60
            if mount.leases.now() >= lease.machine.refresh_at:
                with trio.fail_after(10):
                    while lease.machine.expires_at == until:  # noqa: ASYNC110 - the refresher has no event
                        await trio.sleep(0.01)
            assert not lease.is_lost
        counted = Counter(entry.name for entry in emulator.log.entries())
    assert counted["RefreshLock"] == int(3600 / PERIOD_S)
    assert of_locks(counted).keys() == {"SetLock", "RefreshLock"}
