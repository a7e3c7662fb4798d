"""Our locks beyond this run: what the next start has to know as ours, and what an earlier run left.

Owns the registry on disk, which names a lock before the server is asked for it and until it is gone, and the list of those that were left:
by an earlier run, or by a call whose answer nobody heard. Makes no calls: ``taking``, ``keeping`` and ``releasing`` make them and
tell what came of it. All of it is synchronous, in the trio thread.
"""

from __future__ import annotations

from pathlib import Path

from cs3fuse.locks.registry import LockRegistry
from cs3fuse.model import Location, Lock, LockInfo


class LeftLocks:
    """See the module."""

    def __init__(self, state_file: Path | None, app_name: str) -> None:
        """Load what an earlier run left. ``app_name`` is this state folder's alone. Raises: LocalStorageError."""
        self._registry = LockRegistry(state_file)
        self._app_name = app_name
        self._left = self._registry.locks()

    # What this run asks for and holds

    def announce(self, at: Location, wanted: Lock) -> None:
        """Before a lock is asked for: its answer may find nobody alive, and the next start must know it as ours."""
        if at not in self._left:
            self._registry.add(at, wanted)

    def withdraw(self, at: Location) -> None:
        """The server did not grant what was announced."""
        if at not in self._left:
            self._registry.remove(at)

    def taken(self, at: Location, lock: Lock) -> None:
        """A lease stands for it now, also if an earlier run had left it."""
        self._left.pop(at, None)
        self._registry.add(at, lock)

    def kept(self, at: Location, lock: Lock) -> None:
        """A lease has it, under this name and until this time."""
        self._registry.add(at, lock)

    def gone(self, at: Location) -> None:
        """It is not on the server any more, or not ours: the next start need not know it."""
        self._registry.remove(at)

    # What was left

    def leave(self, at: Location, lock: Lock) -> None:
        """A lock of ours is, or may be, on the server, and nobody stands for it (or its time is another one now)."""
        self._left[at] = lock
        self._registry.add(at, lock)

    def forget(self, at: Location, *, is_held: bool) -> None:
        """What was left is gone. ``is_held``: a lease of this run has the file, and what the registry says is about that one."""
        self._left.pop(at, None)
        if not is_held:
            self._registry.remove(at)

    def places(self) -> list[Location]:
        """Files on which a lock was left that was not taken up again."""
        return list(self._left)

    def locks(self) -> list[tuple[Location, Lock]]:
        """The same with the locks, as they are now."""
        return list(self._left.items())

    def lock_at(self, at: Location, now: float) -> Lock | None:
        """The lock that was left on a file, while it is good."""
        lock = self._left.get(at)
        return lock if lock is not None and now < lock.expires_at else None

    def is_own(self, at: Location, found: LockInfo) -> bool:
        """Whether a lock on the server is one of ours: held, being released, or left by an earlier run.

        The name of the application is this state folder's alone, so also a lock that never came into the state file is known.
        """
        left = self._left.get(at)
        return found.app_name == self._app_name or (left is not None and left.lock_id == found.lock_id)
