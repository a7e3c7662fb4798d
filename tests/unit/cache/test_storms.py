"""When Stats become a listing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cache.storms import StatStorms
from tests.unit.cache.fakes import HOME


@given(st.integers(0, 20_000))
def test_stats_before_a_listing_cost_less_than_the_listing(entries):
    """At most as many Stats as a listing of that size costs, and more than a program asks for by the way."""
    storms = StatStorms()
    count = next(number for number in range(1, 10_000) if storms.is_storm(HOME, entries, number / 10_000))
    assert 4 <= count <= max(4, entries / 30)


def test_slow_stats_are_no_storm():
    """One Stat a second is no storm however long it goes on."""
    storms = StatStorms()
    assert not any(storms.is_storm(HOME, 10, number * 1.0) for number in range(0, 1000, 3))


def test_second_storm_is_believed_soon():
    """In the same directory a few Stats are enough the next time."""
    storms = StatStorms()
    assert sum(storms.is_storm(HOME, 6000, 1.0) for _ in range(100)) == 1
    storms = StatStorms()
    for _ in range(100):
        storms.is_storm(HOME, 6000, 1.0)
    assert [storms.is_storm(HOME, 6000, 4.0) for _ in range(4)] == [False, False, False, True]


def test_refused_listing_is_not_tried_for_a_minute():
    """A directory that is too large is left alone."""
    storms = StatStorms()
    assert any(storms.is_storm(HOME, None, 1.0) for _ in range(12))
    storms.refused(HOME, 1.0)
    assert not any(storms.is_storm(HOME, None, 30.0) for _ in range(100))
    assert any(storms.is_storm(HOME, None, 62.0) for _ in range(100))
