"""Sessions: what their writers and readers see before, during and after commits."""

from __future__ import annotations

import trio
import trio.testing

from cs3fuse.commit.staging import StagedFile
from cs3fuse.model import ByteRange
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeContent, FakeServer

AT = HOME.child("a.txt")


async def test_new_file_arrives(running: Running, server: FakeServer) -> None:
    """What was written and committed is on the server, and the session is clean."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        assert session.is_dirty
        assert await session.write(0, b"hello") == 5
        assert session.size == 5
        entry = await session.commit()
        assert (entry.size, session.state, session.is_dirty) == (5, "clean", False)
        assert server.content("a.txt") == b"hello"
        session.close()
        assert engine.session_at(AT) is None


async def test_empty_new_file_is_created_at_close(running: Running, server: FakeServer) -> None:
    """A file that was created and not written exists after close."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.commit()
        assert server.content("a.txt") == b""


async def test_overwrite_of_a_few_bytes_fetches_late(running: Running, server: FakeServer, content: FakeContent) -> None:
    """The write returns before the base is fetched; the commit fills what is missing."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(3, b"abc")
        assert content.filled == []
        assert await session.read(0, 100) == b"012abc6789"
        await session.write(10, b"!")
        await session.commit()
    assert server.content("a.txt") == b"012abc6789!"
    assert ByteRange(3, 6) not in content.filled


async def test_truncate_hides_the_base_for_good(running: Running, server: FakeServer) -> None:
    """After shrinking and growing, old bytes do not come back."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.truncate(4)
        await session.truncate(8)
        assert await session.read(0, 100) == b"0123\0\0\0\0"
        await session.commit()
    assert server.content("a.txt") == b"0123\0\0\0\0"


async def test_read_of_a_written_range_touches_nothing(running: Running, server: FakeServer, content: FakeContent) -> None:
    """Bytes that were written are read back without asking the store."""
    base = server.put("a.txt", b"x" * 100)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(10, b"new")
        assert await session.read(10, 3) == b"new"
        assert content.filled == []


async def test_read_only_asks_for_its_own_range(running: Running, server: FakeServer, content: FakeContent) -> None:
    """A read fills the asked range and nothing else."""
    base = server.put("a.txt", b"x" * 100)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"new")
        assert await session.read(1, 5) == b"ewxxx"
        assert content.filled == [ByteRange(3, 6)]


async def test_read_while_a_commit_ends(running: Running, server: FakeServer, content: FakeContent) -> None:
    """A read that waits for base bytes while the staged ones become the base mixes nothing."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(3, b"abc")
        content.during_fill = session.commit
        assert await session.read(0, 100) == b"012abc6789"
        assert not session.is_dirty


async def test_read_while_the_file_changes(running: Running, server: FakeServer, content: FakeContent) -> None:
    """A read that waits for base bytes sees the writes and cuts that came meanwhile."""
    base = server.put("a.txt", b"0123456789")

    async def change() -> None:
        await session.truncate(7)
        await session.write(1, b"X")

    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(3, b"abc")
        content.during_fill = change
        assert await session.read(0, 100) == b"0X2abc6"


async def test_write_during_upload_goes_into_the_next_commit(running: Running, server: FakeServer) -> None:
    """Bytes written while an upload runs are never mixed into it and are not lost."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine, trio.open_nursery() as nursery:
        session = engine.begin(AT, base)
        await session.write(0, b"AAA")
        server.paused = trio.Event()
        nursery.start_soon(session.commit)
        await trio.testing.wait_all_tasks_blocked()
        while session.state != "uploading":
            await trio.testing.wait_all_tasks_blocked(0.01)
        await session.write(5, b"BBB")
        assert await session.read(0, 100) == b"AAA34BBB89"
        server.paused.set()
        server.paused = None
        await session.quiesce()
        assert server.content("a.txt") == b"AAA3456789"
        assert await session.read(0, 100) == b"AAA34BBB89"
        assert session.is_dirty
        await session.commit()
        assert server.content("a.txt") == b"AAA34BBB89"
        assert not session.is_dirty


