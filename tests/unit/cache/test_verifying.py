"""Reading the store back, and giving its room to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from cs3fuse.cache.layout import BLOCK_BYTES
from tests.unit.cache.fakes import HOME, FakeServer
from tests.unit.cache.test_content import opened, some

MIB = 1024 * 1024


async def _nobody(_done: int, _total: int) -> None:
    pass


async def fill(store, server: FakeServer, name: str, data: bytes):
    at = HOME.child(name)
    entry = server.write(at, data)
    reader = store.open(at, entry)
    await reader.complete()
    reader.close()
    while store._services.active:  # the transfer that brought it still has it in use for a moment
        await trio.testing.wait_all_tasks_blocked(0.001)
    return at, entry


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "content").rglob("*") if path.is_file()]


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_damage_is_found_and_fetched_again(tmp_path, is_restarted):
    """A flipped bit on the disk is dropped, whether its block was compared before or not; the next read has the server's bytes."""
    server = FakeServer()
    data = some(3 * MIB)
    async with opened(tmp_path, server) as store:
        at, entry = await fill(store, server, "a", data)
        await fill(store, server, "b", some(1000, 2))
        if not is_restarted:
            reader = store.open(at, entry)  # what is open stays in memory, with sums that were compared already
            await _damage_and_check(tmp_path, store, at, entry, data)
            reader.close()
    if is_restarted:
        async with opened(tmp_path, server) as store:
            await _damage_and_check(tmp_path, store, at, entry, data)


async def _damage_and_check(folder: Path, store, at, entry, data: bytes) -> None:
    (path,) = [path for path in files(folder) if path.stat().st_size == len(data)]
    with path.open("r+b") as file:
        file.seek(BLOCK_BYTES * 5 + 17)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    told: list[tuple[int, int]] = []

    async def tell(done: int, total: int) -> None:
        told.append((done, total))

    verified = await store.verify(tell)
    assert (verified.versions, verified.bytes, verified.damaged_blocks) == (2, len(data) + 1000, 1)
    assert told == [(0, 2), (1, 2)]
    assert store.present_bytes(at, entry) == len(data) - BLOCK_BYTES
    assert (await store.verify(_nobody)).damaged_blocks == 0
    reader = store.open(at, entry)
    assert await reader.read(0, len(data)) == data
    reader.close()


async def test_verifying_does_not_change_what_goes_first(tmp_path):
    """Whoever looks at everything has not used everything."""
    server = FakeServer()
    async with opened(tmp_path, server, budget_bytes=20 * MIB) as store:
        old, entry = await fill(store, server, "old", some(MIB))
        new, new_entry = await fill(store, server, "new", some(MIB, 2))
        await store.verify(_nobody)
        store.limit(MIB)
        assert store.present_bytes(old, entry) == 0
        assert store.present_bytes(new, new_entry) == MIB


async def test_room_is_given_to_a_folder_on_the_same_disk(tmp_path):
    """Unsent bytes are worth more than cached ones, but what is open stays; the files are gone when it returns."""
    server = FakeServer()
    async with opened(tmp_path / "cache", server) as store:
        at, entry = await fill(store, server, "a", some(20 * MIB))
        reader = store.open(*await fill(store, server, "b", some(MIB, 2)))
        assert await store.make_room(4096, tmp_path)
        assert store.present_bytes(at, entry) == 0
        assert [path.stat().st_size for path in files(tmp_path / "cache")] == [MIB]
        assert not list((tmp_path / "cache" / "trash").iterdir())
        assert not await store.make_room(4096, tmp_path), "only what is open is left"
        reader.close()


async def test_no_room_is_made_for_another_disk(tmp_path):
    """Deleting here would not help there."""
    server = FakeServer()
    async with opened(tmp_path / "cache", server) as store:
        at, entry = await fill(store, server, "a", some(MIB))
        assert not await store.make_room(4096, Path("/proc"))
        assert not await store.make_room(4096, tmp_path / "nonesuch")
        assert store.present_bytes(at, entry) == MIB
