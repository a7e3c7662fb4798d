"""The lease manager against a model, in any order of events: opens, closes, time, suspends, outages, lost answers, thefts, restarts.

The server is a dictionary of locks with a clock; the model is the number of our handles and what happened to the server meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import Cs3FuseError, LockedError, LockLostError, OutcomeUnknownError, UnavailableError
from cs3fuse.locks.guarding import refuse_foreign
from cs3fuse.locks.held import Lease
from cs3fuse.locks.lease import SAFETY_S
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.model import Entry, Kind, Location, Lock, LockInfo, PathRoot, ResourceId
from tests.support.clocks import jumping_clock

EPOCH_S = 1_700_000_000.0
TTL_S = 300.0
OURS = "cs3fuse-host-1"
NAMES = ("a", "b")


def at(name: str) -> Location:
    return Location(PathRoot("/home"), name)


@dataclass
class LockServer:
    """``RemoteLocks`` over a dictionary. ``weak``: SetLock overwrites whatever there is, as cephmount does."""

    weak: bool
    now: Callable[[], float]
    locks: dict[str, Lock] = field(default_factory=dict)
    down: bool = False
    lost_answers: int = 0
    trespasses: list[str] = field(default_factory=list)

    def held(self, name: str) -> Lock | None:
        """The lock in force."""
        lock = self.locks.get(name)
        return lock if lock is not None and self.now() < lock.expires_at else None

    def held_by_us(self, name: str) -> bool:
        lock = self.held(name)
        return lock is not None and lock.app_name == OURS

    async def _arrive(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise UnavailableError("away")

    def _leave(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknownError("the answer was lost")

    def _ours(self, where: Location, lock: Lock) -> Lock:
        held = self.held(where.rel)
        if held is None or (held.lock_id, held.app_name) != (lock.lock_id, lock.app_name):
            raise LockLostError("not yours")
        return held

    async def set_lock(self, where: Location, lock: Lock) -> None:
        await self._arrive()
        held = self.held(where.rel)
        if held is not None and not self.weak:
            raise LockedError("locked")
        if held is not None and held.app_name != OURS:
            self.trespasses.append(f"overwrote {held.app_name}'s lock on {where.rel}")
        self.locks[where.rel] = lock
        self._leave()

    async def get_lock(self, where: Location) -> LockInfo | None:
        await self._arrive()
        held = self.held(where.rel)
        return None if held is None else LockInfo(held.lock_id, held.app_name, "", "write", held.expires_at)

    async def refresh_lock(self, where: Location, lock: Lock) -> None:
        await self._arrive()
        self._ours(where, lock)
        self.locks[where.rel] = lock
        self._leave()

    async def unlock(self, where: Location, lock: Lock) -> None:
        await self._arrive()
        self._ours(where, lock)
        del self.locks[where.rel]
        self._leave()


class World:
    """One mount's leases on two files, somebody else, and the server between them."""

    def __init__(self, folder: Path, *, weak: bool) -> None:
        self.jumped_s = 0.0
        self.server = LockServer(weak, self.now)
        self.book = CapabilityBook()
        self.folder = folder
        self.leases: dict[str, list[Lease]] = {name: [] for name in NAMES}
        self.forgotten: set[str] = set()  # the server forgot, or gave away, a lock that we may believe ours
        self.manager = self.new_manager()

    def now(self) -> float:
        return EPOCH_S + trio.current_time() + self.jumped_s

    def new_manager(self) -> LeaseManager:
        return LeaseManager(
            self.server, self.book, app_name=OURS, ttl_s=TTL_S, state_file=self.folder / "leases", wall_clock=self.now
        )

    def entry(self, name: str) -> Entry:
        held = None if self.server.weak else self.server.held(name)
        lock = None if held is None else LockInfo(held.lock_id, held.app_name, "", "write", held.expires_at)
        return Entry(name, Kind.FILE, id=ResourceId("store", "", name), lock=lock)

    def foreign(self, name: str) -> bool:
        held = self.server.held(name)
        return held is not None and held.app_name != OURS

    async def attempt(self, call: Callable[[], Any]) -> tuple[Any, Cs3FuseError | None]:
        try:
            return await call(), None
        except Cs3FuseError as error:
            return None, error

    # What happens

    async def open(self, name: str) -> None:
        before = self.server.held(name)
        lease, error = await self.attempt(lambda: self.manager.acquire(at(name), self.entry(name)))
        if lease is not None:
            self.leases[name].append(lease)
            if name not in self.forgotten:
                assert self.server.held(name) is not None
                assert self.server.held_by_us(name)
            return
        assert error is not None
        if isinstance(error, LockedError):
            assert before is not None, "refused although nobody had it"
            assert before.app_name != OURS, "refused by a lock of our own"
        else:
            assert self.server.down or isinstance(error, OutcomeUnknownError)

    async def close(self, name: str) -> None:
        if self.leases[name]:
            self.leases[name].pop().release()
            await trio.testing.wait_all_tasks_blocked()
            if not self.leases[name] and not self.server.down and name not in self.forgotten:
                assert not self.server.held_by_us(name) or self.server.lost_answers == 0
            if not self.leases[name]:
                self.forgotten.discard(name)

    async def commit(self, name: str) -> None:
        """What the sender does: have the lock, send it along; told that it means nothing, ask and have it again."""
        if not self.leases[name]:
            return
        lease = self.leases[name][0]
        _done, error = await self.attempt(lease.ensure)
        held = self.server.held(name)
        if error is None and (held is None or lease.lock is None or held.lock_id != lease.lock.lock_id):
            assert name in self.forgotten, "sent a lock that is not ours"
            is_calm = not self.server.down and not self.server.lost_answers
            _done, error = await self.attempt(lease.reaffirm)
            if not is_calm and error is None:
                return  # nobody could tell; the upload itself will be refused
        if error is None:
            held = self.server.held(name)
            assert lease.lock is not None
            assert held is not None
            assert held.lock_id == lease.lock.lock_id
            self.forgotten.discard(name)
        elif isinstance(error, LockedError):
            assert self.foreign(name)
        else:
            assert self.server.down or isinstance(error, OutcomeUnknownError)

    async def touch(self, name: str) -> None:
        """What unlink and rename do first."""
        _done, error = await self.attempt(lambda: refuse_foreign(self.manager, at(name), self.entry(name)))
        if not self.server.down and (not self.server.weak or self.book.of("store").locks is not None):
            assert isinstance(error, LockedError) == self.foreign(name)

    async def sleep(self, seconds: float) -> None:
        was_calm = not self.server.down and not self.server.lost_answers
        lost_before = {name for name in NAMES for lease in self.leases[name][:1] if lease.is_lost}
        await trio.sleep(seconds)
        for name in NAMES:
            for lease in self.leases[name][:1]:
                if was_calm and name not in lost_before and name not in self.forgotten:
                    assert not lease.is_lost, "ran out although the server was there"
                    assert self.server.held_by_us(name)

    async def suspend(self, seconds: float) -> None:
        """The machine sleeps: the world's clock goes on and ours does not."""
        self.jumped_s += seconds

    async def lose_answers(self, count: int) -> None:
        self.server.lost_answers = count

    async def outage(self, is_down: bool) -> None:
        self.server.down = is_down

    async def other_locks(self, name: str) -> None:
        if self.server.held(name) is None:
            self.server.locks[name] = Lock("theirs", "collabora", self.now() + 200)
            if self.leases[name]:
                self.forgotten.add(name)

    async def other_unlocks(self, name: str) -> None:
        if self.foreign(name):
            del self.server.locks[name]

    async def server_forgets(self) -> None:
        self.server.locks.clear()
        self.forgotten |= {name for name in NAMES if self.leases[name]}

    # What always holds

    def check(self) -> None:
        assert self.server.trespasses == []
        for name in NAMES:
            for lease in self.leases[name][:1]:
                lock = lease.lock
                if lock is None or name in self.forgotten:
                    continue
                held = self.server.held(name)
                assert held is not None, "we believe in a lock that has run out"
                assert held.lock_id == lock.lock_id
                assert held.expires_at >= lock.expires_at
                assert lock.expires_at - SAFETY_S > self.now()
        by_place = {each.at.rel: each.holders for each in self.manager.held()}
        assert by_place == {name: len(leases) for name, leases in self.leases.items() if leases}


