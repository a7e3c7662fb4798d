"""The digest of a file that is written from start to end, computed while it is being written.

Owned by one ``StagedFile``; the trio thread notes writes and how far they came, one worker thread at a time feeds the digest. Without it a
commit would read the whole file once more before its first byte leaves: 0.2 s for 256 MiB. A write below what was digested makes it useless,
and the digest is computed at the commit as for any other file.
"""

from __future__ import annotations

from functools import partial

import trio

from cs3fuse.commit.checksums import feed, new_digest
from cs3fuse.limits import promptly

STEP_BYTES = 2 * 1024 * 1024
"""How far the writer must be ahead before a thread follows it; it ends when it has caught up. A commit waits for what is left: less than this
where the digest is as fast as the writer, 0.07 s of 256 MiB where it was not (two cores)."""

INLINE_BYTES = 64 * 1024
"""This much is digested where it is (60 us) and not in a thread."""


_THREADS = trio.CapacityLimiter(4)
"""How many writers are followed at once: many of them must not have all of trio's threads. At the commit nobody waits for these."""


class Follower:
    """sha1 of a growing prefix. INVARIANT: while ``is_valid``, bytes below ``_goal`` have not changed since they were asked for."""

    __slots__ = ("_digest", "_goal", "_position", "_turn", "is_valid")

    def __init__(self) -> None:
        self._digest = new_digest("sha1")
        self._position = 0
        self._goal = 0
        self._turn = trio.Lock()
        self.is_valid = True

    def changed_from(self, offset: int) -> None:
        """Bytes at and above ``offset`` were written or cut away."""
        if offset < self._goal:
            self.is_valid = False

    def is_due(self, prefix: int) -> bool:
        """The file's first ``prefix`` bytes are written: whether they are worth another step. One that is under way goes as far."""
        if not self.is_valid:
            return False
        if self._turn.locked():
            self._goal = max(self._goal, prefix)
            return False
        if prefix - self._goal < STEP_BYTES:
            return False
        self._goal = prefix
        return True

    async def follow(self, fd: int, prefix: int, *, limiter: trio.CapacityLimiter | None = _THREADS) -> None:
        """Digest up to ``prefix``, and as far as the writer comes meanwhile. The caller keeps ``fd`` open.

        ``limiter`` bounds the threads. Raises: OSError. Cancellation: waits for the thread.
        """
        if self._digest is None or not self.is_valid:
            return
        self._goal = max(self._goal, prefix)  # before the first checkpoint: a write from now on is noticed
        if prefix - self._position <= INLINE_BYTES and not self._turn.locked():
            self._position = feed(self._digest, fd, self._position, prefix)
            return
        async with promptly(self._turn):
            reached = -1
            while self.is_valid and reached < self._position < self._goal:  # no further: the file is shorter than it should be
                reached = self._position
                step = partial(feed, self._digest, fd, reached, self._goal, stop_now=self._stop_now)
                self._position = await trio.to_thread.run_sync(step, limiter=limiter)

    def _stop_now(self) -> int:
        """Asked by the worker thread. What is of no use any more is not digested."""
        return self._goal if self.is_valid else 0

    async def result(self, fd: int, size: int) -> str | None:
        """The digest of the whole file of ``size`` bytes, None if it must be computed afresh. Raises: OSError."""
        await self.follow(fd, size, limiter=None)
        if self._digest is None or not self.is_valid or self._position != size:
            return None
        return self._digest.hexdigest()
