"""What calls other than open(2) owe to locks: respect for somebody else's, and ours sent along as far as that helps.

Owns no state. ``vfs`` calls these before and around unlink, rename, and changes of attributes, from the trio thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from cs3fuse.errors import Cs3FuseError, LockedError, LockLostError
from cs3fuse.locks.foreign import locked_error
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.model import Entry, Location, Lock

_LOG = structlog.get_logger(__name__)

Result = TypeVar("Result")


async def refuse_foreign(leases: LeaseManager, at: Location, entry: Entry) -> None:
    """Refuse to touch a file that somebody else has locked. ``entry`` is its newest known state.

    Storages with full locks refuse by themselves; this holds also where a lock is only metadata or binds nobody.

    Raises: LockedError; where GetLock must be asked what it raises.
    """
    if leases.is_off:
        return
    found = await leases.lock_on(at, entry)
    if found is not None and not leases.is_own(at, found):
        raise leases.met(at, locked_error(at, found))
    leases.forget_foreign(at)


async def with_our_lock(
    leases: LeaseManager, at: Location, change: Callable[[Lock | None], Awaitable[Result]], *, stays: bool = True
) -> Result:
    """Make a change of a file with our lock on it (None where we have none), as far as the storage lets a holder do that.

    EOS refuses a Delete, a Move and new metadata also to the holder of the lock: there the lock is given up for the change and taken
    again afterwards, unless the file does not stay where it is (``stays``). A lock that the server does not know any more is forgotten.

    Raises: LockedError: somebody else holds the lock; what ``change`` raises.
    Cancellation: the lock may be given up; the next commit takes it again.
    """
    lock = await leases.settle(at)
    try:
        return await change(lock)
    except (LockedError, LockLostError) as exc:
        refusal = exc
    is_ours = isinstance(refusal, LockLostError) or (refusal.lock is not None and leases.is_own(at, refusal.lock))
    if lock is None or not is_ours:
        raise refusal
    await leases.unlock(at)
    result = await change(None)
    if stays:
        await take_again(leases, at)
    return result


async def take_again(leases: LeaseManager, at: Location) -> None:
    """Lock a file that is open for writing again, if its lock was given up. A failure waits for the next commit, which needs the lock."""
    lease = leases.lease_at(at)
    if lease is None or not lease.is_lost:
        return
    try:
        await lease.ensure()
    except Cs3FuseError as error:
        _LOG.info("lock not taken again yet", path=str(at), reason=str(error))
