"""Empty files: they have no bytes that could tell whose they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

CREATE = os.O_WRONLY | os.O_CREAT


async def test_empty_file_replaces_an_empty_one(calls: Syscalls, mount: Mount) -> None:
    """On a storage that tells an upload by its etag alone nothing changes by that: it is done all the same."""
    await calls.write("a", b"")
    await calls.write("b", b"")
    await calls.rename("b", "a")
    assert await calls.listdir() == ["a"]
    assert await calls.read("a") == b""
    assert mount.parts.commits.queue() == []


async def test_same_empty_file_of_two_mounts_is_no_conflict(calls: Syscalls, emulator: EmulatorThread, tmp_path: Path) -> None:
    """Both touch it; there is one, and nobody has an error."""
    async with running_mount(emulator, tmp_path / "second") as second:
        theirs = Syscalls(second.vfs)
        async with calls.opened("a", CREATE), theirs.opened("a", CREATE):
            pass
        assert await theirs.listdir() == ["a"]


async def test_one_of_two_creates_a_file_exclusively(calls: Syscalls, emulator: EmulatorThread, tmp_path: Path) -> None:
    """O_EXCL is how programs agree who goes on, by a file without content as well: one of two hears that it was late."""
    async with running_mount(emulator, tmp_path / "second") as second:
        theirs = Syscalls(second.vfs)
        with pytest.raises(OSError) as caught:
            async with theirs.opened("lock", CREATE | os.O_EXCL):
                async with calls.opened("lock", CREATE | os.O_EXCL):
                    pass
        assert caught.value.errno == errno.ESTALE
        with pytest.raises(FileExistsError):
            async with theirs.opened("lock", CREATE | os.O_EXCL):
                pass
