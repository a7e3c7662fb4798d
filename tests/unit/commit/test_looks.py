"""Many uploads are looked at with one listing: who waits for whom, how long, and what a listing does not answer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit import protocol, sender
from cs3fuse.commit.looks import LISTED_FROM, MANY, NAMES_PER_LOOK, PATIENCE_S, Looks
from cs3fuse.commit.records import RecordState
from cs3fuse.commit.staging import StagedFile
from cs3fuse.errors import ConflictError, Cs3FuseError, NotFoundError, UnavailableError
from cs3fuse.model import Checksum, Entry, Kind, Location
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeServer, LostAnswer, eventually

FOLDER = HOME.child("folder")


class Tree:
    """A folder whose listing can be held, fail, and leave names out. ``calls`` has the arguments of all calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.names: dict[str, int] = {}
        self.left_out: set[str] = set()
        self.failure: Cs3FuseError | None = None
        self.held: trio.Event | None = None

    async def stat(self, at: Location) -> Entry:
        self.calls.append(f"stat {at.name}")
        await trio.lowlevel.checkpoint()
        if at.name not in self.names:
            raise NotFoundError("not there", path=str(at))
        return Entry(at.name, Kind.FILE, size=self.names[at.name])

    async def list(self, at: Location) -> Sequence[Entry]:
        self.calls.append(f"list {at.name}")
        entries = [Entry(name, Kind.FILE, size=size) for name, size in self.names.items() if name not in self.left_out]
        await trio.lowlevel.checkpoint()
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure
        return entries


