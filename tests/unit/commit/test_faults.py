"""Every fault of the way to the server: what the program sees, where the bytes are, how they come back. docs/durability.md names these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.errors import (
    AccessDeniedError,
    BusyError,
    ChecksumError,
    ConflictError,
    Cs3FuseError,
    DeadlineError,
    IsDirectoryError,
    LocalSpaceError,
    LocalStorageError,
    LockedError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    ServerError,
    SignInError,
    StaleError,
    UnavailableError,
)
from cs3fuse.model import Lock
from tests.unit.commit.conftest import Running
from tests.unit.commit.fakes import HOME, FakeContent, FakeServer, Fault, LostAnswer, NeverArrived, Reset, eventually

AT = HOME.child("a.txt")
OURS = b"our new content"
COPY = "a (conflict einstein 2026-01-02 14-04-05).txt"

BROKEN_OFF = [Reset(0), Reset(1), Reset(7), Reset(len(OURS) - 1), Reset(len(OURS))]
TRANSIENT = [
    *BROKEN_OFF,
    LostAnswer(),
    NeverArrived(),
    UnavailableError("refused"),
    DeadlineError("late"),
    ServerError("500"),
    BusyError("processing"),
    ChecksumError("419"),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=repr)
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "overwrite"])
async def test_transient_fault_is_settled(
    running: Running, server: FakeServer, fault: Fault, is_new: bool, clock: MockClock
) -> None:
    """Whatever breaks once: close succeeds, the content is exactly ours, nothing is left in the journal, nothing lies beside it."""
    base = None if is_new else server.put("a.txt", b"old content that is longer than ours")
    server.faults["upload"].append(fault)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.truncate(0)
        await session.write(0, OURS)
        entry = await session.commit()
        assert entry.size == len(OURS)
        assert server.content("a.txt") == OURS
        assert engine.queue() == []
        assert engine._running.journal.records() == []
    assert server.names() == ["a.txt"]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "overwrite"])
async def test_lost_answer_is_not_sent_twice(running: Running, server: FakeServer, is_new: bool, clock: MockClock) -> None:
    """After a lost answer the server is looked at, and no second PUT is made."""
    base = None if is_new else server.put("a.txt", b"old")
    server.faults["upload"].append(LostAnswer())
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        await session.commit()
    assert server.calls.count("upload a.txt") == 1
    assert server.content("a.txt") == OURS
    assert ("fetch a.txt" in server.calls) == (server.profile == "reva"), "without a checksum only reading back can tell"


async def test_lost_answer_and_somebody_elses_bytes_of_the_same_size(
    running: Running, server: FakeServer, clock: MockClock
) -> None:
    """A lost answer is not taken for success because the size is right: the bytes are compared."""
    base = server.put("a.txt", b"old")
    server.faults["upload"].append(NeverArrived())
    server.before["upload"].append(lambda: server.put("a.txt", b"x" * len(OURS)) and None)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        with pytest.raises(ConflictError):
            await session.commit()
    assert server.content("a.txt") == b"x" * len(OURS)
    assert server.content(COPY) == OURS


async def test_given_up_upload_that_is_carried_out_late(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Reva commits a truncated body minutes later, over the acknowledged file: it is noticed and made whole."""
    base = server.put("a.txt", b"old")
    server.faults["upload"].append(NeverArrived())
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.truncate(0)
        await session.write(0, OURS)
        await session.commit()
        session.close()
        assert server.content("a.txt") == OURS
        if server.profile == "opencloud":
            assert len(engine._running.watcher) == 1, "not proven to check versions yet"
            return
        await trio.sleep(10)
        server.put("a.txt", OURS[:4])
        await eventually(lambda: server.content("a.txt") == OURS)
        await eventually(lambda: engine.queue() == [])
        await trio.sleep(1000)
        assert engine._running.journal.records() == []
        assert len(engine._running.watcher) in {0, 1}
        assert server.names() == ["a.txt"]


