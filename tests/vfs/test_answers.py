"""What a running mount answers to questions about files, on each profile; without a kernel and without sockets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.control.commands import commands
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import BadRequestError, Cs3FuseError, LockedError, NotFoundError
from cs3fuse.locks.foreign import ADVISORY_KEY
from cs3fuse.model import Lock
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount, signed_in

FOREVER = 4_000_000_000.0
THEIRS = Lock("theirs", "collabora", FOREVER)


async def ask(mount: Mount, command: str, **arguments: Any) -> dict[str, Any]:
    async def progress(_state: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()

    return await commands(mount.parts)[command](arguments, progress)


async def lock_as_another_program(emulator: EmulatorThread, mount: Mount, name: str) -> None:
    """As the storage can: a lock, or the one that cs3client keeps in metadata."""
    at = mount.root.child(name)
    async with signed_in(emulator) as other:
        if emulator.config.profile == "reva":
            await other.tree.set_metadata(at, {ADVISORY_KEY: f"collabora!theirs!{int(FOREVER)}"})
        else:
            await other.locks.set_lock(at, THEIRS)


async def test_a_file_is_described_before_and_after_it_is_sent(mount: Mount, calls: Syscalls) -> None:
    """A new file that only this mount knows is described too; a name that nobody knows is an error."""
    with pytest.raises(NotFoundError):
        await ask(mount, "info", path="new")
    async with calls.opened("new", os.O_WRONLY | os.O_CREAT) as fh:
        await mount.vfs.files.write(fh, 0, b"12345")
        told = await ask(mount, "info", path="new")
        assert (told["state"], told["size"], told["kind"]) == ("dirty", 5, "file")
        assert told["path"].endswith("/mnt/new")
    told = await ask(mount, "info", path="new")
    assert (told["state"], told["size"], told["cached_bytes"], told["unsent_attempts"]) == ("clean", 5, 5, 0)
    assert told["server_problem"] == ""
    assert told["location"] == str(mount.root.child("new"))


async def test_a_folder_is_described(mount: Mount, calls: Syscalls) -> None:
    """Without what only files have."""
    await calls.mkdir("folder")
    told = await ask(mount, "info", path="folder")
    assert told["kind"] == "directory"
    assert "state" not in told
    assert (await ask(mount, "info", path=""))["kind"] == "directory"


async def test_a_foreign_lock_is_released_only_with_its_mark(emulator: EmulatorThread, mount: Mount, calls: Syscalls) -> None:
    """The person was asked about one lock: another one that came meanwhile is not released."""
    await calls.write("f", b"x")
    await lock_as_another_program(emulator, mount, "f")
    lock = (await ask(mount, "info", path="f"))["lock"]
    assert (lock["application"], lock["is_ours"], lock["expires_at"]) == ("collabora", False, FOREVER)
    told = await ask(mount, "unlock", path="f")
    assert told["released"] == ""
    assert "collabora" in told["words"]
    with pytest.raises(LockedError, match="another lock"):
        await ask(mount, "unlock", path="f", mark="0123456789abcdef")
    assert (await ask(mount, "unlock", path="f", mark=told["mark"]))["released"] == "foreign"
    assert (await ask(mount, "info", path="f"))["lock"] is None
    with pytest.raises(NotFoundError, match="is not locked"):
        await ask(mount, "unlock", path="f")


@pytest.mark.parametrize("profile", ["opencloud", "eos"], indirect=True)
async def test_our_lock_is_ours(mount: Mount, calls: Syscalls) -> None:
    """Listed while a program has the file open, described as ours, released when asked, and the file is saved all the same."""
    await calls.write("f", b"x")
    async with calls.opened("f", os.O_RDWR) as fh:
        await mount.vfs.files.write(fh, 0, b"y")
        assert [each["path"] for each in (await ask(mount, "locks"))["ours"]] == [str(mount.parts.mount_point / "f")]
        assert (await ask(mount, "info", path="f"))["lock"]["is_ours"]
        assert await ask(mount, "unlock", path="f") == {"released": "ours"}
        assert (await ask(mount, "info", path="f"))["lock"] is None
    assert await calls.read("f") == b"y"
    await mount.leases.drain()
    assert (await ask(mount, "locks"))["ours"] == []


async def test_warming_brings_everything_below(emulator: EmulatorThread, mount: Mount, calls: Syscalls) -> None:
    """Folders in folders, empty files and a name that is not there: what can be had is here afterwards, the rest is told."""
    await calls.mkdir("d")
    await calls.mkdir("d/e")
    for name, size in (("d/a", 300_000), ("d/e/b", 5), ("d/e/empty", 0)):
        await calls.write(name, os.urandom(size))
    await _empty_the_cache(mount)
    told = await ask(mount, "warm", paths=["d"], check=True)
    assert (told["files"], told["here_bytes"], told["total_bytes"]) == (3, 0, 300_005)
    told = await ask(mount, "warm", paths=["d", "nonesuch"])
    assert (told["files"], told["here_bytes"], told["failed"]) == (3, 300_005, 1)
    assert "nonesuch" in told["problems"][0]
    assert (await ask(mount, "warm", paths=["d"], check=True))["here_bytes"] == 300_005
    with pytest.raises(BadRequestError):
        await ask(mount, "warm", paths="d")


async def _empty_the_cache(mount: Mount) -> None:
    while mount.content.usage()["pinned_bytes"]:  # noqa: ASYNC110 the store tells nobody when it is done
        await trio.sleep(0.01)
    mount.content.clear()


async def test_paths_of_a_mounted_folder_are_those_of_people(
    emulator: EmulatorThread, mount: Mount, calls: Syscalls, tmp_path: Path
) -> None:
    """A mount of a folder: locations begin on the server, paths at the mount point, and each finds the other."""
    await calls.mkdir("inner")
    await calls.write("inner/f", b"x")
    async with signed_in(emulator) as other:
        home = await other._home_path()
    async with running_mount(emulator, tmp_path / "inner", path=f"{home}/inner") as second:
        at = await second.parts.locate("f")
        assert second.parts.shown(at) == str(second.parts.mount_point / "f")
        assert (await ask(second, "info", path="f"))["size"] == 1
        assert await second.parts.locate("no/such/name") == second.root.child("no").child("such").child("name")
        assert second.parts.shown(mount.root) == str(mount.root), "what is not in this mount keeps its location"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("info", {"path": 7}),
        ("cache_limit", {"bytes": "much"}),
        ("cache_limit", {}),
        ("forget_conflict", {"id": True}),
        ("forget_conflict", {"id": 12}),
        ("flush", {"patience_s": None}),
    ],
)
@pytest.mark.parametrize("profile", ["reva"], indirect=True)
async def test_wrong_arguments_are_refused_with_a_sentence(mount: Mount, command: str, arguments: dict[str, Any]) -> None:
    """Whoever speaks to the socket, the mount goes on."""
    with pytest.raises(Cs3FuseError):
        await ask(mount, command, **arguments)
