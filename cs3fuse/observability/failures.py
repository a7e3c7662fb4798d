"""The last failures that programs saw, by path: so that a person can ask why, minutes later, without the log.

Owns a bounded list. ``kernel.guard`` notes through ``kernel.operations``, ``control`` asks. Trio thread only; nothing here is durable.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 200
"""Failures that are remembered; a program that asks for the same impossible thing in a loop pushes out no more than this."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that failed. ``at`` is unix seconds, ``path`` as the error names the resource ("" where it names none)."""

    op: str
    errno: int
    sentence: str
    path: str
    at: float


class RecentFailures:
    """The newest ``LIMIT`` failures; equal ones in a row are kept once, with the time of the last."""

    def __init__(self, *, limit: int = LIMIT, wall_clock: Callable[[], float] = time.time) -> None:
        self._found: deque[Failure] = deque(maxlen=limit)
        self._wall_clock = wall_clock

    def note(self, op: str, errno: int, sentence: str, path: str) -> None:
        """Remember one."""
        failure = Failure(op, errno, sentence, path, self._wall_clock())
        last = self._found[-1] if self._found else None
        if last is not None and (last.op, last.errno, last.sentence, last.path) == (op, errno, sentence, path):
            self._found.pop()
        self._found.append(failure)

    def of(self, *spellings: str) -> list[Failure]:
        """Those of one resource, newest first; layers spell its path differently."""
        return [failure for failure in reversed(self._found) if failure.path in spellings]

    def newest(self, count: int) -> list[Failure]:
        """The newest ``count`` of all paths, newest first."""
        return [failure for failure, _ in zip(reversed(self._found), range(count), strict=False)]
