"""The process dies at every moment of a commit: what lies on disk then is started anew, against what the server has then.

A moment is a call to the server, just before and just after it does its work. At each one the state folder is copied as the kernel
would leave it after kill -9, together with the server's files; an upload that is under way is also cut off in the middle.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.engine import CommitEngine, EngineOptions
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.commit.records import RecordState
from cs3fuse.commit.recovery import RecoveryReport
from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import ConflictError, UnavailableError
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeContent, FakeServer, eventually

AT = HOME.child("a.txt")
OLD, OURS, THEIRS = b"the old content, longer than ours", b"our content", b"theirs"
COPY = "a (conflict einstein 2026-01-02 14-04-05).txt"


@dataclass
class Moment:
    """What a kill would leave: a state folder, a server, and whether the program had been told that its bytes are safe."""

    name: str
    folder: Path
    server: FakeServer
    is_acknowledged: bool


class Killer:
    """Takes a picture at every call to the server."""

    def __init__(self, server: FakeServer, engine: CommitEngine, folder: Path) -> None:
        self._server = server
        self._engine = engine
        self._folder = folder
        self.moments: list[Moment] = []
        self.is_acknowledged = False
        server.watch = self.take

    def take(self, name: str) -> None:
        variants = [(name, self._server.clone())]
        if name.startswith("before upload"):
            rel = name.removeprefix("before upload ")
            for size in (0, 4, len(OURS)):  # the connection dies with the process: Reva commits what arrived
                server = self._server.clone()
                if server.profile == "reva":
                    server.put(rel, OURS[:size])
                elif size == len(OURS):
                    server.put(rel, OURS)
                variants.append((f"{name}, cut off after {size}", server))
        for label, server in variants:
            copy = self._folder / f"moment-{len(self.moments)}"
            shutil.copytree(self._engine._folder, copy)
            self.moments.append(Moment(label, copy, server, self.is_acknowledged))


async def restarted(
    moment: Moment, check: Callable[[CommitEngine, RecoveryReport], Awaitable[None]], **options: object
) -> RecoveryReport:
    """Start an engine on what the kill left and replay."""
    engine = CommitEngine(
        moment.server,
        moment.server,
        FakeContent(moment.server),
        CapabilityBook(),
        state_folder=moment.folder,
        identity="server|einstein",
        username="einstein",
        options=EngineOptions(**{"wall_clock": lambda: 1767362645.0, **options}),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        report = await engine.recover()
        await check(engine, report)
        nursery.cancel_scope.cancel()
    return report


async def write_all(session: WriteSession, content: bytes) -> None:
    await session.truncate(0)
    await session.write(0, content)


@pytest.mark.parametrize("mode", ["close", "background"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "overwrite"])
async def test_killed_at_any_moment_of_a_commit(
    running: Running, server: FakeServer, tmp_path: Path, is_new: bool, mode: str, clock: MockClock
) -> None:
    """After a restart the server has our bytes whole if they were sealed; nothing half, nothing beside, nothing left behind."""
    base = None if is_new else server.put("a.txt", OLD)
    async with running(mode=mode) as engine:
        killer = Killer(server, engine, tmp_path)
        session = engine.begin(AT, base)
        await write_all(session, OURS)
        killer.take("written")
        await session.commit()
        killer.is_acknowledged = True
        killer.take("acknowledged")
        await session.quiesce()
        session.close()
        killer.take("closed")
        server.watch = None
    assert any(moment.name == "before upload a.txt, cut off after 4" for moment in killer.moments)
    in_journal = 0
    for moment in killer.moments:

        async def check(engine: CommitEngine, report: RecoveryReport, moment: Moment = moment) -> None:
            left = moment.server.files.get("a.txt")
            if moment.name == "written":  # never closed or synced: kept here, not sent by itself
                assert report.unfinished == [AT], moment.name
                assert left is None if is_new else left.content == OLD
                assert len(engine.unfinished()) == 1
                return
            assert left is not None, moment.name
            assert left.content == OURS, moment.name
            assert moment.server.names() == ["a.txt"], moment.name
            assert engine._running.journal.records() == [], moment.name
            assert list((moment.folder / "staged").iterdir()) == [], moment.name

        report = await restarted(moment, check)
        in_journal += bool(report.committed)
    assert in_journal, "no moment had anything in the journal"


async def test_killed_and_somebody_saved_meanwhile(running: Running, server: FakeServer, tmp_path: Path, clock: MockClock) -> None:
    """Whatever the moment, somebody else's later save stands; our bytes are beside it, or had been acknowledged before."""
    base = server.put("a.txt", OLD)
    async with running() as engine:
        killer = Killer(server, engine, tmp_path)
        session = engine.begin(AT, base)
        await write_all(session, OURS)
        await session.commit()
        killer.is_acknowledged = True
        killer.take("acknowledged")
        server.watch = None
    for moment in killer.moments:
        moment.server.put("a.txt", THEIRS)

        async def check(engine: CommitEngine, report: RecoveryReport, moment: Moment = moment) -> None:
            assert moment.server.content("a.txt") == THEIRS, moment.name
            ours_before = ("a.txt", OURS) in moment.server.history
            beside = moment.server.files.get(COPY)
            assert ours_before or moment.is_acknowledged or (beside is not None and beside.content == OURS), moment.name
            if beside is not None:
                assert report.conflicts == [AT]
            assert engine._running.journal.records() == []

        await restarted(moment, check)


