"""When a site that does not answer is asked again."""

from __future__ import annotations

from cs3fuse.mesh.breaker import FIRST_PROBE_S, LONGEST_PROBE_S, Breaker


def test_opens_and_closes():
    """Closed, open with a reason, closed again."""
    breaker = Breaker()
    assert not breaker.is_open
    breaker.open("It is away.", 100.0, is_timeout=True)
    assert breaker.is_open and breaker.reason == "It is away." and breaker.is_timeout
    breaker.close()
    assert not breaker.is_open and not breaker.probe_due(1e9)


def test_is_asked_at_growing_intervals():
    """2, 4, 8, 15, 15 seconds: never more than 15, so that a site is seen to be back within 30."""
    breaker, now, intervals = Breaker(), 0.0, []
    breaker.open("away", now, is_timeout=False)
    for _ in range(5):
        assert not breaker.probe_due(breaker.next_probe_at - 0.001)
        intervals.append(breaker.next_probe_at - now)
        now = breaker.next_probe_at
        assert breaker.probe_due(now)
        breaker.probe_failed(now)
    assert intervals == [FIRST_PROBE_S, 4, 8, LONGEST_PROBE_S, LONGEST_PROBE_S]


def test_opened_again_while_open_keeps_the_interval():
    """Calls that were on their way when it opened do not make the probes more frequent."""
    breaker = Breaker()
    breaker.open("first", 0.0, is_timeout=False)
    breaker.probe_failed(2.0)
    breaker.open("second", 3.0, is_timeout=True)
    assert breaker.next_probe_at == 6.0 and breaker.reason == "second" and breaker.is_timeout
