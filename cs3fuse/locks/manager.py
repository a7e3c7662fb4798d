"""Leases on CS3 locks: taken on open-for-write, refreshed ahead of expiry, released after the last commit.

Owns all leases of the mount and the task that refreshes and releases them. ``vfs`` acquires; ``commit`` asks for the current lock and
has a lost one acquired again; ``control`` lists. Trio thread only. One lease per file, however many handles: concurrent acquisitions of
one file wait for each other.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook, LockSupport
from cs3fuse.errors import (
    Cs3FuseError,
    DeadlineError,
    LockedError,
    LockLostError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    UnavailableError,
    UnsupportedError,
)
from cs3fuse.locks.foreign import advisory_lock, locked_error
from cs3fuse.locks.lease import LeaseMachine, LeaseState
from cs3fuse.locks.probe import probe
from cs3fuse.locks.registry import LockRegistry
from cs3fuse.model import Entry, Location, Lock, LockInfo
from cs3fuse.ports import RemoteLocks

_LOG = structlog.get_logger(__name__)

CHECK_EVERY_S = 2.0
"""How often leases are looked at; the wall clock may have jumped (suspend), so nothing sleeps until a computed moment."""
CALL_LIMIT_S = 20.0
"""Bound of one refresh or release in the background."""
RELEASES_AT_ONCE = 4
ASK_AGAIN_S = 1.0
"""How often a foreign lock is asked for while somebody waits for it."""

_NOT_ANSWERED = (UnavailableError, DeadlineError, OutcomeUnknownError, ServerError)


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lease, for people."""

    at: Location
    lock: Lock
    holders: int
    state: str


@dataclass(frozen=True, slots=True)
class ForeignLock:
    """Somebody else's lock that was in the way. ``met_at`` is unix seconds."""

    at: Location
    lock: LockInfo
    met_at: float


class Lease:
    """Our lock on one file, shared by its handles; each holder calls ``release`` once."""

    def __init__(self, manager: LeaseManager, at: Location, entry: Entry, machine: LeaseMachine) -> None:
        self.at = at
        self.entry = entry
        self.machine = machine
        self._manager = manager

    @property
    def lock(self) -> Lock | None:
        """The lock to send along; None after a loss."""
        return self.machine.lock(self._manager.now())

    @property
    def is_lost(self) -> bool:
        """Whether the lock ran out or was taken."""
        return self.lock is None

    def rebind(self, at: Location) -> None:
        """The file was renamed (its lock goes with it)."""
        self._manager.moved(self, at)

    def release(self) -> None:
        """One holder less; after the last one the server is told in the background. Never blocks."""
        self._manager.let_go(self)

    async def ensure(self) -> None:
        """Get the lock back if it was lost. Raises: LockedError: somebody else has it now; what the calls raise."""
        if self.is_lost:
            await self._manager.reacquire(self)

    async def reaffirm(self) -> None:
        """Ask the server whether the lock is still ours, and get it back if not. Raises: as ``ensure``."""
        await self._manager.reaffirm(self)


