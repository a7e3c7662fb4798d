"""Our own lock is never in our way: whatever a program does with a file that it has open for writing; and it comes back after a loss."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.locks.foreign import ADVISORY_KEY
from cs3fuse.model import Entry, Lock, LockInfo
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount, signed_in

FOREVER = 4_000_000_000.0
THEIRS = Lock("theirs", "collabora", FOREVER)
with_locks = pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)
without_locks = pytest.mark.parametrize("profile", ["reva"], indirect=True)


@contextmanager
def refused(number: int, says: str | None = None) -> Iterator[None]:
    with pytest.raises(OSError, match=says) as caught:
        yield
    assert caught.value.errno == number


async def lock_on(emulator: EmulatorThread, mount: Mount, name: str) -> LockInfo | None:
    """What another client sees."""
    async with signed_in(emulator) as other:
        return await other.locks.get_lock(mount.root.child(name))


async def fresh(mount: Mount, name: str) -> Entry:
    """Everything that the server tells of a file, but whether it is still being processed."""
    return replace(await mount.metadata.stat(mount.root.child(name), fresh=True), is_processing=False)


async def take_away(emulator: EmulatorThread, mount: Mount, name: str) -> None:
    """The server forgets our lock: an administrator released it, or it was restarted."""
    held = mount.leases.lock_at(mount.root.child(name))
    assert held is not None
    async with signed_in(emulator) as other:
        await other.locks.unlock(mount.root.child(name), held)


# --- names of open files ------------------------------------------------------------------------------------------------


async def test_unlinked_file_keeps_what_was_written(calls: Syscalls, mount: Mount) -> None:
    """A temporary file that is unlinked while it is open reads back what was written to it, before and after; it is not locked."""
    await calls.write("f", b"base")
    async with calls.opened("f", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"12", 0)
        await calls.unlink("f")
        assert mount.leases.held() == []
        assert await calls.pread(fh, 10, 0) == b"12se"
        await calls.pwrite(fh, b"34", 2)
        assert await calls.pread(fh, 10, 0) == b"1234"
    assert await calls.listdir() == []


async def test_renamed_file_is_committed_under_its_new_name(calls: Syscalls, mount: Mount) -> None:
    """Writes before and after the rename arrive; where there are locks the file is locked again under its new name."""
    await calls.write("f", b"base")
    async with calls.opened("f", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"1", 0)
        await calls.rename("f", "g")
        if mount.leases.held():
            assert [held.state for held in mount.leases.held()] == ["held"]
        await calls.pwrite(fh, b"2", 1)
    assert await calls.read("g") == b"12se"


async def test_open_file_replaces_another(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """A program that keeps its temporary file open while it renames it over the real one, and goes on writing."""
    await calls.write("f", b"base")
    await calls.write("g", b"old")
    async with calls.opened("f", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"1", 0)
        await calls.rename("f", "g")
        await calls.pwrite(fh, b"2", 1)
    assert await calls.read("g") == b"12se"
    assert await calls.listdir() == ["g"]
    await mount.leases.drain()
    assert mount.leases.held() == []


async def test_replaced_file_stays_with_its_handle(calls: Syscalls, mount: Mount) -> None:
    """What a handle of the replaced file writes goes nowhere, and its lock is not left on the new file."""
    await calls.write("f", b"new")
    await calls.write("g", b"old")
    async with calls.opened("g", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"1", 0)
        await calls.rename("f", "g")
        await calls.pwrite(fh, b"2", 1)
        assert await calls.pread(fh, 10, 0) == b"12d"
        await mount.leases.drain()
        await calls.write("g", b"newer")
    assert await calls.read("g") == b"newer"


async def test_lock_of_an_unlinked_file_is_no_lock_of_its_successor(calls: Syscalls) -> None:
    """A new file of the same name is renamed although the old one is still open for writing."""
    await calls.write("f", b"old")
    async with calls.opened("f", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"x", 0)
        await calls.unlink("f")
        await calls.write("f", b"new")
        await calls.rename("f", "g")
    assert await calls.read("g") == b"new"


@with_locks
async def test_attribute_of_an_open_file(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """EOS refuses metadata even to the holder of the lock: it is set all the same, and the lock is there afterwards."""
    await calls.write("f", b"base")
    async with calls.opened("f", os.O_RDWR) as fh, calls.at("f") as ino:
        await mount.vfs.xattrs.set(ino, "user.colour", b"blue")
        found = await lock_on(emulator, mount, "f")
        assert found is not None
        assert found.app_name.startswith("cs3fuse-")
        await mount.vfs.xattrs.remove(ino, "user.colour")
        assert await lock_on(emulator, mount, "f") is not None
        await calls.pwrite(fh, b"1", 0)
    assert await calls.read("f") == b"1ase"


@with_locks
async def test_lock_shows_as_ours(calls: Syscalls, mount: Mount) -> None:
    """``user.cs3.lock`` tells application, type, end, and whose it is; nothing where there is none."""
    await calls.write("f", b"base")
    await mount.leases.drain()
    async with calls.at("f") as ino:
        assert "user.cs3.lock" not in await mount.vfs.xattrs.list(ino)
        async with calls.opened("f", os.O_RDWR):
            told = json.loads(await mount.vfs.xattrs.get(ino, "user.cs3.lock"))
            assert told["ours"] is True
            assert told["application"].startswith("cs3fuse-")
            assert told["type"] == "write"
            assert told["until"]


# --- a lost lock ----------------------------------------------------------------------------------------------------------


@with_locks
async def test_lock_that_the_server_forgot(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Nobody changed the file: the commit takes the lock again and goes through."""
    await calls.write("f", b"base")
    async with calls.opened("f", os.O_RDWR) as fh:
        await calls.pwrite(fh, b"1", 0)
        await take_away(emulator, mount, "f")
        await calls.fsync(fh)
        await calls.pwrite(fh, b"2", 1)
    assert await calls.read("f") == b"12se"
    await mount.leases.drain()
    assert await lock_on(emulator, mount, "f") is None


