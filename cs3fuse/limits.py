"""Limits on what runs at once, for each root apart: a share whose site hangs cannot use up what the home needs.

Owns the limiters. ``cache`` and ``commit`` ask for the one of a location; the trio thread only. What all roots together may take is
bounded by the client's threads. ``promptly`` is how everybody takes a limiter or a lock on the way of each request.
"""

from __future__ import annotations

from typing import Self

import trio

from cs3fuse.model import Location, Root


class promptly:  # noqa: N801 - used as a statement's word
    """``async with promptly(lock)``: as ``async with lock``, but without a checkpoint where it is free.

    trio lets all other tasks run at each ``acquire``: a tenth of a millisecond for a request that passes several. The tasks that use
    this wait for the kernel or the network soon enough.

    Cancellation: noticed only where it has to wait.
    """

    __slots__ = ("_lock",)

    def __init__(self, lock: trio.Lock | trio.CapacityLimiter) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_exc: object) -> None:
        self._lock.release()


class Turn:
    """A place in a limiter that can be given back early and taken again. One task at a time uses it; used in ``with``, none is kept."""

    __slots__ = ("_is_taken", "_limiter")

    def __init__(self, limiter: trio.CapacityLimiter | None = None) -> None:
        """Without a limiter it is always one's turn."""
        self._limiter = limiter
        self._is_taken = False

    def __enter__(self) -> Self:
        """No place is taken yet."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Give the place back."""
        self.give_back()

    async def take(self) -> None:
        """Have a place; wait for one, if it must. Cancellation: it has none."""
        if self._limiter is not None and not self.take_nowait():
            await self._limiter.acquire_on_behalf_of(self)
            self._is_taken = True

    def take_nowait(self) -> bool:
        """Have a place if there is one. Returns: whether it has."""
        if self._limiter is not None and not self._is_taken:
            try:
                self._limiter.acquire_on_behalf_of_nowait(self)
            except trio.WouldBlock:
                return False
            self._is_taken = True
        return True

    def give_back(self) -> None:
        """Somebody else's turn."""
        if self._limiter is not None and self._is_taken:
            self._is_taken = False
            self._limiter.release_on_behalf_of(self)


class RootLimits:
    """One limiter per root, made when it is first asked for; as many as a user has shares."""

    def __init__(self, each: int) -> None:
        """``each``: how many may run at once below one root."""
        self._each = each
        self._limiters: dict[Root, trio.CapacityLimiter] = {}

    def of(self, at: Location) -> trio.CapacityLimiter:
        """The limiter of everything below the root of a location."""
        found = self._limiters.get(at.root)
        if found is None:
            found = self._limiters[at.root] = trio.CapacityLimiter(self._each)
        return found
