"""The content store: every byte is that version's or an error, each fetched once."""

from __future__ import annotations

import gc
import os
import random
from contextlib import suppress

import pytest
import trio
import trio.testing

from cs3fuse.cache.content import ContentStore
from cs3fuse.cache.layout import BLOCK_BYTES
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import LocalStorageError, StaleError, UnavailableError
from cs3fuse.model import ByteRange
from tests.unit.cache.fakes import HOME, FakeServer
from tests.unit.cache.stores import MIB, opened, some, until

A = HOME.child("a")
KINDS = [
    pytest.param({"ranges": True}, id="ranges"),
    pytest.param({"ranges": True, "answers_carry_etag": False}, id="ranges-etag-by-stat"),
    pytest.param({"ranges": False, "answers_carry_etag": False}, id="whole"),
    pytest.param({"ranges": False, "etags": False}, id="whole-no-etag"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 4096, BLOCK_BYTES, BLOCK_BYTES + 1, MIB + 5, 5 * MIB + 7])
async def test_file_reads_as_on_the_server(tmp_path, kind, size):
    """Sequential reads give the file and nothing beyond its end, on every kind of storage."""
    server = FakeServer(**kind)
    data = some(size)
    entry = server.write(A, data)
    async with opened(tmp_path, server) as store:
        reader = store.open(A, entry)
        got = b""
        while piece := await reader.read(len(got), 100_000):
            got += piece
        assert got == data
        assert await reader.read(size, 10) == b""
        assert await reader.read(size + 5, 10) == b""
        await reader.complete()
        assert reader.is_complete
        assert server.sent_bytes == size, "nothing is fetched twice"
        reader.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_random_reads(tmp_path, kind):
    """Reads anywhere give the right bytes, many at once."""
    server = FakeServer(**kind)
    data = some(9 * MIB + 3)
    entry = server.write(A, data)
    chance = random.Random(2)

    async def one(reader, offset: int, size: int) -> None:
        assert await reader.read(offset, size) == data[offset : offset + size]

    async with opened(tmp_path, server) as store:
        reader, other = store.open(A, entry), store.open(A, entry)
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(one, chance.choice([reader, other]), chance.randrange(len(data)), chance.randrange(1, 300_000))
        assert server.sent_bytes <= len(data)
        reader.close()
        other.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_second_open_costs_nothing(tmp_path, kind):
    """What was read stays, across readers and across restarts of the store."""
    server = FakeServer(**kind)
    data = some(3 * MIB)
    entry = server.write(A, data)
    for _ in range(2):
        async with opened(tmp_path, server) as store:
            for _ in range(2):
                reader = store.open(A, entry)
                await reader.complete()
                assert await reader.read(0, len(data)) == data
                reader.close()
                await store.flush()
    assert server.sent_bytes == len(data)


async def test_known_storages_cost_no_extra_round_trip(tmp_path):
    """Ranges are tried once per storage; afterwards each storage is asked in the way it serves."""
    server, book = FakeServer(ranges=False), CapabilityBook()
    entries = {name: server.write(HOME.child(name), some(2 * MIB)) for name in "abc"}
    async with opened(tmp_path, server, book=book) as store:
        for name, entry in entries.items():
            reader = store.open(HOME.child(name), entry)
            await reader.read(0, 10)
            reader.close()
    assert [wanted is None for _, wanted in server.fetches] == [False, True, True, True]
    assert book.of("storage").ranges is False


async def test_small_file_is_one_get(tmp_path):
    """A small file costs one GET of the whole, whatever the storage can do."""
    server = FakeServer(ranges=True)
    entry = server.write(A, some(200_000))
    async with opened(tmp_path, server) as store:
        reader = store.open(A, entry)
        await reader.read(150_000, 10)
        await reader.read(0, 10)
        reader.close()
    assert server.fetches == [(A, None)]


