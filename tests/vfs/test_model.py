"""Random programs against a dictionary: our system calls, other clients' changes, a remount in between; every byte compared.

The model is a dict from path to bytes (files) or None (folders). A change of another client must be seen by the next open at once, and
by names after the attribute time-out (which the test lets pass by forgetting what was remembered).
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cs3fuse.app import Mount
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.server import EmulatorThread
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

Tree = dict[str, bytes | None]
HOME = "/einstein"

NAMES = st.sampled_from(["a", "b", "d", "d/x", "d/y", "d/e", "d/e/z"])
DATA = st.binary(max_size=40) | st.integers(0, 3).map(lambda n: bytes([n]) * (131072 + n))
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, DATA),
    st.tuples(st.just("append"), NAMES, DATA),
    st.tuples(st.just("patch"), NAMES, st.integers(0, 200), DATA),
    st.tuples(st.just("truncate"), NAMES, st.integers(0, 200_000)),
    st.tuples(st.just("create_exclusively"), NAMES, DATA),
    st.tuples(st.just("read"), NAMES),
    st.tuples(st.just("stat"), NAMES),
    st.tuples(st.just("list"), st.sampled_from(["", "d", "d/e"])),
    st.tuples(st.just("unlink"), NAMES),
    st.tuples(st.just("mkdir"), NAMES),
    st.tuples(st.just("rmdir"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("other_writes"), NAMES, DATA),
    st.tuples(st.just("other_deletes"), NAMES),
    st.tuples(st.just("remount")),
)


def parent(path: str) -> str:
    return path.rpartition("/")[0]


class Model:
    """What a local folder would do, by errno name or result."""

    def __init__(self) -> None:
        self.tree: Tree = {"": None}

    def kind(self, path: str) -> str:
        return "missing" if path not in self.tree else "folder" if self.tree[path] is None else "file"

    def blocked(self, path: str) -> str | None:
        """Why the parent does not let a path be looked up."""
        above = parent(path)
        if above and (reason := self.blocked(above)):
            return reason
        return {"missing": "ENOENT", "file": "ENOTDIR"}.get(self.kind(above))

    def children(self, path: str) -> list[str]:
        return sorted(p.rpartition("/")[2] for p in self.tree if p and parent(p) == path)

    def bytes_of(self, path: str) -> bytes:
        data = self.tree[path]
        assert data is not None
        return data

    def lookup(self, path: str) -> str | None:
        return self.blocked(path) or ("ENOENT" if self.kind(path) == "missing" else None)

    def for_writing(self, path: str) -> str | None:
        return self.blocked(path) or ("EISDIR" if self.kind(path) == "folder" else None)

    def rename(self, old: str, new: str) -> str | None:
        reason = self.blocked(old) or self.blocked(new) or self.lookup(old)
        if reason or old == new:
            return reason
        if new.startswith(old + "/"):
            return "EINVAL"
        kinds = (self.kind(old), self.kind(new))
        if old.startswith(new + "/"):
            return "ENOTEMPTY" if kinds[0] == "folder" else "EISDIR"
        if kinds == ("folder", "file"):
            return "ENOTDIR"
        if kinds == ("file", "folder"):
            return "EISDIR"
        if kinds == ("folder", "folder") and self.children(new):
            return "ENOTEMPTY"
        moved = {p: d for p, d in self.tree.items() if p == old or p.startswith(old + "/")}
        for path in moved:
            del self.tree[path]
        self.tree.update({new + p[len(old) :]: d for p, d in moved.items()})
        return None


def same(found: object, expected: object) -> None:
    """Equal, or a message that does not print megabytes."""
    assert found == expected, f"{found!r:.200} instead of {expected!r:.200}"


class World:
    """The mount under test, the model and the other client."""

    def __init__(self, emulator: EmulatorThread, mount: Mount, base: str) -> None:
        self.emulator = emulator
        self.base = base
        self.model = Model()
        self.use(mount)

    def use(self, mount: Mount) -> None:
        self.mount = mount
        self.calls = Syscalls(mount.vfs)

    def at(self, path: str) -> str:
        return f"{self.base}/{path}" if path else self.base

    async def outcome(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    async def step(self, name: str, *arguments: Any) -> None:
        await getattr(self, name)(*arguments)

    async def write(self, path: str, data: bytes) -> None:
        expected = self.model.for_writing(path)
        if expected is None:
            self.model.tree[path] = data
        same(await self.outcome(lambda: self.calls.write(self.at(path), data)), expected)

    async def append(self, path: str, data: bytes) -> None:
        expected = self.model.for_writing(path)
        if expected is None:
            self.model.tree[path] = (self.model.tree.get(path) or b"") + data

        async def call() -> None:
            async with self.calls.opened(self.at(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fh:
                await self.calls.pwrite(fh, data, 0)

        same(await self.outcome(call), expected)

    async def patch(self, path: str, offset: int, data: bytes) -> None:
        expected = self.model.lookup(path) or self.model.for_writing(path)
        if expected is None and data:
            old = self.model.bytes_of(path).ljust(offset, b"\0")
            self.model.tree[path] = old[:offset] + data + old[offset + len(data) :]

        async def call() -> None:
            async with self.calls.opened(self.at(path), os.O_RDWR) as fh:
                if data:
                    await self.calls.pwrite(fh, data, offset)
                    assert await self.calls.pread(fh, 1 << 30, 0) == self.model.tree[path]

        same(await self.outcome(call), expected)

    async def truncate(self, path: str, size: int) -> None:
        expected = self.model.lookup(path) or self.model.for_writing(path)
        if expected is None:
            self.model.tree[path] = self.model.bytes_of(path)[:size].ljust(size, b"\0")

        async def call() -> None:
            async with self.calls.at(self.at(path)) as ino:
                await self.mount.vfs.files.truncate(ino, size, None)

        same(await self.outcome(call), expected)

    async def create_exclusively(self, path: str, data: bytes) -> None:
        expected = self.model.blocked(path) or ("EEXIST" if self.model.kind(path) != "missing" else None)
        if expected is None:
            self.model.tree[path] = data

        async def call() -> None:
            async with self.calls.opened(self.at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fh:
                await self.calls.pwrite(fh, data, 0)

        same(await self.outcome(call), expected)

    async def read(self, path: str) -> None:
        expected: Any = self.model.lookup(path) or ("EISDIR" if self.model.kind(path) == "folder" else self.model.tree[path])
        same(await self.outcome(lambda: self.calls.read(self.at(path))), expected)

    async def stat(self, path: str) -> None:
        expected: Any = self.model.lookup(path) or len(self.model.tree[path] or b"")
        found = await self.outcome(lambda: self.calls.stat(self.at(path)))
        if self.model.kind(path) == "folder":
            assert found.mode & 0o170000 == 0o040000
        else:
            assert (found if isinstance(found, str) else found.size) == expected

    async def list(self, path: str) -> None:
        expected: Any = self.model.lookup(path) if path else None
        expected = expected or ("ENOTDIR" if self.model.kind(path) == "file" else self.model.children(path))
        same(await self.outcome(lambda: self.calls.listdir(self.at(path))), expected)

    async def unlink(self, path: str) -> None:
        expected = self.model.lookup(path) or ("EISDIR" if self.model.kind(path) == "folder" else None)
        if expected is None:
            del self.model.tree[path]
        same(await self.outcome(lambda: self.calls.unlink(self.at(path))), expected)

    async def mkdir(self, path: str) -> None:
        expected = self.model.blocked(path) or ("EEXIST" if self.model.kind(path) != "missing" else None)
        if expected is None:
            self.model.tree[path] = None
        same(await self.outcome(lambda: self.calls.mkdir(self.at(path))), expected)

    async def rmdir(self, path: str) -> None:
        expected = self.model.lookup(path) or ("ENOTDIR" if self.model.kind(path) == "file" else None)
        expected = expected or ("ENOTEMPTY" if self.model.children(path) else None)
        if expected is None:
            del self.model.tree[path]
        same(await self.outcome(lambda: self.calls.rmdir(self.at(path))), expected)

    async def rename(self, old: str, new: str) -> None:
        expected = self.model.rename(old, new)
        same(await self.outcome(lambda: self.calls.rename(self.at(old), self.at(new))), expected)

    async def other_writes(self, path: str, data: bytes) -> None:
        is_new = self.model.kind(path) == "missing"
        if self.model.for_writing(path) is not None:
            return
        self.model.tree[path] = data
        await self.other_client("write", f"{HOME}/{self.at(path)}", data, "einstein")
        if is_new:
            self.let_time_pass()

    async def other_deletes(self, path: str) -> None:
        if self.model.lookup(path) is not None:
            return
        for gone in [p for p in self.model.tree if p == path or p.startswith(path + "/")]:
            del self.model.tree[gone]
        await self.other_client("delete", f"{HOME}/{self.at(path)}", "einstein")
        self.let_time_pass()

    async def other_client(self, op: str, *arguments: Any) -> None:
        """Another client's change; it waits while our lock is being released or OpenCloud processes the file."""
        await self.mount.leases.drain()
        for _ in range(200):
            try:
                await trio.to_thread.run_sync(lambda: self.emulator.change(op, *arguments))
            except (Refusal, HttpRefusal):
                await trio.sleep(0.01)
            else:
                return
        raise AssertionError(f"the other client could not {op} {arguments[0]}")

    def let_time_pass(self) -> None:
        """The attribute time-out is over."""
        self.mount.metadata.forget(self.mount.root, subtree=True)

    async def verify(self) -> None:
        """Everything, by our own eyes and in the gateway's folder."""
        self.let_time_pass()
        for path in sorted(self.model.tree):
            await (self.list(path) if self.model.tree[path] is None else self.read(path))
        folder = self.emulator.config.root / "einstein" / self.base
        there = {
            str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes()
            for p in folder.rglob("*")
            if not p.name.startswith(".")
        }
        assert there == {path: data for path, data in self.model.tree.items() if path}


