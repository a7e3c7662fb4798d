"""Blocks of a file: arithmetic, states, chunks of the index."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cache.layout import BLOCK_BYTES, CHUNK_BLOCKS, BlockMap, State, block_sum, file_name
from cs3fuse.model import ByteRange, ContentKey, ContentVersion

SIZES = st.one_of(st.integers(0, 3 * BLOCK_BYTES), st.integers(0, 40 * BLOCK_BYTES))


@given(SIZES, st.data())
def test_span_covers_the_range_and_no_block_more(size, data):
    """The blocks of a range cover it, and without the first or the last they would not."""
    blocks = BlockMap(size)
    start = data.draw(st.integers(0, size))
    wanted = ByteRange(start, data.draw(st.integers(start, size)))
    first, stop = blocks.span(wanted)
    covered = blocks.bytes_of(first, stop)
    if not len(wanted):
        assert first == stop
        return
    assert covered.start <= wanted.start < covered.start + BLOCK_BYTES
    assert covered.stop - BLOCK_BYTES < wanted.stop <= covered.stop <= size


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_map_agrees_with_a_list(count, seed):
    """Every question is answered as a plain list of states would answer it."""
    chance = random.Random(seed)
    size = (count - 1) * BLOCK_BYTES + chance.randrange(1, BLOCK_BYTES + 1)
    blocks, model = BlockMap(size), [State.ABSENT] * count
    for _ in range(30):
        if chance.random() < 0.7:
            block, state = chance.randrange(count), chance.choice(list(State))
            blocks.set(block, state, 7)
            model[block] = state
        else:
            old, new = chance.choice(list(State)), chance.choice(list(State))
            first = chance.randrange(count)
            stop = chance.randrange(first, count + 1)
            assert blocks.replace(old, new, first, stop) == model[first:stop].count(old)
            model[first:stop] = [new if state is old else state for state in model[first:stop]]
        first = chance.randrange(count)
        stop = chance.randrange(first, count + 1)
        part = model[first:stop]
        assert blocks.is_ready(first, stop) == all(state >= State.UNCHECKED for state in part)
        assert blocks.is_ready(first, stop, with_provisional=True) == all(state >= State.PROVISIONAL for state in part)
        assert blocks.is_checked(first, stop) == (State.UNCHECKED not in part)
        assert list(blocks.unchecked(first, stop)) == [block for block in range(first, stop) if model[block] is State.UNCHECKED]
        absent = [block for block in range(first, stop) if model[block] is State.ABSENT]
        assert blocks.first_absent(first, stop) == (absent[0] if absent else None)
        runs = list(blocks.absent_runs(first, stop))
        assert [block for low, high in runs for block in range(low, high)] == absent
        assert all(low < high for low, high in runs)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(runs))
        here = [block for block in range(count) if model[block] >= State.PROVISIONAL]
        assert blocks.present_bytes == sum(len(blocks.bytes_of(block, block + 1)) for block in here)
        assert blocks.is_complete == all(state >= State.UNCHECKED for state in model)
        keep = bytearray(chance.randrange(2) for _ in model)
        droppable = [block for low, high in blocks.droppable(keep, with_provisional=False) for block in range(low, high)]
        assert droppable == [
            block for block in range(count) if model[block] in {State.CHECKED, State.UNCHECKED} and not keep[block]
        ]
        assert bytes(model) == blocks.occupied()


@given(st.integers(1, 2 * CHUNK_BLOCKS + 100), st.integers(0, 2**32))
def test_stored_map_comes_back(count, seed):
    """What the index got is loaded as unchecked with its sums; what was not proven or not summed is absent."""
    chance = random.Random(seed)
    blocks = BlockMap(count * BLOCK_BYTES)
    rows: dict[int, tuple[int, bytes, bytes]] = {}
    for _ in range(20):
        for _ in range(20):
            blocks.set(chance.randrange(count), chance.choice(list(State)), chance.randrange(2**32))
        rows.update({row[0]: row for row in blocks.take_dirty()})
        assert not blocks.is_dirty
    again = BlockMap(count * BLOCK_BYTES)
    for row in rows.values():
        again.load(*row)
    assert not again.is_dirty
    for block in range(count):
        is_stored = blocks.state(block) in {State.CHECKED, State.UNCHECKED}
        assert again.state(block) is (State.UNCHECKED if is_stored else State.ABSENT)
        if is_stored:
            assert again.crc(block) == blocks.crc(block)


def test_chunk_of_another_size_is_refused():
    """A row that does not fit the file is an error, not a map of something else."""
    with pytest.raises(ValueError, match="chunk 0"):
        BlockMap(3 * BLOCK_BYTES).load(0, b"\1\1", bytes(8))


def test_file_names_differ_with_every_part_of_the_key():
    """Resource, etag, size and time all tell versions apart."""
    keys = [
        ContentKey(resource, ContentVersion(etag, size, mtime))
        for resource in ("a", "b")
        for etag in ('"1"', '"2"', "")
        for size in (1, 11)
        for mtime in (1, 11)
    ]
    assert len({file_name(key) for key in keys}) == len(keys)


def test_the_sum_is_crc_32c_and_goes_on_where_it_was():
    """The check value of CRC-32C, whole and in two parts."""
    assert block_sum(b"123456789") == 0xE3069283
    assert block_sum(memoryview(b"56789"), block_sum(b"1234")) == 0xE3069283


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_adopted_is_here_and_not_summed(size: int) -> None:
    """As if each block had been set; nothing of it is for the index yet."""
    blocks, one_by_one = BlockMap.adopted(size), BlockMap(size)
    one_by_one.set_all(range(len(one_by_one)), State.UNSUMMED)
    assert [blocks.state(block) for block in range(len(blocks))] == [one_by_one.state(block) for block in range(len(one_by_one))]
    assert blocks.present_bytes == one_by_one.present_bytes == size
    assert blocks.is_complete
    assert not blocks.is_dirty
    assert not one_by_one.is_dirty
