"""How a cached file is cut into blocks, and which of them are here: pure arithmetic and a map, no I/O.

Owns the block size and ``BlockMap``, the state and checksum of each block of one version. ``cache.contents`` holds one map per
version in use, ``cache.index`` stores maps in chunks. Used from the trio thread only.
"""

from __future__ import annotations

import array
import enum
import hashlib
import operator
from collections.abc import Iterable, Iterator
from typing import Final, Self

from crc32c import crc32c

from cs3fuse.model import ByteRange, ContentKey

BLOCK_BYTES: Final = 128 * 1024
"""Bytes of a block. The baskets of one branch of a ROOT file are 30-800 KB: larger blocks would fetch the file whole."""

CHUNK_BLOCKS: Final = 1024
"""Blocks of one row of the index: the map of a 50 GB file is stored piece by piece."""


def block_sum(data: bytes | memoryview, before: int = 0) -> int:
    """CRC-32C of a block, or of its next part after one with the sum ``before``. Source: RFC 3720, 12.1.

    The interpreter's lock is kept: a block takes 5 us, waiting for the lock among many transfers takes longer.
    """
    return crc32c(data, before, gil_release_mode=0)


class State(enum.IntEnum):
    """Of one block; a byte each in the map."""

    ABSENT = 0
    COMING = 1
    """A transfer of ours will bring it."""
    PROVISIONAL = 2
    """It is on disk, but it is not proven yet of which version it is."""
    UNCHECKED = 3
    """It was here when the store was opened; its CRC is compared at first use."""
    CHECKED = 4
    """It is here and its CRC is known."""
    UNSUMMED = 5
    """It is here (adopted), its CRC is being computed."""


_READY: Final = bytes(state >= State.UNCHECKED for state in range(256))
_READY_OR_PROVISIONAL: Final = bytes(state >= State.PROVISIONAL for state in range(256))
_STORABLE: Final = bytes(state in {State.UNCHECKED, State.CHECKED} for state in range(256))
_ONLY: Final = {state: bytes(other == state for other in range(256)) for state in State}


