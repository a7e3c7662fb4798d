"""The digest that follows a writer is that of the bytes, or none."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3fuse.commit import follower as module
from cs3fuse.commit.staging import StagedFile
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeServer

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 20)),
        st.tuples(st.just("write"), st.integers(0, 60)),
        st.tuples(st.just("truncate"), st.integers(0, 60)),
        st.tuples(st.just("follow"), st.just(0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_digest_is_that_of_the_bytes_or_none(steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However writes and steps of the digest interleave."""

    async def run() -> None:
        staged = StagedFile.create(tmp_path_factory.getbasetemp(), lower_size=0)
        content = bytearray()
        for step, (kind, value) in enumerate(steps):
            data = bytes([step + 1]) * (value if kind == "append" else 5)
            if kind == "follow":
                await staged.follow()
            elif kind == "truncate":
                staged.truncate(value)
                del content[value:]
                content.extend(bytes(value - len(content)))
            else:
                offset = len(content) if kind == "append" else value
                staged.write(offset, memoryview(data))
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
        assert staged.follower is not None
        digest = await staged.follower.result(staged.fd, staged.size)
        assert digest in {None, hashlib.sha1(content).hexdigest()}
        if not any(kind in {"write", "truncate"} for kind, _ in steps):
            assert digest is not None, "a file that is only appended to is never read twice"
        staged.discard()

    trio.run(run)


async def test_large_sequential_file_is_followed(running: Running, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session lets the digest follow, and the upload carries the right one (the fake server checks it)."""
    monkeypatch.setattr(module, "STEP_BYTES", 1000)
    fed: list[tuple[int, int]] = []
    real = module.feed

    def feed(digest, fd: int, start: int, stop: int, **named) -> int:
        reached = real(digest, fd, start, stop, **named)
        fed.append((start, reached))
        return reached

    monkeypatch.setattr(module, "feed", feed)
    async with running() as engine:
        session = engine.begin(HOME.child("a"), None, created=True)
        for index in range(100):
            await session.write(index * 100, bytes([index]) * 100)
            await trio.lowlevel.checkpoint()
        await session.commit()
    assert len(server.content("a")) == 10_000
    assert len(fed) > 3
    assert [start for start, _ in fed[1:]] == [stop for _, stop in fed[:-1]], "each byte is digested once"


async def test_overwritten_prefix_is_digested_anew(running: Running, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that is written last (HDF5, ROOT) does not give a wrong digest."""
    monkeypatch.setattr(module, "STEP_BYTES", 1000)
    async with running() as engine:
        session = engine.begin(HOME.child("a"), None, created=True)
        for index in range(30):
            await session.write(index * 100, bytes([index]) * 100)
            await trio.lowlevel.checkpoint()
        await session.write(0, b"header")
        await session.commit()
    assert server.content("a").startswith(b"header\0\0")


@pytest.mark.parametrize("is_overwritten", [False, True])
async def test_a_step_goes_as_far_as_the_writer_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_overwritten: bool
) -> None:
    """The thread that follows does not end while bytes are ahead of it; it does when they were changed behind it."""
    monkeypatch.setattr(module, "STEP_BYTES", 1000)
    held, fed = threading.Event(), []
    real = module.feed

    def feed(digest, fd: int, start: int, stop: int, **named) -> int:
        held.wait(10)
        reached = real(digest, fd, start, stop, **named)
        fed.append((start, stop, reached))
        return reached

    monkeypatch.setattr(module, "feed", feed)
    staged = StagedFile.create(tmp_path, lower_size=0)
    follower = staged.follower
    assert follower is not None
    staged.write(0, memoryview(b"x" * 200_000))
    assert follower.is_due(staged.prefix)
    assert not follower.is_due(staged.prefix), "asked for already"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(staged.follow)
        await trio.testing.wait_all_tasks_blocked()
        staged.write(200_000, memoryview(b"y" * 200_000))
        assert not follower.is_due(staged.prefix), "the step that is under way goes there"
        if is_overwritten:
            staged.write(300_000, memoryview(b"z"))
        held.set()
    assert fed == [(0, 200_000, 0 if is_overwritten else 400_000)]
    digest = await follower.result(staged.fd, staged.size)
    assert digest == (None if is_overwritten else hashlib.sha1(b"x" * 200_000 + b"y" * 200_000).hexdigest())
    staged.discard()


async def test_no_part_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer comes further after the thread's last look: another step follows, and no third one."""
    held, fed = threading.Event(), []
    real = module.feed

    def feed(digest, fd: int, start: int, stop: int, **_named) -> int:
        held.wait(10)
        fed.append((start, real(digest, fd, start, stop)))
        return fed[-1][1]

    monkeypatch.setattr(module, "feed", feed)
    staged = StagedFile.create(tmp_path, lower_size=0)
    assert staged.follower is not None
    staged.write(0, memoryview(b"x" * 200_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(staged.follow)
        await trio.testing.wait_all_tasks_blocked()
        staged.write(200_000, memoryview(b"y" * 100_000))
        assert not staged.follower.is_due(staged.prefix)
        held.set()
    assert fed == [(0, 200_000), (200_000, 300_000)]
    staged.discard()


async def test_a_commit_does_not_wait_for_other_writers_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few writers are followed at once; the digest of a file that is to be sent is computed all the same."""
    monkeypatch.setattr(module.Follower.follow, "__kwdefaults__", {"limiter": (limiter := trio.CapacityLimiter(1))})
    staged = StagedFile.create(tmp_path, lower_size=0)
    assert staged.follower is not None
    staged.write(0, memoryview(b"x" * 200_000))
    async with limiter:
        with trio.move_on_after(0.05) as scope:
            await staged.follow()
        assert scope.cancelled_caught, "it waits for a thread"
        assert await staged.follower.result(staged.fd, staged.size) == hashlib.sha1(b"x" * 200_000).hexdigest()
    staged.discard()


def test_staged_prefix(tmp_path: Path) -> None:
    """Only bytes without a gap before them count."""
    staged = StagedFile.create(tmp_path, lower_size=0)
    staged.write(10, memoryview(b"x"))
    assert staged.prefix == 0
    staged.write(0, memoryview(b"x" * 10))
    assert staged.prefix == 11
    staged.discard()
