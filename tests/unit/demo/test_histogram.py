"""Counting and drawing: cs3fuse/demo/histogram.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.demo.histogram import Histogram, can_show_blocks, draw, fill

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(values=st.lists(numbers), bins=st.integers(1, 40))
def test_every_value_inside_is_counted_once(values, bins):
    """The counts add up to the number of values between the edges; NaN and infinity are nowhere."""
    histogram = fill(values, low=-10.0, high=10.0, bins=bins)
    assert len(histogram.counts) == bins
    assert sum(histogram.counts) == sum(1 for value in values if -10.0 <= value < 10.0)


def test_value_just_below_the_upper_edge_is_in_the_last_bin():
    """Rounding does not push it out."""
    assert fill([119.99999999999999], low=60.0, high=120.0, bins=3).counts == (0, 0, 1)


def test_edges_belong_to_the_bin_above():
    """Low inclusive, high exclusive."""
    assert fill([0.0, 1.0, 2.0], low=0.0, high=2.0, bins=2).counts == (1, 1)


@pytest.mark.parametrize(("low", "high", "bins"), [(1.0, 1.0, 5), (2.0, 1.0, 5), (0.0, 1.0, 0)])
def test_senseless_histograms_are_refused(low, high, bins):
    """Rather than dividing by nothing."""
    with pytest.raises(ValueError, match="no histogram has"):
        fill([], low=low, high=high, bins=bins)


def test_peak_is_the_centre_of_the_fullest_bin():
    """The demonstration looks there for the Z."""
    assert Histogram(0.0, 30.0, (1, 5, 2)).peak == 15.0


def test_drawing_scales_to_the_fullest_bin():
    """The fullest bin fills the width, an empty one has no bar, a nearly empty one has something."""
    lines = draw(Histogram(0.0, 3.0, (8000, 0, 1)), width=10)
    assert lines == [
        "   0.0 -    1.0 |██████████ 8000",
        "   1.0 -    2.0 |              0",
        "   2.0 -    3.0 |▏             1",
    ]


def test_ascii_drawing_has_no_blocks():
    """For terminals that cannot show them."""
    assert draw(Histogram(0.0, 2.0, (4, 2)), width=4, only_ascii=True) == ["   0.0 -    1.0 |#### 4", "   1.0 -    2.0 |##   2"]


def test_empty_histogram_is_drawn():
    """No value at all is no division by zero."""
    assert draw(Histogram(0.0, 1.0, (0,)), width=3) == ["   0.0 -    1.0 |    0"]


@pytest.mark.parametrize(
    ("encoding", "can"), [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False), ("no such", False)]
)
def test_blocks_need_an_encoding_that_has_them(encoding, can):
    """Decides between blocks and "#"."""
    assert can_show_blocks(encoding) is can
