"""Old versions and the trash while other things happen: locks, unsent bytes, lost answers, cancelled commands, writers in between."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.control.commands import commands
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import BusyError, Cs3FuseError, ExistsError, LockedError, NotPermittedError, OutcomeUnknownError
from cs3fuse.locks.foreign import ADVISORY_KEY
from cs3fuse.model import Lock
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount, signed_in

FOREVER = 4_000_000_000.0
SLOW = {"attribute_timeout_s": 60}
"""What is known stays known for the whole test unless somebody says that it is over."""


async def ask(mount: Mount, command: str, **arguments: Any) -> dict[str, Any]:
    async def progress(_state: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()

    return await commands(mount.parts)[command](arguments, progress)


@pytest.fixture
async def mount(emulator: EmulatorThread, tmp_path: Path) -> AsyncIterator[Mount]:
    async with running_mount(emulator, tmp_path / "mount", **SLOW) as mount:
        yield mount


@pytest.fixture
async def first(calls: Syscalls, mount: Mount) -> str:
    """The key of the first of two contents of ``f``, which is known to be the second."""
    await calls.write("f", b"first")
    await calls.write("f", b"the second")
    assert await calls.read("f") == b"the second"
    (version,) = [each for each in (await ask(mount, "versions", path="f"))["versions"] if each["size"] == 5]
    return version["key"]


async def sizes(calls: Syscalls) -> set[int]:
    """Of the old versions of ``f``, as the mount shows them."""
    return {(await calls.stat(f".cs3/versions/f/{name}")).size for name in await calls.listdir(".cs3/versions/f")}


async def until(is_so: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not is_so():  # noqa: ASYNC110 the emulator runs in a thread of its own
            await trio.sleep(0.01)


async def seen_by_others(emulator: EmulatorThread, tmp_path: Path) -> bytes:
    async with running_mount(emulator, tmp_path / "other") as other:
        return await Syscalls(other.vfs).read("f")


async def test_a_restored_version_is_seen_at_once(mount: Mount, calls: Syscalls, first: str) -> None:
    """Size, bytes, the folder's listing and the versions, although what was known was good for another minute."""
    assert await sizes(calls) == {5}
    await ask(mount, "restore_version", path="f", key=first)
    assert (await calls.stat("f")).size == 5
    assert await calls.read("f") == b"first"
    assert len(b"the second") in await sizes(calls)
    assert await calls.listdir() == ["f"]
    assert "f" in await calls.listdir(".cs3/versions")


async def test_an_open_reader_keeps_what_it_opened(mount: Mount, calls: Syscalls, first: str) -> None:
    """As after any change by somebody else; whoever opens it anew reads what was restored."""
    async with calls.opened("f") as fh:
        await ask(mount, "restore_version", path="f", key=first)
        assert await calls.pread(fh, 100, 0) == b"the second"
        assert await calls.read("f") == b"first"


async def test_a_lock_of_somebody_else_is_respected(
    mount: Mount, calls: Syscalls, first: str, emulator: EmulatorThread, profile: str
) -> None:
    """Busy, with who it is; nothing was restored."""
    await mount.leases.drain()
    at = mount.root.child("f")
    async with signed_in(emulator) as other:
        if profile == "reva":
            await other.tree.set_metadata(at, {ADVISORY_KEY: f"collabora!theirs!{int(FOREVER)}"})
        else:
            await other.locks.set_lock(at, Lock("theirs", "collabora", FOREVER))
    with pytest.raises(LockedError, match="collabora"):
        await ask(mount, "restore_version", path="f", key=first)
    assert await calls.read("f") == b"the second"


async def test_unsent_bytes_are_not_met(emulator: EmulatorThread, tmp_path: Path) -> None:
    """What is queued for a file would be a conflict with what is restored: flush first. A name with unsent bytes is taken for the trash too."""
    async with running_mount(emulator, tmp_path / "mount", commit="background") as mount:
        calls = Syscalls(mount.vfs)
        for text in (b"first", b"the second"):
            await calls.write("f", text)
            await ask(mount, "flush", path="f")
        key = (await ask(mount, "versions", path="f"))["versions"][0]["key"]
        emulator.faults.add(method="PUT", http_status=503)
        await calls.write("f", b"unsent")
        with pytest.raises(BusyError, match="flush"):
            await ask(mount, "restore_version", path="f", key=key)
        await calls.write("g", b"unsent")
        emulator.faults.clear()
        await ask(mount, "flush", path="")
        assert await calls.read("f") == b"unsent"
        await calls.unlink("g")
        (item,) = [each for each in (await ask(mount, "trash"))["trash"][0]["items"] if each["path"].endswith("/g")]
        emulator.faults.add(method="PUT", http_status=503)
        await calls.write("g", b"newer")
        with pytest.raises(ExistsError):
            await ask(mount, "restore_trash", root="", key=item["key"])
        emulator.faults.clear()
        await ask(mount, "flush", path="")
        assert await calls.read("g") == b"newer"


