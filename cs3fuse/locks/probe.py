"""What a storage's locks are worth, found out on the first file that is opened for writing, without leaving anything behind.

``taking`` calls ``probe`` once per storage id. The outcome is one of three: no locks (UNIMPLEMENTED, INTERNAL), locks that exclude,
or locks that overwrite each other. Source: contract, section 5.2 (local: INTERNAL; cephmount: SetLock never looks).
"""

from __future__ import annotations

from dataclasses import replace

from cs3fuse.capabilities import LockSupport
from cs3fuse.errors import DeadlineError, LockedError, OutcomeUnknownError, UnsupportedError
from cs3fuse.locks.foreign import locked_error
from cs3fuse.model import Location, Lock
from cs3fuse.ports import RemoteLocks


async def probe(locks: RemoteLocks, at: Location, wanted: Lock, second_id: str) -> tuple[LockSupport, Lock | None]:
    """Take the lock on a file and learn what it is worth. Returns the lock that is held then, None where there are no locks.

    A second SetLock with another id tells: a storage whose locks exclude refuses it, one whose locks overwrite each other takes it
    (and that second one is what we hold then).

    Raises: LockedError: somebody else holds it (nothing was learnt); what the calls raise.
    Cancellation: a lock may be left; it expires.
    """
    try:
        found = await locks.get_lock(at)
        if found is not None:
            raise locked_error(at, found)
        await locks.set_lock(at, wanted)
    except UnsupportedError:
        return LockSupport.NONE, None
    second = replace(wanted, lock_id=second_id)
    try:
        await locks.set_lock(at, second)
    except LockedError:
        return LockSupport.FULL, wanted
    except (OutcomeUnknownError, DeadlineError) as exc:
        lost = exc
    else:
        return LockSupport.WEAK, second
    found = await locks.get_lock(at)
    if found is not None and found.lock_id == second_id:
        return LockSupport.WEAK, second
    if found is not None and found.lock_id == wanted.lock_id:
        return LockSupport.FULL, wanted
    raise lost
