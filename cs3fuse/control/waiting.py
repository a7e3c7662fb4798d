"""Waiting until the journal is empty, or until that makes no sense any more.

``control.unsent`` uses it for ``flush`` and ``umount``, ``draining`` for ``recover``. Trio thread only; waiting holds nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from cs3fuse.commit.engine import CommitEngine, QueueItem
from cs3fuse.control.patience import Patience
from cs3fuse.model import Location

_PERIOD_S: Final = 0.2
_AGAIN_S: Final = 1.0
# States in which waiting does not help: the server refused, or a program has not closed the file yet.
_IDLE: Final = frozenset({"failed", "conflict", "dirty"})

Tell = Callable[[int, int, int], Awaitable[None]]
"""Told a few times a second: files done, files in all, bytes sent."""


def below(commits: CommitEngine, at: Location | None) -> Sequence[QueueItem]:
    """What waits below a location (None: everywhere)."""
    return [item for item in commits.queue() if at is None or item.at.is_below(at)]


async def wait_until_sent(
    commits: CommitEngine, at: Location | None, *, patience_s: float, sent_bytes: Callable[[], int], tell: Tell
) -> Sequence[QueueItem]:
    """Send what is below ``at`` and wait for it, as long as something reaches the server every ``patience_s`` seconds.

    Files that a program still writes are left alone.

    Returns: what is left. Cancellation: the uploads go on.
    """
    if any(item.state != "dirty" for item in below(commits, at)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, commits, at, patience_s, sent_bytes, tell, nursery.cancel_scope)
            await _send(commits, at)
            nursery.cancel_scope.cancel()
    return below(commits, at)


async def _send(commits: CommitEngine, at: Location | None) -> None:
    """Until nothing is left for which waiting helps."""
    while True:
        left = await commits.flush(at)
        if all(item.state in _IDLE for item in left):
            return
        await trio.sleep(_AGAIN_S)


async def _watch(
    commits: CommitEngine,
    at: Location | None,
    patience_s: float,
    sent_bytes: Callable[[], int],
    tell: Tell,
    waiting: trio.CancelScope,
) -> None:
    """Tell how far it is, and end the wait when nothing moves."""
    patience = Patience(patience_s, trio.current_time())
    sent_before, total = sent_bytes(), len(below(commits, at))
    while True:
        left = below(commits, at)
        sent, now = sent_bytes(), trio.current_time()
        patience.note(left=len(left), attempts=sum(item.attempts for item in left), sent_bytes=sent, now=now)
        if patience.is_over(now):
            waiting.cancel()
            return
        total = max(total, len(left))
        await tell(total - len(left), total, sent - sent_before)
        await trio.sleep(_PERIOD_S)
