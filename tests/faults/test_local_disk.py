"""The disk of this machine is full. docs/durability.md names these tests."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.faults.conftest import AtDesk
from tests.faults.desk import OLD, WITHIN_S, Desk

DISK = 24 << 20
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["reva", "opencloud"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def fill(desk: Desk, name: str, size: int) -> int:
    """Write a file MiB by MiB; how many bytes write(2) took before it failed with ENOSPC."""
    taken = 0
    async with desk.calls.opened(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fh:
        try:
            for _ in range(size // MIB):
                await desk.calls.pwrite(fh, bytes([taken // MIB]) * MIB, taken)
                taken += MIB
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return taken


def mebibytes(count: int) -> bytes:
    return b"".join(bytes([number]) * MIB for number in range(count))


async def test_full_disk_is_enospc_at_write(at_desk: AtDesk, small_disk: Path) -> None:
    """What was written before is whole and goes to the server; with the room that gives, writing goes on."""
    async with at_desk(str(small_disk), cache_min_free_bytes=0) as desk:
        taken = await fill(desk, "a", 40 * MIB)
        assert 16 * MIB <= taken < DISK
        content = desk.on_server("a")
        assert content is not None
        assert content[:taken] == mebibytes(taken // MIB)
        assert len(content) < taken + MIB
        await desk.all_sent()
        # The bytes are cached content now; once their checksums are known they can go.
        with trio.fail_after(WITHIN_S):
            while desk.mount.content.usage()["pinned_bytes"]:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.01)
        assert await fill(desk, "b", 8 * MIB) == 8 * MIB
        assert desk.on_server("b") == mebibytes(8)
        await desk.all_sent()


async def test_full_disk_evicts_the_cache_first(at_desk: AtDesk, small_disk: Path) -> None:
    """Cached bytes of the server's files make room for bytes that are only here."""
    async with at_desk(str(small_disk), cache_min_free_bytes=0) as desk:
        for name in ("x", "y"):
            desk.other_writes(name, mebibytes(8))
            assert await desk.calls.read(name) == mebibytes(8)
        assert await fill(desk, "a", 16 * MIB) == 16 * MIB
        assert desk.on_server("a") == mebibytes(16)
        await desk.all_sent()


async def test_full_disk_keeps_what_was_there(at_desk: AtDesk, small_disk: Path) -> None:
    """Not even the journal has room: write fails, the server's version stands, the mount goes on."""
    async with at_desk(str(small_disk), cache_min_free_bytes=0) as desk:
        assert await desk.save("a", OLD) == 0
        filler = small_disk / "filler"
        with filler.open("wb") as file, pytest.raises(OSError):
            while True:
                file.write(bytes(MIB))
                file.flush()
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_WRONLY) as fh:
                await desk.calls.pwrite(fh, bytes(MIB), 0)
        assert caught.value.errno == errno.ENOSPC
        assert desk.on_server("a") == OLD
        filler.unlink()
        assert await desk.save("a", bytes(MIB)) == 0
        assert desk.on_server("a") == bytes(MIB)
        await desk.all_sent()
