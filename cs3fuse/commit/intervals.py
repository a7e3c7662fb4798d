"""Which bytes of a staged file were written: a set of disjoint, sorted byte ranges.

Pure and synchronous; owned by one ``StagedFile``. Touching ranges are merged, so a file that is written from start to end is one
range however many writes it took.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from cs3fuse.model import ByteRange


class IntervalSet:
    """A set of byte positions kept as ranges.

    INVARIANT: ``_starts`` and ``_stops`` have equal length, and ``starts[i] < stops[i] < starts[i + 1]``.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[ByteRange] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for each in ranges:
            self.add(each.start, each.stop)

    def __iter__(self) -> Iterator[ByteRange]:
        """The ranges in ascending order."""
        for start, stop in zip(self._starts, self._stops, strict=True):
            yield ByteRange(start, stop)

    def __bool__(self) -> bool:
        """Whether any byte is in the set."""
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        """Equal sets hold the same bytes."""
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        """For assertions."""
        return f"IntervalSet({list(self)!r})"

    @property
    def byte_count(self) -> int:
        """How many bytes are in the set."""
        return sum(self._stops) - sum(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Add the bytes ``start`` (inclusive) to ``stop`` (exclusive)."""
        if start >= stop:
            return
        if self._stops and start == self._stops[-1]:  # the common case: the next write of a sequential writer
            self._stops[-1] = stop
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def truncate(self, size: int) -> None:
        """Forget every byte at or above ``size``."""
        keep = bisect_left(self._starts, size)
        del self._starts[keep:]
        del self._stops[keep:]
        if self._stops and self._stops[-1] > size:
            self._stops[-1] = size

    def within(self, start: int, stop: int) -> list[ByteRange]:
        """The parts of ``start`` to ``stop`` that are in the set."""
        touched = range(bisect_right(self._stops, start), bisect_left(self._starts, stop))
        return [ByteRange(max(start, self._starts[index]), min(stop, self._stops[index])) for index in touched]

    def missing(self, start: int, stop: int) -> list[ByteRange]:
        """The parts of ``start`` to ``stop`` that are not in the set."""
        gaps = []
        position = start
        for held in self.within(start, stop):
            if position < held.start:
                gaps.append(ByteRange(position, held.start))
            position = held.stop
        if position < stop:
            gaps.append(ByteRange(position, stop))
        return gaps

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of ``start`` to ``stop`` is in the set."""
        return not self.missing(start, stop)
