"""Ranged downloads: coalesced, each block once, ahead of those who read in order."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.layout import BLOCK_BYTES
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import LocalSpaceError, StaleError, UnavailableError
from cs3fuse.model import ByteRange
from tests.unit.cache.fakes import HOME, FakeServer
from tests.unit.cache.stores import MIB, knowing, opened, some, until

A = HOME.child("a")
FAR = 5 * MIB


def make(size: int = 12 * MIB) -> tuple[FakeServer, bytes]:
    server, data = FakeServer(), some(size)
    server.write(A, data)
    return server, data


def blocks(first: int, stop: int) -> ByteRange:
    return ByteRange(first * BLOCK_BYTES, stop * BLOCK_BYTES)


async def test_one_read_is_one_get_of_its_blocks(tmp_path):
    """A read over several blocks, far from any other, fetches those blocks in one GET."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        assert await reader.read(FAR + 5, 400_000) == data[FAR + 5 : FAR + 400_005]
        assert server.fetches == [(A, blocks(40, 44))]
        reader.close()


async def test_block_that_is_coming_is_not_fetched_again(tmp_path):
    """Readers of the same block, and of blocks that overlap, share GETs."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        readers = [store.open(A, server.entry(A)) for _ in range(6)]
        gate = server.hold("fetch")
        async with trio.open_nursery() as nursery:

            async def read(number: int) -> None:
                offset = FAR + number * 1000
                assert await readers[number].read(offset, 200_000) == data[offset : offset + 200_000]

            for number in range(6):
                nursery.start_soon(read, number)
            await until(lambda: gate.arrived)
            gate.open()
        assert sorted(server.fetches) == [(A, blocks(40, 42))]
        for reader in readers:
            reader.close()


async def test_small_gap_is_fetched_over_and_left_alone(tmp_path, monkeypatch):
    """One GET brings what lies on both sides of a block that is here; that block is not written again."""
    server, data = make()
    write, written = SparseFile.write, []

    def note(self, offset, data) -> None:
        written.append(offset // BLOCK_BYTES)
        write(self, offset, data)

    monkeypatch.setattr(SparseFile, "write", note)
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(42 * BLOCK_BYTES, 10)
        assert await reader.read(40 * BLOCK_BYTES, 5 * BLOCK_BYTES) == data[40 * BLOCK_BYTES : 45 * BLOCK_BYTES]
        assert server.fetches[0] == (A, blocks(42, 43))
        assert written.count(42) == BLOCK_BYTES // server.piece
        assert server.fetches[1][1].start == 40 * BLOCK_BYTES
        assert len([part for _, part in server.fetches if part.start < 45 * BLOCK_BYTES]) == 2
        reader.close()


async def test_random_reads_fetch_only_their_blocks(tmp_path):
    """Access all over the file reads nothing ahead."""
    server, data = make(64 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        for number in range(20):
            offset = (number * 7919 % 31) * 2 * MIB + MIB
            assert await reader.read(offset, 1000) == data[offset : offset + 1000]
        assert server.sent_bytes <= 20 * BLOCK_BYTES
        reader.close()


async def test_sequential_reads_are_ahead_of_the_reader(tmp_path):
    """A file read in order costs few GETs, most reads find their bytes, nothing comes twice."""
    server, data = make(40 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        for offset in range(0, len(data), 128 * 1024):
            assert await reader.read(offset, 128 * 1024) == data[offset : offset + 128 * 1024]
        assert server.sent_bytes == len(data)
        assert server.calls["fetch"] <= 30
        reader.close()


@pytest.mark.parametrize(("carries", "least", "most"), [(True, 8 * MIB + 1, 32 * MIB), (False, 2 * MIB, 8 * MIB)])
async def test_pieces_are_large_where_each_block_is_proven(tmp_path, carries, least, most):
    """Without an etag in the answer nothing of a piece is served before its end, so none may be long."""
    server, data = FakeServer(answers_carry_etag=carries), some(48 * MIB)
    server.write(A, data)
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        for offset in range(0, len(data), MIB):
            assert await reader.read(offset, MIB) == data[offset : offset + MIB]
        assert least <= max(len(part) for _, part in server.fetches) <= most
        reader.close()


@pytest.mark.parametrize("name", ["t.root", "T.PARQUET", "a.h5", "x.npz"])
async def test_head_and_tail_come_at_open(tmp_path, name):
    """Formats that begin with their ends have them when the first read comes."""
    server, at = FakeServer(), HOME.child(name)
    server.write(at, some(12 * MIB))
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(at, server.entry(at))
        await until(lambda: store.usage().get("range_gets") == 2 and not store.usage()["transfers"])
        assert sorted(part for _, part in server.fetches) == [blocks(0, 2), blocks(94, 96)]
        assert await reader.read(12 * MIB - 100, 100) == some(12 * MIB)[-100:]
        assert server.calls["fetch"] == 2
        reader.close()


async def test_failed_read_ahead_fails_nobody(tmp_path):
    """An error of blocks that nobody waits for is nobody's error; they are fetched when they are read."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(0, 128 * 1024)
        server.failures = [UnavailableError("away")]
        for offset in range(0, len(data), 128 * 1024):
            assert await reader.read(offset, 128 * 1024) == data[offset : offset + 128 * 1024]
        reader.close()


