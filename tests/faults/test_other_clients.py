"""Another client does something between our open and our close. docs/durability.md names these tests."""

from __future__ import annotations

import errno
import os
import uuid

import pytest

from cs3fuse.cache.metadata import MetadataCache
from tests.faults.conftest import AtDesk
from tests.faults.desk import OLD, OURS, THEIRS, Desk

FILLER = b"0123456789" * 40_000
LOCKING = ["opencloud", "eos"]


async def test_another_client_writes_first(at_desk: AtDesk) -> None:
    """First to commit wins: theirs stands, ours is a conflict copy beside it, close says ESTALE, and it is listed."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a.txt", OLD) == 0
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a.txt", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other_writes("a.txt")
        assert caught.value.errno == errno.ESTALE
        assert desk.on_server("a.txt") == THEIRS
        assert desk.copies() == [OURS]
        (conflict,) = desk.mount.commits.conflicts()
        assert conflict.at.name == "a.txt"
        assert conflict.copy_at.name.startswith("a (conflict einstein 2")
        assert conflict.copy_at.name.endswith(").txt")
        await desk.all_sent()
        assert await desk.calls.read("a.txt") == THEIRS
        assert await desk.calls.read(conflict.copy_at.name) == OURS


async def test_another_client_creates_the_same_name(at_desk: AtDesk) -> None:
    """A new file of ours and one of theirs: theirs was first."""
    async with at_desk() as desk:
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other_writes("a.txt")
        assert caught.value.errno == errno.ESTALE
        assert desk.on_server("a.txt") == THEIRS
        assert desk.copies() == [OURS]
        await desk.all_sent()


async def test_another_client_writes_between_check_and_put(at_desk: AtDesk) -> None:
    """The window between our look and our PUT: closed on OpenCloud (412), documented elsewhere; no byte is torn in either case."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        async with desk.during_put(lambda: desk.other_writes("a"), before_work=True):
            outcome = await desk.save("a")
        if desk.profile == "opencloud":
            assert outcome == errno.ESTALE
            assert desk.on_server("a") == THEIRS
            assert desk.copies() == [OURS]
        else:
            assert outcome == 0
            assert desk.on_server("a") == OURS  # theirs is a version of the file
        await desk.all_sent()


@pytest.mark.parametrize("profile", LOCKING, indirect=True)
async def test_another_client_is_kept_out_by_our_lock(desk: Desk) -> None:
    """Where the storage has locks, theirs is refused while we have the file open, and ours goes through."""
    assert await desk.save("a", OLD) == 0
    async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
        await desk.calls.pwrite(fh, OURS, 0)
        with pytest.raises(Exception):  # noqa: B017 - Refusal or HttpRefusal, by profile
            desk.other_writes("a")
    assert desk.on_server("a") == OURS
    assert desk.copies() == []
    await desk.all_sent()


async def test_another_client_deletes(at_desk: AtDesk) -> None:
    """A deletion meanwhile does not take our bytes with it: the file is created again."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
            await desk.calls.pwrite(fh, OURS, 0)
            desk.other("delete", "/einstein/a")
        assert desk.on_server("a") == OURS
        assert desk.copies() == []
        await desk.all_sent()


async def test_another_client_deletes_what_was_only_patched(at_desk: AtDesk) -> None:
    """The bytes that we did not write are gone from the server: those that are here complete the file, else ESTALE and kept."""
    async with at_desk(locks="off") as desk:
        desk.other_writes("a", FILLER)
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_RDWR) as fh:
                await desk.calls.pwrite(fh, OURS, 100_000)
                desk.other("delete", "/einstein/a")
        assert caught.value.errno in {errno.ESTALE, errno.ENOENT}
        assert desk.on_server("a") is None
        assert [name for name, _ in desk.unsent()] == ["a"]
        assert desk.staged_files()


async def test_another_client_renames(at_desk: AtDesk) -> None:
    """The bytes follow the file where its id is stable; else the old name is created again and both are there."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
            await desk.calls.pwrite(fh, OURS, 0)
            desk.other("rename", "/einstein/a", "/einstein/b")
        if desk.profile == "reva":
            assert desk.on_server("a") == OURS
            assert desk.on_server("b") == OLD
        else:
            assert desk.names() == ["b"]
            assert desk.on_server("b") == OURS
        await desk.all_sent()