async def test_older_bytes_that_come_late_are_no_conflict(running: Running, server: FakeServer, clock: MockClock) -> None:
    """An upload is given up, the program saves something else; whether the older bytes come before or after that, the newer stand."""
    base = server.put("a.txt", b"old")
    for comes_before in (True, False):
        server.faults["upload"].extend(NeverArrived() for _ in range(40))
        async with running() as engine:
            session = engine.begin(AT, base)
            await session.truncate(0)
            await session.write(0, b"the first, longer version of ours")
            with pytest.raises(Cs3FuseError):
                await session.commit()
            server.faults["upload"].clear()
            if comes_before:
                server.put("a.txt", b"the first, longer version of ours")
            await session.truncate(0)
            await session.write(0, OURS)
            await session.commit()
            session.close()
            assert server.content("a.txt") == OURS
            if not comes_before and server.profile != "opencloud":
                await trio.sleep(10)
                server.put("a.txt", b"the first, longer version of ours")
                await eventually(lambda: server.content("a.txt") == OURS)
            await eventually(lambda: engine.queue() == [])
            await trio.sleep(1000)
            assert engine._running.journal.records() == [] and not engine.conflicts()
        assert server.names() == ["a.txt"]
        base = server.entry("a.txt")


async def test_own_shorter_save_is_not_repaired(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A later save of our own ends the doubt about the earlier one, even if it is a beginning of it."""
    server.faults["upload"].append(NeverArrived())
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, OURS)
        await session.commit()
        await session.truncate(4)
        await session.commit()
        session.close()
        await trio.sleep(1000)
    assert server.content("a.txt") == OURS[:4]


@pytest.mark.parametrize("theirs", [b"", b"their", b"theirs is longer than ours", OURS[:4] + b"!"], ids=repr)
async def test_later_save_of_somebody_else_is_not_repaired(
    running: Running, server: FakeServer, theirs: bytes, clock: MockClock
) -> None:
    """What is not a beginning of ours is somebody's save: it stays, and no copy is made of bytes that had their time."""
    server.faults["upload"].append(NeverArrived())
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, OURS)
        await session.commit()
        session.close()
        server.put("a.txt", theirs)
        await trio.sleep(1000)
        assert server.content("a.txt") == theirs
        assert server.names() == ["a.txt"]
        assert engine.queue() == []
        assert engine._running.journal.records() == []
        assert len(engine._running.watcher) == 0


DEFINITE: list[Cs3FuseError] = [
    QuotaError("507: no room left"),
    AccessDeniedError("403"),
    SignInError("401"),
    LockedError("423"),
    NotFoundError("the parent is gone"),
]


@pytest.mark.parametrize("error", DEFINITE, ids=lambda error: type(error).__name__)
async def test_refusal_reaches_the_program_and_the_bytes_stay(
    running: Running, server: FakeServer, error: Cs3FuseError, clock: MockClock
) -> None:
    """A refusal is the program's error at close, at once; the bytes are in the journal and go when it is lifted."""
    server.faults["upload"].append(error)
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        with pytest.raises(type(error)):
            await session.commit()
        assert server.calls.count("upload a.txt") == 1
        assert server.content("a.txt") == b"old"
        assert [(item.at, item.size) for item in engine.queue()] == [(AT, len(OURS))]
        assert str(error) in engine.queue()[0].reason
        session.close()
        assert engine.session_at(AT) is session, "the bytes stay readable here"
        await eventually(lambda: engine.queue() == [])
        assert server.content("a.txt") == OURS


