"""Single flight."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from cs3fuse.cache.flights import SingleFlight
from cs3fuse.errors import UnavailableError


async def test_many_share_one_call():
    """A hundred askers make one call and all get its answer."""
    flights: SingleFlight[str, int] = SingleFlight()
    release, calls, answers = trio.Event(), [], []

    async def call() -> int:
        calls.append(1)
        await release.wait()
        return 7

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(_collect, flights, call, answers)
        await wait_all_tasks_blocked()
        assert len(flights) == 1
        release.set()
    assert answers == [7] * 100
    assert len(calls) == 1
    assert len(flights) == 0


async def test_cancelled_first_asker_hands_over():
    """When the asker whose call it is is cancelled, one of the others calls and all the others are answered."""
    flights: SingleFlight[str, int] = SingleFlight()
    release, calls, answers = trio.Event(), [], []

    async def call() -> int:
        calls.append(1)
        await release.wait()
        return 7

    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()
        nursery.start_soon(_cancellable, first, flights, call, answers)
        await wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(_collect, flights, call, answers)
        await wait_all_tasks_blocked()
        assert len(calls) == 1
        first.cancel()
        await wait_all_tasks_blocked()
        assert len(calls) == 2
        release.set()
    assert answers == [7] * 5


async def test_cancelled_waiter_disturbs_nobody():
    """A waiter that leaves changes nothing for the call and the others."""
    flights: SingleFlight[str, int] = SingleFlight()
    release, calls, answers = trio.Event(), [], []

    async def call() -> int:
        calls.append(1)
        await release.wait()
        return 7

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_collect, flights, call, answers)
        await wait_all_tasks_blocked()
        second = trio.CancelScope()
        nursery.start_soon(_cancellable, second, flights, call, answers)
        nursery.start_soon(_collect, flights, call, answers)
        await wait_all_tasks_blocked()
        second.cancel()
        await wait_all_tasks_blocked()
        release.set()
    assert answers == [7, 7]
    assert len(calls) == 1


async def test_failure_reaches_all_as_exceptions_of_their_own():
    """A failure is everybody's, but no two tasks raise the same exception object; the next asker calls anew."""
    flights: SingleFlight[str, int] = SingleFlight()
    release, failures = trio.Event(), []

    async def call() -> int:
        await release.wait()
        raise UnavailableError("The server is away.", call="Stat", path="/a")

    async def ask() -> None:
        try:
            await flights.share("a", call)
        except UnavailableError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        release.set()
    assert len({id(error) for error in failures}) == 3
    assert {(str(error), error.call, error.path) for error in failures} == {("The server is away.", "Stat", "/a")}
    assert len(flights) == 0


async def _collect(flights, call, answers) -> None:
    answers.append(await flights.share("a", call))


async def _cancellable(scope, flights, call, answers) -> None:
    with scope:
        await _collect(flights, call, answers)