async def test_a_lost_answer_is_told_and_looked_after(mount: Mount, calls: Syscalls, first: str, emulator: EmulatorThread) -> None:
    """It is not known, says the sentence; the next look shows what happened."""
    emulator.faults.add(call="RestoreFileVersion", drop_answer=True, times=1)
    with pytest.raises(OutcomeUnknownError):
        await ask(mount, "restore_version", path="f", key=first)
    assert await calls.read("f") == b"first"


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_a_cancelled_restore_leaves_nothing_wrong(
    mount: Mount, calls: Syscalls, first: str, emulator: EmulatorThread, tmp_path: Path, *, is_carried_out: bool
) -> None:
    """Given up before or after the server did it: what is read afterwards is what everybody else reads."""
    rule = emulator.faults.add(call="RestoreFileVersion", **({"answer_delay_s": 30.0} if is_carried_out else {"freeze": True}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_quietly, mount, first)
        await until(lambda: rule.fired)
        await trio.sleep(0.1 if is_carried_out else 0)
        nursery.cancel_scope.cancel()
    emulator.faults.clear()
    assert await calls.read("f") == (b"first" if is_carried_out else b"the second")
    assert await seen_by_others(emulator, tmp_path) == await calls.read("f")


async def _quietly(mount: Mount, key: str) -> None:
    await ask(mount, "restore_version", path="f", key=key)


async def test_a_writer_in_between_loses_nothing(mount: Mount, calls: Syscalls, first: str, emulator: EmulatorThread) -> None:
    """Either the server refuses the restore because of the writer's lock, or the writer is told and its bytes are kept beside it."""
    rule = emulator.faults.add(call="RestoreFileVersion", freeze=True)
    outcomes: list[str] = []

    async def restore() -> None:
        try:
            await ask(mount, "restore_version", path="f", key=first)
        except LockedError:
            outcomes.append("refused")
        else:
            outcomes.append("restored")

    close_error = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(restore)
        await until(lambda: rule.fired)
        try:
            async with calls.opened("f", os.O_RDWR) as fh:
                await calls.pwrite(fh, b"MINE", 0)
                emulator.faults.clear()
                await until(lambda: outcomes)
        except OSError as error:
            close_error = error.errno
    if outcomes == ["refused"]:
        assert close_error is None
        assert await calls.read("f") == b"MINEsecond"
    else:
        assert close_error == errno.ESTALE
        assert await calls.read("f") == b"first"
        (conflict,) = (await ask(mount, "conflicts"))["conflicts"]
        assert await calls.read(Path(conflict["copy"]).name) == b"MINEsecond"


async def test_nothing_is_restored_in_a_read_only_mount(emulator: EmulatorThread, tmp_path: Path, mount: Mount, first: str) -> None:
    """Nor brought back from the trash, nor purged."""
    async with running_mount(emulator, tmp_path / "still", read_only=True) as still:
        for command, arguments in (
            ("restore_version", {"path": "f", "key": first}),
            ("restore_trash", {"root": "", "key": first}),
            ("purge_trash", {"root": "", "keys": [first]}),
        ):
            with pytest.raises(NotPermittedError):
                await ask(still, command, **arguments)
        assert len((await ask(still, "versions", path="f"))["versions"]) >= 1


@pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)
async def test_pieces_of_a_large_version(mount: Mount, calls: Syscalls, emulator: EmulatorThread) -> None:
    """Read here and there, and never a byte of the present content, which is cached under the same name; many ranges, few initiations."""
    old, new = random.Random(1).randbytes(6_000_000), random.Random(2).randbytes(6_000_000)
    await calls.write("f", old)
    await calls.write("f", new)
    assert await calls.read("f") == new
    (name,) = [each["name"] for each in (await ask(mount, "versions", path="f"))["versions"] if each["size"] == len(old)]
    emulator.log.clear()
    async with calls.opened(f".cs3/versions/f/{name}") as fh:
        for offset in (5_999_000, 0, 3_000_001):
            assert await calls.pread(fh, 5000, offset) == old[offset : offset + 5000]
    assert await calls.read(f".cs3/versions/f/{name}") == old
    assert await calls.read("f") == new
    assert sum(entry.name == "InitiateFileDownload" for entry in emulator.log.entries(0)) <= 3


