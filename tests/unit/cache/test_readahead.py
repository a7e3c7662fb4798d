"""How far a reader is read ahead."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cache.readahead import ReadAhead

KIB, MIB = 1024, 1024 * 1024
BOUND = 64 * MIB


def test_sequential_reads_double_up_to_the_bound():
    """Each time as much again as was read in order, never beyond the bound."""
    ahead, position, seen = ReadAhead(BOUND), 0, []
    while position < 300 * MIB:
        seen.append((position + 128 * KIB, ahead.observe(position, 128 * KIB)))
        position += 128 * KIB
    assert all(extra <= max(MIB, end) for end, extra in seen)
    assert all(extra >= min(BOUND, end // 2) for end, extra in seen)
    assert max(extra for _, extra in seen) == BOUND


def test_start_of_the_file_is_read_ahead_at_once():
    """The first read at 0 gets a megabyte ahead, the first one elsewhere nothing."""
    assert ReadAhead(BOUND).observe(0, 4096) == MIB
    assert ReadAhead(BOUND).observe(500 * MIB, 4096) == 0


def test_random_access_stops_it():
    """After a jump nothing is read ahead, and the run begins anew."""
    ahead = ReadAhead(BOUND)
    for number in range(100):
        ahead.observe(number * 128 * KIB, 128 * KIB)
    assert ahead.observe(100 * MIB, 128 * KIB) == 0
    assert ahead.observe(100 * MIB + 128 * KIB, 128 * KIB) == 128 * KIB


def test_small_seeks_keep_it():
    """Reads that arrive out of order and small steps, both ways, keep the run."""
    ahead, chance = ReadAhead(BOUND), random.Random(1)
    offsets = [number * 128 * KIB for number in range(400)]
    for start in range(0, 400, 4):
        part = offsets[start : start + 4]
        chance.shuffle(part)
        offsets[start : start + 4] = part
    extras = [ahead.observe(offset, 128 * KIB) for offset in offsets]
    assert extras[-1] >= 20 * MIB
    assert ahead.observe(offsets[-1] + 512 * KIB, 4096) >= 20 * MIB


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, MIB)), max_size=30))
def test_never_beyond_the_bound_nor_negative(reads):
    """Whatever the reads, the answer is between nothing and the bound, and at most what the reader has read, or the start."""
    ahead, total = ReadAhead(8 * MIB), 0
    for offset, size in reads:
        extra = ahead.observe(offset, size)
        # A small forward seek counts as read.
        total += size + MIB
        assert 0 <= extra <= min(8 * MIB, max(total, MIB))