async def test_killed_at_any_moment_of_a_conflict(running: Running, server: FakeServer, tmp_path: Path, clock: MockClock) -> None:
    """A kill while the conflict copy is stored: one copy in the end, theirs untouched."""
    base = server.put("a.txt", OLD)
    async with running() as engine:
        killer = Killer(server, engine, tmp_path)
        session = engine.begin(AT, base)
        await write_all(session, OURS)
        server.put("a.txt", THEIRS)
        with pytest.raises(ConflictError):
            await session.commit()
        killer.take("told")
        server.watch = None
    names = set()
    for moment in killer.moments:

        async def check(engine: CommitEngine, report: RecoveryReport, moment: Moment = moment) -> None:
            assert moment.server.content("a.txt") == THEIRS, moment.name
            assert [moment.server.content(name) for name in moment.server.names()] == [OURS, THEIRS], moment.name
            assert [conflict.at for conflict in engine.conflicts()] == [AT], moment.name
            assert engine._running.journal.records() == []

        await restarted(moment, check)
        names.add(moment.name)
    assert f"before upload {COPY}, cut off after 4" in names


@pytest.mark.parametrize("is_large", [False, True], ids=["uploaded", "moved"])
async def test_killed_at_any_moment_of_a_replacement(
    running: Running, server: FakeServer, tmp_path: Path, is_large: bool, clock: MockClock
) -> None:
    """rename(tmp -> a.txt): after a restart each name that is there has one complete version, and none is lost."""
    destination = server.put("a.txt", OLD)
    source = server.put("tmp", OURS)
    async with running(replace_upload_bound=0 if is_large else 1000) as engine:
        killer = Killer(server, engine, tmp_path)
        await engine.replace(HOME.child("tmp"), source, AT, destination)
        killer.is_acknowledged = True
        killer.take("acknowledged")
        server.watch = None
    for moment in killer.moments:

        async def check(engine: CommitEngine, report: RecoveryReport, moment: Moment = moment) -> None:
            del report
            found = moment.server.names()
            assert "a.txt" in found, moment.name
            assert moment.server.content("a.txt") in {OLD, OURS}, moment.name
            if moment.is_acknowledged or "tmp" not in found:
                assert moment.server.content("a.txt") == OURS, moment.name
            if "tmp" in found:
                assert moment.server.content("tmp") == OURS, moment.name
            assert set(found) <= {"a.txt", "tmp"}, moment.name
            assert engine._running.journal.records() == [], moment.name
            assert list((moment.folder / "staged").iterdir()) == [], moment.name

        await restarted(moment, check)
    assert len(killer.moments) > 4


async def test_server_away_at_the_next_start(running: Running, server: FakeServer, tmp_path: Path, clock: MockClock) -> None:
    """The mount starts, the bytes are readable and listed, and go when the server is back."""
    base = server.put("a.txt", OLD)
    async with running() as engine:
        killer = Killer(server, engine, tmp_path)
        session = engine.begin(AT, base)
        await write_all(session, OURS)
        await session.commit()
        server.watch = None
    moment = next(moment for moment in killer.moments if moment.name == "before upload a.txt")
    moment.server.down = UnavailableError("unreachable")

    async def check(engine: CommitEngine, report: RecoveryReport) -> None:
        assert [at for at, _ in report.kept] == [AT]
        assert engine.queue()[0].at == AT
        session = engine.session_at(AT)
        assert session is not None
        assert await session.read(0, 100) == OURS
        moment.server.down = None
        await eventually(lambda: engine.queue() == [])
        assert moment.server.content("a.txt") == OURS
        assert engine.sessions() == []

    await restarted(moment, check, retry=RetryPolicy(budget_s=1))