def file_name(key: ContentKey) -> str:
    """The name of a version's file in the cache folder: a hash, so that neither names nor lengths of paths matter."""
    version = key.version
    text = "\0".join((key.resource, version.etag, str(version.size), str(version.mtime_ns)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


class BlockMap:
    """Which blocks of a file of ``size`` bytes are here, with their CRCs. Block numbers are from 0, ranges exclude their stop."""

    __slots__ = ("_crcs", "_dirty", "_states", "present_bytes", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        count = -(-size // BLOCK_BYTES)
        self._states = bytearray(count)
        self._crcs = array.array("I", bytes(4 * count))
        self._dirty: set[int] = set()
        # INVARIANT: the bytes of all blocks whose state is PROVISIONAL or more.
        self.present_bytes = 0

    @classmethod
    def adopted(cls, size: int) -> Self:
        """The map of a file that is here whole, with sums still to be computed: all blocks UNSUMMED."""
        made = cls(size)
        made._states = bytearray([State.UNSUMMED]) * len(made)
        made.present_bytes = size
        return made

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._states)

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def span(self, wanted: ByteRange) -> tuple[int, int]:
        """The blocks (first, stop) that cover a byte range; empty for an empty range."""
        stop = min(-(-wanted.stop // BLOCK_BYTES), len(self))
        first = min(wanted.start // BLOCK_BYTES, stop)
        return (stop, stop) if not len(wanted) else (first, stop)

    def bytes_of(self, first: int, stop: int) -> ByteRange:
        """The byte range of blocks first to stop, cut at the end of the file."""
        return ByteRange(min(first * BLOCK_BYTES, self.size), min(stop * BLOCK_BYTES, self.size))

    # -- questions ---------------------------------------------------------------------------------------------------

    def state(self, block: int) -> State:
        """State of one block."""
        return State(self._states[block])

    def crc(self, block: int) -> int:
        """CRC-32 of a block that is CHECKED or UNCHECKED."""
        return self._crcs[block]

    def is_ready(self, first: int, stop: int, *, with_provisional: bool = False) -> bool:
        """Whether all blocks of the range may be read (UNCHECKED ones after their check)."""
        table = _READY_OR_PROVISIONAL if with_provisional else _READY
        return self._states[first:stop].translate(table).find(0) < 0

    def is_checked(self, first: int, stop: int) -> bool:
        """Whether no block of a ready range needs its CRC compared."""
        return self._states.find(State.UNCHECKED, first, stop) < 0

    def unchecked(self, first: int, stop: int) -> Iterator[int]:
        """The blocks of the range whose CRC must be compared."""
        while (first := self._states.find(State.UNCHECKED, first, stop)) >= 0:
            yield first
            first += 1

    @property
    def is_complete(self) -> bool:
        """Whether every byte is here and proven."""
        return self.is_ready(0, len(self))

    def first_absent(self, first: int, stop: int) -> int | None:
        """The first block of the range that nobody brings."""
        found = self._states.find(State.ABSENT, first, stop)
        return found if found >= 0 else None

    def absent_runs(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Maximal runs (first, stop) of absent blocks within the range, ascending."""
        for low, high in _runs(self._states[first:stop].translate(_ONLY[State.ABSENT])):
            yield first + low, first + high

    def runs_of(self, state: State) -> list[tuple[int, int]]:
        """All maximal runs of a state."""
        return list(_runs(self._states.translate(_ONLY[state])))

    def droppable(self, keep: bytearray, *, with_provisional: bool) -> list[tuple[int, int]]:
        """The runs of blocks that are here and not marked in ``keep`` (a byte per block), ascending, in pieces of a chunk."""
        here = bytes(self._states.translate(_STORABLE))
        if with_provisional:
            here = bytes(map(operator.or_, here, self._states.translate(_ONLY[State.PROVISIONAL])))
        flags = bytes(a & ~b for a, b in zip(here, keep, strict=True))
        return [(low, min(low + CHUNK_BLOCKS, stop)) for start, stop in _runs(flags) for low in range(start, stop, CHUNK_BLOCKS)]

    def occupied(self) -> bytes:
        """One byte per block, not 0 where something is or comes: what a transfer of the whole file must leave alone."""
        return bytes(self._states)

    # -- changes -----------------------------------------------------------------------------------------------------

    def set(self, block: int, state: State, crc: int | None = None) -> None:
        """Change one block."""
        old = self._states[block]
        self._states[block] = state
        if crc is not None:
            self._crcs[block] = crc
        was, now = old >= State.PROVISIONAL, state >= State.PROVISIONAL
        if was != now:
            length = len(self.bytes_of(block, block + 1))
            self.present_bytes += length if now else -length
        if _STORABLE[old] != _STORABLE[state] or (crc is not None and _STORABLE[state]):
            self._dirty.add(block // CHUNK_BLOCKS)

    def set_all(self, blocks: Iterable[int], state: State) -> None:
        """Change several blocks."""
        for block in blocks:
            self.set(block, state)

    def replace(self, old: State, new: State, first: int = 0, stop: int | None = None) -> int:
        """Change all blocks of one state within the range to another. Returns: how many."""
        stop = len(self) if stop is None else stop
        count = 0
        while (first := self._states.find(old, first, stop)) >= 0:
            self.set(first, new)
            first += 1
            count += 1
        return count

    # -- chunks for the index ----------------------------------------------------------------------------------------

    def take_dirty(self) -> list[tuple[int, bytes, bytes]]:
        """The chunks (number, a byte per block: 1 = stored, CRCs) that changed since the last call; they count as stored then."""
        rows = []
        for number in sorted(self._dirty):
            first, stop = number * CHUNK_BLOCKS, (number + 1) * CHUNK_BLOCKS
            rows.append((number, bytes(self._states[first:stop]).translate(_STORABLE), self._crcs[first:stop].tobytes()))
        self._dirty.clear()
        return rows

    @property
    def is_dirty(self) -> bool:
        """Whether the index lacks something."""
        return bool(self._dirty)

    def load(self, number: int, stored: bytes, crcs: bytes) -> None:
        """Take a chunk from the index: its blocks become UNCHECKED. Raises: ValueError for a chunk of another size."""
        first = number * CHUNK_BLOCKS
        count = min(CHUNK_BLOCKS, len(self) - first)
        values = array.array("I", crcs)
        if len(stored) != count or len(values) != count:
            raise ValueError(f"chunk {number} has {len(stored)} blocks and {len(values)} sums, not {count}")
        self._crcs[first : first + count] = values
        was_dirty = number in self._dirty
        for index, flag in enumerate(stored):
            if flag:
                self.set(first + index, State.UNCHECKED)
        if not was_dirty:
            self._dirty.discard(number)


def _runs(flags: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Maximal runs of ones, ascending."""
    start = flags.find(1)
    while start >= 0:
        end = flags.find(0, start)
        end = len(flags) if end < 0 else end
        yield start, end
        start = flags.find(1, end)
