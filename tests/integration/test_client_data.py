"""The contract of RemoteData, kept by the client on every kind of server."""

from __future__ import annotations

import os
import random

import pytest
import trio

from cs3fuse import errors
from cs3fuse.model import ByteRange
from cs3fuse.ports import ExpectAbsent, ExpectEtag
from tests.integration.clients import Bench, only
from tests.integration.clients import bench as new_bench
from tests.unit.client.fakes import MemorySink

CONTENT = random.Random(1).randbytes(3_000_001)


async def fetched(bench: Bench, name: str, wanted: ByteRange | None = None) -> bytes:
    """Stat, then the bytes of that version."""
    at, sink = bench.folder.child(name), MemorySink()
    entry = await bench.client.tree.stat(at)
    answer = await bench.client.data.fetch(at, wanted, sink, expected=entry)
    assert answer.total == entry.size
    return bytes(sink.data)


@pytest.mark.parametrize("size", [0, 1, 4096, len(CONTENT)])
async def test_what_was_sent_comes_back(bench: Bench, size: int) -> None:
    """New file, at once after the upload, whatever its size."""
    entry = await bench.put("f", CONTENT[:size])
    assert entry.size == size
    assert await fetched(bench, "f") == CONTENT[:size]
    if entry.checksum is not None and entry.checksum.kind == "sha1":
        assert entry.checksum.hex == bench.source(CONTENT[:size]).sha1


async def test_the_time_goes_along(bench: Bench) -> None:
    """Where the server applies it at all."""
    entry = await bench.put("f", b"x")
    if bench.profile == "opencloud":
        assert entry.mtime_ns == bench.mtime_ns


@pytest.mark.parametrize("sizes", [(10, 20), (20, 10), (10, 0), (0, 10)])
async def test_overwrite(bench: Bench, sizes: tuple[int, int]) -> None:
    """Longer, shorter, to nothing and from nothing, by who knows the version."""
    first = await bench.put("f", CONTENT[: sizes[0]])
    second = await bench.put("f", CONTENT[1 : 1 + sizes[1]], ExpectEtag(first.etag))
    assert second.version != first.version
    assert await fetched(bench, "f") == CONTENT[1 : 1 + sizes[1]]


async def test_ranges(bench: Bench) -> None:
    """Exactly the bytes, or the one error that says "never here"."""
    await bench.put("f", CONTENT)
    for wanted in (ByteRange(0, 10), ByteRange(1_234_567, 2_345_678), ByteRange(len(CONTENT) - 3, len(CONTENT))):
        if bench.profile == "reva":
            with pytest.raises(errors.RangesUnsupportedError):
                await fetched(bench, "f", wanted)
        else:
            assert await fetched(bench, "f", wanted) == CONTENT[wanted.start : wanted.stop]


@only("opencloud", "eos")
async def test_sixteen_ranges_at_once(bench: Bench) -> None:
    """On one ticket, all correct."""
    entry = await bench.put("f", CONTENT)
    await fetched(bench, "f")
    since = len(bench.emulator.log.entries())
    parts: dict[int, bytes] = {}

    async def part(number: int) -> None:
        step = len(CONTENT) // 16 + 1
        sink = MemorySink()
        wanted = ByteRange(number * step, min((number + 1) * step, len(CONTENT)))
        await bench.client.data.fetch(bench.folder.child("f"), wanted, sink, expected=entry)
        parts[number] = bytes(sink.data)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(part, number)
    assert b"".join(parts[number] for number in range(16)) == CONTENT
    assert [entry.name for entry in bench.emulator.log.entries()[since:]].count("InitiateFileDownload") == 0


