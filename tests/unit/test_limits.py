"""Places among those that may run at once: taken, given back early, taken again, never kept."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cs3fuse.limits import RootLimits, Turn
from cs3fuse.model import Location, PathRoot, VirtualRoot


def test_each_root_has_a_limiter_of_its_own() -> None:
    """A share that hangs does not use up what the home needs."""
    limits = RootLimits(2)
    home, share = Location(PathRoot("/home"), "a"), Location(VirtualRoot("share"), "a")
    assert limits.of(home) is limits.of(home.child("b"))
    assert limits.of(home) is not limits.of(share)


async def test_a_turn_is_taken_once() -> None:
    """Taking it twice is one place; giving it back twice gives one back; the end of ``with`` gives it back."""
    limiter = trio.CapacityLimiter(2)
    with Turn(limiter) as turn:
        assert limiter.available_tokens == 2
        await turn.take()
        await turn.take()
        assert limiter.available_tokens == 1
        turn.give_back()
        turn.give_back()
        assert limiter.available_tokens == 2
        await turn.take()
    assert limiter.available_tokens == 2


async def test_a_turn_is_waited_for() -> None:
    """Two turns of one task are two places; the next one waits until one is given back."""
    limiter = trio.CapacityLimiter(1)
    with Turn(limiter) as one, Turn(limiter) as two:
        await one.take()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.take)
            await wait_all_tasks_blocked()
            assert limiter.statistics().tasks_waiting == 1
            one.give_back()
        assert limiter.available_tokens == 0
    assert limiter.available_tokens == 1


async def test_given_up_while_waiting() -> None:
    """Then there is nothing to give back."""
    limiter = trio.CapacityLimiter(1)
    with Turn(limiter) as one, Turn(limiter) as two:
        await one.take()
        with trio.move_on_after(0):
            await two.take()
        two.give_back()
        assert limiter.available_tokens == 0
    assert limiter.available_tokens == 1


async def test_an_error_gives_it_back() -> None:
    """Whatever ends the block."""
    limiter = trio.CapacityLimiter(1)
    with pytest.raises(ValueError, match="broken"), Turn(limiter) as turn:
        await turn.take()
        raise ValueError("broken")
    assert limiter.available_tokens == 1


async def test_without_a_limiter_it_is_always_ones_turn() -> None:
    """For callers that nobody bounds."""
    with Turn() as turn:
        await turn.take()
        turn.give_back()
