"""The emulator's wall clock, which tests may set wrong.

Owns the skew. Tokens, locks and, where a profile stamps them itself, modification times read this clock. The skew
is one float: setting it from another thread is safe.
"""

import time


class Clock:
    """Wall-clock time plus a skew.

    INVARIANT: `tick_ns` never answers the same number twice.
    """

    def __init__(self) -> None:
        self.skew_s = 0.0
        self._last_ns = 0

    def now_s(self) -> float:
        """Seconds since the epoch, skewed."""
        return time.time() + self.skew_s

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, skewed."""
        return time.time_ns() + int(self.skew_s * 1e9)

    def tick_ns(self) -> int:
        """Like `now_ns`, but larger than every earlier answer of this method: two changes never share a stamp."""
        self._last_ns = max(self.now_ns(), self._last_ns + 1)
        return self._last_ns