@pytest.mark.parametrize("kind", KINDS)
async def test_version_that_is_gone_gives_estale(tmp_path, kind):
    """After a change on the server an older reader gets an error, the reopened file the new bytes."""
    server = FakeServer(**kind)
    old = server.write(A, some(3 * MIB))
    async with opened(tmp_path, server) as store:
        reader = store.open(A, old)
        new = server.write(A, some(3 * MIB, 2))
        with pytest.raises(StaleError, match="/home/a"):
            await reader.read(0, 4096)
        fresh = store.open(A, new)
        assert await fresh.read(5, 4096) == some(3 * MIB, 2)[5:4101]
        reader.close()
        fresh.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_complete_old_version_stays_readable(tmp_path, kind):
    """A reader whose version is all here keeps it after a change and after a deletion."""
    server = FakeServer(**kind)
    old = server.write(A, some(3 * MIB))
    async with opened(tmp_path, server) as store:
        reader = store.open(A, old)
        await reader.complete()
        server.write(A, some(3 * MIB, 2))
        assert await reader.read(2 * MIB, 4096) == some(3 * MIB)[2 * MIB : 2 * MIB + 4096]
        server.remove(A)
        assert await reader.read(0, 4096) == some(3 * MIB)[:4096]
        reader.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_reader_does_not_stop_the_download(tmp_path, kind):
    """The download belongs to the store: the second reader gets it from the first one's GET."""
    server = FakeServer(**kind)
    data = some(2 * MIB)
    entry = server.write(A, data)
    book = CapabilityBook()
    book.of("storage").ranges = server.ranges
    async with opened(tmp_path, server, book=book) as store:
        first, second = store.open(A, entry), store.open(A, entry)
        gate = server.hold("fetch")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.read, 0, 1000)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        first.close()
        server.release("fetch")
        assert await second.read(0, 1000) == data[:1000]
        assert server.calls["fetch"] == 1
        assert gate.arrived == 1
        second.close()


async def test_error_reaches_the_reader_and_is_not_kept(tmp_path):
    """A server that is away gives its error; the next read tries again."""
    server = FakeServer(ranges=False)
    data = some(100)
    entry = server.write(A, data)
    async with opened(tmp_path, server) as store:
        reader = store.open(A, entry)
        server.failures = [PermissionedError("no")]
        with pytest.raises(PermissionedError):
            await reader.read(0, 10)
        assert await reader.read(0, 10) == data[:10]
        reader.close()


class PermissionedError(UnavailableError.__mro__[1]):
    pass


async def test_second_daemon_is_refused(tmp_path):
    """Two stores never share a folder; the sentence says what to do."""
    server = FakeServer()
    async with opened(tmp_path, server):
        with pytest.raises(LocalStorageError, match=f"{os.getpid()}.*cache folder of its own"):
            await ContentStore(tmp_path, server, server, CapabilityBook(), budget_bytes=1, min_free_bytes=0).run()
    async with opened(tmp_path, server):
        pass


