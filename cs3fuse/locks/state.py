"""What the parts of locks share: the server, the clock, and the three books of whose locks there are.

``manager`` makes it and gives it to ``taking``, ``keeping`` and ``releasing``. Trio thread only; the books change in synchronous
sections, so that they agree at each checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cs3fuse.errors import LockedError
from cs3fuse.locks.foreign import ForeignLocks
from cs3fuse.locks.held import LeaseTable
from cs3fuse.locks.left import LeftLocks
from cs3fuse.model import Location, Lock
from cs3fuse.ports import RemoteLocks

CALL_LIMIT_S = 20.0
"""Bound of one refresh or release in the background."""


@dataclass(slots=True)
class LockState:
    """``now`` is the wall clock, unix seconds; ``ttl_s`` is how long a lock lives that is not refreshed."""

    server: RemoteLocks
    now: Callable[[], float]
    ttl_s: float
    held: LeaseTable
    left: LeftLocks
    foreign: ForeignLocks

    def lock_at(self, at: Location) -> Lock | None:
        """Our current lock on a file, held or left, None if we have none."""
        lease = self.held.at(at)
        return lease.lock if lease is not None else self.left.lock_at(at, self.now())

    def met(self, at: Location, error: LockedError) -> LockedError:
        """Note a foreign lock that is in the way. Returns the error, to be raised."""
        return self.foreign.met(at, error, self.now())
