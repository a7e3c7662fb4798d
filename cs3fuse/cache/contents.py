"""One cached version of one file: its blocks, its sparse file, who reads it and who waits for which blocks.

Owns ``Content``. ``cache.content`` makes and drops them, ``cache.blocks`` and ``cache.streams`` fill them. Used from the trio
thread only; transfer threads touch nothing but the sparse file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.flights import copy_of
from cs3fuse.cache.layout import BLOCK_BYTES, BlockMap, State
from cs3fuse.cache.strides import Strides
from cs3fuse.errors import Cs3FuseError, StaleError
from cs3fuse.model import ContentKey, Entry, Location


class Reading(Protocol):
    """What a content knows of a reader: the offset up to which it has asked."""

    @property
    def reach(self) -> int:
        """Where its last read ended, or the one it waits for ends."""
        ...


class WholeTransfer(Protocol):
    """What a content knows of the stream that fills it."""

    def has_passed(self, block: int) -> bool:
        """Whether the stream is beyond an absent block, so that it will not bring it."""
        ...

    def end(self, reason: str) -> None:
        """End it; what came is kept if its version can be proven."""
        ...

    def pace(self) -> None:
        """Readers came, went or moved: compute anew how far it may run."""
        ...


@dataclass(eq=False, slots=True)
class Waiter:
    """A task that waits for blocks; woken when they are ready, when it failed, and when it must look again."""

    first: int
    stop: int
    is_proven: bool
    event: trio.Event = field(default_factory=trio.Event)
    error: Cs3FuseError | None = None


class Content:
    """The state of one version. INVARIANT: while it has a reader or a transfer, it has a place and a description."""

    def __init__(self, name: str, key: ContentKey, path: Path) -> None:
        """Nothing is here yet, and no file on disk."""
        self.name = name
        self.key = key
        self.path = path
        self._at: Location | None = None
        self._entry: Entry | None = None
        self.blocks = BlockMap(key.version.size)
        self.strides = Strides()
        self.file: SparseFile | None = None
        self.readers: set[Reading] = set()
        self.stream: WholeTransfer | None = None
        self.is_gone = False
        """The server has another version: what is here is all there will be."""
        self.serves_provisional = False
        """The running stream was proven to be of this version when its first bytes had come."""
        self.used_at = 0.0
        self.unproven_since: float | None = None
        """All bytes came by then (trio's clock), fetched ahead: whoever reads them first has them proven."""
        self.is_stored = False
        """The index has a row of it."""
        self.stamp: tuple[int, int, int] | None = None
        """Its file when it went out of use."""
        self.keepers: set[Reading] = set()
        """Readers that were promised every byte: nothing is dropped before they close."""
        self._waiters: set[Waiter] = set()
        self._held: list[tuple[int, int]] = []

    @property
    def at(self) -> Location:
        """Where the file is on the server, as far as the last opener or a rename told."""
        assert self._at is not None
        return self._at

    @property
    def entry(self) -> Entry:
        """The description that the last opener gave."""
        assert self._entry is not None
        return self._entry

    def place(self, at: Location, entry: Entry | None = None) -> None:
        """It is there, and it is described so."""
        self._at = at
        self._entry = entry or self._entry

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.key.version.size

    def is_ready(self, first: int, stop: int, *, is_proven: bool = False) -> bool:
        """Whether readers may have these blocks now; with ``is_proven`` none that depends on the proof of a running stream."""
        return self.blocks.is_ready(first, stop, with_provisional=self.serves_provisional and not is_proven)

    def sparse_file(self) -> SparseFile:
        """The file on disk, made on first use. Raises: OSError."""
        if self.file is None:
            try:
                self.file = SparseFile(self.path, self.size, is_new=True)
            except FileNotFoundError:
                # Somebody cleaned the folder while we run.
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.file = SparseFile(self.path, self.size, is_new=True)
        return self.file

    # -- waiting -----------------------------------------------------------------------------------------------------

    @property
    def has_waiters(self) -> bool:
        """Whether a task waits for blocks."""
        return bool(self._waiters)

    @property
    def reach(self) -> int:
        """The highest offset that a reader has asked for."""
        waited = max((waiter.stop * BLOCK_BYTES for waiter in self._waiters), default=0)
        return min(self.size, max(max((reader.reach for reader in self.readers), default=0), waited))

    async def wait(self, first: int, stop: int, *, is_proven: bool = False) -> None:
        """Wait until the blocks are ready or it must be looked at anew.

        Raises: why a transfer that was to bring them failed. Cancellation: nothing is left.
        """
        waiter = Waiter(first, stop, is_proven)
        self._waiters.add(waiter)
        try:
            if self.stream is not None:
                self.stream.pace()
            await waiter.event.wait()
        finally:
            self._waiters.discard(waiter)
        if waiter.error is not None and not self.is_ready(first, stop, is_proven=is_proven):
            raise copy_of(waiter.error)

    def wake(self) -> None:
        """Wake those whose blocks are ready."""
        for waiter in self._waiters:
            if self.is_ready(waiter.first, waiter.stop, is_proven=waiter.is_proven):
                waiter.event.set()

    def stir(self) -> None:
        """A transfer ended: wake those who lack a block that nobody brings now, they must start another."""
        for waiter in self._waiters:
            absent = self.blocks.first_absent(waiter.first, waiter.stop)
            if absent is not None and (self.stream is None or self.stream.has_passed(absent)):
                waiter.event.set()
        self.wake()

    def fail(self, error: Cs3FuseError, first: int = 0, stop: int | None = None) -> None:
        """Give a failure to those who wait for a block of the range that is not here."""
        stop = len(self.blocks) if stop is None else stop
        for waiter in self._waiters:
            low, high = max(first, waiter.first), min(stop, waiter.stop)
            if low < high and not self.is_ready(low, high, is_proven=waiter.is_proven):
                waiter.error = error
                waiter.event.set()

    def is_wanted(self, first: int, stop: int) -> bool:
        """Whether a task waits for a block of the range."""
        return any(waiter.first < stop and first < waiter.stop for waiter in self._waiters)

    # -- arrival -----------------------------------------------------------------------------------------------------

    def arrived(self, finished: Iterable[tuple[int, int]], state: State) -> None:
        """Blocks came, with their CRCs; what is proven already is left alone."""
        for block, crc in finished:
            if self.blocks.state(block) < State.UNCHECKED:
                self.blocks.set(block, state, crc)
        self.wake()

    def prove(self, first: int = 0, stop: int | None = None) -> None:
        """What came in the range is of this version."""
        self.blocks.replace(State.PROVISIONAL, State.CHECKED, first, stop)
        self.wake()

    def disprove(self, first: int = 0, stop: int | None = None) -> None:
        """What came in the range may be of any version: it is not here."""
        self.blocks.replace(State.PROVISIONAL, State.ABSENT, first, stop)

    def missing(self) -> StaleError:
        """The error of a read whose file is not there; not for good, as an overwrite or a rename has such moments."""
        return StaleError(f"{self.at} is not on the server any more, and its bytes are not all here.", path=str(self.at))

    def gone(self) -> StaleError:
        """The server has another version now. Returns: what to tell those who wait."""
        self.is_gone = True
        return StaleError(
            f"{self.at} was changed on the server while it was open, and the older version is not all here. Open it again.",
            path=str(self.at),
        )

    # -- holes -------------------------------------------------------------------------------------------------------

    @contextmanager
    def hold(self, first: int, stop: int) -> Iterator[None]:
        """Keep blocks from being dropped while a thread reads them."""
        held = (first, stop)
        self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)

    def keeps(self) -> list[tuple[int, int]]:
        """The blocks that must not be dropped now: those being read and those waited for."""
        return [*self._held, *((waiter.first, waiter.stop) for waiter in self._waiters)]