_folders = itertools.count(1)


async def play(emulator: EmulatorThread, folder: Path, steps: list[tuple[Any, ...]]) -> None:
    """Run the steps in a new folder of the home, mounting anew where they say so."""
    base = f"run{next(_folders)}"
    world: World | None = None
    rest = iter([*steps, ("remount",)])
    while True:
        async with running_mount(emulator, folder) as mount:
            if world is None:
                world = World(emulator, mount, base)
                await world.calls.mkdir(base)
            world.use(mount)
            for step in rest:
                if step[0] == "remount":
                    break
                await world.step(*step)
            else:
                await world.verify()
                return


@pytest.fixture(scope="module", params=["reva", "opencloud", "eos"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One gateway for all examples; each plays in a folder of its own."""
    config = EmulatorConfig(root=tmp_path_factory.mktemp("gateway"), profile=request.param, seed=1)
    with EmulatorThread(config) as emulator:
        yield emulator


EXAMPLES = int(os.environ.get("CS3FUSE_MODEL_EXAMPLES", "20"))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=30))
def test_random_programs_do_what_they_would_do_locally(
    gateway: EmulatorThread, tmp_path: Path, steps: list[tuple[Any, ...]]
) -> None:
    """Results, errnos, listings and bytes as in a local folder, whatever another client does in between."""
    trio.run(play, gateway, tmp_path, steps)