@pytest.mark.parametrize("kind", KINDS)
async def test_adopted_file_is_never_fetched(tmp_path, kind):
    """A committed file is read from the store, also after a restart."""
    server = FakeServer(**kind)
    data = some(3 * MIB + 1)
    entry = server.write(A, data)
    staged = tmp_path / "staged"
    staged.write_bytes(data)
    async with opened(tmp_path / "cache", server) as store:
        await store.adopt(entry.content_key(A), staged)
        assert not staged.exists()
        reader = store.open(A, entry)
        assert reader.is_complete
        assert await reader.read(1000, MIB) == data[1000 : 1000 + MIB]
        reader.close()
        await trio.testing.wait_all_tasks_blocked(0.05)
    async with opened(tmp_path / "cache", server) as store:
        reader = store.open(A, entry)
        assert await reader.read(0, len(data)) == data
        reader.close()
    assert server.calls["fetch"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_adoption_serves_readers_that_wait(tmp_path, kind):
    """A reader that waits for a download of the same version is served from the adopted file."""
    server = FakeServer(**kind)
    data = some(3 * MIB)
    entry = server.write(A, data)
    staged = tmp_path / "staged"
    staged.write_bytes(data)
    async with opened(tmp_path / "cache", server) as store:
        reader = store.open(A, entry)
        server.hold("fetch")
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await reader.read(0, 100) == data[:100]

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await store.adopt(entry.content_key(A), staged)
        server.release("fetch")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert reader.is_complete
        assert await reader.read(0, len(data)) == data
        reader.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_fill_writes_the_wanted_ranges(tmp_path, kind):
    """The wanted ranges of the base arrive in the other file at their places, the rest is untouched."""
    server = FakeServer(**kind)
    data = some(6 * MIB + 11)
    entry = server.write(A, data)
    wanted = [ByteRange(5 * MIB, len(data)), ByteRange(3, 10), ByteRange(MIB - 5, MIB + 5)]
    target = tmp_path / "target"
    async with opened(tmp_path / "cache", server) as store:
        with target.open("w+b") as file:
            file.truncate(len(data))
            await store.fill(A, entry, wanted, file.fileno())
    expected = bytearray(len(data))
    for part in wanted:
        expected[part.start : part.stop] = data[part.start : part.stop]
    assert target.read_bytes() == bytes(expected)


@pytest.mark.parametrize("kind", KINDS)
async def test_files_of_a_folder_are_fetched_ahead(tmp_path, kind):
    """A program that reads the files of a folder in order finds most of them here; each is fetched once."""
    server = FakeServer(**kind)
    places = [HOME.child(f"f{number:02}") for number in range(40)]
    for number, at in enumerate(places):
        server.write(at, some(5000, number))
    async with opened(tmp_path, server) as store:
        store.follow(lambda folder: [server.entry(at) for at in places] if folder == HOME else None)
        for number, at in enumerate(places):
            reader = store.open(at, server.entry(at), asked_at=trio.current_time())
            assert await reader.read(0, 5000) == some(5000, number)
            reader.close()
            await trio.testing.wait_all_tasks_blocked(0.002)
        assert store.usage()["read_hits"] >= 30
        assert server.calls["fetch"] == 40
        assert store.usage().get("proving_stats", 0) <= 10, "the Stat of the open proves what was fetched before it"


async def test_file_fetched_ahead_is_proven_before_it_is_read(tmp_path):
    """Without a Stat that is younger than the bytes a read has one made; a change in between is never served."""
    server = FakeServer(ranges=False, answers_carry_etag=False)
    places = [HOME.child(f"f{number}") for number in range(6)]
    for at in places:
        server.write(at, some(5000))
    old = {at: server.entry(at) for at in places}

    def change(_offset: int) -> None:
        """Between the listing and the GET."""
        if server.files[places[4]].etag == old[places[4]].etag:
            server.write(places[4], some(5000, 7))

    server.before_piece = change
    async with opened(tmp_path, server) as store:
        asked_at = trio.current_time()
        store.follow(lambda _folder: list(old.values()))
        for at in places[:3]:
            reader = store.open(at, old[at])
            await reader.read(0, 10)
            reader.close()
        await until(lambda: store.usage()["small_ahead"] >= 2 and not store.usage()["transfers"])
        stats = server.calls["stat"]
        same = store.open(places[3], old[places[3]], asked_at=asked_at)
        assert await same.read(0, 5000) == some(5000)
        assert server.calls["stat"] == stats + 1
        changed = store.open(places[4], old[places[4]], asked_at=asked_at)
        with pytest.raises(StaleError):
            await changed.read(0, 10)
        same.close()
        changed.close()


async def test_what_was_fetched_ahead_in_vain_goes(tmp_path, mock_clock):
    """Bytes that were never proven take no room for long."""
    server = FakeServer(ranges=False, answers_carry_etag=False)
    places = [HOME.child(f"f{number}") for number in range(9)]
    for at in places:
        server.write(at, some(5000))
    async with opened(tmp_path, server) as store:
        store.follow(lambda _folder: [server.entry(at) for at in places])
        for at in places[:3]:
            reader = store.open(at, server.entry(at))
            await reader.read(0, 10)
            reader.close()
        await until(lambda: store.usage()["small_ahead"] >= 2 and not store.usage()["transfers"])
        assert store.usage()["versions"] > 3
        mock_clock.jump(11)
        await until(lambda: store.usage()["versions"] == 3)


async def test_older_version_goes_first(tmp_path):
    """A new version of a file makes the older one the next to be evicted, although others were used longer ago."""
    server = FakeServer()
    other = HOME.child("other")
    server.write(other, some(MIB))
    server.write(A, some(MIB, 2))
    async with opened(tmp_path, server) as store:
        for at in (other, A):
            reader = store.open(at, server.entry(at))
            await reader.complete()
            reader.close()
            await store.flush()
        older = server.entry(A)
        newer = server.write(A, some(MIB, 3))
        reader = store.open(A, newer)
        await reader.complete()
        reader.close()
        await store.flush()
        store.limit(2 * MIB)
        assert store.present_bytes(A, older) == 0
        assert store.present_bytes(other, server.entry(other)) == MIB
        assert store.present_bytes(A, newer) == MIB


async def test_file_fetched_ahead_and_changed_meanwhile_is_read_anew(tmp_path):
    """What was fetched ahead is of its version only; the next open sees the new one."""
    server = FakeServer(ranges=False, answers_carry_etag=False)
    places = [HOME.child(f"f{number}") for number in range(6)]
    for at in places:
        server.write(at, some(5000))
    async with opened(tmp_path, server) as store:
        store.follow(lambda _folder: [server.entry(at) for at in places])
        for at in places[:3]:
            reader = store.open(at, server.entry(at))
            await reader.read(0, 10)
            reader.close()
        await until(lambda: store.usage()["small_ahead"] >= 2 and not store.usage()["transfers"])
        server.write(places[3], some(5000, 9))
        reader = store.open(places[3], server.entry(places[3]))
        assert await reader.read(0, 5000) == some(5000, 9)
        reader.close()


async def test_what_was_checked_is_not_checked_again_when_it_is_opened_again(tmp_path, monkeypatch):
    """A file that goes out of use and comes back within one run costs no second look at its sums."""
    server = FakeServer()
    data = some(3 * MIB)
    entry = server.write(A, data)

    async def read_all(store: ContentStore) -> None:
        reader = store.open(A, entry)
        assert await reader.read(0, len(data)) == data
        reader.close()
        await store.flush()
        await store.flush()

    async with opened(tmp_path, server) as store:
        await read_all(store)
        assert not list(store._shelf), "it is in use still"
        monkeypatch.setattr("cs3fuse.cache.reader.block_sum", lambda _data: pytest.fail("it was summed again"))
        await read_all(store)
        assert server.calls["fetch"] <= 4


async def test_unused_file_that_somebody_wrote_is_checked_again(tmp_path):
    """What was checked counts only for the file as it was left."""
    server = FakeServer()
    data = some(3 * MIB)
    entry = server.write(A, data)
    async with opened(tmp_path, server) as store:
        reader = store.open(A, entry)
        assert await reader.read(0, len(data)) == data
        reader.close()
        await store.flush()
        await store.flush()
        [file] = [path for path in (tmp_path / "content").rglob("*") if path.is_file()]
        with file.open("r+b") as there:
            there.seek(MIB)
            there.write(b"damage")
        reader = store.open(A, entry)
        assert await reader.read(0, len(data)) == data
        assert store.usage()["damaged_blocks"] == 1
        reader.close()


async def test_files_held_by_errors_are_closed_when_nothing_is_in_use(tmp_path, autojump_clock):
    """A frame in the traceback of an error that it still names is garbage that only the collector finds; it does not run by itself here."""
    server = FakeServer(ranges=True)
    entry = server.write(A, some(1000))
    autojump_clock.autojump_threshold = 0.1  # threads that store the index get their time
    gc.disable()
    try:
        async with opened(tmp_path, server) as store:
            reader = store.open(A, entry)
            await reader.read(0, 1000)

            def fail(file: object) -> None:
                error = StaleError("held by the frame in its own traceback")
                raise error

            with pytest.raises(StaleError):
                fail(store._shelf.find(entry.content_key(A)).file)
            reader.close()
            assert content_descriptors(tmp_path)
            await trio.sleep(10)
            assert not content_descriptors(tmp_path)
    finally:
        gc.enable()


async def test_expected_reader_prepares_a_download_of_what_is_not_here(tmp_path):
    """Once per open, not for what is here, nor for what has no bytes; a failure is told to nobody."""
    server = FakeServer(ranges=True)
    entry, empty = server.write(A, some(1000)), server.write(HOME.child("empty"), b"")
    async with opened(tmp_path, server) as store:
        server.failures.append(UnavailableError("away"))
        store.expect_reader(A, entry)
        store.expect_reader(HOME.child("empty"), empty)
        await until(lambda: not server.failures)
        assert server.calls["prepare_fetch"] == 1
        reader = store.open(A, entry)
        assert await reader.read(0, 1000) == some(1000)
        store.expect_reader(A, entry)
        await trio.testing.wait_all_tasks_blocked()
        assert server.calls["prepare_fetch"] == 1
        reader.close()


def content_descriptors(folder) -> list[str]:
    """Open files of the cache below a folder."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{each}"))
    return [path for path in found if path.startswith(str(folder / "content"))]