@pytest.mark.parametrize("profile", ["reva"], indirect=True)
async def test_bytes_that_cannot_be_had_are_refused_at_open(mount: Mount, calls: Syscalls, first: str) -> None:
    """EOPNOTSUPP by open, not by read; status tells why; restoring works all the same."""
    for name in await calls.listdir(".cs3/versions/f"):
        with pytest.raises(OSError, match="does not serve") as caught:
            async with calls.opened(f".cs3/versions/f/{name}"):
                raise AssertionError("it was opened")
        assert caught.value.errno == errno.EOPNOTSUPP
    storages = (await ask(mount, "status"))["storages"].values()
    assert False in {storage["old_versions"] for storage in storages}
    await ask(mount, "restore_version", path="f", key=first)
    assert await calls.read("f") == b"first"


async def test_what_is_asked_wrongly_is_a_sentence(mount: Mount, calls: Syscalls, first: str) -> None:
    """Folders, names below .cs3, new files, keys that nobody has."""
    await calls.mkdir("d")
    for command, arguments in (
        ("versions", {"path": "d"}),
        ("versions", {"path": ".cs3/versions/f"}),
        ("versions", {"path": "nothing"}),
        ("restore_version", {"path": "f", "key": "nothing"}),
        ("restore_version", {"path": "f", "key": ""}),
        ("restore_trash", {"root": "x", "key": first}),
        ("restore_trash", {"root": "", "key": "nothing"}),
        ("purge_trash", {"root": "", "keys": [""]}),
        ("purge_trash", {"root": "", "keys": "all"}),
        ("trash", {"path": ".cs3/trash"}),
    ):
        with pytest.raises(Cs3FuseError):
            await ask(mount, command, **arguments)
    async with calls.opened("new", os.O_WRONLY | os.O_CREAT):
        with pytest.raises(Cs3FuseError):
            await ask(mount, "versions", path="new")


async def test_purging_several_does_not_stop_at_one(mount: Mount, calls: Syscalls, emulator: EmulatorThread) -> None:
    """What the server refuses is told; the rest is gone, each by a call of its own with its key, and nothing else is."""
    for name in "abc":
        await calls.write(name, b"x")
        await calls.unlink(name)
    keys = {Path(item["path"]).name: item["key"] for item in (await ask(mount, "trash"))["trash"][0]["items"]}
    emulator.faults.add(call="PurgeRecycle", status="INTERNAL", times=1)
    emulator.log.clear()
    told = await ask(mount, "purge_trash", root="", keys=[keys["a"], keys["b"]])
    assert (told["purged"], told["failed"], len(told["problems"])) == (1, 1, 1)
    left = {item["key"] for item in (await ask(mount, "trash"))["trash"][0]["items"]}
    assert keys["c"] in left
    assert len(left) == 2
    assert sum(entry.name == "PurgeRecycle" for entry in emulator.log.entries(0)) == 2


@pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)
async def test_a_lock_of_ours_that_nobody_needs_is_no_obstacle(mount: Mount, calls: Syscalls, first: str) -> None:
    """Servers restore under no lock, also not for its holder."""
    await mount.leases.drain()
    at = mount.root.child("f")
    assert await mount.leases.acquire(at, await mount.metadata.stat(at, fresh=True)) is not None
    await ask(mount, "restore_version", path="f", key=first)
    assert await calls.read("f") == b"first"


@pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)
async def test_a_failure_in_between_is_not_taken_for_another_version(
    mount: Mount, calls: Syscalls, first: str, emulator: EmulatorThread
) -> None:
    """A GET that fails once is made again: what is looked at meanwhile is the version, not the present content, which is another."""
    (name,) = [each["name"] for each in (await ask(mount, "versions", path="f"))["versions"] if each["key"] == first]
    await ask(mount, "cache_clear")
    emulator.faults.add(method="GET", http_status=500, times=1)
    assert await calls.read(f".cs3/versions/f/{name}") == b"first"


async def test_trash_of_a_path_is_what_was_deleted_below_it(mount: Mount, calls: Syscalls) -> None:
    """Purging all of a folder must not reach what lay beside it. The folder itself may be gone."""
    await calls.mkdir("d")
    await calls.mkdir("dd")
    for name in ("d/a", "dd/b", "c"):
        await calls.write(name, b"x")
        await calls.unlink(name)
    await calls.rmdir("d")

    async def listed(path: str) -> set[str]:
        (told,) = (await ask(mount, "trash", path=path))["trash"]
        return {str(Path(item["path"]).relative_to(mount.parts.mount_point)) for item in told["items"]}

    assert await listed("d") == {"d", "d/a"}
    assert await listed("dd") == {"dd/b"}
    assert await listed("c") == {"c"}
    assert await listed("") == {"d", "d/a", "dd/b", "c"}
