"""Waiting for a queue to empty, against a queue that does what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from cs3fuse.commit.engine import QueueItem
from cs3fuse.control.waiting import wait_until_sent
from cs3fuse.model import Location, PathRoot

HOME = Location(PathRoot("/home"))


def item(name: str, state: str = "queued", attempts: int = 0) -> QueueItem:
    return QueueItem(HOME.child(name), state, 10, 0.0, attempts, "")


class Commits:
    """An engine: ``flush`` takes a second and then does ``step``."""

    def __init__(self, *items: QueueItem, step: Callable[[Commits], None] = lambda _commits: None) -> None:
        self.items = list(items)
        self.flushes = 0
        self._step = step

    def queue(self) -> list[QueueItem]:
        return list(self.items)

    async def flush(self, at: Location | None = None) -> list[QueueItem]:
        self.flushes += 1
        await trio.sleep(1)
        self._step(self)
        return [each for each in self.items if each.state != "dirty" and (at is None or each.at.is_below(at))]


async def wait(commits: Commits, at: Location | None = None, *, patience_s: float = 60.0, sent: Any = lambda: 0) -> list[str]:
    async def tell(*state: int) -> None:
        told.append(state)

    told: list[tuple[int, ...]] = []
    left = await wait_until_sent(commits, at, patience_s=patience_s, sent_bytes=sent, tell=tell)  # type: ignore[arg-type]
    assert all(0 <= done <= total for done, total, _ in told)
    return [each.at.name for each in left]


async def test_everything_is_sent_file_by_file(autojump_clock: trio.testing.MockClock) -> None:
    """It asks again until nothing is left."""
    commits = Commits(item("a"), item("b"), item("c"), step=lambda commits: commits.items.pop(0) and None)
    assert await wait(commits) == []
    assert commits.flushes == 3


async def test_an_empty_queue_is_no_wait() -> None:
    """Nobody is asked anything."""
    commits = Commits(item("open", "dirty"))
    assert await wait(commits) == ["open"]
    assert commits.flushes == 0


async def test_a_dead_server_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """After the patience, and not before."""
    commits = Commits(item("a"))
    assert await wait(commits, patience_s=30) == ["a"]
    assert trio.current_time() == pytest.approx(30, abs=0.5)


async def test_bytes_that_move_are_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """An upload of ten minutes with a patience of one."""

    def step(commits: Commits) -> None:
        if trio.current_time() > 600:
            commits.items.clear()

    assert await wait(Commits(item("a", "uploading"), step=step), sent=lambda: int(trio.current_time() * 1000)) == []
    assert trio.current_time() > 600


@pytest.mark.parametrize("state", ["failed", "conflict"])
async def test_a_refused_file_is_tried_once(autojump_clock: trio.testing.MockClock, state: str) -> None:
    """Waiting does not make a full quota larger."""
    commits = Commits(item("a", state))
    assert await wait(commits) == ["a"]
    assert commits.flushes == 1


async def test_only_what_is_below_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """Another folder's files may take as long as they like."""
    commits = Commits(item("a"), item("b"), step=lambda commits: commits.items.pop(0) and None)
    assert await wait(commits, HOME.child("a")) == []
    assert commits.flushes == 1
