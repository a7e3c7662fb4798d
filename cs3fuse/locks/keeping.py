"""Keeping the locks that we have: each lease refreshed ahead of its expiry, those of an earlier run while its journal is replayed.

Owns no state beyond the shared one. ``manager`` asks in ``run`` which leases are due and starts a task for each, so that one that
hangs holds up no other; ``core`` has the left ones kept, through it, at start. Trio thread only.
"""

from __future__ import annotations

import structlog
import trio

from cs3fuse.errors import Cs3FuseError, LockLostError, NotFoundError, UnsupportedError
from cs3fuse.locks.held import Lease
from cs3fuse.locks.lease import LeaseState
from cs3fuse.locks.state import CALL_LIMIT_S, LockState
from cs3fuse.model import Lock

_LOG = structlog.get_logger(__name__)


class Keeping:
    """See the module."""

    def __init__(self, state: LockState) -> None:
        self._state = state

    def due(self) -> list[Lease]:
        """Leases to be refreshed now. Each is put off by this, so that it is not due again while its refresh is under way."""
        now = self._state.now()
        due = [lease for lease in self._state.held.all() if lease.machine.is_due(now)]
        for lease in due:
            lease.machine.not_answered(now)
        return due

    async def refresh(self, lease: Lease) -> None:
        """Ask the server for more time. Returns in ``CALL_LIMIT_S`` whatever it answers; what that was, the lease knows then.

        Cancellation: it was refreshed or not, and is due again soon.
        """
        state = self._state
        now = state.now()
        wanted = lease.machine.proposal(now)
        with trio.move_on_after(CALL_LIMIT_S) as scope:
            try:
                await state.server.refresh_lock(lease.at, wanted)
            except (LockLostError, NotFoundError) as exc:
                lease.machine.refused()
                _LOG.warning("lock was lost", path=str(lease.at), reason=str(exc))
            except Cs3FuseError as exc:
                lease.machine.not_answered(state.now())
                _LOG.warning("lock could not be refreshed", path=str(lease.at), reason=str(exc), state=lease.machine.state.value)
            else:
                lease.machine.granted(wanted, now)
                if lease.machine.state is LeaseState.HELD:
                    state.left.kept(lease.at, wanted)
        if scope.cancelled_caught:
            lease.machine.not_answered(state.now())

    async def take_over_left(self) -> None:
        """At start: keep the locks that an earlier run left from running out while its journal is replayed.

        Locks that are gone are forgotten; where the server is away they stay as they are. Cancellation: nothing is lost.
        """
        state = self._state
        for at, lock in state.left.locks():
            wanted = Lock(lock.lock_id, lock.app_name, state.now() + state.ttl_s)
            try:
                await state.server.refresh_lock(at, wanted)
            except (LockLostError, NotFoundError, UnsupportedError):
                state.left.forget(at, is_held=at in state.held)
            except Cs3FuseError as exc:
                _LOG.warning("a lock of an earlier run could not be refreshed", path=str(at), reason=str(exc))
            else:
                state.left.leave(at, wanted)
