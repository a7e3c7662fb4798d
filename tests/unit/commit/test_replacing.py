"""rename(tmp -> existing): the destination keeps what it is, and a failure in any step leaves one complete version of each name."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.errors import (
    AccessDeniedError,
    BusyError,
    ConflictError,
    OutcomeUnknownError,
    QuotaError,
    ServerError,
    UnavailableError,
)
from cs3fuse.model import Lock
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeServer, LostAnswer, NeverArrived, Reset, eventually

AT, TMP = HOME.child("a.txt"), HOME.child("tmp")
OLD, OURS = b"the old content, which is longer", b"our content"


@pytest.fixture(params=[1000, 0], ids=["uploaded", "moved"])
def bound(request: pytest.FixtureRequest) -> int:
    return request.param


async def test_destination_gets_the_bytes_and_the_source_goes(
    running: Running, server: FakeServer, bound: int, clock: MockClock
) -> None:
    """One file in the end; uploaded ones keep their id, and nothing lies aside."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    async with running(replace_upload_bound=bound) as engine:
        entry = await engine.replace(TMP, source, AT, destination)
        assert server.names() == ["a.txt"]
        assert server.content("a.txt") == OURS
        assert entry.version == server.entry("a.txt").version
        if bound:
            assert entry.id == destination.id
        assert engine._running.journal.records() == []
        assert list((engine._folder / "staged").iterdir()) == []


@pytest.mark.parametrize(
    "fault", [Reset(0), Reset(4), Reset(len(OURS)), LostAnswer(), NeverArrived(), UnavailableError("x")], ids=repr
)
async def test_upload_onto_the_destination_survives_faults(running: Running, server: FakeServer, fault, clock: MockClock) -> None:
    """A fault of the upload is settled as for any commit; then the source is deleted."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.faults["upload"].append(fault)
    async with running() as engine:
        await engine.replace(TMP, source, AT, destination)
    assert server.names() == ["a.txt"]
    assert server.content("a.txt") == OURS


async def test_refused_upload_leaves_both(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Nothing was sent: both names are as before, the journal is empty, the program has the error."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.faults["upload"].append(QuotaError("no room"))
    async with running() as engine:
        with pytest.raises(QuotaError):
            await engine.replace(TMP, source, AT, destination)
        assert (server.content("a.txt"), server.content("tmp")) == (OLD, OURS)
        await engine._running.journal.flush()
        assert engine._running.journal.records() == []
        assert list((engine._folder / "staged").iterdir()) == []


async def test_broken_off_upload_is_completed_later(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The upload broke off and the server went away: the destination may be half, so it is completed when the server is back."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.faults["upload"].append(Reset(4))
    async with running(retry=RetryPolicy(budget_s=1)) as engine:

        def away() -> None:
            server.down = UnavailableError("unreachable")

        server.before["stat"].extend([lambda: None, away])
        with pytest.raises(UnavailableError):
            await engine.replace(TMP, source, AT, destination)
        assert engine.queue()[0].at == AT
        server.down = None
        await eventually(lambda: engine.queue() == [])
        assert (server.content("a.txt"), server.content("tmp")) == (OURS, OURS)
        assert engine.queue() == []
        assert engine._running.journal.records() == []


async def test_changed_destination_is_a_conflict(running: Running, server: FakeServer, bound: int, clock: MockClock) -> None:
    """Somebody wrote the destination since it was seen: both stay, no copy is needed, as the source has a name of its own."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.put("a.txt", b"theirs")
    async with running(replace_upload_bound=bound) as engine:
        with pytest.raises(ConflictError):
            await engine.replace(TMP, source, AT, destination)
        assert server.names() == ["a.txt", "tmp"]
        assert server.content("a.txt") == b"theirs"
        await engine._running.journal.flush()
        assert engine._running.journal.records() == []


