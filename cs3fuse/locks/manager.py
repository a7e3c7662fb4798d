"""Leases on CS3 locks: taken on open-for-write, refreshed ahead of expiry, released after the last commit.

Owns the task that refreshes and releases, and puts the parts together: ``taking``, ``keeping`` and ``releasing`` do the calls over one
``state``. ``vfs`` acquires; ``commit`` asks for the current lock and has a lost one acquired again; ``core`` runs it, and has the locks
of an earlier run kept and released; ``control`` lists. Trio thread only. One lease per file, however many handles: concurrent
acquisitions of one file wait for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook, LockSupport
from cs3fuse.errors import LockedError
from cs3fuse.locks.foreign import ForeignLock, ForeignLocks, advisory_lock
from cs3fuse.locks.held import HeldLock, Lease, LeaseTable
from cs3fuse.locks.keeping import Keeping
from cs3fuse.locks.lease import LeaseMachine
from cs3fuse.locks.left import LeftLocks
from cs3fuse.locks.releasing import Releasing
from cs3fuse.locks.state import LockState
from cs3fuse.locks.taking import Taking, new_lock_id
from cs3fuse.model import Entry, Location, Lock, LockInfo
from cs3fuse.ports import RemoteLocks

_LOG = structlog.get_logger(__name__)

CHECK_EVERY_S = 2.0
"""How often leases are looked at; the wall clock may have jumped (suspend), so nothing sleeps until a computed moment."""
RELEASES_AT_ONCE = 4
ASK_AGAIN_S = 1.0
"""How often a foreign lock is asked for while somebody waits for it."""


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
        self._book = book
        self._app_name = app_name
        self._policy = policy
        self.state = LockState(locks, wall_clock, ttl_s, LeaseTable(), LeftLocks(state_file, app_name), ForeignLocks())
        self._keeping = Keeping(self.state)
        self._releasing = Releasing(self.state)
        self._taking = Taking(self.state, self._releasing, book, is_required=policy == "require")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Refresh and release until cancelled. Cancellation: locks that were not released yet are in the state file."""
        async with trio.open_nursery() as nursery:
            for _ in range(RELEASES_AT_ONCE):
                nursery.start_soon(self._releasing.work)
            task_status.started()
            while True:
                await trio.sleep(CHECK_EVERY_S)
                self._releasing.try_again()
                for lease in self._keeping.due():
                    nursery.start_soon(self._keeping.refresh, lease)

    def now(self) -> float:
        """The wall clock that locks go by, unix seconds."""
        return self.state.now()

    # Acquiring

    async def acquire(self, at: Location, entry: Entry) -> Lease | None:
        """Lock a file that is opened for writing; None where the storage has no locks (and none are required).

        Raises: LockedError: somebody else holds it; UnsupportedError: no locks here and the policy is "require"; what the calls raise.
        Cancellation: a lock may be left on the server; it expires, and is known as ours until then.
        """
        if self._policy == "off":
            return None
        async with self.state.held.turn(at):
            lease = self.state.held.at(at)
            if lease is not None:
                return await self._share(lease)
            lease = self._new_lease(at, entry)
            if lease.is_lost and not await self._taking.take(lease):
                return None
            lease.machine.retain()
            self.state.held.add(lease)
            return lease

    async def _share(self, lease: Lease) -> Lease | None:
        """Hold a lease that others hold; they may let go of a lost one while the server is asked for it again."""
        lease.machine.retain()
        is_shared = False
        try:
            is_shared = not lease.is_lost or await self._taking.take(lease)
        finally:
            if not is_shared:
                lease.release()
        return lease if is_shared else None

    def _new_lease(self, at: Location, entry: Entry) -> Lease:
        """One that is lost still; unless a release is on its way whose lock is good."""
        machine = LeaseMachine(self._app_name, self.state.ttl_s, new_lock_id())
        lock = self._releasing.take_back(at)
        if lock is not None:
            machine.lock_id, machine.app_name = lock.lock_id, lock.app_name
            machine.granted(lock, lock.expires_at - self.state.ttl_s)
        return Lease(self, at, entry, machine)

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

    # What a lease asks for

    async def reacquire(self, lease: Lease) -> None:
        """Take a lost lock again. Raises: LockedError, what the calls raise."""
        _LOG.warning("lock was lost, acquiring it again", path=str(lease.at))
        await self._taking.take(lease)
        self._releasing.give_back(lease)

    async def reaffirm(self, lease: Lease) -> None:
        """See ``Lease.reaffirm``."""
        if not lease.is_lost:
            await self._keeping.refresh(lease)
        await lease.ensure()

    def let_go(self, lease: Lease) -> None:
        """See ``Lease.release``."""
        self._releasing.let_go(lease)

    def moved(self, lease: Lease, at: Location) -> None:
        """See ``Lease.rebind``."""
        state = self.state
        was_held = state.held.remove(lease)
        if was_held:
            state.left.gone(lease.at)
        lease.at = at
        if was_held:
            state.held.add(lease)
        held = lease.lock
        if held is not None:
            state.left.kept(at, held)

    # Releases on their way

    async def settle(self, at: Location) -> Lock | None:
        """The lock to send along with a delete, a rename or metadata: ours while it is held; else a release on its way is done first.

        Without that our own unlock, which close(2) does not wait for, would make the next unlink(2) fail with EBUSY.

        Cancellation: the release stays on its way in the background.
        """
        await self._releasing.settle(at)
        return self.lock_at(at)

    async def drain(self) -> None:
        """Carry out every release that is on its way: at the end of the mount no lock may be left behind."""
        await self._releasing.drain()

    async def release_all(self) -> None:
        """Before the daemon ends: release what is still held. The caller opens a scope. Cancellation: the rest expires by itself."""
        await self._releasing.release_all()

    # After a crash

    def stale(self) -> list[Location]:
        """Files on which an earlier run left a lock that was not taken up again."""
        return self.state.left.places()

    async def take_over_stale(self) -> None:
        """At start: keep the locks that an earlier run left from running out while its journal is replayed.

        Locks that are gone are forgotten; where the server is away they stay as they are. Cancellation: nothing is lost.
        """
        await self._keeping.take_over_left()

    async def release_stale(self, *, is_needed: Callable[[Location], bool] = lambda _at: False) -> None:
        """After recovery: release what nothing needs any more; what the server does not answer stays for the next call.

        Cancellation: the rest expires by itself.

        ``is_needed`` says that bytes for a file are still unsent: its lock is kept, and sent along with them (``lock_at``).
        """
        await self._releasing.release_left(is_needed)

    # For others

    @property
    def is_off(self) -> bool:
        """Whether locks play no part in this mount."""
        return self._policy == "off"

    def lease_at(self, at: Location) -> Lease | None:
        """Our lease on a file that is open for writing."""
        return self.state.held.at(at)

    def lock_at(self, at: Location) -> Lock | None:
        """Our current lock on a file, None if we have none: for deletes, renames and recovered commits."""
        return self.state.lock_at(at)

    async def lock_on(self, at: Location, entry: Entry) -> LockInfo | None:
        """The lock on a file, ours or somebody else's, as ``entry`` shows it; GetLock is asked only where Stat shows no locks.

        Raises: what GetLock raises, on a storage with weak locks.
        """
        shown = entry.lock or advisory_lock(entry.metadata, self.now())
        if shown is None and self._book.of(entry.storage_id).locks is LockSupport.WEAK:
            return await self.state.server.get_lock(at)
        return shown

    def is_own(self, at: Location, found: LockInfo | None) -> bool:
        """Whether a lock on the server is one of ours: held, being released, or left by an earlier run."""
        return found is not None and self.state.left.is_own(at, found)

    def met(self, at: Location, error: LockedError) -> LockedError:
        """Note a foreign lock that is in the way: for the log and ``foreign``. Returns the error, to be raised."""
        return self.state.met(at, error)

    def forget_foreign(self, at: Location) -> None:
        """It is not locked by anybody else any more."""
        self.state.foreign.forget(at)

    # For people

    def held(self) -> list[HeldLock]:
        """Our leases."""
        return self.state.held.told()

    def foreign(self) -> list[ForeignLock]:
        """Locks of others that were in the way and may still be."""
        return self.state.foreign.told()

    async def unlock(self, at: Location) -> bool:
        """Release our lock on a file now, whoever holds a handle (they acquire it again when they commit). False: we have none.

        Raises: what the call raises, other than that the lock was gone.
        """
        return await self._releasing.release_now(at)

    async def break_foreign(self, at: Location) -> LockInfo | None:
        """Release somebody else's lock, if the server lets us; ask the user before. Returns what was released, None: not locked.

        Raises: LockLostError, AccessDeniedError and the like where the server does not allow it.
        """
        return await self._releasing.break_foreign(at)
