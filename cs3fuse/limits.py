"""Limits on what runs at once, for each root apart: a share whose site hangs cannot use up what the home needs.

Owns the limiters. ``cache`` and ``commit`` ask for the one of a location; the trio thread only. What all roots together may take is
bounded by the client's threads.
"""

from __future__ import annotations

import trio

from cs3fuse.model import Location, Root


class RootLimits:
    """One limiter per root, made when it is first asked for; as many as a user has shares."""

    def __init__(self, each: int) -> None:
        """``each``: how many may run at once below one root."""
        self._each = each
        self._limiters: dict[Root, trio.CapacityLimiter] = {}

    def of(self, at: Location) -> trio.CapacityLimiter:
        """The limiter of everything below the root of a location."""
        found = self._limiters.get(at.root)
        if found is None:
            found = self._limiters[at.root] = trio.CapacityLimiter(self._each)
        return found
