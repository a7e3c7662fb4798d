"""Which directories are listed ahead while a program walks a tree. Pure, no I/O.

Owns the guess whether somebody walks. A step of a walk is the listing of a directory whose parent was listed a moment ago;
each step that was foreseen allows two more listings ahead, so a walk that stops stops them too and what is wasted is bounded.
``cache.metadata`` asks and carries out; used from the trio thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import cachetools

from cs3fuse.model import Entry, Kind, Location

_MEMORY_S: Final = 5.0
_MOST_AHEAD: Final = 16
"""Directories listed ahead of the walker: further ones would be outdated when it comes there."""

_WIDEST: Final = 1000
"""Entries of a directory that is looked through at each step; in a wider one nothing is foreseen."""

PeekList = Callable[[Location], Sequence[Entry] | None]
"""The listing of a directory, however old, without I/O."""


class WalkAhead:
    """One guess for the whole mount."""

    def __init__(self) -> None:
        """Nobody walks yet."""
        self._asked: cachetools.LRUCache[Location, float] = cachetools.LRUCache(1024)
        self._ahead: cachetools.LRUCache[Location, float] = cachetools.LRUCache(4 * _MOST_AHEAD)
        self._steps = 0
        self._last: cachetools.LRUCache[Location, str] = cachetools.LRUCache(256)
        self._is_by_name = False

    def stepped(self, at: Location, now: float, peek: PeekList) -> list[Location]:
        """A program got the listing of ``at``. Returns: the directories to list now, the next one first."""
        self._learn_order(at, peek)
        parent_asked = self._asked.get(at.parent, -_MEMORY_S) if at.rel else -_MEMORY_S
        was_foreseen = now - self._ahead.pop(at, -_MEMORY_S) < _MEMORY_S
        self._asked[at] = now
        if now - parent_asked >= _MEMORY_S:
            return []
        # A step to where we did not expect it: the guess was wrong, begin small.
        self._steps = self._steps + 1 if was_foreseen else 1
        outstanding = sum(now - asked < _MEMORY_S for asked in self._ahead.values())
        allowed = min(2 * self._steps, _MOST_AHEAD) - outstanding
        chosen: list[Location] = []
        for directory in self._upcoming(at, peek):
            if len(chosen) >= allowed:
                break
            if not self._is_recent(directory, now):
                self._ahead[directory] = now
                chosen.append(directory)
        return chosen

    def _is_recent(self, directory: Location, now: float) -> bool:
        """Whether it was listed, or is listed ahead, a moment ago."""
        known = max(self._ahead.get(directory, -_MEMORY_S), self._asked.get(directory, -_MEMORY_S))
        return now - known < _MEMORY_S

    def _upcoming(self, at: Location, peek: PeekList) -> Iterator[Location]:
        """What a walk in depth comes to next: the children, then the siblings that follow, then those of the parents."""
        yield from map(at.child, self._names(at, peek))
        while at.rel:
            following = iter(self._names(at.parent, peek))
            if at.name in following:  # and what follows it is left
                yield from map(at.parent.child, following)
            at = at.parent

    def _names(self, at: Location, peek: PeekList) -> list[str]:
        """The directories of a directory in the order in which they are walked."""
        names = _directories(peek(at) or ())
        return sorted(names) if self._is_by_name else names

    def _learn_order(self, at: Location, peek: PeekList) -> None:
        """find(1) walks in the order of the listing, ls and rsync by name: which one fits the step from the last sibling."""
        if not at.rel:
            return
        before, self._last[at.parent] = self._last.get(at.parent), at.name
        names = _directories(peek(at.parent) or ())
        fits = [_is_next(order, before, at.name) for order in (names, sorted(names))]
        if fits[0] != fits[1]:
            self._is_by_name = fits[1]


def _directories(entries: Sequence[Entry]) -> list[str]:
    if len(entries) > _WIDEST:
        return []
    return [entry.name for entry in entries if entry.kind is Kind.DIRECTORY and entry.anchor is None]


def _is_next(names: Sequence[str], before: str | None, name: str) -> bool:
    """Whether ``name`` comes right after ``before``, or first."""
    rest = iter(names)
    return (before is None or before in rest) and next(rest, None) == name
