"""The life of one CS3 lock that we hold: a pure state machine, time passed in.

``taking`` and ``keeping`` make the calls and drive it. Unix seconds everywhere: a lock's expiry is wall-clock time on the server, and a machine that
slept must notice that its lock ran out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cs3fuse.model import Lock

REFRESH_AFTER = 0.8
"""Part of a lease's life after which it is refreshed; the rest is for retries."""
RETRY_EVERY_S = 5.0
"""How soon a refresh that did not get through is tried again."""
SAFETY_S = 2.0
"""A lock this close to its expiry is not relied on: clocks differ, and an upload takes time."""


class LeaseState(enum.Enum):
    """``HELD``: ours as far as we know. ``LOST``: expired or taken; can be acquired again. ``RELEASED``: nobody needs it any more."""

    HELD = "held"
    LOST = "lost"
    RELEASED = "released"


@dataclass(slots=True)
class LeaseMachine:
    """State of one lease.

    INVARIANT: ``holders`` is never negative, and 0 exactly when ``RELEASED`` or taken over from an earlier run and not needed yet.
    """

    app_name: str
    ttl_s: float
    lock_id: str
    state: LeaseState = LeaseState.LOST
    expires_at: float = 0.0
    refresh_at: float = 0.0
    holders: int = 0

    def proposal(self, now: float) -> Lock:
        """The lock to ask the server for (SetLock or RefreshLock) at this moment."""
        return Lock(self.lock_id, self.app_name, now + self.ttl_s)

    def granted(self, lock: Lock, now: float) -> None:
        """The server accepted a proposal made at ``now``. A released lease stays released."""
        self.expires_at = lock.expires_at
        self.refresh_at = now + self.ttl_s * REFRESH_AFTER
        if self.state is not LeaseState.RELEASED:
            self.state = LeaseState.HELD

    def not_answered(self, now: float) -> None:
        """A refresh did not get through; the lease lives on until it expires."""
        self.refresh_at = now + RETRY_EVERY_S
        self.expire(now)

    def refused(self) -> None:
        """The server says that the lock is not ours."""
        if self.state is LeaseState.HELD:
            self.state = LeaseState.LOST

    def expire(self, now: float) -> bool:
        """Notice that time is up. Returns whether it was lost by this."""
        if self.state is LeaseState.HELD and now >= self.expires_at - SAFETY_S:
            self.state = LeaseState.LOST
            return True
        return False

    def lock(self, now: float) -> Lock | None:
        """The lock to send along with a mutation; None if it cannot be relied on."""
        self.expire(now)
        return Lock(self.lock_id, self.app_name, self.expires_at) if self.state is LeaseState.HELD else None

    def is_due(self, now: float) -> bool:
        """Whether it should be refreshed."""
        return self.state is LeaseState.HELD and now >= self.refresh_at

    def retain(self) -> None:
        """Another handle needs it."""
        self.holders += 1
        if self.state is LeaseState.RELEASED:
            raise AssertionError("a released lease is not taken up again; acquire a new one")

    def let_go(self) -> bool:
        """A handle needs it no longer. Returns whether that was the last one, and the lock must be released."""
        if self.holders <= 0:
            raise AssertionError("released more often than acquired")
        self.holders -= 1
        if self.holders:
            return False
        self.state = LeaseState.RELEASED
        return True
