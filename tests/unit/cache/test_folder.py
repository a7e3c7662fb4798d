"""The cache folder: what is found in it at a start."""

from __future__ import annotations

import os

import pytest

from cs3fuse.cache.folder import CacheFolder
from cs3fuse.errors import LocalStorageError
from tests.unit.cache.fakes import HOME, FakeServer
from tests.unit.cache.stores import MIB, opened, some

A = HOME.child("a")


async def filled(folder) -> tuple[FakeServer, bytes]:
    server, data = FakeServer(), some(3 * MIB)
    entry = server.write(A, data)
    async with opened(folder, server) as store:
        reader = store.open(A, entry)
        await reader.complete()
        reader.close()
    return server, data


async def test_files_that_nobody_knows_are_deleted(tmp_path):
    """What a killed daemon left, and what lay in the trash, takes no room after a start."""
    server, _ = await filled(tmp_path)
    stray = tmp_path / "content" / "ab" / "abcdef"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    (tmp_path / "trash" / "old").write_bytes(b"old")
    async with opened(tmp_path, server) as store:
        assert store.usage()["versions"] == 1
    assert not stray.exists()
    assert not (tmp_path / "trash" / "old").exists()


async def test_deleted_file_is_a_miss(tmp_path):
    """Somebody cleaned the cache folder while no daemon ran: the file is fetched again."""
    server, data = await filled(tmp_path)
    for path in (tmp_path / "content").glob("*/*"):
        path.unlink()
    async with opened(tmp_path, server) as store:
        assert store.usage()["versions"] == 0
        reader = store.open(A, server.entry(A))
        assert await reader.read(MIB, 100) == data[MIB : MIB + 100]
        reader.close()


async def test_deleted_under_a_running_daemon_is_a_miss(tmp_path):
    """The same while it runs, for a file that is not open."""
    server, data = await filled(tmp_path)
    async with opened(tmp_path, server) as store:
        for path in (tmp_path / "content").glob("*/*"):
            path.unlink()
        for _ in range(2):
            reader = store.open(A, server.entry(A))
            assert await reader.read(MIB, 100) == data[MIB : MIB + 100]
            reader.close()
            for path in (tmp_path / "content").glob("*/*"):
                path.unlink()


@pytest.mark.parametrize("damage", [b"garbage" * 1000, b""])
async def test_damaged_index_begins_anew(tmp_path, damage):
    """An index that cannot be read costs the cached bytes, not the mount."""
    server, data = await filled(tmp_path)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"index.sqlite{suffix}").unlink(missing_ok=True)
    (tmp_path / "index.sqlite").write_bytes(damage)
    async with opened(tmp_path, server) as store:
        reader = store.open(A, server.entry(A))
        assert await reader.read(MIB, 100) == data[MIB : MIB + 100]
        reader.close()


async def test_folder_that_cannot_be_used_is_told(tmp_path):
    """A path that is a file: one sentence with the path."""
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(LocalStorageError, match="cannot be used"):
        CacheFolder(tmp_path / "f").open()


def test_closed_folder_is_free_and_leaves_no_descriptor(tmp_path):
    """Open and close, also after a failure, leave nothing."""
    before = len(os.listdir("/proc/self/fd"))
    folder = CacheFolder(tmp_path)
    folder.open()
    with pytest.raises(LocalStorageError, match="another cs3fuse"):
        CacheFolder(tmp_path).open()
    folder.close()
    folder.close()
    assert len(os.listdir("/proc/self/fd")) == before
