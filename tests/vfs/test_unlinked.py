"""A file whose name is deleted while it is open keeps all its bytes, also those that were not here yet."""

from __future__ import annotations

import os

from cs3fuse.app import Mount
from tests.support.syscalls import Syscalls
from tests.vfs.test_bad_input import empty_the_cache

DATA = os.urandom(5_000_000)


async def test_bytes_that_were_not_here_survive_the_unlink(calls: Syscalls, mount: Mount) -> None:
    """A large file is opened cold, deleted through the mount, and read to its end."""
    await calls.write("f", DATA)
    await empty_the_cache(mount)
    async with calls.opened("f") as fh:
        assert await calls.pread(fh, 10, 0) == DATA[:10]
        await calls.unlink("f")
        assert await calls.listdir() == []
        assert await calls.pread(fh, len(DATA), 0) == DATA
