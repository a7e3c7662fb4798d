"""Clocks of tests. Pure."""

from __future__ import annotations

from trio.testing import MockClock

_JUMP_S = 0.0005


def jumping_clock() -> MockClock:
    """A clock that jumps to the next deadline when nothing happens, for code that also works in threads.

    Half a millisecond of nothing: with a threshold of 0 the loop spins while a thread works, and can keep the interpreter's lock from it for
    minutes, because the thread is woken at each poll and comes too late each time.
    """
    return MockClock(autojump_threshold=_JUMP_S)
