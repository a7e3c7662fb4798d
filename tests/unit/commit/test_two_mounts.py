"""Two mounts and a third client on one file, in every order that hypothesis thinks of, with faults and kills.

The promise: what was acknowledged was on the server at that moment, whatever was committed is on the server in the end (under its name,
as a version that its successor had seen, or as a conflict copy), and nobody puts bytes over a version that he did not know.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.engine import CommitEngine, EngineOptions
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import ConflictError, Cs3FuseError, StaleError, UnavailableError
from tests.support.clocks import jumping_clock
from tests.unit.commit.fakes import HOME, MEMORY, PROFILES, FakeContent, FakeServer, LostAnswer, NeverArrived, Reset

AT = HOME.child("a.txt")
BASE = b"the content from which everything starts"


class Mount:
    """One engine on a folder of its own; it can be killed and comes back with the same folder."""

    def __init__(self, server: FakeServer, folder: Path, number: int, nursery: trio.Nursery) -> None:
        self._server = server
        self._folder = folder / f"mount-{number}"
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._dead = trio.Event()
        self.session: WriteSession | None = None
        self.written: bytes | None = None
        self.engine = self._new()

    def _new(self) -> CommitEngine:
        patient = RetryPolicy(budget_s=1e6)  # the clock of these tests runs ahead of the threads
        return CommitEngine(
            self._server,
            self._server,
            FakeContent(self._server),
            CapabilityBook(),
            state_folder=self._folder,
            identity="server|einstein",
            username="einstein",
            options=EngineOptions(retry=patient, recovery_retry=patient),
        )

    async def start(self) -> None:
        self._scope, self._dead = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._live)
        await self.engine.recover()

    async def _live(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._scope:
            await self.engine.run(task_status=task_status)
        self._dead.set()

    async def kill(self) -> None:
        self._scope.cancel()
        await self._dead.wait()
        self.session, self.written = None, None

    async def restart(self) -> None:
        await self.kill()
        self.engine = self._new()
        await self.start()

    async def open(self) -> None:
        if self.session is None:
            found = self._server.entry("a.txt") if "a.txt" in self._server.files else None
            self.session = self.engine.begin(AT, found, created=found is None)

    async def write(self, content: bytes, offset: int | None) -> None:
        await self.open()
        assert self.session is not None
        if offset is None:
            await self.session.truncate(0)
            await self.session.write(0, content)
        else:
            await self.session.write(offset, content)
        self.written = content

    async def close(self) -> None:
        if self.session is not None:
            self.session.close()
            await self.session.quiesce()
        self.session, self.written = None, None


MOUNTS = st.integers(0, 1)
STEP = st.one_of(
    st.tuples(st.just("open"), MOUNTS, st.none()),
    st.tuples(st.just("write"), MOUNTS, st.none() | st.integers(0, 60)),
    st.tuples(st.just("commit"), MOUNTS, st.none()),
    st.tuples(st.just("close"), MOUNTS, st.none()),
    st.tuples(st.just("kill"), MOUNTS, st.none()),
    st.tuples(st.just("other writes"), st.just(0), st.none()),
    st.tuples(st.just("other deletes"), st.just(0), st.none()),
    st.tuples(st.just("fault"), st.integers(0, 5), st.none()),
)


@pytest.mark.parametrize("profile", PROFILES)
def test_random_interleavings(profile: str) -> None:
    """Two hundred of them."""

    @given(steps=st.lists(STEP, min_size=4, max_size=18))
    @settings(max_examples=200, deadline=None)
    def interleave(steps: list[tuple[str, int, int | None]]) -> None:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            trio.run(_play, profile, Path(folder), steps, clock=jumping_clock())

    interleave()


async def _play(profile: str, folder: Path, steps: list[tuple[str, int, int | None]]) -> None:
    server = FakeServer(profile)
    server.put("a.txt", BASE)
    committed: set[bytes] = set()
    async with trio.open_nursery() as nursery:
        mounts = [Mount(server, folder, number, nursery) for number in range(2)]
        await _steps(server, mounts, steps, committed)
    assert server.silently_overwritten == []
    arrived = b"\n".join(content for _, content in server.history)
    for content in committed:
        assert content in arrived, f"{content!r} was committed and is nowhere on the server"


async def _steps(server: FakeServer, mounts: list[Mount], steps: list[tuple[str, int, int | None]], committed: set[bytes]) -> None:
    numbers = itertools.count()
    for mount in mounts:
        await mount.start()
    for kind, which, value in steps:
        mount = mounts[which % 2]
        if kind == "open":
            await mount.open()
        elif kind == "write":
            await mount.write(b"<%d by %d>" % (next(numbers), which), value)
        elif kind == "commit":
            await _commit(mount, server, committed)
        elif kind == "close":
            await _commit(mount, server, committed)
            await mount.close()
        elif kind == "kill":
            await mount.restart()
        elif kind == "other writes":
            content = b"<%d by another>" % next(numbers)
            server.put("a.txt", content)
        elif kind == "other deletes" and "a.txt" in server.files:
            server.remove("a.txt")
        elif kind == "fault":
            server.faults["upload"].append(
                [Reset(0), Reset(6), Reset(99), LostAnswer(), NeverArrived(), UnavailableError("x")][which]
            )
    server.faults.clear()
    for mount in mounts:
        await _commit(mount, server, committed)
        await mount.close()
        await mount.restart()
        left = await mount.engine.flush()
        # Some bytes written into a version that is gone from everywhere are no file: they stay here, and the queue says so.
        assert all(item.state == "failed" and "is another version now" in item.reason for item in left), left
        assert len(mount.engine._running.journal.records()) == len(left) + len(mount.engine.unfinished())
        await mount.kill()


async def _commit(mount: Mount, server: FakeServer, committed: set[bytes]) -> None:
    if mount.session is None:
        return
    mine = mount.written
    try:
        await mount.session.commit()
    except ConflictError:
        pass
    except StaleError:
        return  # the base went away and the written ranges alone are no file: kept in the journal
    except Cs3FuseError as exc:
        raise AssertionError(f"not settled: {exc}") from exc
    else:
        if mine is not None:
            assert mine in server.content("a.txt"), "acknowledged, and not on the server"
    if mine is not None:
        committed.add(mine)
    mount.written = None
