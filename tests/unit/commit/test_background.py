"""Mode "background": close returns when the journal has the bytes, workers send them, and everybody can see what waits."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.errors import ConflictError, UnavailableError
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeServer, NeverArrived, eventually

AT = HOME.child("a.txt")


async def test_close_returns_before_the_server_has_it(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The journal's word counts; ``flush`` waits for the server."""
    server.paused = trio.Event()
    async with running(mode="background") as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"content")
        entry = await session.commit()
        assert entry.size == 7
        session.close()
        assert server.names() == []
        assert session.state in {"queued", "uploading"}
        assert [(item.at, item.size) for item in engine.queue()] == [(AT, 7)]
        assert engine.session_at(AT) is session, "opened again, it shows what was written"
        assert await session.read(0, 100) == b"content"
        server.paused.set()
        assert await engine.flush() == []
        assert server.content("a.txt") == b"content"
        assert engine.queue() == []
        assert engine.sessions() == []


async def test_reopened_while_queued_keeps_its_order(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A file that is written again before it was sent is sent once more, after it."""
    async with running(mode="background") as engine:
        for content in (b"first", b"second", b"third"):
            session = engine.begin(AT, None, created=True)
            await session.truncate(0)
            await session.write(0, content)
            await session.commit()
            session.close()
        await engine.flush()
        assert server.content("a.txt") == b"third"
        sent = [content for rel, content in server.history if rel == "a.txt"]
        assert sent == sorted(sent, key=[b"first", b"second", b"third"].index), "never an older one over a newer one"
        assert server.names() == ["a.txt"]


async def test_uploads_run_in_parallel_up_to_the_limit(running: Running, server: FakeServer, clock: MockClock) -> None:
    """N workers, not one and not all."""
    server.paused = trio.Event()
    async with running(mode="background", workers=3) as engine:
        for index in range(8):
            session = engine.begin(HOME.child(f"f{index}"), None, created=True)
            await session.write(0, b"x")
            await session.commit()
            session.close()
        await eventually(lambda: sum(item.state == "uploading" for item in engine.queue()) == 3)
        await trio.sleep(10)
        assert sum(item.state == "uploading" for item in engine.queue()) == 3
        server.paused.set()
        assert await engine.flush() == []
    assert len(server.names()) == 8


async def test_full_queue_makes_close_wait(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The queue is bounded: a writer that is faster than the server waits at close."""
    server.paused = trio.Event()
    closed = []

    async def save(index: int, engine) -> None:
        session = engine.begin(HOME.child(f"f{index}"), None, created=True)
        await session.write(0, b"x")
        await session.commit()
        session.close()
        closed.append(index)

    async with running(mode="background", queue_bound=2) as engine, trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(save, index, engine)
            await trio.sleep(1)
        await eventually(lambda: sorted(closed) == [0, 1])
        await trio.sleep(10)
        assert sorted(closed) == [0, 1]
        server.paused.set()
        await eventually(lambda: sorted(closed) == [0, 1, 2, 3])


async def test_outage_is_no_error_at_close(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The server is away: close succeeds, flush says what is left, the next life sends it."""
    server.down = UnavailableError("unreachable")
    async with running(mode="background", retry=RetryPolicy(budget_s=1)) as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"content")
        await session.commit()
        session.close()
        left = await engine.flush()
        assert [(item.at, item.reason) for item in left] == [(AT, "unreachable")]
    server.down = None
    async with running() as engine:
        report = await engine.recover()
        assert report.committed == [AT]
    assert server.content("a.txt") == b"content"


async def test_conflict_in_the_background_is_told_at_the_next_chance(
    running: Running, server: FakeServer, clock: MockClock
) -> None:
    """Close had succeeded: the copy and the list tell of the conflict, and so does the next fsync of a handle that is still open."""
    base = server.put("a.txt", b"old")
    async with running(mode="background") as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"ours")
        server.put("a.txt", b"theirs")
        await session.commit()
        await session.quiesce()
        assert len(engine.conflicts()) == 1
        with pytest.raises(ConflictError):
            await session.commit()
        session.close()
    assert sorted(server.content(name) for name in server.names()) == [b"ours", b"theirs"]


async def test_flush_of_a_folder_leaves_others(running: Running, server: FakeServer, clock: MockClock) -> None:
    """``flush PATH`` waits for what is below it."""
    server.directories |= {"one", "two"}
    async with running(mode="background", retry=RetryPolicy(budget_s=1)) as engine:
        server.down = UnavailableError("unreachable")
        for rel in ("one/a", "two/b"):
            session = engine.begin(HOME.child(rel), None, created=True)
            await session.write(0, b"x")
            await session.commit()
            session.close()
        await engine.flush()
        server.down = None
        assert await engine.flush(HOME.child("one")) == []
        assert server.names() == ["one/a"]


async def test_unclosed_file_is_not_flushed(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A file that a program is still writing is its own business."""
    async with running(mode="background") as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"half")
        assert await engine.flush() == []
        assert server.names() == []
        assert engine.queue()[0].state == "dirty"


async def test_why_it_is_not_there_yet_is_known_while_it_is_tried(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The queue has the last reason and the number of failures during the retries of one commit, not only between commits."""
    async with running(mode="background", retry=RetryPolicy(budget_s=300)) as engine:
        server.paused = trio.Event()
        server.faults["upload"].append(NeverArrived())
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"x")
        await session.commit()
        session.close()
        await wait_all_tasks_blocked()
        [item] = engine.queue()
        assert (item.attempts, item.reason) == (0, "")
        server.down = UnavailableError("unreachable")
        server.paused.set()
        seen = []
        for _ in range(3):
            await trio.sleep(20)
            [item] = engine.queue()
            seen.append(item.attempts)
            assert (item.state, item.reason) == ("uploading", "unreachable")
        assert 0 < seen[0] < seen[1] < seen[2]
        server.down = None
        assert await engine.flush() == []
        assert (session.tries, session.trouble) == (0, "")
