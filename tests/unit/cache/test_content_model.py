"""The content store against a model: whatever happens, every byte is that version's, or the read is an error.

Random reads on files that other people change, shorten, delete and create again, on storages that send short bodies or fail,
with a budget that is too small, restarts with damaged files, adoptions and fills. Steps come from a seeded generator, so a
failing seed replays.
"""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from cs3fuse.cache.content import ContentStore
from cs3fuse.cache.layout import BLOCK_BYTES
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import Cs3FuseError, UnavailableError
from cs3fuse.model import ByteRange, Location
from tests.unit.cache.fakes import HOME, FakeServer

SIZES = [0, 1, 5000, BLOCK_BYTES, BLOCK_BYTES + 1, 1024 * 1024, 1024 * 1024 + 1, 2_500_000, 4_000_000]
STEPS = {
    "open": 6,
    "read": 20,
    "burst": 4,
    "sequence": 3,
    "close": 4,
    "complete": 1,
    "change": 2,
    "change midway": 1,
    "remove": 1,
    "fail": 1,
    "cut": 1,
    "restart": 2,
    "limit": 1,
    "clear": 1,
    "flush": 2,
    "adopt": 1,
    "fill": 1,
    "cancel": 2,
}


class Play:
    """One run: a server, a folder, a store that is restarted, readers and what they must see."""

    def __init__(self, seed: int, folder: Path, server: FakeServer) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.server = server
        self.book = CapabilityBook()
        self.store: ContentStore | None = None
        self.readers: list[tuple[object, Location, bytes, str]] = []
        self.paths = [HOME.child(name) for name in ("a", "b.root", "c", "d")]
        self.is_disturbed = False
        self.reads = self.errors = 0

    def data(self) -> bytes:
        return self.chance.randbytes(self.chance.choice(SIZES))

    async def run(self, count: int) -> None:
        for at in self.paths:
            self.server.write(at, self.data())
        steps = self.chance.choices(list(STEPS), list(STEPS.values()), k=count)
        while steps:
            budget = self.chance.choice([512 * 1024, 2_000_000, 1 << 30])
            self.store = ContentStore(
                self.folder / "cache",
                self.server,
                self.server,
                self.book,
                budget_bytes=budget,
                min_free_bytes=0,
                window_bytes=1 << 20,
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(self.store.run)
                while steps:
                    step = steps.pop()
                    if step == "restart":
                        break
                    await getattr(self, step.replace(" ", "_"))()
                for reader, *_ in self.readers:
                    reader.close()
                self.readers.clear()
                self.check_pins()
                nursery.cancel_scope.cancel()
            if self.chance.random() < 0.5:
                self.damage_files()

    def check_pins(self) -> None:
        usage, policy = self.store.usage(), self.store._shelf.policy
        assert usage["open_versions"] == 0
        assert usage["used_bytes"] == sum(policy.size_of(name) for name in policy)

    # -- steps

    async def open(self) -> None:
        at = self.chance.choice(self.paths)
        if at in self.server.files and len(self.readers) < 8:
            file = self.server.files[at]
            self.readers.append((self.store.open(at, self.server.entry(at)), at, file.data, file.etag + str(file.mtime_ns)))

    async def close(self) -> None:
        if self.readers:
            self.readers.pop(self.chance.randrange(len(self.readers)))[0].close()

    async def one(self, reader, at, data, version, offset, size) -> None:
        file = self.server.files.get(at)
        is_calm = not self.is_disturbed and file is not None and file.etag + str(file.mtime_ns) == version
        self.reads += 1
        now = reader.read_now(offset, size)
        assert now is None or now == data[offset : offset + size]
        try:
            got = await reader.read(offset, size)
        except Cs3FuseError:
            self.errors += 1
            # Something may have happened while it was read, too.
            assert not is_calm or self.is_disturbed or self.server.files.get(at) is not file
            return
        assert got == data[offset : offset + size]

    def somewhere(self, data: bytes) -> tuple[int, int]:
        return self.chance.randrange(len(data) + 10), self.chance.choice([1, 4096, 100_000, 400_000])

    async def read(self) -> None:
        if self.readers:
            reader = self.chance.choice(self.readers)
            await self.one(*reader, *self.somewhere(reader[2]))

    async def burst(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(6 if self.readers else 0):
                reader = self.chance.choice(self.readers)
                nursery.start_soon(self.one, *reader, *self.somewhere(reader[2]))

    async def cancel(self) -> None:
        if self.readers:
            reader = self.chance.choice(self.readers)
            with trio.move_on_after(self.chance.choice([0, 0.001])):
                await self.one(*reader, *self.somewhere(reader[2]))

    async def sequence(self) -> None:
        if self.readers:
            reader = self.chance.choice(self.readers)
            for offset in range(0, len(reader[2]), 131_072):
                await self.one(*reader, offset, 131_072)

    async def complete(self) -> None:
        if self.readers:
            reader, _, data, _ = self.chance.choice(self.readers)
            try:
                await reader.complete()
            except Cs3FuseError:
                return
            # The budget may have dropped blocks again; then they come again.
            now = reader.read_now(0, len(data))
            assert now is None or now == data

    def other_data(self, at: Location) -> bytes:
        """Half of all changes keep the size: only the version tells."""
        file = self.server.files.get(at)
        return self.chance.randbytes(len(file.data)) if file and self.chance.random() < 0.5 else self.data()

    async def change(self) -> None:
        at = self.chance.choice(self.paths)
        self.server.write(at, self.other_data(at))

    async def change_midway(self) -> None:
        """Somebody writes while the next body is sent, after its first piece."""
        at = self.chance.choice(self.paths)
        data = self.other_data(at)

        def write(_offset: int) -> None:
            if self.server.before_piece is write:
                self.server.before_piece = None
                self.server.write(at, data)

        self.server.before_piece = write

    async def remove(self) -> None:
        at = self.chance.choice(self.paths)
        if at in self.server.files:
            self.server.remove(at)

    async def fail(self) -> None:
        await self.disturbed(
            lambda: self.server.failures.extend([UnavailableError("The server is away.")] * self.chance.randrange(1, 6))
        )
        self.server.failures.clear()

    async def cut(self) -> None:
        """Bodies end early for a while."""
        await self.disturbed(lambda: setattr(self.server, "cut_after", self.chance.choice([0, 200_000])))
        self.server.cut_after = None

    async def disturbed(self, disturb) -> None:
        self.is_disturbed = True
        disturb()
        await self.open()
        await self.burst()
        # What was under way ends before the calm begins.
        await trio.sleep(10)
        self.is_disturbed = False

    async def limit(self) -> None:
        self.store.limit(self.chance.choice([300_000, 2_000_000, 1 << 30]))

    async def clear(self) -> None:
        self.store.clear()

    async def flush(self) -> None:
        await self.store.flush()

    async def adopt(self) -> None:
        at, data = self.chance.choice(self.paths), self.data()
        self.server.write(at, data)
        staged = self.folder / "staged"
        staged.write_bytes(data)
        await self.store.adopt(self.server.entry(at).content_key(at), staged)
        assert not staged.exists()

    async def fill(self) -> None:
        at = self.chance.choice(self.paths)
        if at not in self.server.files:
            return
        entry, data = self.server.entry(at), self.server.files[at].data
        start = self.chance.randrange(len(data) + 1)
        stop = self.chance.randrange(start, len(data) + 1)
        target = self.folder / "target"
        with target.open("w+b") as file:
            try:
                await self.store.fill(at, entry, [ByteRange(start, stop)], file.fileno())
            except Cs3FuseError:
                return
            file.seek(start)
            assert file.read() == data[start:stop]

    def damage_files(self) -> None:
        for parent, _, names in os.walk(self.folder / "cache" / "content"):
            for name in names:
                path = Path(parent) / name
                size = path.stat().st_size
                if size and self.chance.random() < 0.5:
                    with path.open("r+b") as file:
                        if self.chance.random() < 0.2:
                            file.truncate(size // 2)
                        else:
                            file.seek(self.chance.randrange(size))
                            file.write(b"damaged!"[: size - file.tell()])


KINDS = [
    {"ranges": True},
    {"ranges": True, "answers_carry_etag": False},
    {"ranges": False, "answers_carry_etag": True},
    {"ranges": False, "answers_carry_etag": False},
    {"ranges": False, "etags": False},
]


def play(seed: int, kind: dict, folder: Path, steps: int) -> Play:
    game = Play(seed, folder, FakeServer(**kind))
    trio.run(game.run, steps, clock=MockClock(autojump_threshold=0.01))
    return game


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(f"{key}={value}" for key, value in kind.items()))
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_byte_is_right_or_an_error(tmp_path_factory, kind, seed):
    """A short seeded run on each kind of storage."""
    game = play(seed, kind, tmp_path_factory.mktemp("model"), 60)
    assert game.errors <= game.reads


def resources() -> tuple[int, int, int]:
    """Open descriptors, threads, resident KiB of this process."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return len(os.listdir("/proc/self/fd")), int(status["Threads"]), int(status["VmRSS"].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(f"{key}={value}" for key, value in kind.items()))
def test_ten_thousand_steps(tmp_path, kind):
    """The campaign: 10 000 steps on each kind of storage; descriptors, threads and memory do not grow."""
    play(0, kind, tmp_path / "warm", 500)
    descriptors, threads, resident_kib = resources()
    for part in range(1, 20):
        play(part, kind, tmp_path / "run", 500)
    after = resources()
    assert after[0] <= descriptors
    assert after[1] <= threads + 2
    assert after[2] <= resident_kib + 48 * 1024
