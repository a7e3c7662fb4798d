"""Single flight: however many tasks ask for the same thing at once, one call goes out and all get its answer.

Owns no task of its own: the first who asks makes the call, the others wait for it. When that first task is cancelled, one
of the waiting takes over with a call of its own, so nobody's cancellation fails or cancels anybody else. ``cache.metadata``
uses it for Stat and ListContainer. Used from the trio thread only.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from cs3fuse.errors import Cs3FuseError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def copy_of(error: Cs3FuseError) -> Cs3FuseError:
    """The same failure as an exception of its own: tasks that share a failure must not share a traceback.

    Returns: a copy whose cause is ``error``.
    """
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin


class _Flight(Generic[V]):
    """One call on its way. INVARIANT: once ``landed`` is set it has an answer, an error, or neither (the caller was cancelled)."""

    __slots__ = ("answer", "error", "landed")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.answer: list[V] = []
        self.error: Cs3FuseError | None = None


class SingleFlight(Generic[K, V]):
    """Calls on their way, by key."""

    def __init__(self) -> None:
        self._flying: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        """Number of keys with a call on its way."""
        return len(self._flying)

    async def share(self, key: K, call: Callable[[], Awaitable[V]], *, is_joining: bool = True) -> V:
        """Join the call on its way for ``key``, or make it.

        Args: ``is_joining`` False starts a call even if one is on its way; who comes later joins the newer.

        Raises: what ``call`` raises; a ``Cs3FuseError`` reaches all who share, anything else only the one who called.

        Cancellation: others who share are not disturbed.
        """
        while is_joining and (flight := self._flying.get(key)) is not None:
            await flight.landed.wait()
            if flight.error is not None:
                raise copy_of(flight.error)
            if flight.answer:
                return flight.answer[0]
        return await self._lead(key, call)

    async def _lead(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        flight = self._flying[key] = _Flight[V]()
        try:
            answer = await call()
            flight.answer.append(answer)
        except Cs3FuseError as error:
            flight.error = error
            raise
        finally:
            if self._flying.get(key) is flight:
                del self._flying[key]
            flight.landed.set()
        return answer
