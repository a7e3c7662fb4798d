"""Which small files are fetched ahead while a program reads the files of a folder one after another. Pure, no I/O.

Owns the guess about each folder: whether the files opened last follow each other in the order of the listing or by name.
``cache.content`` asks at each open and carries out; used from the trio thread only. Each file opened as foreseen allows two
more ahead, so a program that stops, or jumps, stops it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cachetools

from cs3fuse.model import Entry, Kind

_RENEW_S: Final = 5.0
"""The orders of a folder are computed anew after this time."""
_STEP: Final = 3
"""The next file may be this many further: some are left out by a pattern."""
_STEPS_BEFORE: Final = 2
"""So many files in a row begin a run."""
_MOST_AHEAD: Final = 32


@dataclass(slots=True)
class _Order:
    """One order of a folder's small files, and how far a run in it has come."""

    entries: Sequence[Entry]
    places: dict[str, int]
    last: int = -1
    steps: int = 0
    chosen: int = 0

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _Order:
        """An order without a run."""
        return cls(entries, {entry.name: place for place, entry in enumerate(entries)})

    def step(self, name: str) -> int:
        """A file was opened. Returns: the length of the run that it continues, 0 if it does not."""
        place = self.places.get(name, -1)
        if place == self.last:
            return self.steps
        self.steps = self.steps + 1 if self.last >= 0 and 0 < place - self.last <= _STEP else 0
        self.last = place
        if self.steps == 0:
            self.chosen = place + 1
        return self.steps

    def ahead(self) -> list[Entry]:
        """The files to fetch now, each once in a run."""
        stop = min(len(self.entries), self.last + 1 + min(2 * self.steps, _MOST_AHEAD))
        start = max(self.chosen, self.last + 1)
        self.chosen = max(start, stop)
        return list(self.entries[start:stop])


@dataclass(slots=True)
class _Folder:
    """Both orders, as of ``since``."""

    since: float
    orders: list[_Order] = field(default_factory=list)


class FolderRuns:
    """The runs in the folders used last."""

    def __init__(self, *, small_bytes: int, max_folders: int = 64) -> None:
        """Files above ``small_bytes`` are no matter of this."""
        self._small_bytes = small_bytes
        self._folders: cachetools.LRUCache[object, _Folder] = cachetools.LRUCache(max_folders)

    def opened(self, folder: object, name: str, siblings: Sequence[Entry], now: float) -> list[Entry]:
        """A small file was opened. Returns: the files of the folder that are worth fetching now.

        Args: ``folder`` is any key of it, ``siblings`` its listing.
        """
        known = self._folders.get(folder)
        if known is None or now - known.since > _RENEW_S:
            known = self._folders[folder] = self._renewed(known, siblings, now)
        best = max(known.orders, key=lambda order: order.step(name))
        return best.ahead() if best.steps >= _STEPS_BEFORE else []

    def _renewed(self, older: _Folder | None, siblings: Sequence[Entry], now: float) -> _Folder:
        """The orders of the present listing, with the runs of the older ones."""
        small = [
            entry
            for entry in siblings
            if entry.kind is Kind.FILE and 0 < entry.size <= self._small_bytes and not entry.is_processing
        ]
        folder = _Folder(now, [_Order.of(small), _Order.of(sorted(small, key=lambda entry: entry.name))])
        for order, old in zip(folder.orders, older.orders if older is not None else (), strict=False):
            if 0 <= old.last < len(old.entries):
                order.last, order.steps = order.places.get(old.entries[old.last].name, -1), old.steps
                order.chosen = order.last + 1
        return folder
