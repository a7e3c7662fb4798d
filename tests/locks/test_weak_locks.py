"""A storage whose locks overwrite each other (Reva on cephmount), behind a whole mount: honoured on both sides, and reported as weak.

The gateway has no such profile; its locks are a dictionary here, and SetLock takes them without looking.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cs3fuse.app import Mount
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import LockLostError
from cs3fuse.model import Location, Lock, LockInfo
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

FOREVER = 4_000_000_000.0


class WeakLocks:
    """``RemoteLocks`` as cephmount has them. Source: reva pkg/storage/fs/cephmount, SetLock."""

    def __init__(self) -> None:
        self.held: dict[str, Lock] = {}

    async def set_lock(self, at: Location, lock: Lock) -> None:
        self.held[at.rel] = lock

    async def get_lock(self, at: Location) -> LockInfo | None:
        lock = self.held.get(at.rel)
        return None if lock is None else LockInfo(lock.lock_id, lock.app_name, "", "write", lock.expires_at)

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        self._check(at, lock)
        self.held[at.rel] = lock

    async def unlock(self, at: Location, lock: Lock) -> None:
        self._check(at, lock)
        del self.held[at.rel]

    def _check(self, at: Location, lock: Lock) -> None:
        held = self.held.get(at.rel)
        if held is None or held.app_name != lock.app_name or held.lock_id != lock.lock_id:
            raise LockLostError("reference not locked")


async def busy(call: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(OSError, match="locked by collabora") as caught:
        await call()
    assert caught.value.errno == errno.EBUSY


async def test_weak_locks_through_a_mount(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours is taken and released; a foreign one is never overwritten, keeps writing, unlink and rename out, and shows."""
    locks = WeakLocks()
    with EmulatorThread(EmulatorConfig(root=tmp_path / "gateway", profile="reva", seed=1)) as emulator:
        async with running_mount(emulator, tmp_path / "mount") as mount:
            mount.leases.state.server = locks
            await play(mount, locks)
    assert "locks overwrite each other" in capsys.readouterr().out


async def play(mount: Mount, locks: WeakLocks) -> None:
    calls = Syscalls(mount.vfs)
    await calls.write("f", b"content")
    await calls.write("g", b"other")
    async with calls.opened("f", os.O_RDWR) as fh:
        assert locks.held["f"].app_name.startswith("cs3fuse-")
        await calls.pwrite(fh, b"C", 0)
    await mount.leases.drain()
    assert locks.held == {}
    assert [record["locks"] for record in mount.book.as_dict().values() if record["locks"]] == ["weak"]
    theirs = Lock("theirs", "collabora", time.time() + 1000)
    locks.held["f"] = theirs
    await busy(lambda: calls.write("f", b"mine"))
    await busy(lambda: calls.unlink("f"))
    await busy(lambda: calls.rename("f", "h"))
    await busy(lambda: calls.rename("g", "f"))
    assert locks.held == {"f": theirs}
    assert await calls.read("f") == b"Content"
    async with calls.at("f") as ino:
        told = json.loads(await mount.vfs.xattrs.get(ino, "user.cs3.lock"))
    assert (told["application"], told["ours"]) == ("collabora", False)
    locks.held.clear()
    await calls.write("f", b"mine")
    await mount.leases.drain()
    assert locks.held == {}


async def test_weak_lock_that_was_overwritten(tmp_path: Path) -> None:
    """Somebody who does not look takes our lock: the next commit notices at the latest when it is refreshed, and does not take it back."""
    locks = WeakLocks()
    with EmulatorThread(EmulatorConfig(root=tmp_path / "gateway", profile="reva", seed=1)) as emulator:
        async with running_mount(emulator, tmp_path / "mount") as mount:
            mount.leases.state.server = locks
            calls = Syscalls(mount.vfs)
            await calls.write("f", b"content")
            theirs = Lock("theirs", "collabora", FOREVER)

            async def write() -> None:
                async with calls.opened("f", os.O_RDWR) as fh:
                    await calls.pwrite(fh, b"C", 0)
                    locks.held["f"] = theirs
                    lease = mount.leases.lease_at(mount.root.child("f"))
                    assert lease is not None
                    with pytest.raises(Exception, match="locked by collabora"):
                        await lease.reaffirm()

            await busy(write)
            assert locks.held == {"f": theirs}
            assert await calls.read("f") == b"Content"  # ours, from the journal
            del locks.held["f"]
            assert await mount.commits.flush() == []
            await mount.leases.drain()
            assert locks.held == {}
