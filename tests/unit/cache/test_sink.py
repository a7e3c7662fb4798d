"""The sink of a download: blocks, sums, pace."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.layout import BLOCK_BYTES, block_sum
from cs3fuse.cache.sink import BlockSink, TransferEnded
from cs3fuse.errors import BadDataError
from cs3fuse.model import ByteRange


def pieces(data: bytes, start: int, chance: random.Random):
    offset = 0
    while offset < len(data):
        size = chance.choice([1, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES])
        yield start + offset, memoryview(data)[offset : offset + size]
        offset += size


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_every_block_is_written_and_summed_once(tmp_path_factory, seed):
    """However the body is cut, blocks come with their sums, those of others are left alone."""
    chance = random.Random(seed)
    size = chance.randrange(1, 8 * BLOCK_BYTES)
    count = -(-size // BLOCK_BYTES)
    first = chance.randrange(count)
    stop = chance.randrange(first + 1, count + 1)
    wanted = ByteRange(first * BLOCK_BYTES, min(stop * BLOCK_BYTES, size))
    occupied = bytes(chance.random() < 0.3 for _ in range(count))
    data = chance.randbytes(len(wanted))

    async def main() -> None:
        file = SparseFile(tmp_path_factory.mktemp("sink") / "f", size, is_new=True)
        sink = BlockSink(file, wanted, size=size, notify=lambda: None, occupied=occupied)

        def transfer() -> None:
            for offset, piece in pieces(data, wanted.start, chance):
                sink.write(offset, piece)

        await trio.to_thread.run_sync(transfer)
        assert sink.position == wanted.stop
        taken = dict(sink.take())
        assert sorted(taken) == [block for block in range(first, stop) if not occupied[block]]
        for block, crc in taken.items():
            low, high = block * BLOCK_BYTES - wanted.start, min((block + 1) * BLOCK_BYTES, size) - wanted.start
            assert crc == block_sum(data[low:high])
            assert file.read(block * BLOCK_BYTES, high - low) == data[low:high]
        for block in range(first, stop):
            if occupied[block]:
                assert not any(file.read(block * BLOCK_BYTES, BLOCK_BYTES))

    trio.run(main)


async def make(tmp_path, size: int = 4 * BLOCK_BYTES, **options) -> BlockSink:
    return BlockSink(SparseFile(tmp_path / "f", size, is_new=True), ByteRange(0, size), size=size, notify=lambda: None, **options)


@pytest.mark.parametrize(("offset", "length"), [(1, 10), (BLOCK_BYTES, 10), (0, 4 * BLOCK_BYTES + 1)])
async def test_bytes_out_of_order_or_beyond_are_refused(tmp_path, offset, length):
    """A body that does not begin where it should or goes on too long ends the transfer, nothing is written."""
    sink = await make(tmp_path)
    with pytest.raises(BadDataError):
        sink.write(offset, memoryview(bytes(length)))
    assert not list(sink.take())
    assert sink.position == 0


async def test_transfer_pauses_at_the_limit_and_goes_on(tmp_path):
    """The thread blocks at the limit; raising it lets it run."""
    sink = await make(tmp_path, limit=BLOCK_BYTES)

    def transfer() -> None:
        for block in range(4):
            sink.write(block * BLOCK_BYTES, memoryview(bytes(BLOCK_BYTES)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, transfer)
        while not sink.is_paused:
            await wait_all_tasks_blocked(0.001)
        assert sink.position == BLOCK_BYTES
        sink.allow(4 * BLOCK_BYTES)
    assert sink.position == 4 * BLOCK_BYTES
    assert not sink.is_paused


async def test_close_ends_a_paused_transfer(tmp_path):
    """A thread that waits for room ends when the transfer is ended."""
    sink = await make(tmp_path, limit=0)
    ended = []

    def transfer() -> None:
        try:
            sink.write(0, memoryview(bytes(10)))
        except TransferEnded:
            ended.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, transfer)
        while not sink.is_paused:
            await wait_all_tasks_blocked(0.001)
        sink.close()
    await sink.wait_quiet()
    assert ended == [True]
    with pytest.raises(TransferEnded):
        sink.write(0, memoryview(bytes(10)))


async def test_the_trio_thread_never_waits(tmp_path):
    """What a small answer brings is in memory already: it is taken beyond the limit, and told at once."""
    told = []
    file = SparseFile(tmp_path / "f", 10, is_new=True)
    sink = BlockSink(file, ByteRange(0, 10), size=10, notify=lambda: told.append(sink.position), limit=0)
    sink.write(0, memoryview(bytes(10)))
    assert told == [10]
    assert not sink.is_paused
    sink.close()
    with pytest.raises(TransferEnded):
        sink.write(10, memoryview(b""))
