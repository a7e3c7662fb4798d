"""Getting a lock on the server: the probe of the storage, SetLock, our own lock taken over, a foreign one respected, or going without.

Owns which storages people were told of that have no locks. ``manager`` calls it for opens (it has the file's turn then) and for leases
that were lost. Trio thread only; what is asked of the server is announced before (``left``), and what nobody waits for any
more is released (``releasing``).
"""

from __future__ import annotations

import uuid

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook, LockSupport
from cs3fuse.errors import (
    Cs3FuseError,
    DeadlineError,
    LockedError,
    LockLostError,
    OutcomeUnknownError,
    ServerError,
    UnavailableError,
    UnsupportedError,
)
from cs3fuse.locks.foreign import advisory_lock, locked_error
from cs3fuse.locks.held import Lease
from cs3fuse.locks.probe import probe
from cs3fuse.locks.releasing import Releasing
from cs3fuse.locks.state import LockState
from cs3fuse.model import Location, Lock, LockInfo

_LOG = structlog.get_logger(__name__)

_NOT_ANSWERED = (UnavailableError, DeadlineError, OutcomeUnknownError, ServerError)


def new_lock_id() -> str:
    """Unguessable: who knows a lock's id may upload with it."""
    return f"opaquelocktoken:{uuid.uuid4()}"


class Taking:
    """See the module."""

    def __init__(self, state: LockState, releasing: Releasing, book: CapabilityBook, *, is_required: bool) -> None:
        """``is_required``: where there are no locks, a file is not opened for writing."""
        self._state = state
        self._releasing = releasing
        self._book = book
        self._is_required = is_required
        self._told_about: set[str] = set()

    async def take(self, lease: Lease) -> bool:
        """Get the lock on the server. Returns False where the storage has none and that is acceptable.

        Raises: LockedError: somebody else holds it; UnsupportedError: no locks here and they are required; what the calls raise.
        Cancellation: a lock that the server may have granted is released in the background.
        """
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
        wanted = lease.machine.proposal(self._state.now())
        self._state.left.leave(lease.at, wanted)
        self._releasing.doubt(lease.at, wanted)

    async def _probe(self, lease: Lease) -> LockSupport:
        """Learn what locks are worth here, and hold one then (unless there are none, or a lock of our own was in the way)."""
        state = self._state
        now = state.now()
        wanted = lease.machine.proposal(now)
        state.left.announce(lease.at, wanted)
        try:
            support, held = await probe(state.server, lease.at, wanted, new_lock_id())
        except LockedError as exc:
            state.left.withdraw(lease.at)
            if exc.lock is not None and state.left.is_own(lease.at, exc.lock):
                return LockSupport.FULL
            raise state.met(lease.at, exc) from exc
        if held is None:
            state.left.withdraw(lease.at)
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
        state = self._state
        now = state.now()
        wanted = lease.machine.proposal(now)
        if is_weak:
            await self._refuse_foreign(lease)
        state.left.announce(lease.at, wanted)
        try:
            await state.server.set_lock(lease.at, wanted)
        except (LockedError, *_NOT_ANSWERED) as exc:
            failure: Cs3FuseError | None = exc
        else:
            failure = None
        if isinstance(failure, LockedError):
            state.left.withdraw(lease.at)
            await self._take_over(lease, failure)
            return
        if failure is not None:
            found = await state.server.get_lock(lease.at)
            if found is None or found.lock_id != wanted.lock_id:
                state.left.withdraw(lease.at)
                raise failure
        if is_weak:
            await self._refuse_foreign(lease)
        self._granted(lease, wanted, now)

    async def _refuse_foreign(self, lease: Lease) -> None:
        """Where SetLock overwrites: look whose lock it is. Raises: LockedError."""
        found = await self._state.server.get_lock(lease.at)
        if found is not None and found.lock_id != lease.machine.lock_id and not self._was_left_by_us(lease.at, found):
            raise self._state.met(lease.at, locked_error(lease.at, found))

    async def _take_over(self, lease: Lease, refusal: LockedError) -> None:
        """The file is locked: by ourselves before a crash or a lost answer (then refresh), or by somebody else. Raises: LockedError."""
        state = self._state
        found = refusal.lock or await state.server.get_lock(lease.at)
        if found is None:
            raise refusal
        if found.lock_id != lease.machine.lock_id and not self._was_left_by_us(lease.at, found):
            raise state.met(lease.at, locked_error(lease.at, found)) from refusal
        lease.machine.lock_id, lease.machine.app_name = found.lock_id, found.app_name
        now = state.now()
        wanted = lease.machine.proposal(now)
        try:
            await state.server.refresh_lock(lease.at, wanted)
        except LockLostError as exc:
            raise state.met(lease.at, locked_error(lease.at, found)) from exc
        _LOG.info("took over our own lock", path=str(lease.at))
        self._granted(lease, wanted, now)

    def _was_left_by_us(self, at: Location, found: LockInfo) -> bool:
        """Whether it is a lock that an earlier run left, or whose answer was lost: nobody of this run relies on it."""
        if not self._state.left.is_own(at, found):
            return False
        in_use = {lease.machine.lock_id for lease in self._state.held.all()} | self._releasing.lock_ids()
        return found.lock_id not in in_use

    def _granted(self, lease: Lease, lock: Lock, now: float) -> None:
        lease.machine.granted(lock, now)
        self._state.foreign.forget(lease.at)
        self._state.left.taken(lease.at, lock)

    def _go_without(self, lease: Lease) -> None:
        """No locks here: honour cs3client's, and say it once. Raises: LockedError; UnsupportedError where locks are required."""
        advisory = advisory_lock(lease.entry.metadata, self._state.now())
        if advisory is not None:
            raise self._state.met(lease.at, locked_error(lease.at, advisory))
        if self._is_required:
            raise UnsupportedError(
                f"{lease.at} cannot be locked: its storage has no locks, and they are required (locks = require).",
                path=str(lease.at),
            )
        storage_id = lease.entry.storage_id
        if storage_id not in self._told_about:
            self._told_about.add(storage_id)
            _LOG.warning("storage has no locks, going on without", storage=storage_id)
