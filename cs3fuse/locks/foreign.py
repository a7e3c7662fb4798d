"""Other people's locks: how they are described, the lock that cs3client keeps in metadata, and those that were in the way.

The functions are pure, and anybody may use them. ``ForeignLocks`` is what ``taking`` and ``guarding`` met, for ``cs3fuse locks``; trio
thread only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from cs3fuse.errors import LockedError
from cs3fuse.model import Location, LockInfo

_LOG = structlog.get_logger(__name__)

ADVISORY_KEY = "cs3client.advlock"
"""Metadata key of cs3client's fallback lock on storages without locks: ``app!lock_id!expiration`` (unix seconds).

Source: cs3client 1.7.1, file.py, ``_set_lock_using_xattr``.
"""


@dataclass(frozen=True, slots=True)
class ForeignLock:
    """Somebody else's lock that was in the way. ``met_at`` is unix seconds."""

    at: Location
    lock: LockInfo
    met_at: float


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


class ForeignLocks:
    """The last one that was met on each file."""

    def __init__(self) -> None:
        self._met: dict[Location, ForeignLock] = {}

    def met(self, at: Location, error: LockedError, now: float) -> LockedError:
        """Note a foreign lock that is in the way, and say it in the log. Returns the error, to be raised."""
        if error.lock is not None:
            self._met[at] = ForeignLock(at, error.lock, now)
        _LOG.info("locked by somebody else", path=str(at), reason=str(error))
        return error

    def forget(self, at: Location) -> None:
        """It is not locked by anybody else any more."""
        self._met.pop(at, None)

    def told(self) -> list[ForeignLock]:
        """Those that were in the way and may still be, for people."""
        return list(self._met.values())