PAUSES = st.sampled_from([1.0, 60.0, 239.0, 299.0, 3600.0])
STEPS = st.one_of(
    st.tuples(st.just("open"), st.sampled_from(NAMES)),
    st.tuples(st.just("open"), st.sampled_from(NAMES)),
    st.tuples(st.just("close"), st.sampled_from(NAMES)),
    st.tuples(st.just("commit"), st.sampled_from(NAMES)),
    st.tuples(st.just("touch"), st.sampled_from(NAMES)),
    st.tuples(st.just("sleep"), PAUSES),
    st.tuples(st.just("suspend"), PAUSES),
    st.tuples(st.just("lose_answers"), st.integers(0, 3)),
    st.tuples(st.just("outage"), st.booleans()),
    st.tuples(st.just("other_locks"), st.sampled_from(NAMES)),
    st.tuples(st.just("other_unlocks"), st.sampled_from(NAMES)),
    st.tuples(st.just("server_forgets")),
    st.tuples(st.just("restart"), st.booleans()),
)


EXAMPLES = int(os.environ.get("CS3FUSE_MODEL_EXAMPLES", "60"))


async def play(folder: Path, weak: bool, steps: list[tuple[Any, ...]]) -> None:
    """Run the steps; a restart ends the manager, in order or as a kill does, and starts a new one on the same state file."""
    world = World(folder, weak=weak)
    rest = iter([*steps, ("restart", True)])
    is_over = False
    while not is_over:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.manager.run)
            for name, *arguments in rest:
                if name == "restart":
                    await end(world, is_orderly=arguments[0])
                    break
                await getattr(world, name)(*arguments)
                world.check()
            else:
                await verify(world)
                is_over = True
            nursery.cancel_scope.cancel()
        if not is_over:
            await start(world)


async def end(world: World, *, is_orderly: bool) -> None:
    if is_orderly:
        for leases in world.leases.values():
            while leases:
                leases.pop().release()
        await world.manager.drain()
    world.leases = {name: [] for name in NAMES}
    world.forgotten.clear()


async def start(world: World) -> None:
    """As ``core`` does."""
    world.manager = world.new_manager()
    await world.manager.take_over_stale()
    await world.manager.release_stale()


async def verify(world: World) -> None:
    """Everybody closes, the server is there, a lease's life goes by: nothing of ours is left, and each file can be locked."""
    world.server.down, world.server.lost_answers = False, 0
    for leases in world.leases.values():
        while leases:
            leases.pop().release()
    await trio.sleep(10)
    await world.manager.release_stale()  # as ``core`` does from time to time
    assert [name for name in NAMES if world.server.held_by_us(name)] == []
    assert world.manager.held() == []
    world.server.locks.clear()
    for name in NAMES:
        assert await world.manager.acquire(at(name), world.entry(name)) is not None


@pytest.mark.parametrize("weak", [False, True], ids=["full", "weak"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=40))
def test_leases_in_any_order_of_events(weak: bool, steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A lock that we send along is ours, a foreign one is never taken, and none of ours stays when nobody needs it."""
    trio.run(play, tmp_path_factory.mktemp("state"), weak, steps, clock=jumping_clock())