class World:
    """Looks over a ``Tree``, and the answers that came, with their times."""

    def __init__(self, nursery: trio.Nursery, known: int | None = 0) -> None:
        self.tree = Tree()
        self.known = known
        self.nursery = nursery
        self.looks = Looks(self.tree, start=self._start, names_in=lambda _at: self.known)  # type: ignore[arg-type]
        self.answers: dict[str, Entry | Cs3FuseError] = {}
        self.times: dict[str, float] = {}

    def _start(self, job: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(job)

    async def uploaded(self, name: str, size: int = 1, *, folder: Location = FOLDER) -> None:
        """Another commit has come as far as its look; it ends with it."""
        self.tree.names[name] = size
        with self.looks.commit_under_way():
            try:
                self.answers[name] = await self.looks.stat(folder.child(name))
            except Cs3FuseError as error:
                self.answers[name] = error
            self.times[name] = trio.current_time()


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_one_listing_answers_all(autojump_clock: MockClock, is_awaited: bool) -> None:
    """Each gets the entry of its own file; as soon as everybody who is under way has come as far, if somebody waits for all."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        begun = trio.current_time()
        for number in range(10):
            nursery.start_soon(world.uploaded, f"f{number}", number)
        if is_awaited:
            await trio.testing.wait_all_tasks_blocked()
            with world.looks.awaited():
                await trio.testing.wait_all_tasks_blocked()
    assert world.tree.calls == ["list folder"]
    assert {name: entry.size for name, entry in world.answers.items()} == {f"f{number}": number for number in range(10)}  # type: ignore[union-attr]
    assert trio.current_time() == pytest.approx(begun + (0 if is_awaited else PATIENCE_S))


async def test_patience_returns(autojump_clock: MockClock) -> None:
    """When nobody waits for all any more."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        with world.looks.awaited():
            pass
        begun = trio.current_time()
        nursery.start_soon(world.uploaded, "f")
    assert trio.current_time() == pytest.approx(begun + PATIENCE_S)


async def test_few_are_looked_at_one_by_one(autojump_clock: MockClock) -> None:
    """A listing costs more than that."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for number in range(LISTED_FROM - 1):
            nursery.start_soon(world.uploaded, f"f{number}")
    assert sorted(world.tree.calls) == [f"stat f{number}" for number in range(LISTED_FROM - 1)]


@pytest.mark.parametrize("known", [None, NAMES_PER_LOOK * MANY + 1], ids=["unknown", "large"])
async def test_folders_that_may_be_large_are_not_listed(autojump_clock: MockClock, known: int | None) -> None:
    """Nor does anybody wait there."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, known)
        with world.looks.commit_under_way():
            async with trio.open_nursery() as uploads:
                for number in range(10):
                    uploads.start_soon(world.uploaded, f"f{number}")
    assert sorted(world.tree.calls) == [f"stat f{number}" for number in range(10)]
    assert set(world.times.values()) == {trio.current_time()}


async def test_a_folder_is_listed_for_enough_looks_only(autojump_clock: MockClock) -> None:
    """Ten looks do not pay for a listing of a folder with hundreds of names."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, NAMES_PER_LOOK * 10 + 1)
        for number in range(10):
            nursery.start_soon(world.uploaded, f"f{number}")
    assert sorted(world.tree.calls) == [f"stat f{number}" for number in range(10)]


async def test_it_waits_for_others_but_not_long(autojump_clock: MockClock) -> None:
    """While another upload is under way, the looks wait for it; for a while."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        begun = trio.current_time()
        with world.looks.awaited(), world.looks.commit_under_way():  # a large file, say
            async with trio.open_nursery() as uploads:
                for number in range(LISTED_FROM):
                    uploads.start_soon(world.uploaded, f"f{number}")
                    await trio.sleep(PATIENCE_S / 10)
    assert world.tree.calls == ["list folder"]
    assert list(world.times.values()) == pytest.approx([begun + PATIENCE_S] * LISTED_FROM)


async def test_many_do_not_wait(autojump_clock: MockClock) -> None:
    """So many are worth a listing of their own."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        begun = trio.current_time()
        with world.looks.commit_under_way():
            async with trio.open_nursery() as uploads:
                for number in range(MANY):
                    uploads.start_soon(world.uploaded, f"f{number}")
        assert trio.current_time() == begun
    assert world.tree.calls == ["list folder"]


async def test_whoever_ends_is_not_waited_for(autojump_clock: MockClock) -> None:
    """The last commit that did not wait for a look fails: the others are answered then."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        begun = trio.current_time()
        with ExitStack() as other:
            nursery.cancel_scope.deadline = trio.current_time() + 1
            other.enter_context(world.looks.awaited())
            under_way = other.enter_context(ExitStack())
            under_way.enter_context(world.looks.commit_under_way())
            for number in range(LISTED_FROM):
                nursery.start_soon(world.uploaded, f"f{number}")
            await trio.sleep(PATIENCE_S / 4)
            under_way.close()
            await trio.testing.wait_all_tasks_blocked()
    assert list(world.times.values()) == pytest.approx([begun + PATIENCE_S / 4] * LISTED_FROM)


async def test_a_name_that_the_listing_lacks_is_asked_for(autojump_clock: MockClock) -> None:
    """Listings leave out what they cannot describe: that is no proof that it is gone."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.tree.left_out = {"f1"}
        for number in range(5):
            nursery.start_soon(world.uploaded, f"f{number}", number)
    assert world.tree.calls == ["list folder", "stat f1"]
    assert world.answers["f1"] == Entry("f1", Kind.FILE, size=1)


async def test_a_listing_that_fails_is_no_failure(autojump_clock: MockClock) -> None:
    """Each asks for its own file and is told what is the matter with that."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.tree.failure = UnavailableError("away")
        for number in range(5):
            nursery.start_soon(world.uploaded, f"f{number}")
        await trio.testing.wait_all_tasks_blocked()
    assert world.tree.calls[0] == "list folder"
    assert sorted(world.tree.calls[1:]) == [f"stat f{number}" for number in range(5)]
    assert all(isinstance(answer, Entry) for answer in world.answers.values())


async def test_a_listing_that_began_earlier_is_no_answer(autojump_clock: MockClock) -> None:
    """What was uploaded while it was on its way waits for the next one."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        world.tree.held = trio.Event()
        await nursery.start(lambda task_status: waits_for_all(world, 10, task_status))
        for number in range(5):
            nursery.start_soon(world.uploaded, f"f{number}", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert world.tree.calls == ["list folder"]
        for number in range(5):  # uploaded anew, say
            nursery.start_soon(world.uploaded, f"g{number}", 2)
        world.tree.names |= {f"f{number}": 3 for number in range(5)}
        await trio.testing.wait_all_tasks_blocked()
        world.tree.held.set()
    assert world.tree.calls == ["list folder", "list folder"]
    assert {answer.size for name, answer in world.answers.items() if name.startswith("g")} == {2}  # type: ignore[union-attr]


async def waits_for_all(world: World, count: int, task_status: trio.TaskStatus[None]) -> None:
    """As a flush does."""
    with world.looks.awaited():
        task_status.started()
        while len(world.answers) < count:  # noqa: ASYNC110 - on a mock clock
            await trio.sleep(PATIENCE_S)


async def test_a_folder_that_others_filled_is_not_listed_again(autojump_clock: MockClock) -> None:
    """What the caller knows of it is old: the listing that showed it was one too many, and the last."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, 0)
        world.tree.names |= {f"other{number}": 1 for number in range(NAMES_PER_LOOK * MANY + 1)}
        for turn in range(2):
            async with trio.open_nursery() as uploads:
                for number in range(10):
                    uploads.start_soon(world.uploaded, f"f{turn}-{number}")
    assert world.tree.calls[0] == "list folder"
    assert sorted(world.tree.calls[1:]) == [f"stat f1-{number}" for number in range(10)]


async def test_hurried(autojump_clock: MockClock) -> None:
    """Somebody wants a file now: its folder's looks are answered, others wait on."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        begun = trio.current_time()
        nursery.start_soon(world.uploaded, "f")
        nursery.start_soon(lambda: world.uploaded("g", folder=HOME.child("other")))
        await trio.testing.wait_all_tasks_blocked()
        world.looks.hurry(FOLDER.child("f"))
        world.looks.hurry(HOME.child("nowhere").child("h"))
    assert world.times == {"f": begun, "g": pytest.approx(begun + PATIENCE_S)}


async def test_folders_are_listed_apart(autojump_clock: MockClock) -> None:
    """Of each folder what was uploaded there."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        for number in range(LISTED_FROM):
            nursery.start_soon(world.uploaded, f"f{number}")
            nursery.start_soon(lambda n=number: world.uploaded(f"g{n}", folder=HOME.child("other")))
    assert sorted(world.tree.calls) == ["list folder", "list other"]
    assert len(world.answers) == 2 * LISTED_FROM


async def test_cancelled_alone(autojump_clock: MockClock) -> None:
    """Whoever gives up leaves the others their answer, and nobody waits for it."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        scope = trio.CancelScope()

        async def given_up() -> None:
            with scope:
                await world.uploaded("given up")

        nursery.start_soon(given_up)
        with world.looks.commit_under_way():
            for number in range(LISTED_FROM):
                nursery.start_soon(world.uploaded, f"f{number}")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert world.tree.calls == ["list folder"]
    assert set(world.answers) == {f"f{number}" for number in range(LISTED_FROM)}


# In the engine


async def look_once(engine, server: FakeServer) -> None:
    """The first upload is looked at by itself, and tells of the storage; then the server is as it was."""
    session = engine.begin(HOME.child("first"), None, created=True)
    await session.write(0, b"x")
    await session.commit(to_server=True)
    session.close()
    assert "list " not in server.calls
    server.remove("first")
    server.calls.clear()
    server.history.clear()


async def one_under_way(engine, server: FakeServer) -> trio.Event:
    """An upload that ends when the event is set; those that begin later do not wait for it."""
    await look_once(engine, server)
    held = server.paused = trio.Event()
    await save_all(engine, 1)
    await eventually_uploading(engine)
    server.paused = None
    return held


async def save_all(engine, count: int) -> None:
    for number in range(count):
        session = engine.begin(HOME.child(f"f{number:02}"), None, created=True)
        await session.write(0, b"content %d" % number)
        await session.commit()
        session.close()


async def test_the_background_lists(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Forty small files that wait for the server: each is looked at before its upload, two listings come after."""
    async with running(mode="background", names_in=lambda _at: len(server.files)) as engine:
        await look_once(engine, server)
        server.paused = trio.Event()
        await save_all(engine, 40)
        server.paused.set()
        begun = trio.current_time()
        assert await engine.flush() == []
        assert trio.current_time() == begun, "whoever waits for the server does not wait for more"
        assert engine.sessions() == []
        assert engine._running.journal.records() == []
    assert {name: server.content(name) for name in server.names()} == {f"f{n:02}": b"content %d" % n for n in range(40)}
    assert sorted(call for call in server.calls if call.startswith("stat")) == [f"stat f{n:02}" for n in range(40)]
    assert server.calls.count("list ") == 2, "of the first MANY, and of the rest"


async def test_somebody_elses_version_in_the_listing_is_a_conflict(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Between the upload and the look: what the listing shows is judged as what a Stat shows."""
    async with running(mode="background", names_in=lambda _at: len(server.files)) as engine:
        await look_once(engine, server)
        server.paused = trio.Event()
        await save_all(engine, 8)
        server.before["list"].append(lambda: server.put("f02", b"somebody else's, and longer"))
        server.paused.set()
        await engine.flush()
        assert "list " in server.calls
        conflicts = engine.conflicts()
    assert server.content("f02") == b"somebody else's, and longer"
    assert [conflict.at for conflict in conflicts] == [HOME.child("f02")]
    assert server.content(conflicts[0].copy_at.name) == b"content 2"


async def test_who_waits_does_not_wait_for_others(running: Running, server: FakeServer, clock: MockClock) -> None:
    """fsync in the background mode, and every close in the other, is answered by a look of its own, at once."""
    async with running(mode="background", names_in=lambda _at: 0, workers=2) as engine:
        held = await one_under_way(engine, server)
        session = engine.begin(HOME.child("synced"), None, created=True)
        await session.write(0, b"content")
        begun = trio.current_time()
        await session.commit(to_server=True)
        assert trio.current_time() == begun
        assert "stat synced" in server.calls
        session.close()
        held.set()
        await engine.flush()


async def test_unlink_and_rename_do_not_wait_for_others(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Whoever renames or removes a file that is being sent, or saves by replacement, waits for that file alone."""
    old = server.put("kept", b"old content")
    async with running(mode="background", names_in=lambda _at: 0, workers=2) as engine:
        held = await one_under_way(engine, server)
        begun = trio.current_time()
        session = engine.begin(HOME.child("removed"), None, created=True)
        await session.write(0, b"content")
        await session.commit()
        await session.quiesce()
        assert not session.is_busy
        assert trio.current_time() == begun
        for number, wait in enumerate((lambda s: s.quiesce(), lambda s: s.commit(to_server=True))):
            late = engine.begin(HOME.child(f"late{number}"), None, created=True)
            await late.write(0, b"content")
            await late.commit()
            await trio.testing.wait_all_tasks_blocked()  # its look waits for others by now
            assert late.is_busy
            await wait(late)
            assert trio.current_time() == begun
            late.close()
        source = server.put("kept.tmp", b"new content")
        await engine.replace(HOME.child("kept.tmp"), source, HOME.child("kept"), old)
        assert trio.current_time() == begun
        session.close()
        held.set()
        await engine.flush()
    assert server.content("kept") == b"new content"


@pytest.mark.parametrize("trouble", ["deleted", "overwritten"])
async def test_uploads_that_follow_wait_for_their_turn(
    running: Running, server: FakeServer, clock: MockClock, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes or overwrites what was uploaded before it is looked at: it, or its copy, is sent in a turn of its own."""
    real, at_once, most = server.upload, 0, 0

    async def counted(*args: object, **named: object) -> str | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await trio.sleep(0.01)
            return await real(*args, **named)  # type: ignore[arg-type]
        finally:
            at_once -= 1

    def interfere() -> None:
        for name in server.names():
            if trouble == "deleted":
                server.remove(name)
            else:
                server.put(name, b"somebody else's, and longer")

    monkeypatch.setattr(server, "upload", counted)
    async with running(mode="background", names_in=lambda _at: 0, workers=2) as engine:
        await look_once(engine, server)
        most = 0
        server.before["list"].append(interfere)
        await save_all(engine, 8)
        await engine.flush()
        assert "list " in server.calls
        assert len(engine.conflicts()) == (8 if trouble == "overwritten" else 0)
    sent = [content for name, content in server.history if content.startswith(b"content")]
    assert sorted(sent) == sorted(b"content %d" % number for number in range(8) for _ in range(2))
    assert most == 2


async def test_only_the_next_one_is_called_uploading(
    running: Running, server: FakeServer, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what waits for its turn nothing can be on the server: the journal must not say that it may."""
    async with running(mode="background", workers=2) as engine:
        server.paused = trio.Event()
        await save_all(engine, 1)
        await eventually_uploading(engine)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                session = engine.begin(HOME.child(f"f{number}"), None, created=True)
                await session.write(0, b"content")
                nursery.start_soon(session.commit)
        states = sorted(record.state.value for record in engine._running.journal.records())
        assert states == ["sealed", "sealed", "uploading", "uploading"]
        server.paused.set()
        assert await engine.flush() == []


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("change", ["renamed", "touched"])
async def test_renamed_or_touched_while_it_is_synced(
    running: Running, server: FakeServer, tmp_path: Path, change: str, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the journal says when close returns is where the file is, and its time; a large one is synced in nobody's turn."""
    held, syncs = threading.Event(), []
    monkeypatch.setattr(sender, "SYNCED_IN_TURN_BYTES", 3 if is_large else 100)
    async with running(mode="background") as engine:
        monkeypatch.setattr(StagedFile, "sync", lambda _self: syncs.append((engine._running.journal._turn.locked(), held.wait(10))))
        server.paused = trio.Event()
        session = engine.begin(HOME.child("before").child("f"), None, created=True)
        await session.write(0, b"content")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.commit)
            while not engine._running.journal._turn.locked() and not is_large:  # noqa: ASYNC110 - it is in a thread
                await trio.sleep(0.001)
            await trio.sleep(0.02)
            if change == "renamed":
                engine.moved_below(HOME.child("before"), HOME.child("after"))
            else:
                assert session.set_mtime(12345)
            held.set()
        with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite")) as database:
            ((at, mtime_ns, state),) = database.execute("SELECT at, mtime_ns, state FROM commits").fetchall()
    assert ("after" in at) == (change == "renamed")
    assert (mtime_ns == 12345) == (change == "touched")
    assert state == "uploading"
    assert syncs == [(not is_large, True)], "once"


@pytest.mark.parametrize("mode", ["close", "background"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "overwrite"])
async def test_what_is_synced_before_it_is_called_safe(
    running: Running, server: FakeServer, clock: MockClock, mode: str, is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal never says "sealed" of bytes that a power loss would take; nothing is synced that the server alone promises."""
    synced: list[list[RecordState]] = []
    base = None if is_new else server.put("f", b"old")
    async with running(mode=mode) as engine:
        monkeypatch.setattr(
            StagedFile, "sync", lambda _self: synced.append([record.state for record in engine._running.journal.records()])
        )
        session = engine.begin(HOME.child("f"), base, created=is_new)
        await session.write(0, b"content")
        await session.commit()
        session.close()
        await engine.flush()
    assert synced == ([] if mode == "close" and is_new else [[RecordState.DIRTY]])


async def test_a_listing_that_shows_something_else_is_not_believed(
    running: Running, server: FakeServer, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reva's listings show a link where Stat shows what it leads to; others may lack the checksum that a Stat has: a Stat decides."""
    real = server.list
    shown: list[Entry] = []
    others: dict[str, dict[str, Any]] = {
        "f01": {"size": 7},
        "f02": {"checksum": None},
        "f03": {"checksum": Checksum("adler32", "00000001")},
        "f04": {"checksum": Checksum("sha1", "0" * 40)},
        "f05": {"kind": Kind.DIRECTORY},
    }

    async def list_links(at: Location) -> Sequence[Entry]:
        entries = [replace(entry, **others.get(entry.name, {})) for entry in await real(at)]
        shown.extend(entries)
        return entries

    monkeypatch.setattr(server, "list", list_links)
    async with running(mode="background", names_in=lambda _at: 0) as engine:
        await look_once(engine, server)
        server.paused = trio.Event()
        await save_all(engine, 7)
        server.paused.set()
        assert await engine.flush() == []
        assert engine.conflicts() == []
    assert len(shown) == 7
    after = [call for call in server.calls[server.calls.index("list ") :] if call.startswith("stat")]
    has_checksums = server.profile == "opencloud"
    assert sorted(after) == [f"stat f{number:02}" for number in range(1, 6) if number != 2 or has_checksums]
    assert {name: server.content(name) for name in server.names()} == {f"f{n:02}": b"content %d" % n for n in range(7)}


async def test_large_files_are_looked_at_by_themselves(
    running: Running, server: FakeServer, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is gained by waiting there."""
    monkeypatch.setattr(protocol, "SHARED_BYTES", 3)
    async with running(mode="background", names_in=lambda _at: 0) as engine:
        await look_once(engine, server)
        server.paused = trio.Event()
        await save_all(engine, 8)
        server.paused.set()
        await engine.flush()
    assert "list " not in server.calls


async def test_the_first_look_of_a_root_is_a_stat(
    running: Running, server: FakeServer, clock: MockClock, book: CapabilityBook
) -> None:
    """It tells whether the storage has checksums, and a listing must say as much."""
    async with running(mode="background", names_in=lambda _at: 0) as engine:
        server.paused = trio.Event()
        await save_all(engine, 8)
        server.paused.set()
        await engine.flush()
    stats = sum(call.startswith("stat") for call in server.calls)
    assert 8 + 1 <= stats <= 8 + 4, "one before each upload, one after each of the first ones, which ran at once"
    assert "list " in server.calls
    assert book.of("store").checksums is (server.profile == "opencloud")


async def eventually_uploading(engine) -> None:
    await eventually(lambda: any(item.state == "uploading" for item in engine.queue()))
    await trio.testing.wait_all_tasks_blocked()


async def test_upload_slots_are_free_while_looks_wait(running: Running, server: FakeServer, clock: MockClock) -> None:
    """One worker: the second file is uploaded although the first is not looked at yet; then one listing shows both."""
    async with running(mode="background", names_in=lambda _at: 0, workers=1) as engine:
        await look_once(engine, server)
        server.paused = trio.Event()
        await save_all(engine, LISTED_FROM)
        server.paused.set()
        assert await engine.flush() == []
    uploads = [number for number, call in enumerate(server.calls) if call.startswith("upload")]
    assert len(uploads) == LISTED_FROM
    assert uploads[-1] < server.calls.index("list ")


async def test_a_lost_answer_is_settled_as_ever(running: Running, server: FakeServer, clock: MockClock) -> None:
    """No listing for an upload whose outcome nobody knows."""
    async with running(mode="background", names_in=lambda _at: 0) as engine:
        await look_once(engine, server)
        server.faults["upload"].append(LostAnswer())
        await save_all(engine, 1)
        assert await engine.flush() == []
        assert "list " not in server.calls
    assert server.content("f00") == b"content 0"
    assert [rel for rel, _ in server.history] == ["f00"], "never a blind second upload"


async def test_conflicts_of_many(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A conflict of one of many does not keep the others from the server, nor their slots."""
    bases = {f"f{number:02}": server.put(f"f{number:02}", b"old") for number in range(6)}
    async with running(mode="background", names_in=lambda _at: len(server.files), workers=2) as engine:
        await look_once(engine, server)
        for number, (name, base) in enumerate(bases.items()):
            session = engine.begin(HOME.child(name), base)
            await session.write(0, b"new content %d" % number)
            if number == 3:
                server.put(name, b"theirs")
            try:
                await session.commit()
            except ConflictError:
                assert number == 3
            session.close()
        await engine.flush()
        assert [conflict.at.name for conflict in engine.conflicts()] == ["f03"]
    assert server.content("f03") == b"theirs"
    assert all(server.content(name).startswith(b"new content") for name in bases if name != "f03")
