"""Somebody else holds the lock: what open(2) does, by option; reading is never refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import LockLostError
from cs3fuse.model import Lock
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount, signed_in

FOREVER = 4_000_000_000.0
THEIRS = Lock("theirs", "collabora", FOREVER)

pytestmark = pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)


@pytest.fixture
async def locked(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> str:
    """A file that marie's editor has locked (through einstein's account: the lock counts by its application)."""
    await calls.write("f", b"content")
    await mount.leases.drain()
    async with signed_in(emulator) as other:
        await other.locks.set_lock(mount.root.child("f"), THEIRS)
    return "f"


def refused(number: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


async def test_busy_is_the_default_and_says_who(calls: Syscalls, locked: str) -> None:
    """EBUSY at open, not at close; the sentence names the application; readers read."""
    with pytest.raises(OSError, match="collabora") as caught:
        await calls.write(locked, b"mine")
    assert caught.value.errno == errno.EBUSY
    assert await calls.read(locked) == b"content"
    async with calls.at(locked) as ino:
        assert b"collabora" in await calls.vfs.xattrs.get(ino, "user.cs3.lock")


async def test_delete_and_rename_are_busy_too(calls: Syscalls, locked: str) -> None:
    """A file that somebody edits is not taken away from under him."""
    with refused(errno.EBUSY):
        await calls.unlink(locked)
    with refused(errno.EBUSY):
        await calls.rename(locked, "g")
    assert await calls.read(locked) == b"content"


async def test_wait_goes_on_when_the_lock_is_released(locked: str, emulator: EmulatorThread, mount: Mount, tmp_path: Path) -> None:
    """The writer waits, readers do not, and the write is made when the lock is gone."""
    async with running_mount(emulator, tmp_path / "waiting", on_foreign_lock="wait", foreign_lock_wait_s=20) as waiting:
        calls = Syscalls(waiting.vfs)
        done = []

        async def write() -> None:
            await calls.write(locked, b"mine")
            done.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(0.3)
            assert await calls.read(locked) == b"content"
            assert not done
            async with signed_in(emulator) as other:
                await other.locks.unlock(mount.root.child("f"), THEIRS)
        assert done
        assert await calls.read(locked) == b"mine"


async def test_wait_ends(locked: str, emulator: EmulatorThread, tmp_path: Path) -> None:
    """After the time given it is EBUSY all the same."""
    async with running_mount(emulator, tmp_path / "waiting", on_foreign_lock="wait", foreign_lock_wait_s=0.2) as waiting:
        began = trio.current_time()
        with refused(errno.EBUSY):
            await Syscalls(waiting.vfs).write(locked, b"mine")
        assert trio.current_time() - began >= 0.2


async def test_readonly_opens_for_reading(locked: str, emulator: EmulatorThread, tmp_path: Path) -> None:
    """O_RDWR reads; a write and a truncation are EBUSY; what must write is EBUSY at open."""
    async with running_mount(emulator, tmp_path / "readonly", on_foreign_lock="readonly") as readonly:
        calls = Syscalls(readonly.vfs)
        async with calls.opened(locked, os.O_RDWR) as fh:
            assert await calls.pread(fh, 100, 0) == b"content"
            with refused(errno.EBUSY):
                await calls.pwrite(fh, b"x", 0)
        for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            with refused(errno.EBUSY):
                async with calls.opened(locked, flags):
                    pass
        assert await calls.read(locked) == b"content"


async def test_our_lock_keeps_others_out_and_goes_with_the_last_writer(
    calls: Syscalls, mount: Mount, emulator: EmulatorThread
) -> None:
    """While a file is open for writing here nobody else can lock it; afterwards it is free."""
    await calls.write("f", b"content")
    async with signed_in(emulator) as other:
        at = mount.root.child("f")
        async with calls.opened("f", os.O_RDWR):
            found = await other.locks.get_lock(at)
            assert found is not None
            assert found.app_name.startswith("cs3fuse-")
            with pytest.raises(LockLostError):
                await other.locks.unlock(at, THEIRS)
        await mount.leases.drain()
        assert await other.locks.get_lock(at) is None
