"""Releasing locks: those of leases that were let go, in the background; those of an earlier run; and by hand.

Owns the releases that are on their way. ``manager`` calls it for ``vfs`` (close, settle), ``core`` (an earlier run's, the end) and
``control`` (by hand), and runs its workers. Trio thread only: a release takes the file's turn, so that it never meets an
acquisition of the same file.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog
import trio

from cs3fuse.errors import Cs3FuseError, LockLostError, NotFoundError
from cs3fuse.locks.held import Lease
from cs3fuse.locks.lease import LeaseState
from cs3fuse.locks.state import CALL_LIMIT_S, LockState
from cs3fuse.model import Location, Lock, LockInfo

_LOG = structlog.get_logger(__name__)


class Releasing:
    """See the module."""

    def __init__(self, state: LockState) -> None:
        self._state = state
        self._unreleased: dict[Location, Lock] = {}
        self._doubtful: set[Location] = set()  # of those: perhaps never granted, or released already
        self._not_released: set[Location] = set()  # of those: the server did not answer, to be tried again
        # Unbounded, but never more than a few entries for each lease that was let go.
        self._to_release, self._releases = trio.open_memory_channel[Location](math.inf)

    # On their way

    def let_go(self, lease: Lease) -> None:
        """One holder of a lease less; after the last one its release is on its way. Never blocks."""
        held = lease.lock
        if not lease.machine.let_go():
            return
        self._state.held.remove(lease)
        if held is not None:
            self._unreleased[lease.at] = held
            self._to_release.send_nowait(lease.at)
        elif lease.at not in self._unreleased:
            self._state.left.gone(lease.at)

    def give_back(self, lease: Lease) -> None:
        """Release the lock of a lease whose last holder let go while the server was asked for it; nothing if somebody holds it."""
        machine = lease.machine
        if machine.state is LeaseState.RELEASED:
            self.doubt(lease.at, Lock(machine.lock_id, machine.app_name, machine.expires_at))

    def doubt(self, at: Location, lock: Lock) -> None:
        """A lock was asked for that the server may have granted, and nobody waits for it: it is released, and never used again."""
        self._unreleased[at] = lock
        self._doubtful.add(at)
        self._to_release.send_nowait(at)

    def take_back(self, at: Location) -> Lock | None:
        """Call off the release of a file's lock. The caller has the file's turn.

        Returns: the lock, if it is still good: the last handle was closed a moment ago and the server was not told yet.
        """
        lock = self._unreleased.pop(at, None)
        self._not_released.discard(at)
        is_doubtful = at in self._doubtful
        self._doubtful.discard(at)
        return None if is_doubtful else lock

    def lock_ids(self) -> set[str]:
        """Which locks are on their way out."""
        return {lock.lock_id for lock in self._unreleased.values()}

    async def work(self) -> None:
        """Release, one after the other, until cancelled. Cancellation: what was not released yet is in the state file."""
        async for at in self._releases:
            await self._release(at)

    def try_again(self) -> None:
        """Have the workers try those again that the server did not answer."""
        for at in self._not_released:
            self._to_release.send_nowait(at)

    async def settle(self, at: Location) -> None:
        """Try the release of a file's lock now if it is on its way. Cancellation: it stays on its way in the background."""
        if at in self._unreleased:
            await self._release(at)

    async def drain(self) -> None:
        """Try every release that is on its way. Cancellation: as ``settle``."""
        for at in list(self._unreleased):
            await self.settle(at)

    async def _release(self, at: Location) -> None:
        """Release a lock that nobody needs any more; what the server does not answer is tried again until the lock has run out."""
        state = self._state
        async with state.held.turn(at):
            lock = self._unreleased.get(at)
            if lock is None:  # somebody took it up again, or it is done
                return
            if not await self._unlock(at, lock) and state.now() < lock.expires_at:
                self._not_released.add(at)
                self._doubtful.add(at)  # its answer may have been lost
                return
            del self._unreleased[at]
            self._doubtful.discard(at)
            self._not_released.discard(at)
            state.left.gone(at)

    async def _unlock(self, at: Location, lock: Lock) -> bool:
        """Tell the server. Returns whether the lock is gone."""
        reason = "no answer in time"
        with trio.move_on_after(CALL_LIMIT_S):
            try:
                await self._state.server.unlock(at, lock)
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

    # What an earlier run left, and what the end of this one leaves

    async def release_left(self, is_needed: Callable[[Location], bool]) -> None:
        """Release the locks of an earlier run but the needed ones; what the server does not answer stays for the next call.

        Cancellation: the rest expires by itself.
        """
        state = self._state
        for at, lock in state.left.locks():
            if is_needed(at):
                continue
            if at not in state.held and not await self._unlock(at, lock) and state.now() < lock.expires_at:
                continue
            state.left.forget(at, is_held=at in state.held)

    async def release_all(self) -> None:
        """Release also what is still held. Cancellation: the rest expires by itself."""
        state = self._state
        for lease in state.held.all():
            at, held = lease.at, lease.lock
            if held is not None and await self._unlock(at, held):
                state.left.gone(at)
        await self.drain()

    # By hand

    async def release_now(self, at: Location) -> bool:
        """Release our lock on a file, whoever holds its lease (it is lost by that). Returns False if we have none.

        Raises: what the call raises, other than that the lock was gone.
        """
        state = self._state
        lock = state.lock_at(at)
        if lock is None:
            return False
        try:
            await state.server.unlock(at, lock)
        except LockLostError:
            _LOG.debug("lock was gone already", path=str(at))
        lease = state.held.at(at)
        if lease is not None:
            lease.machine.refused()
        state.left.forget(at, is_held=False)
        return True

    async def break_foreign(self, at: Location) -> LockInfo | None:
        """Release somebody else's lock, if the server lets us. Returns what was released, None: not locked.

        Raises: LockLostError, AccessDeniedError and the like where the server does not allow it.
        """
        state = self._state
        found = await state.server.get_lock(at)
        if found is None:
            return None
        # The server goes by id and application; an end must be sent (some crash without one), also for a lock that has none.
        until = found.expires_at or state.now() + state.ttl_s
        await state.server.unlock(at, Lock(found.lock_id, found.app_name, until))
        state.foreign.forget(at)
        _LOG.warning("released somebody else's lock", path=str(at), app=found.app_name, user=found.user)
        return found
