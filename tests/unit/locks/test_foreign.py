"""How other people's locks are described, and cs3client's lock in metadata."""

from __future__ import annotations

import time

import pytest

from cs3fuse.errors import LockedError
from cs3fuse.locks.foreign import ADVISORY_KEY, ForeignLock, ForeignLocks, advisory_lock, describe, locked_error
from cs3fuse.model import Location, LockInfo, PathRoot


def test_description_names_holder_and_time() -> None:
    """Who and until when, in local time."""
    expires_at = time.mktime((2026, 1, 2, 14, 3, 0, 0, 0, -1))
    assert describe(LockInfo("id", "collabora", "marie", "write", expires_at)) == "locked by collabora/marie until 14:03"
    assert describe(LockInfo("id", "", "marie", "write", None)) == "locked by marie without end"
    assert describe(LockInfo("id", "", "", "write", expires_at)) == "locked by somebody until 14:03"


def test_error_is_a_sentence_with_the_lock() -> None:
    """The error carries what the message says."""
    lock = LockInfo("id", "collabora", "", "write", None)
    error = locked_error(Location(PathRoot("/home"), "a.txt"), lock)
    assert str(error) == "/home/a.txt is locked by collabora without end."
    assert error.lock is lock


@pytest.mark.parametrize("value", ["", "app", "app!id", "app!id!soon", "!!", "app!id!50"])
def test_unreadable_or_expired_advisory_lock_is_none(value: str) -> None:
    """Junk in the key locks nobody out."""
    assert advisory_lock({ADVISORY_KEY: value}, now=100) is None


def test_advisory_lock_is_read() -> None:
    """The form of cs3client 1.7.1; a lock id may hold an exclamation mark."""
    lock = advisory_lock({ADVISORY_KEY: "jupyter!opaque!token!200"}, now=100)
    assert lock == LockInfo("opaque!token", "jupyter", "", "write", 200.0)
    assert advisory_lock({}, now=100) is None


def test_the_last_lock_that_was_met_on_a_file_is_remembered() -> None:
    """Until it is known to be gone; one that nobody can describe is only in the log."""
    at = Location(PathRoot("/home"), "a.txt")
    locks = ForeignLocks()
    unknown = LockedError("locked")
    assert locks.met(at, unknown, 1.0) is unknown
    assert locks.told() == []
    lock = LockInfo("id", "collabora", "", "write", None)
    locks.met(at, locked_error(at, lock), 2.0)
    locks.met(at, locked_error(at, lock), 3.0)
    assert locks.told() == [ForeignLock(at, lock, 3.0)]
    locks.forget(at)
    assert locks.told() == []