async def test_prepared_fetch_initiates_once(bench: Bench) -> None:
    """Also if the fetch begins while it is being prepared."""
    entry = await bench.put("f", CONTENT[:1000])
    at, sink = bench.folder.child("f"), MemorySink()
    since = len(bench.emulator.log.entries())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.client.data.prepare_fetch, at)
        await bench.client.data.fetch(at, None, sink, expected=entry)
    assert sink.data == CONTENT[:1000]
    assert [each.name for each in bench.emulator.log.entries()[since:]].count("InitiateFileDownload") == 1


async def test_another_version_is_stale(bench: Bench) -> None:
    """Not a byte of the new one is given to who wants the old one."""
    old = await bench.put("f", b"old content")
    await bench.put("f", b"new, longer content", ExpectEtag(old.etag))
    sink = MemorySink()
    with pytest.raises(errors.StaleError):
        await bench.client.data.fetch(bench.folder.child("f"), None, sink, expected=old)
    assert sink.data == b""


async def test_a_deleted_file(bench: Bench) -> None:
    """Also with a ticket from before."""
    entry = await bench.put("f", b"x")
    await fetched(bench, "f")
    await bench.client.tree.delete(bench.folder.child("f"))
    with pytest.raises(errors.NotFoundError):
        await bench.client.data.fetch(bench.folder.child("f"), None, MemorySink(), expected=entry)


@only("opencloud")
async def test_conflicts_that_the_server_sees(bench: Bench) -> None:
    """OpenCloud refuses; Reva and EOS overwrite, which is why the caller checks before."""
    entry = await bench.put("f", b"one")
    newer = await bench.put("f", b"two", ExpectEtag(entry.etag))
    for expect in (ExpectEtag(entry.etag), ExpectAbsent()):
        for content in (b"three", b""):
            with pytest.raises(errors.ConflictError):
                await bench.put("f", content, expect)
    await bench.client.tree.delete(bench.folder.child("f"))
    with pytest.raises(errors.ConflictError):
        await bench.put("f", b"four", ExpectEtag(newer.etag))


@only("opencloud", "eos")
async def test_uploads_to_a_locked_file(bench: Bench) -> None:
    """With the lock it works, without it or with another it does not."""
    entry = await bench.put("f", b"one")
    at, lock = bench.folder.child("f"), bench.lock()
    await bench.client.locks.set_lock(at, lock)
    for other in (None, bench.lock("other", "somebody")):
        with pytest.raises(errors.LockedError):
            await bench.put("f", b"two", ExpectEtag(entry.etag), other)
    assert (await bench.put("f", b"three", ExpectEtag(entry.etag), lock)).size == 5
    await bench.client.locks.unlock(at, lock)
    assert await fetched(bench, "f") == b"three"


@only("reva", "opencloud")
async def test_targets_that_cannot_be(bench: Bench) -> None:
    """A missing parent; nothing else was made on the way."""
    with pytest.raises((errors.NotFoundError, errors.OutcomeUnknownError)):
        await bench.put("missing/f", b"x")
    assert await bench.names() == set()


@only("opencloud")
async def test_a_wrong_checksum_is_found(bench: Bench) -> None:
    """Where the server verifies: other bytes than announced are not stored."""
    with pytest.raises(errors.ChecksumError):
        await bench.client.data.upload(bench.folder.child("f"), bench.source(b"x", sha1="0" * 40), expect=ExpectAbsent())
    assert await bench.names() == set()


async def test_a_second_client_sees_it(bench: Bench) -> None:
    """With nothing shared but the server."""
    await bench.put("f", CONTENT)
    async with new_bench(bench.emulator) as other:
        other.folder = bench.folder
        assert await fetched(other, "f") == CONTENT


async def test_many_small_files_at_once(bench: Bench) -> None:
    """Parallel uploads do not disturb each other."""
    contents = {f"f{number}": os.urandom(number * 37) for number in range(24)}

    async def put(name: str) -> None:
        await bench.put(name, contents[name])

    async with trio.open_nursery() as nursery:
        for name in contents:
            nursery.start_soon(put, name)
    for name, content in contents.items():
        assert await fetched(bench, name) == content
