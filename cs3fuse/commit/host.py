"""What sessions are given: the engine's services, and the CS3 lock on their file.

Owns no behaviour. ``engine`` makes a ``SessionHost`` for all sessions and a ``SessionLock`` for each; trio thread only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cs3fuse.commit.journal import Journal
from cs3fuse.commit.reserve import no_room
from cs3fuse.model import Entry, Location, Lock
from cs3fuse.ports import BaseContent

if TYPE_CHECKING:
    from cs3fuse.commit.session import WriteSession


async def nothing_to_ensure() -> None:
    """For storages without locks."""


def nothing_to_release() -> None:
    """For storages without locks."""


def no_lock() -> Lock | None:
    """For storages without locks."""
    return None


@dataclass(slots=True)
class SessionHost:
    """The engine's folder, journal, content store and workers.

    ``dispatch`` hands a session to a worker, ``start`` any other job; ``forget`` and ``moved`` keep the engine's table; ``queue_room``
    waits while too many files wait to be sent; ``hurry`` says that somebody waits for a file now.
    """

    folder: Path
    identity: str
    journal: Journal
    content: BaseContent
    commits_in_background: bool
    dispatch: Callable[[WriteSession], None]
    start: Callable[[Callable[[], Awaitable[None]]], None]
    forget: Callable[[WriteSession], None]
    moved: Callable[[WriteSession, Location], None]
    queue_room: Callable[[], Awaitable[None]]
    hurry: Callable[[Location], None]
    make_room: Callable[[int], Awaitable[bool]] = no_room


@dataclass(slots=True)
class SessionLock:
    """How a session learns of the CS3 lock on its file: the current one, how to get it back after a loss, and when to let it go.

    ``ensure`` acquires it again if we know it to be lost; ``reaffirm`` asks the server. ``release`` is called once: after the last handle is closed and everything is sent, or when another holder takes its place.
    """

    current: Callable[[], Lock | None] = no_lock
    ensure: Callable[[], Awaitable[None]] = nothing_to_ensure
    reaffirm: Callable[[], Awaitable[None]] = nothing_to_ensure
    release: Callable[[], None] = nothing_to_release


class LeaseLike(Protocol):
    """What ``locks.held.Lease`` gives to a session."""

    @property
    def lock(self) -> Lock | None:
        """The lock to send along; None after a loss."""
        ...

    async def ensure(self) -> None:
        """Get it back if it was lost. Raises: LockedError."""
        ...

    async def reaffirm(self) -> None:
        """Ask the server whether it is still ours, and get it back if not. Raises: LockedError."""
        ...

    def release(self) -> None:
        """One holder less."""
        ...


@dataclass(slots=True)
class Subject:
    """Which file: where it is now, and the version on the server that its staged bytes lie over (None: none yet)."""

    at: Location
    base: Entry | None