@pytest.mark.parametrize("profile", LOCKING, indirect=True)
async def test_another_client_locks(at_desk: AtDesk) -> None:
    """A lock taken meanwhile refuses our upload: EBUSY, the bytes stay here and go when the lock is gone."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        lock = {"lock_id": f"opaquelocktoken:{uuid.UUID(int=7)}", "app_name": "collabora"}
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other("lock", "/einstein/a", **lock, life_s=300.0)
        assert caught.value.errno == errno.EBUSY
        assert desk.on_server("a") == OLD
        assert [name for name, _ in desk.unsent()] == ["a"]
        assert await desk.calls.read("a") == OURS
        desk.other("unlock", "/einstein/a", **lock)
        await desk.all_sent()
        assert desk.on_server("a") == OURS


@pytest.mark.parametrize("profile", LOCKING, indirect=True)
async def test_locked_by_another_client_before_open(desk: Desk) -> None:
    """EBUSY at open, before a byte is written; reading works."""
    assert await desk.save("a", OLD) == 0
    await desk.mount.leases.drain()
    desk.other("lock", "/einstein/a", lock_id="opaquelocktoken:theirs", app_name="collabora", life_s=300.0)
    assert await desk.save("a") == errno.EBUSY
    assert await desk.calls.read("a") == OLD
    assert desk.on_server("a") == OLD
    assert desk.unsent() == []


async def test_another_client_puts_a_folder_there(at_desk: AtDesk) -> None:
    """A PUT onto a folder would replace it with all that is in it (Reva): refused, the bytes stay here."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other("delete", "/einstein/a")
                desk.other("mkdir", "/einstein/a")
                desk.other_writes("a/within", THEIRS)
        assert caught.value.errno == errno.EISDIR
        assert desk.on_server("a/within") == THEIRS
        assert [name for name, _ in desk.unsent()] == ["a"]
        assert desk.staged_files()
        desk.other("rename", "/einstein/a", "/einstein/folder")
        await desk.all_sent()
        assert desk.on_server("a") == OURS


async def test_another_client_deletes_the_folder(at_desk: AtDesk) -> None:
    """There is nowhere to put the file (Reva only says 500): the bytes stay here and go when the folder is there again."""
    async with at_desk(locks="off") as desk:
        await desk.calls.mkdir("d")
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("d/a", os.O_WRONLY | os.O_CREAT) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other("delete", "/einstein/d")
        assert caught.value.errno == (errno.EIO if desk.profile == "reva" else errno.ENOENT)
        assert [name for name, _ in desk.unsent()] == ["d/a"]
        desk.other("mkdir", "/einstein/d")
        await desk.all_sent()
        assert desk.on_server("d/a") == OURS


async def test_conflict_copy_that_cannot_be_stored_now(at_desk: AtDesk) -> None:
    """Conflict and no room for the copy: ESTALE all the same, the bytes stay here, the copy comes later."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        with pytest.raises(OSError) as caught:
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other_writes("a")
                desk.fault(method="PUT", http_status=507)
        assert caught.value.errno == errno.ESTALE
        assert desk.copies() == []
        assert desk.unsent() == [("a", "conflict")]
        desk.mend()
        await desk.all_sent()
        assert desk.copies() == [OURS]
        assert desk.on_server("a") == THEIRS


async def test_conflict_copy_survives_a_remount(at_desk: AtDesk) -> None:
    """As before, and the mount ends before the copy is stored: the next one stores it before it serves."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        with pytest.raises(OSError):
            async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
                await desk.calls.pwrite(fh, OURS, 0)
                desk.other_writes("a")
                desk.fault(method="PUT", http_status=507)
    desk.mend()
    async with at_desk(locks="off") as desk:
        assert desk.copies() == [OURS]
        assert desk.on_server("a") == THEIRS
        await desk.all_sent()
        assert len(desk.mount.commits.conflicts()) == 1


async def test_another_client_changes_while_the_mount_is_down(at_desk: AtDesk) -> None:
    """Unsent bytes of an earlier run and a save of somebody else meanwhile: both are kept."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        desk.fault(method="PUT", http_status=507)
        assert await desk.save("a") == errno.EDQUOT
    desk.mend()
    desk.other_writes("a")
    async with at_desk(locks="off") as desk:
        assert desk.on_server("a") == THEIRS
        assert desk.copies() == [OURS]
        await desk.all_sent()


async def test_metadata_of_another_client_is_no_conflict(at_desk: AtDesk) -> None:
    """Somebody tagged the file while we had it open: its bytes are the same, so ours go over them."""
    async with at_desk(locks="off") as desk:
        assert await desk.save("a", OLD) == 0
        async with desk.calls.opened("a", os.O_WRONLY | os.O_TRUNC) as fh:
            await desk.calls.pwrite(fh, OURS, 0)
            await _tag(desk.mount.metadata, desk)
        assert desk.on_server("a") == OURS
        assert desk.copies() == []
        await desk.all_sent()


async def _tag(_metadata: MetadataCache, desk: Desk) -> None:
    await desk.mount.vfs.xattrs._state.tree.set_metadata(desk.location("a"), {"colour": "blue"})
