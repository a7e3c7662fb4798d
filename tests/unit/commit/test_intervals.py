"""The interval set against a plain set of positions."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cs3fuse.commit.intervals import IntervalSet
from cs3fuse.model import ByteRange

POSITIONS = st.integers(min_value=0, max_value=60)


class IntervalMachine(RuleBasedStateMachine):
    """Adds and truncations in any order; the model is a set of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.real = IntervalSet()
        self.model: set[int] = set()

    @rule(start=POSITIONS, stop=POSITIONS)
    def add(self, start: int, stop: int) -> None:
        self.real.add(start, stop)
        self.model |= set(range(start, stop))

    @rule(size=POSITIONS)
    def truncate(self, size: int) -> None:
        self.real.truncate(size)
        self.model = {position for position in self.model if position < size}

    @rule(start=POSITIONS, stop=POSITIONS)
    def look(self, start: int, stop: int) -> None:
        if start > stop:
            start, stop = stop, start
        asked = set(range(start, stop))
        assert positions(self.real.within(start, stop)) == self.model & asked
        assert positions(self.real.missing(start, stop)) == asked - self.model
        assert self.real.covers(start, stop) == (asked <= self.model)

    @invariant()
    def same_bytes(self) -> None:
        ranges = list(self.real)
        assert positions(ranges) == self.model
        assert self.real.byte_count == len(self.model)
        assert bool(self.real) == bool(self.model)
        assert all(len(each) > 0 for each in ranges)
        assert all(left.stop < right.start for left, right in pairwise(ranges)), "touching ranges are merged"
        assert IntervalSet(reversed(ranges)) == self.real


def positions(ranges: list[ByteRange]) -> set[int]:
    return {position for each in ranges for position in range(each.start, each.stop)}


IntervalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestIntervalMachine = IntervalMachine.TestCase


def test_sequential_writes_stay_one_range() -> None:
    """A file written from start to end costs one range however many writes it takes."""
    written = IntervalSet()
    for index in range(1000):
        written.add(index * 10, index * 10 + 10)
    assert list(written) == [ByteRange(0, 10_000)]
