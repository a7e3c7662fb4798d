"""When a site that does not answer is asked again.

Pure: a state machine over the time it is given. Used by ``mesh.sites``, one for each root of another site.

Closed: calls go through. A time-out opens it at once, a failure that a look at the root confirmed as well. Open: calls are refused with the
reason. Probes in the background, at growing intervals, close it again.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PROBE_S = 2.0
LONGEST_PROBE_S = 15.0
"""So that a site is seen to be back within 30 s, the probe itself included."""


@dataclass(slots=True)
class Breaker:
    """One root's. ``reason`` is "" while it is closed. Times are seconds of one clock."""

    reason: str = ""
    is_timeout: bool = False
    next_probe_at: float = 0.0
    opened_at: float = 0.0
    _interval_s: float = FIRST_PROBE_S

    @property
    def is_open(self) -> bool:
        """Whether calls are refused."""
        return bool(self.reason)

    def open(self, reason: str, now: float, *, is_timeout: bool) -> None:
        """It does not answer. When it is open already only the reason is newer."""
        if not self.is_open:
            self.opened_at = now
            self._interval_s = FIRST_PROBE_S
            self.next_probe_at = now + self._interval_s
        self.reason = reason or "it does not answer"
        self.is_timeout = is_timeout

    def close(self) -> None:
        """It answers."""
        self.reason = ""
        self._interval_s = FIRST_PROBE_S

    def probe_due(self, now: float) -> bool:
        """Whether it is time to ask again."""
        return self.is_open and now >= self.next_probe_at

    def probe_failed(self, now: float) -> None:
        """Still no answer: ask less often."""
        self._interval_s = min(2 * self._interval_s, LONGEST_PROBE_S)
        self.next_probe_at = now + self._interval_s
