"""The lease manager against a fake server: taking, sharing, refreshing, losing and releasing locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cs3fuse.capabilities import CapabilityBook, LockSupport
from cs3fuse.errors import LockedError, OutcomeUnknownError, UnavailableError, UnsupportedError
from cs3fuse.locks.held import Lease
from cs3fuse.locks.manager import CHECK_EVERY_S, LeaseManager
from cs3fuse.model import Entry, Location, Lock
from tests.unit.commit.fakes import HOME, FakeServer

AT = HOME.child("a.txt")
EPOCH = 1_700_000_000.0
Managing = Callable[..., AbstractAsyncContextManager[LeaseManager]]


class Wall:
    """A wall clock that follows trio's, and can jump (suspend)."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def __call__(self) -> float:
        return EPOCH + trio.current_time() + self.jumped_s


@pytest.fixture
def wall(autojump_clock: MockClock) -> Wall:
    return Wall()


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer("opencloud", has_locks=True)
    server.put("a.txt", b"content")
    return server


@pytest.fixture
def book() -> CapabilityBook:
    book = CapabilityBook()
    book.of("store").locks = LockSupport.FULL
    return book


@pytest.fixture
def managing(server: FakeServer, book: CapabilityBook, wall: Wall, tmp_path: Path) -> Managing:
    @asynccontextmanager
    async def manage(**options: Any) -> AsyncIterator[LeaseManager]:
        manager = LeaseManager(
            server,
            book,
            **{"app_name": "cs3fuse-host-1", "state_file": tmp_path / "locks", "wall_clock": wall, **options},
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(manager.run)
            yield manager
            nursery.cancel_scope.cancel()

    return manage


def entry(server: FakeServer) -> Entry:
    return server.entry("a.txt")


async def lost_lease(manager: LeaseManager, server: FakeServer, wall: Wall) -> Lease:
    """A lease whose lock ran out while the machine slept for an hour; nobody took it."""
    lease = await manager.acquire(AT, entry(server))
    assert lease is not None
    wall.jumped_s = 3600
    server.files["a.txt"].locked_by = None
    return lease


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_one_lease_however_many_handles(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """Two handles share a lock; it is released after the second one."""
    async with managing() as manager:
        first = await manager.acquire(AT, entry(server))
        second = await manager.acquire(AT, entry(server))
        assert first is second
        assert first is not None
        assert server.files["a.txt"].locked_by is not None
        first.release()
        await settle()
        assert server.files["a.txt"].locked_by is not None
        first.release()
        await settle()
        assert server.files["a.txt"].locked_by is None
        assert server.calls == ["set_lock a.txt", "unlock a.txt"]


async def test_concurrent_opens_lock_once(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """Two opens at the same moment make one SetLock."""
    async with managing() as manager:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(manager.acquire, AT, entry(server))
        assert server.calls == ["set_lock a.txt"]
        assert manager.held()[0].holders == 3


async def test_foreign_lock_refuses_and_says_who(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """Somebody else's lock is LockedError with its holder, and is remembered."""
    server.files["a.txt"].locked_by = Lock("other", "collabora", EPOCH + 100)
    async with managing() as manager:
        with pytest.raises(LockedError, match="locked by collabora until") as caught:
            await manager.acquire(AT, entry(server))
        assert caught.value.lock is not None
        assert caught.value.lock.app_name == "collabora"
        assert [foreign.at for foreign in manager.foreign()] == [AT]


async def test_lease_is_refreshed_once_a_period(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """An hour with a file open costs one refresh for each 240 of 300 seconds, and the lock never runs out."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        for _ in range(60):
            await trio.sleep(60)
            assert lease.lock is not None
        assert 14 <= server.calls.count("refresh_lock a.txt") <= 15


async def test_lost_lock_is_acquired_again(managing: Managing, server: FakeServer, wall: Wall, autojump_clock: MockClock) -> None:
    """After a suspend of an hour the lock is not relied on, and ``ensure`` gets a new one."""
    async with managing() as manager:
        lease = await lost_lease(manager, server, wall)
        assert lease.is_lost
        await lease.ensure()
        assert lease.lock is not None
        assert server.files["a.txt"].locked_by is not None


async def test_lost_lock_is_let_go_while_another_handle_takes_it(
    managing: Managing, server: FakeServer, wall: Wall, autojump_clock: MockClock
) -> None:
    """The other handle has it then; it is released with that one."""
    async with managing() as manager:
        first = await lost_lease(manager, server, wall)
        server.before["set_lock"].append(first.release)
        second = await manager.acquire(AT, entry(server))
        assert second is not None
        assert second.lock is not None
        assert [held.holders for held in manager.held()] == [1]
        second.release()
        await settle()
        assert server.files["a.txt"].locked_by is None
        assert manager.held() == []


async def test_lost_lock_is_let_go_while_it_is_acquired_again(
    managing: Managing, server: FakeServer, wall: Wall, autojump_clock: MockClock
) -> None:
    """Nobody needs it then: what the server granted is given back."""
    async with managing() as manager:
        lease = await lost_lease(manager, server, wall)
        server.before["set_lock"].append(lease.release)
        await lease.ensure()
        await settle()
        assert server.files["a.txt"].locked_by is None
        assert manager.held() == []


async def test_handle_that_gets_no_lock_holds_none(
    managing: Managing, server: FakeServer, wall: Wall, autojump_clock: MockClock
) -> None:
    """A second open that is refused takes nothing from the first, whose lock was lost."""
    async with managing() as manager:
        first = await manager.acquire(AT, entry(server))
        assert first is not None
        wall.jumped_s = 3600
        server.files["a.txt"].locked_by = Lock("other", "collabora", EPOCH + 9999)
        with pytest.raises(LockedError):
            await manager.acquire(AT, entry(server))
        assert [held.holders for held in manager.held()] == [1]
        first.release()
        await settle()
        assert manager.held() == []
        assert server.files["a.txt"].locked_by is not None


async def test_lost_lock_that_somebody_took_is_refused(
    managing: Managing, server: FakeServer, wall: Wall, autojump_clock: MockClock
) -> None:
    """``ensure`` after somebody else locked the file is LockedError, not a theft."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        wall.jumped_s = 3600
        server.files["a.txt"].locked_by = Lock("other", "collabora", EPOCH + 9999)
        with pytest.raises(LockedError):
            await lease.ensure()
        assert lease.lock is None


async def test_refused_refresh_means_lost(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A refresh that the server refuses loses the lease, without ending the manager."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        server.files["a.txt"].locked_by = Lock("other", "collabora", EPOCH + 9999)
        await trio.sleep(300)
        assert lease.lock is None


async def test_outage_keeps_the_lease_until_it_expires(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """While the server is away a lease lives as long as it was granted, and no longer."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        server.down = UnavailableError("away")
        await trio.sleep(290)
        assert lease.lock is not None
        await trio.sleep(20)
        assert lease.lock is None
        server.down = None
        await lease.ensure()
        assert lease.lock is not None


async def test_closed_and_opened_again_costs_nothing(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A lock whose release was not sent yet is used again."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        lease.release()
        again = await manager.acquire(AT, entry(server))
        assert again is not None
        await settle()
        assert server.calls == ["set_lock a.txt"]
        assert again.lock is not None
        again.release()
        await settle()
        assert server.files["a.txt"].locked_by is None


async def test_storage_without_locks(
    managing: Managing, server: FakeServer, book: CapabilityBook, autojump_clock: MockClock
) -> None:
    """Where there are none, opening goes on without and is not asked for again; unless locks are required."""
    server.has_locks = False
    book.of("store").locks = None
    async with managing() as manager:
        assert await manager.acquire(AT, entry(server)) is None
        assert await manager.acquire(AT, entry(server)) is None
        assert server.calls == ["get_lock a.txt"]
    assert book.of("store").locks is LockSupport.NONE
    async with managing(policy="require") as manager:
        with pytest.raises(UnsupportedError, match="no locks"):
            await manager.acquire(AT, entry(server))
    async with managing(policy="off") as manager:
        assert await manager.acquire(AT, entry(server)) is None


async def test_probe_of_full_locks_leaves_one_lock(
    managing: Managing, server: FakeServer, book: CapabilityBook, autojump_clock: MockClock
) -> None:
    """The first write-open finds out that locks exclude, and holds exactly its lock."""
    book.of("store").locks = None
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert book.of("store").locks is LockSupport.FULL
        lock = server.files["a.txt"].locked_by
        assert lock is not None
        assert lease.lock is not None
        assert lock.lock_id == lease.lock.lock_id


async def test_probe_of_locks_that_overwrite(
    managing: Managing, server: FakeServer, book: CapabilityBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks that overwrite each other are weak; then a foreign one is looked for before SetLock."""
    book.of("store").locks = None

    async def overwrite(at: object, lock: Lock) -> None:
        server.calls.append("set_lock")
        server.files["a.txt"].locked_by = lock

    monkeypatch.setattr(server, "set_lock", overwrite)
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert book.of("store").locks is LockSupport.WEAK
        lock = server.files["a.txt"].locked_by
        assert lock is not None
        assert lease.lock is not None
        assert lock.lock_id == lease.lock.lock_id
        lease.release()
        await settle()
        assert server.files["a.txt"].locked_by is None
        server.files["a.txt"].locked_by = Lock("other", "collabora", EPOCH + 100)
        with pytest.raises(LockedError):
            await manager.acquire(AT, entry(server))
        assert server.files["a.txt"].locked_by.lock_id == "other"


async def test_own_lock_after_a_crash_is_taken_over(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A lock that a killed daemon left is ours: opening the file goes through at once."""
    async with managing() as manager:
        before = await manager.acquire(AT, entry(server))
        assert before is not None
        old = before.machine.lock_id
    async with managing(app_name="cs3fuse-host-2") as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert lease.lock is not None
        assert lease.lock.lock_id == old
        lease.release()
        await settle()
        assert server.files["a.txt"].locked_by is None


async def test_stale_locks_are_refreshed_and_released(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """At start they are kept alive for the recovery, and released after it."""
    async with managing() as manager:
        await manager.acquire(AT, entry(server))
    async with managing(app_name="cs3fuse-host-2") as manager:
        assert manager.stale() == [AT]
        await manager.take_over_stale()
        assert manager.lock_at(AT) is not None
        await manager.release_stale()
        assert server.files["a.txt"].locked_by is None
    async with managing() as manager:
        assert manager.stale() == []


async def test_advisory_lock_of_cs3client_is_honoured(
    managing: Managing, server: FakeServer, book: CapabilityBook, autojump_clock: MockClock
) -> None:
    """On storages without locks the lock that cs3client keeps in metadata counts until it runs out."""
    book.of("store").locks = LockSupport.NONE
    locked = replace(entry(server), metadata={"cs3client.advlock": f"jupyter!id-1!{EPOCH + 100:.0f}"})
    async with managing() as manager:
        with pytest.raises(LockedError, match="jupyter"):
            await manager.acquire(AT, locked)
        expired = replace(entry(server), metadata={"cs3client.advlock": f"jupyter!id-1!{EPOCH - 100:.0f}"})
        assert await manager.acquire(AT, expired) is None


async def test_renamed_file_is_released_under_its_new_name(
    managing: Managing, server: FakeServer, autojump_clock: MockClock
) -> None:
    """The lock goes with the file."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        server.rename("a.txt", "b.txt")
        lease.rebind(HOME.child("b.txt"))
        assert manager.lock_at(HOME.child("b.txt")) is not None
        lease.release()
        await settle()
        assert server.files["b.txt"].locked_by is None


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_cancelled_acquire_leaves_nothing(
    managing: Managing, server: FakeServer, moment: str, autojump_clock: MockClock
) -> None:
    """Cancelled before or after the server granted the lock: no lease here, no lock there, and the next open goes through."""
    async with managing() as manager:
        with trio.CancelScope() as scope:
            getattr(server, moment)["set_lock"].append(scope.cancel)
            await manager.acquire(AT, entry(server))
        assert scope.cancelled_caught
        assert manager.held() == []
        await settle()
        assert server.files["a.txt"].locked_by is None
        assert await manager.acquire(AT, entry(server)) is not None


async def test_open_right_after_a_cancelled_one(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A lock that was perhaps never granted is not taken for ours."""
    async with managing() as manager:
        with trio.CancelScope() as scope:
            server.before["set_lock"].append(scope.cancel)
            await manager.acquire(AT, entry(server))
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert server.files["a.txt"].locked_by == lease.lock


async def test_check_period_is_short_against_a_lease() -> None:
    """The clock is looked at often enough to refresh in time."""
    assert CHECK_EVERY_S < 10


async def test_a_release_on_its_way_is_done_before_a_delete(
    managing: Managing, server: FakeServer, autojump_clock: MockClock
) -> None:
    """Our own unlock, which close does not wait for, must not make the next unlink fail."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert await manager.settle(AT) == lease.lock
        lease.release()
        assert await manager.settle(AT) is None
        assert server.files["a.txt"].locked_by is None


async def test_a_release_under_way_is_waited_for(
    managing: Managing, server: FakeServer, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Also one that the background has begun: the server may not have it yet."""
    real = server.unlock

    async def slow(at: Location, lock: Lock) -> None:
        await trio.sleep(5)
        await real(at, lock)

    monkeypatch.setattr(server, "unlock", slow)
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        lease.release()
        await settle()
        assert server.files["a.txt"].locked_by is not None
        await manager.settle(AT)
        assert server.files["a.txt"].locked_by is None


async def test_release_that_an_outage_prevented_is_made_later(
    managing: Managing, server: FakeServer, autojump_clock: MockClock
) -> None:
    """Others need not wait until the lock runs out."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        server.down = UnavailableError("away")
        lease.release()
        await trio.sleep(30)
        assert server.files["a.txt"].locked_by is not None
        server.down = None
        await trio.sleep(2 * CHECK_EVERY_S)
        assert server.files["a.txt"].locked_by is None


async def test_a_release_given_up_is_still_done(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """Whoever waits for the release may be cancelled; the lock goes all the same."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        lease.release()
        with trio.CancelScope() as scope:
            scope.cancel()
            await manager.settle(AT)
        await trio.testing.wait_all_tasks_blocked()
        assert server.files["a.txt"].locked_by is None


async def test_reaffirmed_lock_is_asked_for(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A lock that the server forgot (restart) although its time is not up is noticed, and acquired again."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        await lease.reaffirm()
        assert server.calls[-1] == "refresh_lock a.txt"
        server.files["a.txt"].locked_by = None
        await lease.reaffirm()
        assert server.files["a.txt"].locked_by is not None
        assert lease.lock is not None


async def test_waiting_for_somebody_elses_lock(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """``acquire_within`` gets it when it is let go, and gives up in time."""
    theirs = Lock("other", "collabora", EPOCH + 9999)
    server.files["a.txt"].locked_by = theirs
    async with managing() as manager:
        started_at = trio.current_time()
        with pytest.raises(LockedError):
            await manager.acquire_within(AT, entry(server), 10)
        assert 8 <= trio.current_time() - started_at <= 10
        server.before["set_lock"].extend([lambda: None] * 3 + [lambda: setattr(server.files["a.txt"], "locked_by", None)])
        assert await manager.acquire_within(AT, entry(server), 10) is not None


async def test_unlock_by_hand(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """One of ours is released and comes back with the next commit; a foreign one only when asked for by name."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        assert await manager.unlock(AT)
        assert server.files["a.txt"].locked_by is None
        assert lease.is_lost
        assert not await manager.unlock(AT)
        await lease.ensure()
        lease.release()
        await settle()
        assert await manager.break_foreign(AT) is None
        for until in (EPOCH + 9999, 0.0):  # also one without end
            server.files["a.txt"].locked_by = Lock("other", "collabora", until)
            broken = await manager.break_foreign(AT)
            assert broken is not None
            assert broken.app_name == "collabora"
            assert server.files["a.txt"].locked_by is None


async def test_one_hanging_refresh_does_not_starve_others(
    managing: Managing, server: FakeServer, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Each refresh is on its own."""
    server.put("b.txt", b"")
    real = server.refresh_lock

    async def hang(at: Location, lock: Lock) -> None:
        if at == AT:
            await trio.sleep_forever()
        await real(at, lock)

    monkeypatch.setattr(server, "refresh_lock", hang)
    async with managing() as manager:
        hanging = await manager.acquire(AT, entry(server))
        other = await manager.acquire(HOME.child("b.txt"), server.entry("b.txt"))
        assert hanging is not None
        assert other is not None
        await trio.sleep(1000)
        assert other.lock is not None
        assert hanging.lock is None


async def test_all_are_released_at_the_end(managing: Managing, server: FakeServer, autojump_clock: MockClock) -> None:
    """A daemon that stops in order leaves no lock."""
    async with managing() as manager:
        lease = await manager.acquire(AT, entry(server))
        assert lease is not None
        await manager.release_all()
        assert server.files["a.txt"].locked_by is None
    async with managing() as manager:
        assert manager.stale() == []


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not done"])
async def test_lost_answer_of_set_lock_is_settled(
    managing: Managing, server: FakeServer, is_done: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """GetLock tells whether we have it."""
    real = server.set_lock

    async def lose(at: Location, lock: Lock) -> None:
        if is_done:
            await real(at, lock)
        raise OutcomeUnknownError("lost")

    monkeypatch.setattr(server, "set_lock", lose)
    async with managing() as manager:
        if is_done:
            lease = await manager.acquire(AT, entry(server))
            assert lease is not None
            assert lease.lock is not None
        else:
            with pytest.raises(OutcomeUnknownError):
                await manager.acquire(AT, entry(server))
            assert manager.held() == []


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "probed"])
async def test_killed_before_the_answer_knows_its_lock(
    managing: Managing, server: FakeServer, book: CapabilityBook, tmp_path: Path, is_known: bool, autojump_clock: MockClock
) -> None:
    """The server grants the lock and nobody is left to hear it: the next start releases it, so that it keeps nobody out."""
    if not is_known:
        book.of("store").locks = None
    left = tmp_path / "left"

    def kill(moment: str) -> None:
        if moment == "after set_lock" and not left.exists():
            left.write_bytes((tmp_path / "locks").read_bytes())

    async with managing() as manager:
        server.watch = kill
        assert await manager.acquire(AT, entry(server)) is not None
        server.watch = None
    assert server.files["a.txt"].locked_by is not None
    async with managing(state_file=left) as manager:
        assert manager.stale() == [AT]
        await manager.take_over_stale()
        await manager.release_stale()
    assert server.files["a.txt"].locked_by is None


async def test_refused_lock_is_not_remembered(
    managing: Managing, server: FakeServer, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Somebody else's lock stays theirs in our books."""
    server.files["a.txt"].locked_by = Lock("theirs", "collabora", EPOCH + 1000)
    async with managing() as manager:
        with pytest.raises(LockedError):
            await manager.acquire(AT, entry(server))
    async with managing() as manager:
        assert manager.stale() == []
