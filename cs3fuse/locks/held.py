"""Our leases: the lock on each file that is open for writing, shared by its handles, and the table of them.

``manager`` makes a ``Lease`` and hands it to ``vfs`` and ``commit``, which hold it and let it go; ``taking``, ``keeping`` and
``releasing`` look into the table. Trio thread only; nothing here waits but for a file's turn: one acquisition or release of a file at
a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from cs3fuse.limits import promptly
from cs3fuse.locks.lease import LeaseMachine
from cs3fuse.model import Entry, Location, Lock


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lease, for people."""

    at: Location
    lock: Lock
    holders: int
    state: str


class LeaseKeeper(Protocol):
    """Who does what a lease is asked for: the manager."""

    def now(self) -> float:
        """The wall clock, unix seconds."""
        ...

    def moved(self, lease: Lease, at: Location) -> None:
        """See ``Lease.rebind``."""
        ...

    def let_go(self, lease: Lease) -> None:
        """See ``Lease.release``."""
        ...

    async def reacquire(self, lease: Lease) -> None:
        """Take a lost lock again. Raises: as ``Lease.ensure``."""
        ...

    async def reaffirm(self, lease: Lease) -> None:
        """See ``Lease.reaffirm``."""
        ...


class Lease:
    """Our lock on one file, shared by its handles; each holder calls ``release`` once."""

    def __init__(self, keeper: LeaseKeeper, at: Location, entry: Entry, machine: LeaseMachine) -> None:
        self.at = at
        self.entry = entry
        self.machine = machine
        self._keeper = keeper

    @property
    def lock(self) -> Lock | None:
        """The lock to send along; None after a loss."""
        return self.machine.lock(self._keeper.now())

    @property
    def is_lost(self) -> bool:
        """Whether the lock ran out or was taken."""
        return self.lock is None

    def rebind(self, at: Location) -> None:
        """The file was renamed (its lock goes with it)."""
        self._keeper.moved(self, at)

    def release(self) -> None:
        """One holder less; after the last one the server is told in the background. Never blocks."""
        self._keeper.let_go(self)

    async def ensure(self) -> None:
        """Get the lock back if it was lost. Raises: LockedError: somebody else has it now; what the calls raise."""
        if self.is_lost:
            await self._keeper.reacquire(self)

    async def reaffirm(self) -> None:
        """Ask the server whether the lock is still ours, and get it back if not. Raises: as ``ensure``."""
        await self._keeper.reaffirm(self)


class LeaseTable:
    """All leases by location. One for each file, however many handles."""

    def __init__(self) -> None:
        self._leases: dict[Location, Lease] = {}
        self._turns: dict[Location, tuple[trio.Lock, int]] = {}

    def __contains__(self, at: Location) -> bool:
        return at in self._leases

    def at(self, at: Location) -> Lease | None:
        """The lease on a file that is open for writing."""
        return self._leases.get(at)

    def all(self) -> list[Lease]:
        """Those there are now."""
        return list(self._leases.values())

    def add(self, lease: Lease) -> None:
        """Somebody holds it."""
        self._leases[lease.at] = lease

    def remove(self, lease: Lease) -> bool:
        """Nobody holds it any more. Returns whether it was in the table: another one may stand in its place."""
        if self._leases.get(lease.at) is not lease:
            return False
        del self._leases[lease.at]
        return True

    def told(self) -> list[HeldLock]:
        """All of them, for people."""
        return [
            HeldLock(lease.at, Lock(machine.lock_id, machine.app_name, machine.expires_at), machine.holders, machine.state.value)
            for lease in self._leases.values()
            for machine in [lease.machine]
        ]

    @asynccontextmanager
    async def turn(self, at: Location) -> AsyncIterator[None]:
        """One acquisition or release of a file at a time. Cancellation: the turn goes to the next."""
        turn, users = self._turns.get(at, (trio.Lock(), 0))
        self._turns[at] = (turn, users + 1)
        try:
            async with promptly(turn):
                yield
        finally:
            turn, users = self._turns.pop(at)
            if users > 1:
                self._turns[at] = (turn, users - 1)
