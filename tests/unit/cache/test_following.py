"""Which small files are fetched ahead of a program that reads a folder."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cache.following import FolderRuns
from cs3fuse.model import Entry, Kind

SMALL = 1000


def listing(count: int = 200) -> list[Entry]:
    names = [f"f{number:03}" for number in range(count)]
    random.Random(1).shuffle(names)
    return [Entry(name, Kind.FILE, size=10) for name in names]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("step", [1, 3])
def test_files_read_in_order_are_fetched_ahead_once(by_name, step):
    """In the order of the listing or by name, also every third file: most are ahead, none is fetched twice."""
    runs, entries = FolderRuns(small_bytes=SMALL), listing()
    order = sorted(entries, key=lambda entry: entry.name) if by_name else entries
    fetched: list[str] = []
    hits = 0
    for number, entry in enumerate(order[::step]):
        hits += entry.name in fetched
        new = [other.name for other in runs.opened("folder", entry.name, entries, number * 0.01)]
        assert len(new) <= 34
        fetched += new
    assert hits >= 0.9 * len(order[::step])
    assert len(set(fetched)) == len(fetched)


@given(st.integers(0, 2**32))
def test_files_read_at_random_are_hardly_fetched_ahead(seed):
    """A program that picks files costs few that it did not ask for."""
    chance, runs, entries = random.Random(seed), FolderRuns(small_bytes=SMALL), listing()
    wasted = sum(len(runs.opened("folder", chance.choice(entries).name, entries, number * 0.01)) for number in range(100))
    assert wasted <= 60


def test_run_that_stops_wastes_little():
    """Three files in a row, and no more: a few are ahead in vain."""
    runs, entries = FolderRuns(small_bytes=SMALL), listing()
    total = sum(len(runs.opened("folder", entry.name, entries, 0.0)) for entry in entries[:4])
    assert 0 < total <= 8


def test_large_unfinished_and_empty_files_are_left_alone():
    """Only small files that can be fetched are."""
    entries = [
        Entry("a", Kind.FILE, size=1),
        Entry("b", Kind.FILE, size=1),
        Entry("c", Kind.FILE, size=1),
        Entry("d", Kind.FILE, size=SMALL + 1),
        Entry("e", Kind.FILE, size=0),
        Entry("f", Kind.DIRECTORY, size=1),
        Entry("g", Kind.FILE, size=1, is_processing=True),
        Entry("h", Kind.FILE, size=SMALL),
    ]
    runs = FolderRuns(small_bytes=SMALL)
    chosen = [entry.name for name in "abc" for entry in runs.opened("folder", name, entries, 0.0)]
    assert chosen == ["h"]


def test_run_goes_on_when_the_listing_is_renewed():
    """A long run, over several renewals of the listing and with files that come meanwhile, stays a run."""
    runs, entries, hits = FolderRuns(small_bytes=SMALL), listing(), 0
    fetched: set[str] = set()
    order = sorted(entries, key=lambda entry: entry.name)
    for number, entry in enumerate(order):
        hits += entry.name in fetched
        now = [*entries, *(Entry(f"z{late}", Kind.FILE, size=1) for late in range(number))]
        fetched |= {other.name for other in runs.opened("folder", entry.name, now, number * 3.0)}
    assert hits >= 180