async def test_journal_of_another_user_is_left_alone(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Records of another identity are counted, never sent, never swept."""
    server.down = UnavailableError("unreachable")
    async with running(identity="server|marie", retry=RetryPolicy(budget_s=0.01)) as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, OURS)
        with pytest.raises(UnavailableError):
            await session.commit()
    server.down = None
    async with running() as engine:
        report = await engine.recover()
        assert (report.foreign, report.committed) == (1, [])
        assert engine.queue() == []
        assert server.names() == []
    async with running(identity="server|marie") as engine:
        report = await engine.recover()
        assert report.committed == [AT]
    assert server.content("a.txt") == OURS


async def test_unfinished_file_is_saved_beside_or_discarded(
    running: Running, server: FakeServer, tmp_path: Path, clock: MockClock
) -> None:
    """A half-written file is offered: as a copy beside the original, completed from the base, or not at all."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(2, b"AB")
        await trio.sleep(5)  # the journal learns how far it came
        shutil.copytree(engine._folder, tmp_path / "left")

    async def save(engine: CommitEngine, report: RecoveryReport) -> None:
        assert report.unfinished == [AT]
        conflict = await engine.save_unfinished(engine.unfinished()[0].id)
        assert server.content(conflict.copy_at.rel) == b"01AB456789"
        assert engine.unfinished() == []

    async def discard(engine: CommitEngine, report: RecoveryReport) -> None:
        del report
        await engine.discard_unfinished(engine.unfinished()[0].id)
        assert engine.unfinished() == []
        assert list((engine._folder / "staged").iterdir()) == []

    shutil.copytree(tmp_path / "left", tmp_path / "again")
    await restarted(Moment("left", tmp_path / "left", server, is_acknowledged=False), save)
    await restarted(Moment("again", tmp_path / "again", server, is_acknowledged=False), discard)
    assert server.content("a.txt") == b"0123456789"


async def test_damaged_staged_file_is_never_sent(running: Running, server: FakeServer, tmp_path: Path, clock: MockClock) -> None:
    """Bytes that a power loss took from the staged file are noticed by their digest: kept and told, the server is left as it is."""
    base = server.put("a.txt", OLD)
    async with running(retry=RetryPolicy(budget_s=0.01)) as engine:
        session = engine.begin(AT, base)
        await write_all(session, OURS)
        server.down = UnavailableError("unreachable")
        with pytest.raises(UnavailableError):
            await session.commit()
    server.down = None
    (staged,) = (tmp_path / "state" / "staged").iterdir()
    staged.write_bytes(b"\0" * len(OURS))
    async with running() as engine:
        report = await engine.recover()
        assert "damaged" in report.kept[0][1]
        assert server.content("a.txt") == OLD
    staged.write_bytes(b"short")
    async with running() as engine:
        report = await engine.recover()
        assert "instead of" in report.kept[0][1]
    staged.unlink()
    async with running() as engine:
        report = await engine.recover()
        assert report.vanished == [AT]
    assert server.content("a.txt") == OLD


async def test_killed_while_many_wait_for_one_listing(
    running: Running, server: FakeServer, tmp_path: Path, clock: MockClock
) -> None:
    """Mode "background": uploads that are looked at together. After a restart every closed file is there, once, and nothing is left."""
    names = [f"f{number}" for number in range(6)]
    moments: list[tuple[Moment, list[str]]] = []
    closed: list[str] = []
    async with running(mode="background", names_in=lambda _at: len(server.files), workers=2) as engine:

        def take(name: str) -> None:
            copy = tmp_path / f"moment-{len(moments)}"
            shutil.copytree(engine._folder, copy)
            moments.append((Moment(name, copy, server.clone(), is_acknowledged=True), list(closed)))

        server.watch = take
        server.paused = trio.Event()
        for name in names:
            session = engine.begin(HOME.child(name), None, created=True)
            await session.write(0, OURS)
            await session.commit()
            closed.append(name)
            session.close()
        server.paused.set()
        await engine.flush()
        server.watch = None
    listed = next(number for number, (moment, _) in enumerate(moments) if moment.name == "before list ")
    assert any(record_count(moment.folder) > 1 for moment, _ in moments[listed:]), "no moment had several files in the journal"
    for moment, safe in moments:

        async def check(engine: CommitEngine, report: RecoveryReport, moment: Moment = moment, safe: list[str] = safe) -> None:
            assert set(safe) <= set(moment.server.names()) <= set(names), moment.name
            assert {moment.server.content(name) for name in moment.server.names()} <= {OURS}, moment.name
            assert not report.conflicts
            assert [record for record in engine._running.journal.records() if record.state is not RecordState.DIRTY] == [], (
                moment.name
            )

        await restarted(moment, check)


def record_count(folder: Path) -> int:
    """Records in a journal that nobody has open."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        return int(database.execute("SELECT COUNT(*) FROM commits").fetchone()[0])