class LeaseManager:
    """See the module."""

    def __init__(
        self,
        locks: RemoteLocks,
        book: CapabilityBook,
        *,
        app_name: str,
        policy: Literal["auto", "require", "off"] = "auto",
        ttl_s: float = 300.0,
        state_file: Path | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``app_name`` is ours alone (two mounts are two holders); ``state_file`` keeps our locks across a crash.

        Raises: LocalStorageError.
        """
        self._locks = locks
        self._book = book
        self._app_name = app_name
        self._policy = policy
        self._ttl_s = ttl_s
        self._registry = LockRegistry(state_file)
        self._stale = self._registry.locks()
        self._leases: dict[Location, Lease] = {}
        self._turns: dict[Location, tuple[trio.Lock, int]] = {}
        self._foreign: dict[Location, ForeignLock] = {}
        self._told_about: set[str] = set()
        self._unreleased: dict[Location, Lock] = {}
        self._doubtful: set[Location] = set()  # of those: perhaps never granted, or released already
        self._not_released: set[Location] = set()  # of those: the server did not answer, to be tried again
        # Unbounded, but never more than a few entries for each lease that was let go.
        self._to_release, self._releases = trio.open_memory_channel[Location](math.inf)
        self.now = wall_clock

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Refresh and release until cancelled. Cancellation: locks that were not released yet are in the state file."""
        async with trio.open_nursery() as nursery:
            for _ in range(RELEASES_AT_ONCE):
                nursery.start_soon(self._release_all)
            task_status.started()
            while True:
                await trio.sleep(CHECK_EVERY_S)
                for at in self._not_released:
                    self._to_release.send_nowait(at)
                for lease in list(self._leases.values()):
                    if lease.machine.is_due(self.now()):
                        lease.machine.not_answered(self.now())  # not due again while it is under way
                        nursery.start_soon(self._refresh, lease)

    # Acquiring

    async def acquire(self, at: Location, entry: Entry) -> Lease | None:
        """Lock a file that is opened for writing; None where the storage has no locks (and none are required).

        Raises: LockedError: somebody else holds it; UnsupportedError: no locks here and the policy is "require"; what the calls raise.
        Cancellation: a lock may be left on the server; it expires, and is known as ours until then.
        """
        if self._policy == "off":
            return None
        async with self._turn(at):
            return await self._acquire(at, entry)

    @asynccontextmanager
    async def _turn(self, at: Location) -> AsyncIterator[None]:
        """One acquisition or release of a file at a time."""
        turn, users = self._turns.get(at, (trio.Lock(), 0))
        self._turns[at] = (turn, users + 1)
        try:
            async with turn:
                yield
        finally:
            turn, users = self._turns.pop(at)
            if users > 1:
                self._turns[at] = (turn, users - 1)

    async def _acquire(self, at: Location, entry: Entry) -> Lease | None:
        lease = self._leases.get(at)
        if lease is None:
            machine = LeaseMachine(self._app_name, self._ttl_s, _new_lock_id())
            lease = Lease(self, at, entry, machine)
            self._reuse_unreleased(lease)
        if lease.is_lost and not await self._take(lease):
            return None
        lease.machine.retain()
        self._leases[lease.at] = lease
        return lease

    def _reuse_unreleased(self, lease: Lease) -> None:
        """The last handle was closed a moment ago and the server was not told yet: the lock is still good."""
        lock = self._unreleased.pop(lease.at, None)
        self._not_released.discard(lease.at)
        is_doubtful = lease.at in self._doubtful
        self._doubtful.discard(lease.at)
        if lock is not None and not is_doubtful:
            lease.machine.lock_id, lease.machine.app_name = lock.lock_id, lock.app_name
            lease.machine.granted(lock, lock.expires_at - self._ttl_s)

    async def reacquire(self, lease: Lease) -> None:
        """Take a lost lock again. Raises: LockedError, what the calls raise."""
        _LOG.warning("lock was lost, acquiring it again", path=str(lease.at))
        await self._take(lease)

    async def reaffirm(self, lease: Lease) -> None:
        """See ``Lease.reaffirm``."""
        if not lease.is_lost:
            await self._refresh(lease)
        await lease.ensure()

    async def acquire_within(self, at: Location, entry: Entry, seconds: float) -> Lease | None:
        """As ``acquire``, and wait up to ``seconds`` for somebody else to let go. Raises, Cancellation: as ``acquire``."""
        ends_at = trio.current_time() + seconds
        while True:
            try:
                return await self.acquire(at, entry)
            except LockedError:
                if trio.current_time() + ASK_AGAIN_S > ends_at:
                    raise
            await trio.sleep(ASK_AGAIN_S)

    async def _take(self, lease: Lease) -> bool:
        """Get the lock on the server. Returns False where the storage has none and that is acceptable."""
        storage = self._book.of(lease.entry.storage_id)
        try:
            if storage.locks is None:
                storage.locks = await self._probe(lease)
            if storage.locks is LockSupport.NONE:
                self._go_without(lease)
                return False
            if lease.is_lost:
                await self._set(lease, is_weak=storage.locks is LockSupport.WEAK)
        except (trio.Cancelled, OutcomeUnknownError, DeadlineError):
            self._give_up(lease)
            raise
        return True

    def _give_up(self, lease: Lease) -> None:
        """The server may have granted the lock and nobody waits for it: take it back later; if that fails it is known as ours."""
        wanted = lease.machine.proposal(self.now())
        self._stale[lease.at] = wanted
        self._registry.add(lease.at, wanted)
        self._unreleased[lease.at] = wanted
        self._doubtful.add(lease.at)
        self._to_release.send_nowait(lease.at)

    async def _probe(self, lease: Lease) -> LockSupport:
        """Learn what locks are worth here, and hold one then (unless there are none, or a lock of our own was in the way)."""
        now = self.now()
        wanted = lease.machine.proposal(now)
        self._announce(lease.at, wanted)
        try:
            support, held = await probe(self._locks, lease.at, wanted, _new_lock_id())
        except LockedError as exc:
            self._withdraw(lease.at)
            if self.is_own(lease.at, exc.lock):
                return LockSupport.FULL
            raise self.met(lease.at, exc) from exc
        if held is None:
            self._withdraw(lease.at)
        else:
            lease.machine.lock_id = held.lock_id
            self._granted(lease, held, now)
        _LOG.info("probed locks", storage=lease.entry.storage_id, support=support.value)
        if support is LockSupport.WEAK:
            _LOG.warning(
                "locks overwrite each other on this storage: they show who writes and keep nobody out",
                storage=lease.entry.storage_id,
            )
        return support

    async def _set(self, lease: Lease, *, is_weak: bool) -> None:
        now = self.now()
        wanted = lease.machine.proposal(now)
        if is_weak:
            await self._refuse_foreign(lease)
        self._announce(lease.at, wanted)
        try:
            await self._locks.set_lock(lease.at, wanted)
        except (LockedError, *_NOT_ANSWERED) as exc:
            failure: Cs3FuseError | None = exc
        else:
            failure = None
        if isinstance(failure, LockedError):
            self._withdraw(lease.at)
            await self._take_over(lease, failure)
            return
        if failure is not None:
            found = await self._locks.get_lock(lease.at)
            if found is None or found.lock_id != wanted.lock_id:
                self._withdraw(lease.at)
                raise failure
        if is_weak:
            await self._refuse_foreign(lease)
        self._granted(lease, wanted, now)

    def _announce(self, at: Location, wanted: Lock) -> None:
        """Before a lock is asked for: its answer may find nobody alive, and the next start must know it as ours."""
        if at not in self._stale:
            self._registry.add(at, wanted)

    def _withdraw(self, at: Location) -> None:
        """The server did not grant what was announced."""
        if at not in self._stale:
            self._registry.remove(at)

    async def _refuse_foreign(self, lease: Lease) -> None:
        """Where SetLock overwrites: look whose lock it is. Raises: LockedError."""
        found = await self._locks.get_lock(lease.at)
        if found is not None and found.lock_id != lease.machine.lock_id and not self._was_left_by_us(lease.at, found):
            raise self.met(lease.at, locked_error(lease.at, found))

    async def _take_over(self, lease: Lease, refusal: LockedError) -> None:
        """The file is locked: by ourselves before a crash or a lost answer (then refresh), or by somebody else. Raises: LockedError."""
        found = refusal.lock or await self._locks.get_lock(lease.at)
        if found is None:
            raise refusal
        if found.lock_id != lease.machine.lock_id and not self._was_left_by_us(lease.at, found):
            raise self.met(lease.at, locked_error(lease.at, found)) from refusal
        lease.machine.lock_id, lease.machine.app_name = found.lock_id, found.app_name
        now = self.now()
        wanted = lease.machine.proposal(now)
        try:
            await self._locks.refresh_lock(lease.at, wanted)
        except LockLostError as exc:
            raise self.met(lease.at, locked_error(lease.at, found)) from exc
        _LOG.info("took over our own lock", path=str(lease.at))
        self._granted(lease, wanted, now)

    def is_own(self, at: Location, found: LockInfo | None) -> bool:
        """Whether a lock on the server is one of ours: held, being released, or left by an earlier run."""
        if found is None:
            return False
        stale = self._stale.get(at)
        return found.app_name == self._app_name or (stale is not None and stale.lock_id == found.lock_id)

    def _was_left_by_us(self, at: Location, found: LockInfo) -> bool:
        """Whether it is a lock that an earlier run left, or whose answer was lost: nobody of this run relies on it.

        The name of the application is this state folder's alone, so also a lock that never came into the state file is known.
        """
        if not self.is_own(at, found):
            return False
        in_use = {lease.machine.lock_id for lease in self._leases.values()} | {lock.lock_id for lock in self._unreleased.values()}
        return found.lock_id not in in_use

    def _granted(self, lease: Lease, lock: Lock, now: float) -> None:
        lease.machine.granted(lock, now)
        self._stale.pop(lease.at, None)
        self._foreign.pop(lease.at, None)
        self._registry.add(lease.at, lock)

    def met(self, at: Location, error: LockedError) -> LockedError:
        """Note a foreign lock that is in the way: for the log and ``foreign``. Returns the error, to be raised."""
        if error.lock is not None:
            self._foreign[at] = ForeignLock(at, error.lock, self.now())
        _LOG.info("locked by somebody else", path=str(at), reason=str(error))
        return error

    def forget_foreign(self, at: Location) -> None:
        """It is not locked by anybody else any more."""
        self._foreign.pop(at, None)

    def _go_without(self, lease: Lease) -> None:
        """No locks here: honour cs3client's, and say it once. Raises: LockedError; UnsupportedError where locks are required."""
        advisory = advisory_lock(lease.entry.metadata, self.now())
        if advisory is not None:
            raise self.met(lease.at, locked_error(lease.at, advisory))
        if self._policy == "require":
            raise UnsupportedError(
                f"{lease.at} cannot be locked: its storage has no locks, and they are required (locks = require).",
                path=str(lease.at),
            )
        storage_id = lease.entry.storage_id
        if storage_id not in self._told_about:
            self._told_about.add(storage_id)
            _LOG.warning("storage has no locks, going on without", storage=storage_id)

    # Keeping and releasing

    async def _refresh(self, lease: Lease) -> None:
        now = self.now()
        wanted = lease.machine.proposal(now)
        with trio.move_on_after(CALL_LIMIT_S) as scope:
            try:
                await self._locks.refresh_lock(lease.at, wanted)
            except (LockLostError, NotFoundError) as exc:
                lease.machine.refused()
                _LOG.warning("lock was lost", path=str(lease.at), reason=str(exc))
            except Cs3FuseError as exc:
                lease.machine.not_answered(self.now())
                _LOG.warning("lock could not be refreshed", path=str(lease.at), reason=str(exc), state=lease.machine.state.value)
            else:
                lease.machine.granted(wanted, now)
                if lease.machine.state is LeaseState.HELD:
                    self._registry.add(lease.at, wanted)
        if scope.cancelled_caught:
            lease.machine.not_answered(self.now())

    def let_go(self, lease: Lease) -> None:
        """See ``Lease.release``."""
        held = lease.lock
        if not lease.machine.let_go():
            return
        if self._leases.get(lease.at) is lease:
            del self._leases[lease.at]
        if held is not None:
            self._unreleased[lease.at] = held
            self._to_release.send_nowait(lease.at)
        else:
            self._registry.remove(lease.at)

    async def _release_all(self) -> None:
        async for at in self._releases:
            await self._release(at)

    async def _release(self, at: Location) -> None:
        """Release a lock that nobody needs any more; what the server does not answer is tried again until the lock has run out."""
        async with self._turn(at):
            lock = self._unreleased.get(at)
            if lock is None:  # somebody took it up again, or it is done
                return
            if not await self._unlock(at, lock) and self.now() < lock.expires_at:
                self._not_released.add(at)
                self._doubtful.add(at)  # its answer may have been lost
                return
            del self._unreleased[at]
            self._doubtful.discard(at)
            self._not_released.discard(at)
            self._registry.remove(at)

    async def _unlock(self, at: Location, lock: Lock) -> bool:
        """Tell the server. Returns whether the lock is gone."""
        reason = "no answer in time"
        with trio.move_on_after(CALL_LIMIT_S):
            try:
                await self._locks.unlock(at, lock)
            except (LockLostError, NotFoundError):
                _LOG.debug("lock was gone already", path=str(at))
                return True
            except Cs3FuseError as exc:
                reason = str(exc)
            else:
                return True
        if at not in self._not_released:
            _LOG.warning("lock could not be released yet, it expires by itself", path=str(at), reason=reason)
        return False

    async def settle(self, at: Location) -> Lock | None:
        """The lock to send along with a delete, a rename or metadata: ours while it is held; else a release on its way is done first.

        Without that our own unlock, which close(2) does not wait for, would make the next unlink(2) fail with EBUSY.

        Cancellation: the release stays on its way in the background.
        """
        if at in self._unreleased:
            await self._release(at)
        return self.lock_at(at)

    async def drain(self) -> None:
        """Carry out every release that is on its way: at the end of the mount no lock may be left behind."""
        for at in list(self._unreleased):
            await self.settle(at)

    def moved(self, lease: Lease, at: Location) -> None:
        """See ``Lease.rebind``."""
        if self._leases.get(lease.at) is lease:
            del self._leases[lease.at]
            self._leases[at] = lease
            self._registry.remove(lease.at)
        lease.at = at
        held = lease.lock
        if held is not None:
            self._registry.add(at, held)

    async def release_all(self) -> None:
        """Before the daemon ends: release what is still held. The caller opens a scope. Cancellation: the rest expires by itself."""
        for at, lease in list(self._leases.items()):
            held = lease.lock
            if held is not None and await self._unlock(at, held):
                self._registry.remove(at)
        await self.drain()

    # After a crash

    def stale(self) -> list[Location]:
        """Files on which an earlier run left a lock that was not taken up again."""
        return list(self._stale)

    async def take_over_stale(self) -> None:
        """At start: keep the locks that an earlier run left from running out while its journal is replayed.

        Locks that are gone are forgotten; where the server is away they stay as they are. Cancellation: nothing is lost.
        """
        for at, lock in list(self._stale.items()):
            wanted = Lock(lock.lock_id, lock.app_name, self.now() + self._ttl_s)
            try:
                await self._locks.refresh_lock(at, wanted)
            except (LockLostError, NotFoundError, UnsupportedError):
                self._forget_stale(at)
            except Cs3FuseError as exc:
                _LOG.warning("a lock of an earlier run could not be refreshed", path=str(at), reason=str(exc))
            else:
                self._stale[at] = wanted
                self._registry.add(at, wanted)

    async def release_stale(self, *, is_needed: Callable[[Location], bool] = lambda _at: False) -> None:
        """After recovery: release what nothing needs any more; what the server does not answer stays for the next call.

        Cancellation: the rest expires by itself.

        ``is_needed`` says that bytes for a file are still unsent: its lock is kept, and sent along with them (``lock_at``).
        """
        for at, lock in list(self._stale.items()):
            if is_needed(at):
                continue
            if at not in self._leases and not await self._unlock(at, lock) and self.now() < lock.expires_at:
                continue
            self._forget_stale(at)

    def _forget_stale(self, at: Location) -> None:
        self._stale.pop(at, None)
        if at not in self._leases:
            self._registry.remove(at)

    # For others

    @property
    def is_off(self) -> bool:
        """Whether locks play no part in this mount."""
        return self._policy == "off"

    def lease_at(self, at: Location) -> Lease | None:
        """Our lease on a file that is open for writing."""
        return self._leases.get(at)

    async def lock_on(self, at: Location, entry: Entry) -> LockInfo | None:
        """The lock on a file, ours or somebody else's, as ``entry`` shows it; GetLock is asked only where Stat shows no locks.

        Raises: what GetLock raises, on a storage with weak locks.
        """
        shown = entry.lock or advisory_lock(entry.metadata, self.now())
        if shown is None and self._book.of(entry.storage_id).locks is LockSupport.WEAK:
            return await self._locks.get_lock(at)
        return shown

    # For people

    def held(self) -> list[HeldLock]:
        """Our leases."""
        return [
            HeldLock(lease.at, Lock(machine.lock_id, machine.app_name, machine.expires_at), machine.holders, machine.state.value)
            for lease in self._leases.values()
            for machine in [lease.machine]
        ]

    def foreign(self) -> list[ForeignLock]:
        """Locks of others that were in the way and may still be."""
        return list(self._foreign.values())

    async def unlock(self, at: Location) -> bool:
        """Release our lock on a file now, whoever holds a handle (they acquire it again when they commit). False: we have none.

        Raises: what the call raises, other than that the lock was gone.
        """
        lock = self.lock_at(at)
        if lock is None:
            return False
        try:
            await self._locks.unlock(at, lock)
        except LockLostError:
            _LOG.debug("lock was gone already", path=str(at))
        lease = self._leases.get(at)
        if lease is not None:
            lease.machine.refused()
        self._forget_stale(at)
        self._registry.remove(at)
        return True

    async def break_foreign(self, at: Location) -> LockInfo | None:
        """Release somebody else's lock, if the server lets us; ask the user before. Returns what was released, None: not locked.

        Raises: LockLostError, AccessDeniedError and the like where the server does not allow it.
        """
        found = await self._locks.get_lock(at)
        if found is None:
            return None
        # The server goes by id and application; an end must be sent (some crash without one), also for a lock that has none.
        until = found.expires_at or self.now() + self._ttl_s
        await self._locks.unlock(at, Lock(found.lock_id, found.app_name, until))
        self._foreign.pop(at, None)
        _LOG.warning("released somebody else's lock", path=str(at), app=found.app_name, user=found.user)
        return found

    def lock_at(self, at: Location) -> Lock | None:
        """Our current lock on a file, None if we have none: for deletes, renames and recovered commits."""
        lease = self._leases.get(at)
        if lease is not None:
            return lease.lock
        stale = self._stale.get(at)
        return stale if stale is not None and self.now() < stale.expires_at else None


def _new_lock_id() -> str:
    """Unguessable: who knows a lock's id may upload with it."""
    return f"opaquelocktoken:{uuid.uuid4()}"