async def test_first_range_is_tried_once_however_many_ask(tmp_path):
    """On a storage never asked before, one GET finds out; ten files wait for it and lose no other round trip."""
    server, book = FakeServer(ranges=False), CapabilityBook()
    places = [HOME.child(f"f{number}") for number in range(10)]
    for number, at in enumerate(places):
        server.write(at, some(2 * MIB, number))
    async with opened(tmp_path, server, book=book) as store:
        async with trio.open_nursery() as nursery:

            async def read(number: int) -> None:
                reader = store.open(places[number], server.entry(places[number]))
                assert await reader.read(MIB, 1000) == some(2 * MIB, number)[MIB : MIB + 1000]
                reader.close()

            for number in range(10):
                nursery.start_soon(read, number)
        assert sum(part is not None for _, part in server.fetches) == 1
        assert sum(part is None for _, part in server.fetches) == 10
    assert book.of("storage").ranges is False


async def test_short_body_is_completed(tmp_path):
    """A connection that breaks in the middle costs the rest, not the whole."""
    server, data = make()
    server.cut_after = 2 * BLOCK_BYTES

    def heal(offset: int) -> None:
        if offset >= FAR + 2 * BLOCK_BYTES:
            server.cut_after = None if healed else server.cut_after
            healed.append(offset)

    healed: list[int] = []
    server.before_piece = heal
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        assert await reader.read(FAR, 4 * BLOCK_BYTES) == data[FAR : FAR + 4 * BLOCK_BYTES]
        assert len(server.fetches) == 2
        reader.close()


async def test_full_disk_is_served_past(tmp_path, monkeypatch):
    """Without room in the cache folder reads are served uncached where there are ranges, and never leave a broken file."""
    server, data = make()

    def full(self, offset, data) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        with monkeypatch.context() as patch:
            patch.setattr(SparseFile, "write", full)
            assert await reader.read(FAR, 1000) == data[FAR : FAR + 1000]
        assert store.usage()["uncached_gets"] == 1
        assert store.usage()["used_bytes"] == 0
        assert await reader.read(FAR, 1000) == data[FAR : FAR + 1000]
        reader.close()


async def test_full_disk_without_ranges_is_told(tmp_path, monkeypatch):
    """A large file of a storage without ranges cannot be read without the cache folder: ENOSPC, with a sentence."""
    server, data = FakeServer(ranges=False, answers_carry_etag=False), some(9 * MIB)
    server.write(A, data)

    def full(self, offset, data) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        reader = store.open(A, server.entry(A))
        with monkeypatch.context() as patch:
            patch.setattr(SparseFile, "write", full)
            with pytest.raises(LocalSpaceError, match=r"cache folder is full.*home/a"):
                await reader.read(FAR, 1000)
        assert await reader.read(FAR, 1000) == data[FAR : FAR + 1000]
        reader.close()


async def test_full_disk_makes_room(tmp_path, monkeypatch):
    """What is not in use is deleted before anybody gets an error."""
    server, data = make()
    other = HOME.child("other")
    server.write(other, some(3 * MIB, 3))
    write = SparseFile.write
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        first = store.open(other, server.entry(other))
        await first.complete()
        first.close()

        def full(self, offset, data) -> None:
            if (tmp_path / "content").exists() and store.present_bytes(other, server.entry(other)):
                raise OSError(errno.ENOSPC, "No space left on device")
            write(self, offset, data)

        monkeypatch.setattr(SparseFile, "write", full)
        reader = store.open(A, server.entry(A))
        assert await reader.read(FAR, 1000) == data[FAR : FAR + 1000]
        assert store.present_bytes(other, server.entry(other)) == 0
        assert "uncached_gets" not in store.usage()
        reader.close()


async def test_direct_read_of_a_deleted_file_is_stale(tmp_path):
    """As any read of an open file: read(2) knows no ENOENT."""
    server, _ = make()
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        server.remove(A)
        with pytest.raises(StaleError):
            await reader.read_direct(FAR, 4096)
        reader.close()


async def test_direct_reads_see_the_server(tmp_path):
    """O_DIRECT fetches although the bytes are here, and leaves nothing behind."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        for _ in range(2):
            assert await reader.read_direct(FAR, 4096) == data[FAR : FAR + 4096]
        assert server.calls["fetch"] == 2
        assert store.present_bytes(A, server.entry(A)) == 0
        assert await reader.read_direct(12 * MIB, 10) == b""
        reader.close()


async def test_column_is_fetched_ahead(tmp_path):
    """Pieces in even steps: from the fourth on each is here before it is asked for; what lies between is not fetched."""
    server, data = make(48 * MIB)
    step, length = 4 * MIB, 300_000
    async with opened(tmp_path, server, book=knowing(ranges=True)) as store:
        reader = store.open(A, server.entry(A))
        for number in range(1, 11):
            offset = number * step + 1000
            before = len(server.fetches)
            for part in range(0, length, 100_000):
                assert await reader.read(offset + part, 100_000) == data[offset + part : offset + part + 100_000]
            await trio.testing.wait_all_tasks_blocked(0.01)  # what was expected is on its way
            await until(lambda: not store.usage()["transfers"])
            if number > 3:
                wanted = blocks(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))
                assert not [get for _, get in server.fetches[before:] if get.start < wanted.stop and get.stop > wanted.start]
        fetched = sum(len(get) for _, get in server.fetches)
        assert fetched < 12 * (length + 3 * BLOCK_BYTES)
        reader.close()
