"""A piece of the disk that is kept for the journal: staged bytes may fill the disk, and then the journal must still say what they are.

Without it the upload that would give the room back could not begin, because the journal has to name it first. Owned by ``journal``, which
gives it up when a transaction finds no room, and asks for it again every few seconds. Any thread, one at a time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 1024 * 1024
"""Room for some 200 transactions; each upload takes two."""


async def no_room(wanted_bytes: int) -> bool:  # noqa: ARG001 - the signature of ``make_room``
    """For engines without a cache to evict from."""
    return False


class Reserve:
    """See the module."""

    def __init__(self, path: Path, *, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size
        self._is_held = False

    def hold(self) -> None:
        """Take the room if it is not held; a disk that is full now has it later."""
        if self._is_held:
            return
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
                self._is_held = True
            finally:
                os.close(fd)
        if not self._is_held:
            self.give()

    def give(self) -> bool:
        """Free the room. Returns whether there was any to free."""
        had, self._is_held = self._is_held, False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return had
