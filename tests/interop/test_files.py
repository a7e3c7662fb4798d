"""What cs3client does to files is seen by the mount, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from cs3fuse.app import Mount
from tests.interop.official import Official
from tests.support.syscalls import Syscalls


@pytest.fixture(params=["reva", "opencloud", "eos"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def outside(call: Callable[..., Any], *arguments: Any) -> Any:
    """A blocking call of the other program."""
    return await trio.to_thread.run_sync(lambda: call(*arguments))


async def let_time_pass(mount: Mount) -> None:
    """The attribute time-out is over, and our locks are released."""
    await mount.leases.drain()
    mount.metadata.forget(mount.root, subtree=True)


async def test_it_reads_and_lists_what_we_wrote(calls: Syscalls, mount: Mount, other: Official) -> None:
    """Bytes, size and names, also of names that need care."""
    names = ["plain.txt", "with space.txt", "ümläut ⚛.txt", "100%.txt"]
    await calls.mkdir("d")
    for number, name in enumerate(names):
        await calls.write(f"d/{name}", b"x" * number * 100_000)
    assert await outside(other.list, mount.root.child("d")) == sorted(names)
    for number, name in enumerate(names):
        at = mount.root.child("d").child(name)
        assert await outside(other.read, at) == b"x" * number * 100_000
        assert (await outside(other.stat, at)).size == number * 100_000


async def test_we_see_what_it_wrote_at_the_next_open(calls: Syscalls, mount: Mount, other: Official) -> None:
    """Close-to-open: no waiting, also for a file that we have read before."""
    at = mount.root.child("f")
    await calls.write("f", b"first")
    await mount.leases.drain()
    for number in range(3):
        assert await calls.read("f") == (b"first" if number == 0 else b"%d" % (number - 1) * 50_000)
        await outside(other.write, at, b"%d" % number * 50_000)
        assert await calls.read("f") == b"%d" % number * 50_000
    await calls.write("f", b"ours again")
    assert await outside(other.read, at) == b"ours again"


async def test_we_see_what_it_creates_renames_and_removes(calls: Syscalls, mount: Mount, other: Official) -> None:
    """After the attribute time-out, in listings and by name."""
    top = mount.root
    await outside(other.make_dir, top.child("made"))
    await outside(other.touch, top.child("made").child("empty"))
    await outside(other.write, top.child("made").child("f"), b"content")
    await let_time_pass(mount)
    assert await calls.listdir("made") == ["empty", "f"]
    assert await calls.read("made/empty") == b""
    await outside(other.rename, top.child("made").child("f"), top.child("renamed"))
    await let_time_pass(mount)
    assert await calls.listdir() == ["made", "renamed"]
    assert await calls.read("renamed") == b"content"
    with pytest.raises(FileNotFoundError):
        await calls.read("made/f")
    await outside(other.remove, top.child("renamed"))
    await let_time_pass(mount)
    assert await calls.listdir() == ["made"]


async def test_attributes_are_common(calls: Syscalls, mount: Mount, other: Official) -> None:
    """setfattr here is set_xattr there."""
    at = mount.root.child("f")
    await calls.write("f", b"content")
    await let_time_pass(mount)
    await outside(other.set_xattr, at, "colour", "blue")
    mount.metadata.forget(at)
    async with calls.at("f") as ino:
        assert await mount.vfs.xattrs.get(ino, "user.colour") == b"blue"
        await mount.vfs.xattrs.set(ino, "user.shape", "rüund".encode())
        seen = dict((await outside(other.stat, at)).arbitrary_metadata.metadata)
        assert seen["shape"] == "rüund"
        await outside(other.remove_xattr, at, "colour")
        mount.metadata.forget(at)
        assert "user.colour" not in await mount.vfs.xattrs.list(ino)
