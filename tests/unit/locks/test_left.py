"""Which locks on the server are ours by our books: what the next start reads, whatever this run asked for, took, lost or left."""

from __future__ import annotations

from pathlib import Path

from cs3fuse.locks.left import LeftLocks
from cs3fuse.locks.registry import LockRegistry
from cs3fuse.model import Location, Lock, LockInfo, PathRoot

AT = Location(PathRoot("/home"), "a.txt")
OLD = Lock("old", "cs3fuse-host-1", 100.0)
NEW = Lock("new", "cs3fuse-host-1", 200.0)


def next_start(path: Path) -> dict[Location, Lock]:
    return LockRegistry(path).locks()


def test_what_is_announced_is_known_to_the_next_start_until_it_is_withdrawn(tmp_path: Path) -> None:
    """Nobody may be alive when the server's answer comes."""
    left = LeftLocks(tmp_path / "locks", "cs3fuse-host-1")
    left.announce(AT, NEW)
    assert left.places() == []
    assert next_start(tmp_path / "locks") == {AT: NEW}
    left.withdraw(AT)
    assert next_start(tmp_path / "locks") == {}


def test_a_new_attempt_does_not_hide_what_was_left(tmp_path: Path) -> None:
    """The lock that an earlier run left is still there while another one is asked for in vain."""
    LeftLocks(tmp_path / "locks", "cs3fuse-host-1").kept(AT, OLD)
    left = LeftLocks(tmp_path / "locks", "cs3fuse-host-1")
    left.announce(AT, NEW)
    left.withdraw(AT)
    assert left.locks() == [(AT, OLD)]
    assert next_start(tmp_path / "locks") == {AT: OLD}
    left.taken(AT, NEW)
    assert left.places() == []
    assert next_start(tmp_path / "locks") == {AT: NEW}


def test_forgetting_what_was_left_spares_the_lease_of_this_run(tmp_path: Path) -> None:
    """The registry has one line for a file, and a lease of this run needs it."""
    left = LeftLocks(tmp_path / "locks", "cs3fuse-host-1")
    left.leave(AT, OLD)
    left.kept(AT, NEW)
    left.forget(AT, is_held=True)
    assert left.places() == []
    assert next_start(tmp_path / "locks") == {AT: NEW}
    left.leave(AT, OLD)
    left.forget(AT, is_held=False)
    assert next_start(tmp_path / "locks") == {}


def test_left_lock_is_good_until_it_runs_out() -> None:
    """What has run out is not sent along."""
    left = LeftLocks(None, "cs3fuse-host-1")
    assert left.lock_at(AT, 0.0) is None
    left.leave(AT, OLD)
    assert left.lock_at(AT, 99.0) == OLD
    assert left.lock_at(AT, 100.0) is None


def test_own_locks_are_known_by_application_or_id() -> None:
    """Also one that never came into the state file, and one of a state folder that had another name."""
    left = LeftLocks(None, "cs3fuse-host-2")
    left.leave(AT, OLD)
    assert left.is_own(AT, LockInfo("any", "cs3fuse-host-2", "", "write", None))
    assert left.is_own(AT, LockInfo("old", "cs3fuse-host-1", "", "write", None))
    assert not left.is_own(AT, LockInfo("other", "cs3fuse-host-1", "", "write", None))
