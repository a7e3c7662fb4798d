"""When many Stats of one directory are better answered by one listing of it. Pure, no I/O.

Owns the recent Stats that went to the server, counted per directory. ``cache.metadata`` asks before each; used from the trio
thread only. A Stat costs some 1.2 ms, a listing 1 ms and 40 microseconds per entry: a directory of n entries is worth listing
when more than n/30 of them are asked for. Nobody knows that in advance, so it is listed when half as many were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cachetools

from cs3fuse.model import Location

_MEMORY_S: Final = 2.0
"""Stats further apart than this are no storm."""
_LEAST: Final = 4
_UNKNOWN_SIZE: Final = 12
"""Stats in a directory that was never listed: it may have any size."""
_ENTRIES_PER_STAT: Final = 60
_STORM_S: Final = 10.0
"""After a storm the next one in the same directory is believed at once."""
_REFUSED_S: Final = 60.0


@dataclass(slots=True)
class _Recent:
    """Of one directory: Stats since ``began``; when it was listed for a storm, and until when it is not tried again."""

    began: float
    count: int = 0
    stormed_at: float = -_STORM_S
    refused_until: float = 0.0


class StatStorms:
    """Decides between Stat and listing."""

    def __init__(self, *, max_directories: int = 1024) -> None:
        """Watch the ``max_directories`` most recent directories."""
        self._recent: cachetools.LRUCache[Location, _Recent] = cachetools.LRUCache(max_directories)

    def is_storm(self, directory: Location, entries: int | None, now: float) -> bool:
        """Note a Stat in a directory that would go to the server. Returns: whether to list the directory instead.

        Args: ``entries`` is the directory's size when it was last listed, None if it was not.
        """
        recent = self._recent.get(directory)
        if recent is None:
            recent = self._recent[directory] = _Recent(now)
        if now - recent.began > _MEMORY_S:
            recent.began, recent.count = now, 0
        recent.count += 1
        if now < recent.refused_until:
            return False
        if entries is None:
            threshold = _UNKNOWN_SIZE
        elif now - recent.stormed_at < _STORM_S:
            threshold = _LEAST
        else:
            threshold = max(_LEAST, entries // _ENTRIES_PER_STAT)
        if recent.count < threshold:
            return False
        recent.count = 0
        recent.stormed_at = now
        return True

    def refused(self, directory: Location, now: float) -> None:
        """The directory could not be listed (too large, not allowed): ask for its names one by one for a while."""
        recent = self._recent.get(directory)
        if recent is not None:
            recent.refused_until = now + _REFUSED_S
