"""How long to wait for a server that may have gone: as long as it makes progress, and a bound beyond that.

Pure; ``control.unsent`` uses it while it waits for uploads, with trio's clock.
"""

from __future__ import annotations


class Patience:
    """Ends when nothing came closer to the server for a while.

    A file that arrived is progress. Bytes are progress only as far as they go beyond what an earlier attempt sent: a server that takes
    half of a file again and again must not be waited for for ever.
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._left: int | None = None
        self._attempts = 0
        self._sent_before = 0
        self._farthest = 0

    def note(self, *, left: int, attempts: int, sent_bytes: int, now: float) -> None:
        """How things are: files ``left``, their failed ``attempts`` together, bytes that all uploads sent since the start."""
        if self._left is None or left < self._left:
            self._restart(left, attempts, sent_bytes, now)
        elif attempts != self._attempts:
            self._attempts, self._sent_before = attempts, sent_bytes
        elif sent_bytes - self._sent_before > self._farthest:
            self._farthest = sent_bytes - self._sent_before
            self._moved_at = now
        self._left = left

    def _restart(self, left: int, attempts: int, sent_bytes: int, now: float) -> None:
        self._left, self._attempts, self._sent_before = left, attempts, sent_bytes
        self._farthest = 0
        self._moved_at = now

    def is_over(self, now: float) -> bool:
        """Whether it is time to give up."""
        return now - self._moved_at >= self._limit_s
