"""Every operation is cancelled at each of its checkpoints in turn: nothing stays held, nothing written before is lost."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cs3fuse.commit.engine import CommitEngine
from cs3fuse.commit.session import WriteSession
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeContent, FakeServer

AT = HOME.child("a.txt")
BASE = b"0123456789"
Work = Callable[[CommitEngine, WriteSession], Awaitable[object]]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when a task has been resumed ``steps`` times."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, steps: int) -> None:
        self._task = task
        self._scope = scope
        self._left = steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def cancelled_at(steps: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Run ``work`` and cancel it before its n-th step. Returns whether it came to that."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(trio.lowlevel.current_task(), scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            if steps == 0:
                scope.cancel()
            await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancel_called


WORKS: dict[str, Work] = {
    "first write": lambda _, session: session.write(2, b"AB"),
    "slow write": lambda _, session: _slow(session).write(2, b"AB"),
    "append": lambda _, session: session.append(b"AB"),
    "truncate": lambda _, session: session.truncate(5),
    "read": lambda _, session: session.read(0, 100),
    "commit": lambda _, session: session.commit(),
    "flush": lambda engine, _: engine.flush(),
    "quiesce": lambda _, session: session.quiesce(),
}


def _slow(session: WriteSession) -> WriteSession:
    session._stack.slow_until = trio.current_time() + 1000
    return session


@pytest.mark.parametrize("name", WORKS)
async def test_cancelled_at_each_checkpoint(
    running: Running, server: FakeServer, content: FakeContent, name: str, clock: MockClock
) -> None:
    """Afterwards the session reads, writes and commits as if nothing had been, and what was written before is on the server."""
    was_cancelled, steps = True, 0
    while was_cancelled:
        base = server.put("a.txt", BASE)
        async with running() as engine:
            session = engine.begin(AT, base)
            if name != "first write":
                await session.write(0, b"X")
            was_cancelled = await cancelled_at(steps, partial(WORKS[name], engine, session))
            await session.quiesce()
            await session.write(4, b"Z")
            seen = await session.read(0, 100)
            assert seen[4:5] == b"Z"
            assert seen[0:1] == (b"0" if name == "first write" else b"X")
            await session.commit()
            assert server.content("a.txt") == seen
            session.close()
            assert engine.sessions() == []
            await engine._running.journal.flush()
            assert engine._running.journal.records() == []
            assert list((engine._folder / "staged").iterdir()) == []
        steps += 1
    assert steps >= 1


@pytest.mark.parametrize("bound", [1000, 0], ids=["uploaded", "moved"])
async def test_rename_cancelled_at_each_checkpoint(running: Running, server: FakeServer, bound: int, clock: MockClock) -> None:
    """The rename happens whole, or not at all."""
    was_cancelled, steps = True, 0
    while was_cancelled:
        destination, source = server.put("a.txt", BASE), server.put("tmp", b"new")
        async with running(replace_upload_bound=bound) as engine:
            was_cancelled = await cancelled_at(steps, partial(engine.replace, HOME.child("tmp"), source, AT, destination))
            await trio.sleep(100)
            assert server.names() in (["a.txt"], ["a.txt", "tmp"])
            assert server.content("a.txt") == (b"new" if server.names() == ["a.txt"] else BASE)
            assert engine._running.journal.records() == []
        if "tmp" in server.files:
            server.remove("tmp")
        steps += 1
    assert steps >= 1


async def test_recovery_cancelled_at_each_checkpoint(running: Running, server: FakeServer, clock: MockClock) -> None:
    """What was not replayed stays in the journal, or goes on in the background."""
    was_cancelled, steps = True, 0
    while was_cancelled:
        base = server.put("a.txt", BASE)
        server.paused = trio.Event()
        async with running() as engine:
            session = engine.begin(AT, base)
            await session.truncate(0)
            await session.write(0, b"sealed")
            session.ask()
            await trio.sleep(1)
        server.paused = None
        async with running() as engine:
            was_cancelled = await cancelled_at(steps, engine.recover)
            await trio.sleep(100)
        async with running() as engine:
            await engine.recover()
            assert server.content("a.txt") == b"sealed"
            assert engine._running.journal.records() == []
        steps += 1
    assert steps >= 1


async def test_first_write_cancelled_in_somebody_elses_transaction(
    running: Running, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is stored with theirs and the staged file is gone: the record is taken back, not found at the next start."""
    held = threading.Event()
    async with running() as engine:
        journal = engine._running.journal
        real = journal._transaction

        def slow(batch: Sequence[object]) -> None:
            held.wait(10)
            real(batch)  # type: ignore[arg-type]

        kept, given_up = (engine.begin(HOME.child(name), server.put(name, BASE)) for name in ("kept", "given up"))
        await journal._turn.acquire()
        monkeypatch.setattr(journal, "_transaction", slow)
        scope = trio.CancelScope()

        async def write() -> None:
            with scope:
                await given_up.write(0, b"x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.write, 0, b"x")  # gets the turn first, and takes what waits with it
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            journal._turn.release()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            held.set()
        assert scope.cancelled_caught
        await journal.flush()
    async with running() as engine:
        assert [record.at for record in engine._running.journal.records()] == [HOME.child("kept")]
        report = await engine.recover()
        assert report.unfinished == [HOME.child("kept")]
        assert [record.at for record in engine._running.journal.records()] == [HOME.child("kept")]
