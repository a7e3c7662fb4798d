"""How far one reader is read ahead: as much again as it has read in order. Pure, no I/O.

Owns the guess about one open file's access pattern; ``cache.content`` has one ``ReadAhead`` per reader. Reading ahead as
much as was read in order never fetches more than twice of what is used, and doubles as fast as any schedule.
"""

from __future__ import annotations

from typing import Final

_SLACK_BYTES: Final = 1024 * 1024
"""A seek of less than this, either way, keeps the run: the kernel's own read-ahead arrives out of order."""

_START_BYTES: Final = 1024 * 1024
"""Read ahead at once by a reader that begins at offset 0: most of those read the file from end to end."""


class ReadAhead:
    """The run of one reader."""

    __slots__ = ("_bound_bytes", "_end", "_run_bytes")

    def __init__(self, bound_bytes: int) -> None:
        """Begin without a run; never more than ``bound_bytes`` are read ahead."""
        self._bound_bytes = bound_bytes
        self._end: int | None = None
        self._run_bytes = 0

    @property
    def end(self) -> int:
        """Where the run has come to."""
        return self._end or 0

    def observe(self, offset: int, size: int) -> int:
        """Note a read. Returns: how many bytes after its end are worth fetching ahead; 0 while access is random."""
        stop = offset + size
        if self._end is None or not self._end - _SLACK_BYTES <= offset <= self._end + _SLACK_BYTES:
            is_start = self._end is None and offset == 0
            self._end, self._run_bytes = stop, 0
            return min(_START_BYTES, self._bound_bytes) if is_start else 0
        # Reads that the kernel sends out of order, and small steps back, add nothing to the run.
        self._run_bytes += max(0, stop - self._end)
        self._end = max(self._end, stop)
        least = _START_BYTES if self._end <= 2 * _START_BYTES and self._run_bytes else 0
        return min(max(self._run_bytes, least), self._bound_bytes)