async def test_server_away_longer_than_the_budget(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The program gets the error within the budget; the bytes go by themselves when the server is back."""
    base = server.put("a.txt", b"old")
    server.down = UnavailableError("unreachable")
    async with running(retry=RetryPolicy(budget_s=10)) as engine:
        session = engine.begin(AT, base)
        await session.truncate(0)
        await session.write(0, OURS)
        started_at = trio.current_time()
        with pytest.raises(UnavailableError):
            await session.commit()
        assert trio.current_time() - started_at < 30
        session.close()
        assert engine.queue()[0].state in {"queued", "failed"}
        assert await session.read(0, 100) == OURS
        server.down = None
        await eventually(lambda: engine.queue() == [])
        assert server.content("a.txt") == OURS


async def test_base_not_fetchable_at_close(running: Running, server: FakeServer, content: FakeContent, clock: MockClock) -> None:
    """A partial write whose base cannot be had now is kept as it is and completed later."""
    base = server.put("a.txt", b"0123456789")
    async with running(retry=RetryPolicy(budget_s=1)) as engine:
        session = engine.begin(AT, base)
        await session.write(2, b"AB")
        content.faults.append(UnavailableError("unreachable"))
        with pytest.raises(UnavailableError):
            await session.commit()
        session.close()
        await eventually(lambda: engine.queue() == [])
        assert server.content("a.txt") == b"01AB456789"


async def test_writes_after_a_failed_commit_supersede_it(
    running: Running, server: FakeServer, content: FakeContent, clock: MockClock
) -> None:
    """Layers of failed generations are put together: the last commit has all writes, in order, over the base."""
    base = server.put("a.txt", b"0123456789")
    async with running(retry=RetryPolicy(budget_s=0.01)) as engine:
        session = engine.begin(AT, base)
        for offset in (1, 2, 3, 7):
            content.faults.append(UnavailableError("unreachable"))
            await session.write(offset, bytes([ord("a") + offset]) * 2)
            with pytest.raises(UnavailableError):
                await session.commit()
        content.faults.clear()
        assert await session.read(0, 20) == b"0bcdd56hh9"
        await session.truncate(9)
        await session.commit()
        assert server.content("a.txt") == b"0bcdd56hh"
        session.close()
        assert engine._running.journal.records() == []
        assert list((engine._folder / "staged").iterdir()) == []


async def test_failed_upload_then_more_writes(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A sealed generation is not touched by later writes, and is dropped when the later one is sealed."""
    base = server.put("a.txt", b"0123456789")
    async with running(retry=RetryPolicy(budget_s=0.01)) as engine:
        session = engine.begin(AT, base)
        await session.write(0, b"AA")
        server.down = UnavailableError("unreachable")
        with pytest.raises(UnavailableError):
            await session.commit()
        await session.write(1, b"BB")
        assert len(engine._running.journal.records()) == 2
        server.down = None
        await session.commit()
        assert server.content("a.txt") == b"ABB3456789"
        assert engine._running.journal.records() == []


# Other clients between our open and our close


async def test_conflict_keeps_both(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Somebody else saved first: theirs stands, ours is beside it, the program gets the error, and it is listed."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.truncate(0)
        await session.write(0, OURS)
        server.put("a.txt", b"theirs")
        with pytest.raises(ConflictError):
            await session.commit()
        assert server.content("a.txt") == b"theirs"
        assert server.content(COPY) == OURS
        assert [(conflict.at, conflict.copy_at) for conflict in engine.conflicts()] == [(AT, HOME.child(COPY))]
        assert session.state == "conflict"
        assert engine.session_at(AT) is None, "the next open sees their version"
        session.close()
        assert engine.queue() == []
        await engine.forget_conflict(engine.conflicts()[0].id)
    async with running() as engine:
        assert engine.conflicts() == []


async def test_conflict_between_check_and_put_is_found_where_the_server_looks(
    running: Running, server: FakeServer, clock: MockClock
) -> None:
    """A write of somebody else after our check is refused by OpenCloud (412); on Reva this is the documented window."""
    base = server.put("a.txt", b"old")
    server.before["upload"].append(lambda: server.put("a.txt", b"theirs") and None)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.truncate(0)
        await session.write(0, OURS)
        if server.profile == "reva":
            await session.commit()
            assert server.content("a.txt") == OURS
            return
        with pytest.raises(ConflictError):
            await session.commit()
    assert server.content("a.txt") == b"theirs"
    assert server.content(COPY) == OURS


async def test_overwritten_right_after_our_upload(running: Running, server: FakeServer, clock: MockClock) -> None:
    """If the server shows other bytes than ours after it said yes, ours are put beside: nobody is overwritten in silence."""
    base = server.put("a.txt", b"old")
    server.after["upload"].append(lambda: server.put("a.txt", b"theirs, a little later") and None)
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        with pytest.raises(ConflictError):
            await session.commit()
    assert server.content("a.txt") == b"theirs, a little later"
    assert server.content(COPY) == OURS


async def test_second_conflict_gets_a_name_of_its_own(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Two conflicts in one second do not overwrite each other's copies."""
    for ours in (OURS, b"other work"):
        async with running() as engine:
            session = engine.begin(AT, server.put("a.txt", b"old"))
            await session.write(0, ours)
            server.put("a.txt", b"theirs")
            with pytest.raises(ConflictError):
                await session.commit()
            session.close()
    assert server.names() == ["a (conflict einstein 2026-01-02 14-04-05 2).txt", COPY, "a.txt"]


async def test_writes_after_a_conflict_go_to_the_copy(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A program that goes on writing after ESTALE keeps losing nothing: its copy follows, and it is told each time."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.put("a.txt", b"theirs")
        with pytest.raises(ConflictError):
            await session.commit()
        await session.write(0, b"MORE")
        with pytest.raises(ConflictError):
            await session.commit()
        session.close()
        assert engine.queue() == []
    assert server.names() == [COPY, "a.txt"]
    assert server.content(COPY) == b"MORE" + OURS[4:]
    assert server.content("a.txt") == b"theirs"


async def test_conflict_copy_waits_for_the_server(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The copy cannot be stored now: the program is told of the conflict, the bytes are in the journal, the copy comes later."""
    base = server.put("a.txt", b"old")

    async with running(retry=RetryPolicy(budget_s=1)) as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.put("a.txt", b"theirs")
        server.faults["upload"].append(QuotaError("no room"))
        with pytest.raises(ConflictError):
            await session.commit()
        session.close()
        assert server.names() == ["a.txt"]
        assert engine.queue()[0].state == "conflict"
        await eventually(lambda: engine.queue() == [])
        assert server.content(COPY) == OURS


async def test_metadata_change_is_no_conflict(running: Running, server: FakeServer, clock: MockClock) -> None:
    """An etag that changed although the content did not (checksum) is not somebody else's save."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.touch_etag("a.txt")
        if server.profile == "reva":
            with pytest.raises(ConflictError):  # without checksums nothing tells
                await session.commit()
            return
        await session.commit()
    assert server.content("a.txt") == OURS
    assert server.names() == ["a.txt"]


async def test_somebody_saved_the_same_bytes(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Equal content (by checksum) is no conflict and costs no upload."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.put("a.txt", OURS)
        if server.profile == "reva":
            with pytest.raises(ConflictError):
                await session.commit()
            return
        await session.commit()
    assert server.calls.count("upload a.txt") == 0


async def test_deleted_meanwhile_is_created_again(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Somebody deleted the file while we wrote it: our bytes are a file again."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.remove("a.txt")
        await session.commit()
    assert server.content("a.txt") == OURS


async def test_renamed_meanwhile_is_followed_where_ids_are_stable(
    running: Running, server: FakeServer, book: CapabilityBook, clock: MockClock
) -> None:
    """OpenCloud: the bytes go to the file under its new name. Reva: ids are paths, so the old name is created again; both are there."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.rename("a.txt", "b.txt")
        await session.commit()
        session.close()
    if server.profile == "opencloud":
        assert server.names() == ["b.txt"]
        assert server.content("b.txt") == OURS
        assert book.of("store").stable_ids is True
    else:
        assert server.content("a.txt") == OURS
        assert server.content("b.txt") == b"old"


async def test_missing_for_a_moment_is_asked_again(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Reva has no file between the two renames of an overwrite: one NOT_FOUND is not a deletion."""
    base = server.put("a.txt", b"old")
    kept = server.files["a.txt"]

    def back() -> None:
        server.files["a.txt"] = kept

    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.remove("a.txt")
        server.before["stat"].extend([lambda: None, back])
        await session.commit()
    assert server.content("a.txt") == OURS


async def test_directory_in_its_place_is_never_uploaded(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A PUT onto a directory would replace it (Reva): refused, the bytes stay here."""
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.remove("a.txt")
        server.directories.add("a.txt")
        with pytest.raises(IsDirectoryError):
            await session.commit()
        assert "upload a.txt" not in server.calls
        assert engine.queue()[0].state == "failed"


async def test_locked_meanwhile(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Somebody locked the file between our open and our close (OpenCloud refuses): the program sees it, the bytes go afterwards."""
    if server.profile == "reva":
        return  # no locks on this storage
    base = server.put("a.txt", b"old")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(0, OURS)
        server.files["a.txt"].locked_by = Lock("theirs", "collabora", 0)
        with pytest.raises(LockedError):
            await session.commit()
        session.close()
        server.files["a.txt"].locked_by = None
        await eventually(lambda: engine.queue() == [])
        assert server.content("a.txt") == OURS


@dataclass
class FakeLease:
    """A lease that counts; ``error`` is raised when the lock is asked for again."""

    lock: Lock | None
    error: Cs3FuseError | None = None
    on_reaffirm: Callable[[], None] = lambda: None
    released: int = 0

    async def ensure(self) -> None:
        if self.error is not None:
            raise self.error

    async def reaffirm(self) -> None:
        self.on_reaffirm()
        await self.ensure()

    def release(self) -> None:
        self.released += 1


async def test_own_lock_is_sent_along(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Under our own lock the upload goes through, and the lock is let go once, after the last handle's last commit."""
    base = server.put("a.txt", b"old")
    ours = Lock("ours", "cs3fuse", 0)
    server.files["a.txt"].locked_by = ours
    first, second = FakeLease(ours), FakeLease(ours)
    async with running() as engine:
        session = engine.begin(AT, base, lease=first)
        await session.write(0, OURS)
        assert engine.begin(AT, base, lease=second) is session
        assert (first.released, second.released) == (1, 0)
        await session.commit()
        assert second.released == 0
        session.close()
        assert (first.released, second.released) == (1, 1)
    assert server.content("a.txt") == OURS


async def test_lock_is_held_until_the_bytes_are_sent(running: Running, server: FakeServer, clock: MockClock) -> None:
    """The handle is closed and the upload failed: the lock stays ours until the background has sent the bytes."""
    base = server.put("a.txt", b"old")
    lease = FakeLease(Lock("ours", "cs3fuse", 0))
    server.faults["upload"].append(QuotaError("no room"))
    async with running() as engine:
        session = engine.begin(AT, base, lease=lease)
        await session.write(0, OURS)
        with pytest.raises(QuotaError):
            await session.commit()
        session.close()
        assert lease.released == 0
        await eventually(lambda: engine.queue() == [])
        assert lease.released == 1


async def test_lock_that_the_server_forgot_is_taken_again(running: Running, server: FakeServer, clock: MockClock) -> None:
    """OpenCloud answers 500 to an upload with a lock id that it does not know: the lock is asked for, and the upload goes through."""
    base = server.put("a.txt", b"old")
    lease = FakeLease(Lock("forgotten", "cs3fuse", 0))
    lease.on_reaffirm = lambda: setattr(lease, "lock", Lock("again", "cs3fuse", 0))
    server.faults["upload"].append(ServerError("500: not locked"))
    async with running() as engine:
        session = engine.begin(AT, base, lease=lease)
        await session.write(0, OURS)
        await session.commit()
    assert lease.lock == Lock("again", "cs3fuse", 0)
    assert server.content("a.txt") == OURS


async def test_stale_base_is_kept_and_told(running: Running, server: FakeServer, clock: MockClock) -> None:
    """A partial write whose base is gone from the server cannot be completed: StaleError, the written ranges stay."""
    base = server.put("a.txt", b"0123456789")
    async with running() as engine:
        session = engine.begin(AT, base)
        await session.write(2, b"AB")
        server.put("a.txt", b"another version")
        with pytest.raises(StaleError):
            await session.commit()
        assert server.content("a.txt") == b"another version"
        assert engine.queue()[0].state == "failed"


# The local disk


async def test_full_local_disk_breaks_nothing(
    running: Running, server: FakeServer, monkeypatch: pytest.MonkeyPatch, clock: MockClock
) -> None:
    """ENOSPC at write: nothing of that write, everything before; after some space is made it goes on."""
    async with running() as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"before")
        monkeypatch.setattr("os.pwrite", _full_disk)
        with pytest.raises(LocalSpaceError):
            await session.write(6, b"lost")
        assert session.size == 6
        monkeypatch.undo()
        await session.write(6, b" after")
        await session.commit()
    assert server.content("a.txt") == b"before after"


async def test_full_local_disk_asks_the_cache_for_room(
    running: Running, server: FakeServer, monkeypatch: pytest.MonkeyPatch, clock: MockClock
) -> None:
    """Clean cached content is evicted before a write fails."""
    asked = []

    async def make_room(size: int) -> bool:
        asked.append(size)
        monkeypatch.undo()
        return True

    async with running(make_room=make_room) as engine:
        session = engine.begin(AT, None, created=True)
        await session.write(0, b"1")
        monkeypatch.setattr("os.pwrite", _full_disk)
        assert await session.write(1, b"23") == 2
        await session.commit()
    assert asked == [2]
    assert server.content("a.txt") == b"123"


async def test_journal_without_room_is_an_error_at_write(running: Running, server: FakeServer, clock: MockClock) -> None:
    """If the journal cannot name a staged file, no byte is taken."""
    async with running() as engine:
        journal = engine._running.journal
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        session = engine.begin(HOME.child("a" * 200), None, created=True)
        failures = 0
        for index in range(200):
            each = engine.begin(HOME.child(f"{index:03}" + "x" * 200), None)
            try:
                await each.write(0, b"x")
            except LocalSpaceError:
                failures += 1
                assert each.size == 0
        assert failures
        journal._database.execute("PRAGMA max_page_count = 1000000")
        await session.write(0, b"fits again")
        await session.commit()
    assert server.content("a" * 200) == b"fits again"


async def test_lock_that_cannot_be_had_again_stops_the_upload(running: Running, server: FakeServer, clock: MockClock) -> None:
    """If the lost lock is somebody else's now, nothing is uploaded, and the program is told."""
    base = server.put("a.txt", b"old")
    lease = FakeLease(None, error=LockedError("locked by collabora until 14:03"))
    async with running() as engine:
        session = engine.begin(AT, base, lease=lease)
        await session.write(0, OURS)
        with pytest.raises(LockedError):
            await session.commit()
        assert "upload a.txt" not in server.calls


async def test_folder_is_one_daemons(running: Running) -> None:
    """A second daemon on the same state folder is refused with a sentence that says so."""
    async with running():
        with pytest.RaisesGroup(pytest.RaisesExc(LocalStorageError, match="in use by another cs3fuse"), flatten_subgroups=True):
            async with running():
                raise AssertionError("a second daemon got in")


async def test_stopping_ends_every_wait(running: Running, server: FakeServer, clock: MockClock) -> None:
    """Whoever waits for a commit when the engine stops gets an error, not silence; the journal has the bytes."""
    caught: list[BaseException] = []

    async def save(session) -> None:
        try:
            await session.commit()
        except OutcomeUnknownError as exc:
            caught.append(exc)

    async with trio.open_nursery() as nursery:
        async with running() as engine:
            session = engine.begin(AT, None, created=True)
            await session.write(0, OURS)
            server.paused = trio.Event()
            nursery.start_soon(save, session)
            await trio.sleep(1)
    assert len(caught) == 1
    server.paused = None
    async with running() as engine:
        await engine.recover()
    assert server.content("a.txt") == OURS


def _full_disk(*_: object) -> int:
    raise OSError(28, "No space left on device")
