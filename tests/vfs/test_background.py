"""Mode "background": close is content with the journal, fsync is not, and what stat and read show never goes back in time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

pytestmark = pytest.mark.parametrize("profile", ["reva", "opencloud"], indirect=True)
SLOW_S = 0.4
OLD, NEW = b"old" * 1000, b"new and longer" * 1000


def on_server(emulator: EmulatorThread) -> bytes:
    return (emulator.config.root / "einstein" / "f").read_bytes()


async def prepared(mount: Mount, emulator: EmulatorThread) -> Syscalls:
    """The old content is on the server; from now on uploads are slow."""
    calls = Syscalls(mount.vfs)
    await calls.write("f", OLD)
    assert await mount.commits.flush(None) == []
    emulator.faults.add(method="PUT", delay_s=SLOW_S)
    return calls


async def test_fsync_waits_for_the_server_and_close_does_not(emulator: EmulatorThread, tmp_path: Path) -> None:
    """docs/semantics.md: in both modes fsync returns when the server has the bytes."""
    async with running_mount(emulator, tmp_path / "m", commit="background") as mount:
        calls = await prepared(mount, emulator)
        async with calls.opened("f", os.O_WRONLY) as fh:
            await calls.pwrite(fh, NEW, 0)
            await calls.fsync(fh)
            assert on_server(emulator) == NEW
            await calls.pwrite(fh, b"more", len(NEW))
        assert on_server(emulator) == NEW
        assert await mount.commits.flush(None) == []
        assert on_server(emulator) == NEW + b"more"


async def test_an_open_file_reads_its_bytes_before_and_after_the_upload(emulator: EmulatorThread, tmp_path: Path) -> None:
    """One descriptor is closed, another goes on reading: from the journal first, from the new version when it is sent."""
    async with running_mount(emulator, tmp_path / "m", commit="background") as mount:
        calls = await prepared(mount, emulator)
        async with calls.opened("f", os.O_RDWR) as kept:
            async with calls.opened("f", os.O_WRONLY | os.O_TRUNC) as fh:
                await calls.pwrite(fh, NEW, 0)
            assert on_server(emulator) == OLD
            assert await calls.pread(kept, 1 << 20, 0) == NEW
            assert await mount.commits.flush(None) == []
            assert await calls.pread(kept, 1 << 20, 0) == NEW
        assert await calls.read("f") == NEW


async def test_stat_never_goes_back_to_the_old_size(emulator: EmulatorThread, tmp_path: Path) -> None:
    """Whatever was remembered before the upload ended is not shown after it."""
    async with running_mount(emulator, tmp_path / "m", commit="background", attribute_timeout_s=3600) as mount:
        calls = await prepared(mount, emulator)
        await calls.write("f", NEW)
        sizes = set()
        with trio.move_on_after(2 * SLOW_S):
            while True:
                await calls.listdir()
                sizes.add((await calls.stat("f")).size)
                await trio.sleep(0.01)
        assert mount.commits.queue() == []
        assert sizes == {len(NEW)}
