"""Which directories are listed ahead of a walk."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3fuse.cache.walking import Folders, Peek, WalkAhead
from cs3fuse.model import Entry, Kind, Location
from tests.unit.cache.fakes import HOME


def tree(seed: int, count: int) -> dict[Location, list[Entry]]:
    """A seeded tree of ``count`` directories with some files."""
    chance = random.Random(seed)
    listings: dict[Location, list[Entry]] = {HOME: []}
    for number in range(count):
        parent = chance.choice(list(listings))
        listings[parent].append(Entry(f"d{number}", Kind.DIRECTORY))
        listings[parent].append(Entry(f"f{number}", Kind.FILE))
        listings[parent.child(f"d{number}")] = []
    return listings


def peeking(listings: dict[Location, list[Entry]]) -> Peek:
    """As if all had been listed."""
    return lambda at: Folders(listings[at]) if at in listings else None


def walk(listings, at, *, by_name: bool):
    """The directories in the order of find(1), or of programs that sort."""
    yield at
    entries = [entry for entry in listings[at] if entry.kind is Kind.DIRECTORY]
    for entry in sorted(entries, key=lambda entry: entry.name) if by_name else entries:
        yield from walk(listings, at.child(entry.name), by_name=by_name)


@pytest.mark.parametrize("by_name", [False, True])
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_walk_finds_directories_listed_ahead(by_name, seed):
    """Whoever walks in depth, sorted or not, waits for at most half of the listings, and none is asked for twice."""
    listings, ahead, seen, guesses, visited, hits = tree(seed, 200), WalkAhead(), {}, [], set(), 0
    for step, at in enumerate(walk(listings, HOME, by_name=by_name)):
        hits += at in guesses
        seen[at] = Folders(listings[at])
        for guess in guesses:
            # What was listed ahead has arrived, in time.
            seen[guess] = Folders(listings[guess])
        new = ahead.stepped(at, step * 0.001, seen.get)
        assert not set(new) & set(guesses), "each once"
        assert at not in new
        guesses += new
        visited.add(at)
        assert len(set(guesses) - visited) <= 16, "bounded ahead"
    assert hits >= 0.5 * 200
    assert len(guesses) <= 200


@given(st.integers(0, 2**32))
def test_single_listings_list_nothing_ahead(seed):
    """Directories listed here and there, whose parents nobody listed, are no walk."""
    chance, ahead = random.Random(seed), WalkAhead()
    for step in range(50):
        at = Location(HOME.root, f"a{chance.randrange(9)}/b{chance.randrange(9)}/c{chance.randrange(9)}")
        assert ahead.stepped(at, step * 0.1, lambda _at: Folders([Entry("d", Kind.DIRECTORY)])) == []


def test_walk_that_stops_wastes_little():
    """Looking into one folder and one folder in it lists at most two more."""
    listings, ahead = tree(1, 200), WalkAhead()
    assert ahead.stepped(HOME, 0.0, peeking(listings)) == []
    first = next(entry.name for entry in listings[HOME] if entry.kind is Kind.DIRECTORY)
    assert len(ahead.stepped(HOME.child(first), 1.0, peeking(listings))) <= 2


def test_slow_steps_are_no_walk():
    """A person who opens one folder a minute does not walk."""
    listings, ahead = tree(1, 200), WalkAhead()
    for step, at in enumerate(walk(listings, HOME, by_name=False)):
        assert ahead.stepped(at, step * 60.0, peeking(listings)) == []