@with_locks
async def test_lock_lost_and_file_changed(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Somebody saved meanwhile: theirs stays, ours is beside, the program sees ESTALE."""
    await calls.write("f", b"base")
    with refused(errno.ESTALE):
        async with calls.opened("f", os.O_RDWR) as fh:
            await calls.pwrite(fh, b"1", 0)
            await take_away(emulator, mount, "f")
            await trio.to_thread.run_sync(lambda: emulator.change("write", "/einstein/f", b"theirs, longer", "einstein"))
    assert await calls.read("f") == b"theirs, longer"
    (copy,) = [name for name in await calls.listdir() if name != "f"]
    assert await calls.read(copy) == b"1ase"


@with_locks
async def test_server_whose_clock_is_far_ahead(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Each lock runs out at once there: nobody is locked out by it, and saving goes on; a conflict is found all the same."""
    await calls.write("f", b"base")
    await mount.leases.drain()
    emulator.clock.skew_s = 1000
    for number in range(2):
        await calls.write("f", b"save %d" % number)
        assert await calls.read("f") == b"save %d" % number
    with refused(errno.ESTALE):
        async with calls.opened("f", os.O_RDWR) as fh:
            await calls.pwrite(fh, b"1", 0)
            await trio.to_thread.run_sync(lambda: emulator.change("write", "/einstein/f", b"theirs, longer", "einstein"))
    assert await calls.read("f") == b"theirs, longer"


@with_locks
async def test_lock_lost_and_taken(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Somebody else has the lock now: EBUSY at close, nothing overwritten, and the bytes are sent when it is free."""
    await calls.write("f", b"base")
    at = mount.root.child("f")
    with refused(errno.EBUSY, "collabora"):
        async with calls.opened("f", os.O_RDWR) as fh:
            await calls.pwrite(fh, b"1", 0)
            await take_away(emulator, mount, "f")
            async with signed_in(emulator) as other:
                await other.locks.set_lock(at, THEIRS)
    async with signed_in(emulator) as other:
        assert [item.at for item in mount.commits.queue()] == [at]
        await other.locks.unlock(at, THEIRS)
    assert await mount.commits.flush() == []
    assert await calls.read("f") == b"1ase"


@with_locks
async def test_delete_after_the_server_forgot_the_lock(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """A lock id that means nothing to the server is no reason to refuse."""
    await calls.write("f", b"base")
    await calls.write("g", b"base")
    async with calls.opened("f", os.O_RDWR), calls.opened("g", os.O_RDWR):
        await take_away(emulator, mount, "f")
        await calls.rename("f", "h")
        await take_away(emulator, mount, "g")
        await calls.unlink("g")
    await calls.unlink("h")
    assert await calls.listdir() == []


# --- new files ------------------------------------------------------------------------------------------------------------


@with_locks
async def test_new_file_is_locked_once_it_exists(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """From its first fsync on, as long as it is open; and free afterwards."""
    await calls.write("probed", b"")
    async with calls.opened("f", os.O_RDWR | os.O_CREAT) as fh:
        await calls.pwrite(fh, b"1", 0)
        assert mount.leases.lock_at(mount.root.child("f")) is None
        await calls.fsync(fh)
        found = await lock_on(emulator, mount, "f")
        assert found is not None
        assert found.app_name.startswith("cs3fuse-")
        await calls.pwrite(fh, b"2", 1)
    assert await calls.read("f") == b"12"
    await mount.leases.drain()
    assert await lock_on(emulator, mount, "f") is None


@with_locks
async def test_new_file_is_locked_when_it_is_written_again(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """One of two descriptors is closed, which commits; the other one writes on."""
    async with calls.opened("f", os.O_RDWR | os.O_CREAT) as fh:
        await calls.pwrite(fh, b"1", 0)
        await mount.vfs.files.flush(fh)  # close of a duplicate
        await calls.pwrite(fh, b"2", 1)
        assert await lock_on(emulator, mount, "f") is not None
    assert await calls.read("f") == b"12"


@with_locks
async def test_new_file_that_somebody_locked_first(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """It goes on without a lock; the next commit is refused, and nothing is lost."""
    at = mount.root.child("f")
    with refused(errno.EBUSY):
        async with calls.opened("f", os.O_RDWR | os.O_CREAT) as fh:
            await calls.pwrite(fh, b"1", 0)
            await mount.vfs.files.flush(fh)
            async with signed_in(emulator) as other:
                await other.locks.set_lock(at, THEIRS)
            await calls.pwrite(fh, b"2", 1)
    async with signed_in(emulator) as other:
        await other.locks.unlock(at, THEIRS)
    assert await mount.commits.flush() == []
    assert await calls.read("f") == b"12"


@with_locks
async def test_new_file_whose_name_was_taken(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Its bytes go into a conflict copy; the other's file is not locked on their behalf."""
    async with calls.opened("f", os.O_RDWR | os.O_CREAT) as fh:
        await calls.pwrite(fh, b"mine", 0)
        await trio.to_thread.run_sync(lambda: emulator.change("write", "/einstein/f", b"theirs", "einstein"))
        with refused(errno.ESTALE):
            await calls.fsync(fh)
        await calls.pwrite(fh, b"MINE", 0)
        assert await lock_on(emulator, mount, "f") is None
        with refused(errno.ESTALE):
            await calls.fsync(fh)
    await mount.leases.drain()
    assert await lock_on(emulator, mount, "f") is None
    assert await calls.read("f") == b"theirs"


# --- after a crash --------------------------------------------------------------------------------------------------------


@with_locks
async def test_lock_that_nobody_wrote_down(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """Killed between the server's yes and the state file: known by the name, which is this state folder's alone."""
    await calls.write("f", b"base")
    await mount.leases.drain()
    async with calls.opened("f", os.O_RDWR):
        ours = mount.leases.held()[0].lock.app_name
    await mount.leases.drain()
    async with signed_in(emulator) as other:
        await other.locks.set_lock(mount.root.child("f"), Lock("never written down", ours, FOREVER))
    await calls.write("f", b"mine")
    await mount.leases.drain()
    assert await lock_on(emulator, mount, "f") is None


# --- storages without locks -----------------------------------------------------------------------------------------------


@without_locks
async def test_lock_in_metadata_is_honoured(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """What cs3client writes where there are no locks: EBUSY to open for writing, unlink and rename, by name; reading goes on."""
    await calls.write("f", b"base")
    await calls.write("g", b"other")
    at = mount.root.child("f")
    async with signed_in(emulator) as other:
        await other.tree.set_metadata(at, {ADVISORY_KEY: f"jupyter!id!{int(FOREVER)}"})
        for attempt in (
            lambda: calls.write("f", b"mine"),
            lambda: calls.unlink("f"),
            lambda: calls.rename("f", "h"),
            lambda: calls.rename("g", "f"),
        ):
            with refused(errno.EBUSY, "locked by jupyter until"):
                await attempt()
        assert await calls.read("f") == b"base"
        async with calls.at("f") as ino:
            told = json.loads(await mount.vfs.xattrs.get(ino, "user.cs3.lock"))
        assert (told["application"], told["ours"]) == ("jupyter", False)
        await other.tree.set_metadata(at, {ADVISORY_KEY: "jupyter!id!1000"})
        await calls.write("f", b"it ran out")
    assert await calls.read("f") == b"it ran out"


@without_locks
async def test_required_locks(emulator: EmulatorThread, calls: Syscalls, tmp_path: Path) -> None:
    """``require``: EOPNOTSUPP at open for writing, reading as ever; a new file has nothing to lock."""
    await calls.write("f", b"base")
    async with running_mount(emulator, tmp_path / "required", locks="require") as mount:
        required = Syscalls(mount.vfs)
        with refused(errno.EOPNOTSUPP, "locks = require"):
            await required.write("f", b"mine")
        assert await required.read("f") == b"base"
        await required.write("new", b"content")
        assert await required.read("new") == b"content"


@without_locks
async def test_auto_says_once_that_there_are_none(
    calls: Syscalls, mount: Mount, emulator: EmulatorThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in the log for all files of a storage, and a word in ``status``; the probe leaves nothing behind."""
    await calls.write("f", b"1")
    await calls.write("g", b"1")
    before = await fresh(mount, "f")
    for _ in range(2):
        for name in ("f", "g"):
            async with calls.opened(name, os.O_RDWR):
                pass
    assert capsys.readouterr().out.count("storage has no locks") == 1
    assert [record["locks"] for record in mount.book.as_dict().values() if record["locks"]] == ["none"]
    assert await fresh(mount, "f") == before
    async with calls.at("f") as ino:
        assert not [name for name in await mount.vfs.xattrs.list(ino) if "lock" in name]


@with_locks
async def test_off_takes_none_and_asks_for_none(emulator: EmulatorThread, calls: Syscalls, tmp_path: Path) -> None:
    """``off``: not one call about locks."""
    await calls.write("f", b"base")
    async with running_mount(emulator, tmp_path / "off", locks="off") as mount:
        emulator.log.clear()
        await Syscalls(mount.vfs).write("f", b"mine")
        assert not [entry.name for entry in emulator.log.entries() if "Lock" in entry.name]


@with_locks
async def test_probe_leaves_no_trace(calls: Syscalls, mount: Mount, emulator: EmulatorThread) -> None:
    """The first open for writing on a storage finds full locks; afterwards the file is as before and unlocked."""
    await calls.write("f", b"base")
    assert not [record for record in mount.book.as_dict().values() if record["locks"]]
    before = await fresh(mount, "f")
    async with calls.opened("f", os.O_RDWR):
        pass
    await mount.leases.drain()
    assert [record["locks"] for record in mount.book.as_dict().values() if record["locks"]] == ["full"]
    assert await lock_on(emulator, mount, "f") is None
    assert await fresh(mount, "f") == before


# --- what is not sent yet ---


@with_locks
async def test_lock_is_kept_until_everything_is_sent(emulator: EmulatorThread, tmp_path: Path) -> None:
    """In mode background close(2) comes before the upload: the file stays locked until the server has it."""
    async with running_mount(emulator, tmp_path / "background", commit="background") as mount:
        calls = Syscalls(mount.vfs)
        await calls.write("f", b"base")
        assert await mount.commits.flush() == []
        rule = emulator.faults.add(method="PUT", freeze=True)
        await calls.write("f", b"closed and not sent")
        await mount.leases.drain()
        assert await lock_on(emulator, mount, "f") is not None
        assert await trio.to_thread.run_sync((emulator.config.root / "einstein" / "f").read_bytes) == b"base"
        emulator.faults.remove(rule)
        assert await mount.commits.flush() == []
        await mount.leases.drain()
        assert await lock_on(emulator, mount, "f") is None


# --- the background -------------------------------------------------------------------------------------------------------


async def test_open_file_reads_what_the_background_sent(emulator: EmulatorThread, tmp_path: Path) -> None:
    """In mode background the upload ends while the file is still open: reads give the new bytes before and after."""
    async with running_mount(emulator, tmp_path / "background", commit="background") as mount:
        calls = Syscalls(mount.vfs)
        await calls.write("f", b"base")
        await mount.commits.flush()
        async with calls.opened("f", os.O_RDWR) as fh:
            assert await calls.pread(fh, 10, 0) == b"base"
            await calls.pwrite(fh, b"longer than before", 0)
            await mount.vfs.files.flush(fh)
            assert await mount.commits.flush() == []
            assert await calls.pread(fh, 100, 0) == b"longer than before"