async def test_two_commits_at_once_upload_once(running: Running, server: FakeServer) -> None:
    """Concurrent fsyncs of the same bytes join."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.commit)
            nursery.start_soon(session.commit)
    assert server.calls.count("upload a.txt") == 1


async def test_cancelled_commit_goes_on(running: Running, server: FakeServer) -> None:
    """A request that is given up does not break the upload off."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"x")
        server.paused = trio.Event()
        with trio.move_on_after(0.05):
            await session.commit()
        server.paused.set()
        await session.quiesce()
        assert server.content("a.txt") == b"x"


async def test_appends_interleave_as_wholes(running: Running, server: FakeServer) -> None:
    """Appends of two handles never overlap."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)

        async def append(letter: bytes) -> None:
            for _ in range(20):
                await session.append(letter * 10)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, b"a")
            nursery.start_soon(append, b"b")
        await session.commit()
    written = server.content("a.txt")
    assert len(written) == 400
    assert {written[at : at + 10] for at in range(0, 400, 10)} == {b"a" * 10, b"b" * 10}


async def test_abandoned_file_is_never_sent(running: Running, server: FakeServer) -> None:
    """After an unlink reads and writes go on, nothing reaches the server, nothing stays in the journal."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"A")
        await session.read(0, 10)
        server.remove("a.txt")
        session.abandon()
        await session.write(1, b"B")
        assert await session.read(0, 10) == b"AB23456789"
        await session.commit()
        session.close()
        assert server.names() == []
        await engine._running.journal.flush()
        assert engine._running.journal.records() == []
        assert list((engine._folder / "staged").iterdir()) == []


async def test_unlinked_while_it_is_being_sealed(running: Running, server: FakeServer, content: FakeContent) -> None:
    """An unlink in the middle of a commit: the record does not come back, and nothing is sent at the next start."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"A")

        async def unlink() -> None:
            server.remove("a.txt")
            session.abandon()

        content.during_fill = unlink
        await session.commit()
        await engine._running.journal.flush()
        assert engine._running.journal.records() == []
        assert await session.read(0, 3) == b"A12"
        session.close()
    assert server.names() == []


async def test_rebound_file_goes_to_its_new_name(running: Running, server: FakeServer) -> None:
    """A file that is renamed while it is open is committed under its new name."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"new")
        server.rename("a.txt", "b.txt")
        session.rebind(HOME.child("b.txt"))
        assert engine.session_at(HOME.child("b.txt")) is session
        if server.profile == "reva":
            session.base = server.entry("b.txt")
        await session.commit()
    assert server.names() == ["b.txt"]
    assert server.content("b.txt") == b"new"


async def test_new_version_never_has_the_time_of_the_old_one(running: Running, server: FakeServer) -> None:
    """Equal time (cp -p) would give two versions one etag on OpenCloud, whatever their sizes: the time is some nanoseconds off."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        for content in (b"new", b"longer"):
            await session.write(0, content)
            before = session.base
            assert before is not None
            assert session.set_mtime(before.mtime_ns)
            entry = await session.commit()
            if server.profile == "opencloud":
                assert entry.mtime_ns != before.mtime_ns
                assert entry.mtime_ns // 1000 == before.mtime_ns // 1000


async def test_slow_disk_is_written_in_a_thread(running: Running, server: FakeServer) -> None:
    """While the disk is slow, writes go through a thread and stay in order."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"12345")
        session._stack.slow_until = trio.current_time() + 100
        async with trio.open_nursery() as nursery:
            for index in range(10):
                nursery.start_soon(session.append, bytes([97 + index]))
        await session.commit()
    assert sorted(server.content("a.txt")[5:]) == sorted(b"abcdefghij")


async def test_closed_dirty_session_is_sent_by_itself(running: Running, server: FakeServer) -> None:
    """Bytes that arrive between flush and release (mmap) are sent without anybody waiting."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"mapped")
        session.close()
        await session.quiesce()
        assert server.content("a.txt") == b"mapped"
        assert engine.sessions() == []


def test_staged_file_sees_through_to_the_base(tmp_path) -> None:
    """Only bytes that were neither written nor cut away come from below."""
    staged = StagedFile.create(tmp_path, lower_size=10)
    staged.write(2, memoryview(b"ab"))
    staged.truncate(6)
    staged.write(8, memoryview(b"z"))
    assert staged.needed_from_below(0, 100) == [ByteRange(0, 2), ByteRange(4, 6)]
    assert staged.size == 9
    staged.discard()
    assert list(tmp_path.iterdir()) == []
