"""Whole-file streams: one per file, at the pace of its readers, ended when nobody reads."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cs3fuse.errors import BusyError, StaleError, UnavailableError
from tests.unit.cache.fakes import HOME, FakeServer
from tests.unit.cache.stores import MIB, knowing, opened, paused, some, until

A, B = HOME.child("a"), HOME.child("b")
WHOLE = {"ranges": False, "answers_carry_etag": False}


def make(size: int = 12 * MIB) -> tuple[FakeServer, bytes]:
    server, data = FakeServer(**WHOLE), some(size)
    server.write(A, data)
    return server, data


async def test_head_of_a_large_file_costs_a_window(tmp_path):
    """Who reads the first bytes does not fetch the rest."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB) as store:
        reader = store.open(A, server.entry(A))
        assert await reader.read(0, 4096) == data[:4096]
        await until(lambda: paused(store))
        assert server.sent_bytes <= 3 * MIB + server.piece
        reader.close()


async def test_reader_paces_the_stream(tmp_path):
    """Reading on lets the stream run on, a window ahead; the file is fetched once."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB) as store:
        reader = store.open(A, server.entry(A))
        for offset in range(0, len(data), MIB):
            assert await reader.read(offset, MIB) == data[offset : offset + MIB]
            assert server.sent_bytes <= offset + MIB + 3 * MIB + server.piece
        await reader.complete()
        assert server.sent_bytes == len(data)
        assert server.calls["fetch"] == 1
        reader.close()


async def test_reader_far_ahead_lets_the_stream_run(tmp_path):
    """Random access far ahead is served from the same stream; all readers join it."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB) as store:
        near, far = store.open(A, server.entry(A)), store.open(A, server.entry(A))
        await near.read(0, 10)
        await until(lambda: paused(store))
        assert await far.read(9 * MIB, 4096) == data[9 * MIB : 9 * MIB + 4096]
        assert await near.read(5 * MIB, 4096) == data[5 * MIB : 5 * MIB + 4096]
        assert server.calls["fetch"] == 1
        near.close()
        far.close()


async def test_abandoned_stream_ends_and_keeps_what_came(tmp_path, mock_clock: MockClock):
    """Without readers the stream ends after a grace; the proven bytes stay and are not fetched again."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(0, 4096)
        await until(lambda: paused(store))
        reader.close()
        for _ in range(4):
            mock_clock.jump(1.1)
            await wait_all_tasks_blocked(0.01)
        await until(lambda: store.usage()["streams"] == 0)
        sent = server.sent_bytes
        again = store.open(A, server.entry(A))
        assert await again.read(MIB, 4096) == data[MIB : MIB + 4096]
        assert server.sent_bytes == sent
        assert store.usage()["streams_ended"] == 1
        again.close()


async def test_nearly_complete_stream_runs_out(tmp_path, mock_clock: MockClock):
    """When less than a window is lacking the abandoned stream brings the rest."""
    server, data = make(12 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=4 * MIB) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(4 * MIB, 4096)
        await until(lambda: paused(store))
        reader.close()
        for _ in range(4):
            mock_clock.jump(1.1)
            await wait_all_tasks_blocked(0.01)
        await until(lambda: store.usage()["streams"] == 0)
        assert server.sent_bytes == len(data)
        assert store.present_bytes(A, server.entry(A)) == len(data)


async def test_stream_paused_for_long_ends_and_starts_anew(tmp_path, mock_clock: MockClock):
    """A reader that pauses for a minute costs no connection meanwhile, and reads on afterwards."""
    server, data = make()
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(0, 4096)
        await until(lambda: paused(store))
        for _ in range(3):
            mock_clock.jump(16)
            await wait_all_tasks_blocked(0.01)
        await until(lambda: store.usage()["streams"] == 0)
        assert await reader.read(8 * MIB, 4096) == data[8 * MIB : 8 * MIB + 4096]
        assert server.calls["fetch"] == 2
        reader.close()


async def test_paused_stream_gives_way(tmp_path):
    """With all slots held by paused streams another file is read all the same."""
    server, data = make()
    server.write(B, some(12 * MIB, 2))
    async with opened(tmp_path, server, book=knowing(ranges=False), window_bytes=2 * MIB, max_streams=1) as store:
        first, second = store.open(A, server.entry(A)), store.open(B, server.entry(B))
        await first.read(0, 4096)
        await until(lambda: paused(store))
        assert await second.read(0, 4096) == some(12 * MIB, 2)[:4096]
        await until(lambda: paused(store))
        assert await first.read(11 * MIB, 4096) == data[11 * MIB : 11 * MIB + 4096]
        first.close()
        second.close()


async def test_stalled_download_is_started_anew(tmp_path, mock_clock: MockClock):
    """A server that stops sending is asked again; the late bytes of the first answer count for nothing."""
    server, data = make(3 * MIB)
    stuck, go = threading.Event(), threading.Event()

    def block(offset: int) -> None:
        if offset >= MIB and not stuck.is_set():
            stuck.set()
            go.wait(20)

    server.before_piece = block
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        reader = store.open(A, server.entry(A))
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await reader.read(2 * MIB, 4096) == data[2 * MIB : 2 * MIB + 4096]

            nursery.start_soon(read)
            await until(stuck.is_set)
            while server.calls["fetch"] < 2:
                mock_clock.jump(5)
                await wait_all_tasks_blocked(0.01)
        go.set()
        await reader.complete()
        assert await reader.read(0, len(data)) == data
        assert store.usage()["stalls"] == 1
        reader.close()


@pytest.mark.parametrize("error", [UnavailableError("away"), BusyError("processing")])
async def test_failures_that_pass_are_waited_for(tmp_path, error, mock_clock: MockClock):
    """A short outage, or the server still processing the file, is not the reader's problem."""
    server, data = make(100_000)
    server.failures = [error, error]
    mock_clock.rate = 1000.0
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        reader = store.open(A, server.entry(A))
        assert await reader.read(0, 10) == data[:10]
        assert server.calls["fetch"] == 3
        reader.close()


