"""The table of leases: which one stands for a file, and whose turn it is."""

from __future__ import annotations

from typing import cast

import trio
import trio.testing

from cs3fuse.locks.held import HeldLock, Lease, LeaseKeeper, LeaseTable
from cs3fuse.locks.lease import LeaseMachine
from cs3fuse.model import Entry, Kind, Location, Lock, PathRoot

AT = Location(PathRoot("/home"), "a.txt")
NOBODY = cast("LeaseKeeper", None)


def lease() -> Lease:
    machine = LeaseMachine("app", 300.0, "id")
    machine.granted(machine.proposal(0), 0)
    machine.retain()
    return Lease(NOBODY, AT, Entry("a.txt", Kind.FILE), machine)


def test_a_lease_that_was_replaced_does_not_take_its_successor_away() -> None:
    """The table is by place, and a late last release names the place only."""
    table = LeaseTable()
    before, after = lease(), lease()
    table.add(before)
    table.add(after)
    assert not table.remove(before)
    assert table.at(AT) is after
    assert table.told() == [HeldLock(AT, Lock("id", "app", 300.0), 1, "held")]
    assert table.remove(after)
    assert AT not in table
    assert table.all() == []


async def test_one_turn_at_a_time_for_each_file() -> None:
    """Another file does not wait; who is cancelled while it waits leaves the turn to the next."""
    table = LeaseTable()
    log: list[str] = []

    async def take(name: str, at: Location, scope: trio.CancelScope) -> None:
        with scope:
            async with table.turn(at):
                log.append(name)

    given_up = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        async with table.turn(AT):
            nursery.start_soon(take, "given up", AT, given_up)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(take, "next", AT, trio.CancelScope())
            nursery.start_soon(take, "elsewhere", Location(PathRoot("/home"), "b.txt"), trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            assert log == ["elsewhere"]
            given_up.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert log == ["elsewhere"]
    assert log == ["elsewhere", "next"]