async def test_busy_source_is_deleted_when_the_server_lets_go(running: Running, server: FakeServer, clock: MockClock) -> None:
    """OpenCloud processes a fresh file and refuses to delete it meanwhile: a moment is waited, longer ones go on in the background."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.faults["delete"].extend([BusyError("processing")] * 3)
    async with running() as engine:
        await engine.replace(TMP, source, AT, destination)
        assert server.names() == ["a.txt"]
        source = server.put("tmp", b"again")
        server.faults["delete"].extend([BusyError("processing")] * 12)
        started_at = trio.current_time()
        await engine.replace(TMP, source, AT, server.entry("a.txt"))
        assert trio.current_time() - started_at < 10
        assert server.names() == ["a.txt", "tmp"]
        await eventually(lambda: engine._running.journal.records() == [])
        assert server.names() == ["a.txt"]


async def test_source_that_may_not_be_deleted_is_told(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The destination has the bytes and the old name stays for good: the program is told."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.faults["delete"].append(AccessDeniedError("no delete permission"))
    async with running() as engine:
        with pytest.raises(AccessDeniedError):
            await engine.replace(TMP, source, AT, destination)
        assert (server.content("a.txt"), server.content("tmp")) == (OURS, OURS)
        assert engine._running.journal.records() == []


async def test_source_that_somebody_wrote_stays(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A save of somebody else under the old name is not deleted."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    server.after["upload"].append(lambda: server.put("tmp", b"theirs") and None)
    async with running() as engine:
        await engine.replace(TMP, source, AT, destination)
    assert server.content("a.txt") == OURS
    assert server.content("tmp") == b"theirs"


async def test_unsent_source_is_sent_first(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A source that is still open and dirty brings its bytes along, and goes on as the destination."""
    destination = server.put("a.txt", OLD)
    async with running() as engine:
        session = engine.begin(TMP, None, created=True)
        await session.write(0, OURS)
        entry = await engine.replace(TMP, session.entry(), AT, destination, source_session=session)
        session.rebind(AT)
        assert session.base == entry
        await session.write(0, b"OUR")
        await session.commit()
    assert server.names() == ["a.txt"]
    assert server.content("a.txt") == b"OUR" + OURS[3:]


async def test_locks_are_sent_along(running: Running, server: FakeServer, bound: int, clock: MockClock) -> None:
    """Under our locks on both names the rename goes through."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    ours, theirs = Lock("one", "cs3fuse", 0), Lock("two", "cs3fuse", 0)
    server.files["a.txt"].locked_by, server.files["tmp"].locked_by = ours, theirs
    async with running(replace_upload_bound=bound) as engine:
        await engine.replace(TMP, source, AT, destination, source_lock=theirs, destination_lock=ours)
    assert server.content("a.txt") == OURS


@pytest.mark.parametrize("error", [OutcomeUnknownError("lost"), ServerError("500")], ids=["lost", "500"])
@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not done"])
async def test_move_with_a_lost_answer_is_settled(
    running: Running, server: FakeServer, error: Exception, is_done: bool, clock: MockClock
) -> None:
    """Whether the Move happened is seen from what stands where."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)

    def happen() -> None:
        if is_done:
            server.files["a.txt"] = server.files.pop("tmp")

    server.before["move"].append(happen)
    server.faults["move"].append(error)
    async with running(replace_upload_bound=0) as engine:
        await engine.replace(TMP, source, AT, destination)
        assert engine._running.journal.records() == []
    assert server.names() == ["a.txt"]
    assert server.content("a.txt") == OURS


async def test_failed_second_move_puts_the_destination_back(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The destination was put aside and the source could not be moved: the old version is back under its name."""
    if server.profile == "reva":
        return  # its Move replaces in one step
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)

    def refuse() -> None:
        server.faults["move"].append(AccessDeniedError("no"))

    server.before["move"].extend([lambda: None, lambda: None, refuse])
    async with running(replace_upload_bound=0) as engine:
        with pytest.raises(AccessDeniedError):
            await engine.replace(TMP, source, AT, destination)
        assert server.names() == ["a.txt", "tmp"]
        assert (server.content("a.txt"), server.content("tmp")) == (OLD, OURS)
        assert engine._running.journal.records() == []


async def test_given_up_rename_goes_on(running: Running, server: FakeServer, bound: int, clock: MockClock) -> None:
    """A request that is given up in the middle does not leave the rename in the middle."""
    destination, source = server.put("a.txt", OLD), server.put("tmp", OURS)
    async with running(replace_upload_bound=bound) as engine:
        with trio.CancelScope() as scope:
            (server.before["upload"] if bound else server.before["move"]).append(scope.cancel)
            await engine.replace(TMP, source, AT, destination)
        assert scope.cancelled_caught
        await eventually(lambda: server.names() == ["a.txt"] and engine._running.journal.records() == [])
        assert server.content("a.txt") == OURS