async def test_outage_reaches_the_reader(tmp_path, mock_clock: MockClock):
    """An outage that lasts is told after a few attempts."""
    server, _ = make(100_000)
    server.failures = [UnavailableError("The server is away.")] * 50
    mock_clock.rate = 1000.0
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        reader = store.open(A, server.entry(A))
        with pytest.raises(UnavailableError, match="away"):
            await reader.read(0, 10)
        assert 2 <= server.calls["fetch"] <= 5
        reader.close()


async def test_change_before_the_get_is_never_served(tmp_path):
    """Bytes of a newer version of the same size, on a storage whose answers carry no etag, reach nobody."""
    server, _ = make(3 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        old = store.open(A, server.entry(A))
        newer = some(3 * MIB, 2)
        server.write(A, newer)
        for offset in (0, 2 * MIB):
            with pytest.raises(StaleError):
                await old.read(offset, 10)
        new = store.open(A, server.entry(A))
        assert await new.read(0, 3 * MIB) == newer
        old.close()
        new.close()


async def test_relocated_file_is_proven_at_its_new_place(tmp_path):
    """A rename while the file is fetched is not taken for a deletion."""
    server, data = make(100_000)

    def rename(_offset: int) -> None:
        if A in server.files:
            server.files[B] = server.files.pop(A)

    server.before_piece = rename
    gate = server.hold("stat")
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        reader = store.open(A, server.entry(A))
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await reader.read(0, 10) == data[:10]

            nursery.start_soon(read)
            # The Stat of the old place is on its way when the rename is told.
            await until(lambda: gate.arrived)
            reader.relocate(B)
            gate.open()
        reader.close()


async def test_file_larger_than_the_budget_stays_readable(tmp_path):
    """What lies behind the reader is given back to the disk while the rest comes."""
    server, data = make(24 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=False), budget_bytes=8 * MIB, window_bytes=2 * MIB) as store:
        reader = store.open(A, server.entry(A))
        for offset in range(0, len(data), 128 * 1024):
            assert await reader.read(offset, 128 * 1024) == data[offset : offset + 128 * 1024]
            assert store.usage()["used_bytes"] <= 9 * MIB
        assert store.usage()["punched_bytes"] >= 12 * MIB
        occupied = sum(path.stat().st_blocks * 512 for path in (tmp_path / "content").glob("*/*"))
        assert occupied <= 10 * MIB
        assert await reader.read(0, 4096) == data[:4096]
        reader.close()


async def test_complete_file_is_kept_whole_until_it_is_closed(tmp_path):
    """Who was promised every byte has them after the file is gone from the server, even above the budget."""
    server, data = make(12 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=False), budget_bytes=4 * MIB, window_bytes=MIB) as store:
        reader = store.open(A, server.entry(A))
        await reader.read(0, 4096)
        await reader.complete()
        server.remove(A)
        for offset in range(0, len(data), MIB):
            assert await reader.read(offset, MIB) == data[offset : offset + MIB]
        assert server.calls["fetch"] == 1
        reader.close()
        assert store.usage()["used_bytes"] <= 4 * MIB


async def test_cancelled_readers_leave_nothing(tmp_path):
    """A read that is cancelled at any of its checkpoints leaves no waiter and no pin, and the next read succeeds."""
    server, data = make(2 * MIB)
    async with opened(tmp_path, server, book=knowing(ranges=False)) as store:
        for checkpoint in range(12):
            reader = store.open(A, server.entry(A))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(reader.read, checkpoint * 4096, 100)
                    for _ in range(checkpoint):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            assert not reader._content.has_waiters
            assert not reader._content.keeps()
            assert await reader.read(0, 10) == data[:10]
            reader.close()
        await until(lambda: store.usage()["pinned_bytes"] == 0)
