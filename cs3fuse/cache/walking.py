"""Which directories are listed ahead while a program walks a tree. Pure, no I/O.

Owns the guess whether somebody walks. A step of a walk is the listing of a directory whose parent was listed a moment ago;
each step that was foreseen allows two more listings ahead, so a walk that stops stops them too and what is wasted is bounded.
``cache.metadata`` asks and carries out; used from the trio thread only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from cs3fuse.model import Entry, Kind, Location

T = TypeVar("T")

_MEMORY_S: Final = 5.0
_MOST_AHEAD: Final = 16
"""Directories listed ahead of the walker: further ones would be outdated when it comes there."""
_WIDEST: Final = 1000
"""Entries of a directory that is looked through; in a wider one nothing is foreseen."""
_MOST_ASKED: Final = 1024


class Folders:
    """The directories in one directory, in the two orders in which programs walk them."""

    __slots__ = ("by_name", "listed")

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Those of a listing."""
        self.listed: Sequence[str] = (
            [entry.name for entry in entries if entry.kind is Kind.DIRECTORY and entry.anchor is None]
            if len(entries) <= _WIDEST
            else []
        )
        by_name = sorted(self.listed)
        self.by_name: Sequence[str] = self.listed if by_name == self.listed else by_name


Peek = Callable[[Location], Folders | None]
"""The directories in a directory as it was last listed, without I/O."""


class WalkAhead:
    """One guess for the whole mount."""

    def __init__(self) -> None:
        """Nobody walks yet."""
        self._asked: dict[Location, float] = {}
        self._ahead: dict[Location, float] = {}
        self._steps = 0
        self._last: dict[Location, str] = {}
        self._is_by_name = False

    def stepped(self, at: Location, now: float, peek: Peek) -> list[Location]:
        """A program got the listing of ``at``. Returns: the directories to list now, the next one first."""
        parent = at.parent
        if at.rel:
            self._learn_order(parent, at.name, peek)
        parent_asked = self._asked.get(parent, -math.inf) if at.rel else -math.inf
        was_foreseen = now - self._ahead.pop(at, -math.inf) < _MEMORY_S
        _note(self._asked, at, now, _MOST_ASKED)
        if now - parent_asked >= _MEMORY_S:
            return []
        # A step to where we did not expect it: the guess was wrong, begin small.
        self._steps = self._steps + 1 if was_foreseen else 1
        outstanding = sum(now - asked < _MEMORY_S for asked in self._ahead.values())
        allowed = min(2 * self._steps, _MOST_AHEAD) - outstanding
        chosen: list[Location] = []
        if allowed <= 0:
            return chosen
        for directory in self._upcoming(at, peek):
            if now - max(self._ahead.get(directory, -math.inf), self._asked.get(directory, -math.inf)) >= _MEMORY_S:
                _note(self._ahead, directory, now, 4 * _MOST_AHEAD)
                chosen.append(directory)
                if len(chosen) >= allowed:
                    break
        return chosen

    def _upcoming(self, at: Location, peek: Peek) -> Iterator[Location]:
        """What a walk in depth comes to next: the children, then the siblings that follow, then those of the parents."""
        yield from map(at.child, self._names(at, peek))
        while at.rel:
            parent, name = at.parent, at.name
            names = self._names(parent, peek)
            if name in names:
                yield from map(parent.child, names[names.index(name) + 1 :])
            at = parent

    def _names(self, at: Location, peek: Peek) -> Sequence[str]:
        """The directories of a directory in the order in which they are walked."""
        folders = peek(at)
        if folders is None:
            return ()
        return folders.by_name if self._is_by_name else folders.listed

    def _learn_order(self, parent: Location, name: str, peek: Peek) -> None:
        """find(1) walks in the order of the listing, ls and rsync by name: which one fits the step from the last sibling."""
        before = self._last.get(parent)
        _note(self._last, parent, name, 256)
        folders = peek(parent)
        if folders is None or folders.listed is folders.by_name:
            return
        fits = [_is_next(order, before, name) for order in (folders.listed, folders.by_name)]
        if fits[0] != fits[1]:
            self._is_by_name = fits[1]


def _note(table: dict[Location, T], at: Location, value: T, most: int) -> None:
    """Put it last, and let the first go where there are too many."""
    table.pop(at, None)
    table[at] = value
    if len(table) > most:
        del table[next(iter(table))]


def _is_next(names: Iterable[str], before: str | None, name: str) -> bool:
    """Whether ``name`` comes right after ``before``, or first."""
    rest = iter(names)
    return (before is None or before in rest) and next(rest, None) == name
