"""The life of a lease against a model of the server's lock and a clock, in any order of events."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cs3fuse.locks.lease import SAFETY_S, LeaseMachine, LeaseState

TTL_S = 300.0


class ServerLock:
    """What the server knows: whose lock it is and until when."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.expires_at = 0.0

    def held_by(self, now: float) -> str | None:
        return self.holder if now < self.expires_at else None


class LeaseLife(RuleBasedStateMachine):
    """Clock, refresh failures, thefts, suspends, releases and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.server = ServerLock()
        self.lease = LeaseMachine("cs3fuse", TTL_S, "ours")
        self.handles = 0
        self.is_stolen = False  # and the lease was not told yet

    def _ask(self, *, set_lock: bool) -> str:
        """A call that reaches the server: what it answers."""
        holder = self.server.held_by(self.now)
        allowed = holder is None if set_lock else holder == "ours"
        if not allowed:
            return "refused"
        self.server.holder, self.server.expires_at = "ours", self.lease.proposal(self.now).expires_at
        return "granted"

    @rule(seconds=st.sampled_from([1.0, 5.0, 60.0, 239.0, 299.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.lease.state is LeaseState.LOST)
    @rule(is_answered=st.booleans())
    def acquire(self, is_answered: bool) -> None:
        proposal = self.lease.proposal(self.now)
        answer = self._ask(set_lock=True)
        if answer == "granted" and is_answered:
            self.lease.granted(proposal, self.now)
            self.is_stolen = False

    @precondition(lambda self: self.lease.is_due(self.now))
    @rule(is_answered=st.booleans())
    def refresh(self, is_answered: bool) -> None:
        proposal = self.lease.proposal(self.now)
        answer = self._ask(set_lock=False)
        if not is_answered:
            self.lease.not_answered(self.now)
        elif answer == "granted":
            self.lease.granted(proposal, self.now)
        else:
            self.lease.refused()

    @rule()
    def somebody_steals(self) -> None:
        """cephmount overwrites locks; a lock that ran out is free for anybody."""
        self.server.holder, self.server.expires_at = "theirs", self.now + 100
        self.is_stolen = True

    @precondition(lambda self: self.lease.state is LeaseState.HELD)
    @rule()
    def open_handle(self) -> None:
        self.lease.retain()
        self.handles += 1

    @precondition(lambda self: self.handles)
    @rule()
    def close_handle(self) -> None:
        was_last = self.lease.let_go()
        self.handles -= 1
        assert was_last == (self.handles == 0)
        if was_last:
            assert self.lease.state is LeaseState.RELEASED
            assert self.lease.lock(self.now) is None
            if self.server.held_by(self.now) == "ours":
                self.server.holder = None
            self.lease = LeaseMachine("cs3fuse", TTL_S, "ours")

    @precondition(lambda self: not self.handles)
    @rule()
    def restart(self) -> None:
        self.lease = LeaseMachine("cs3fuse", TTL_S, "ours")

    @invariant()
    def lock_is_only_given_out_while_it_is_ours(self) -> None:
        """What we send along is a lock that the server holds for us, unless it was stolen behind our back."""
        lock = self.lease.lock(self.now)
        if lock is not None and not self.is_stolen:
            assert self.server.held_by(self.now) == "ours"
            assert lock.expires_at > self.now
            assert self.server.expires_at >= lock.expires_at

    @invariant()
    def expiry_is_noticed(self) -> None:
        self.lease.expire(self.now)
        if self.lease.state is LeaseState.HELD:
            assert self.now < self.lease.expires_at - SAFETY_S
            assert self.lease.refresh_at <= self.lease.expires_at

    @invariant()
    def handles_are_counted(self) -> None:
        assert self.lease.holders == self.handles


LeaseLife.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLeaseLife = LeaseLife.TestCase


def test_released_too_often_is_a_bug() -> None:
    """The count never goes below zero in silence."""
    with pytest.raises(AssertionError, match="more often"):
        LeaseMachine("app", TTL_S, "id").let_go()


def test_released_lease_is_not_taken_up_again() -> None:
    """A new one is acquired instead."""
    lease = LeaseMachine("app", TTL_S, "id")
    lease.granted(lease.proposal(0), 0)
    lease.retain()
    assert lease.let_go()
    with pytest.raises(AssertionError, match="not taken up again"):
        lease.retain()


def test_late_answer_does_not_wake_a_released_lease() -> None:
    """A refresh that was under way when the last handle was closed."""
    lease = LeaseMachine("app", TTL_S, "id")
    lease.granted(lease.proposal(0), 0)
    lease.retain()
    lease.let_go()
    lease.granted(lease.proposal(1), 1)
    assert lease.state is LeaseState.RELEASED
    assert lease.lock(2) is None
