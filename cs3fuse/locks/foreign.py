"""Other people's locks: how they are described, and the lock that cs3client keeps in metadata.

Pure. ``manager`` and ``probe`` use it; ``vfs`` may use ``describe`` for its attributes.
"""

from __future__ import annotations

from collections.abc import Mapping

from cs3fuse.errors import LockedError
from cs3fuse.model import Location, LockInfo

ADVISORY_KEY = "cs3client.advlock"
"""Metadata key of cs3client's fallback lock on storages without locks: ``app!lock_id!expiration`` (unix seconds).

Source: cs3client 1.7.1, file.py, ``_set_lock_using_xattr``.
"""


def describe(lock: LockInfo) -> str:
    """``locked by APP/USER until 14:03``, with what is known."""
    return str(lock)


def locked_error(at: Location, lock: LockInfo) -> LockedError:
    """The error for a file that somebody else has locked."""
    return LockedError(f"{at} is {describe(lock)}.", lock=lock, call="SetLock", path=str(at))


def advisory_lock(metadata: Mapping[str, str], now: float) -> LockInfo | None:
    """The lock in cs3client's metadata key, None if there is none, it ran out or it is not readable."""
    app_name, _, rest = metadata.get(ADVISORY_KEY, "").partition("!")
    lock_id, _, expiration = rest.rpartition("!")
    try:
        expires_at = float(expiration)
    except ValueError:
        return None
    if now >= expires_at:
        return None
    return LockInfo(lock_id, app_name, "", "write", expires_at)
