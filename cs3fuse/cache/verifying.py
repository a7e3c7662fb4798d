"""Reading the whole store back, to see whether the disk still gives what was written to it.

``cache.content`` runs it when a person asks; blocks are read in a worker thread, everything else happens on the trio thread. Versions may
be read, filled and evicted meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from cs3fuse.cache.contents import Content
from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.layout import BlockMap, State, block_sum
from cs3fuse.cache.shelf import Shelf

_BLOCKS_AT_ONCE: Final = 64
_HAS_SUM: Final = frozenset({State.CHECKED, State.UNCHECKED})


@dataclass(slots=True)
class Verified:
    """What was looked at, and how many blocks were not as they were written (they count as not here from then on)."""

    versions: int = 0
    bytes: int = 0
    damaged_blocks: int = 0


async def verify(
    shelf: Shelf,
    *,
    limiter: trio.CapacityLimiter,
    damaged: Callable[[Content, Sequence[int]], None],
    tell: Callable[[int, int], Awaitable[None]],
) -> Verified:
    """Compare every block that is here and has a CRC.

    Args: ``damaged`` is told of blocks that differ; ``tell(done, total)`` of each version before it is read.

    Cancellation: what was found is kept.
    """
    verified = Verified()
    names = list(shelf.policy)
    for position, name in enumerate(names):
        await tell(position, len(names))
        content = shelf.stored(name)
        if content is None:
            continue
        shelf.pin(content)
        try:
            await _verify_one(content, verified, limiter, damaged)
        finally:
            shelf.unpin(content)
            shelf.let_go(content)
    return verified


async def _verify_one(
    content: Content, verified: Verified, limiter: trio.CapacityLimiter, damaged: Callable[[Content, Sequence[int]], None]
) -> None:
    verified.versions += 1
    for first in range(0, len(content.blocks), _BLOCKS_AT_ONCE):
        file, blocks = content.file, content.blocks
        stop = min(first + _BLOCKS_AT_ONCE, len(blocks))
        summed = [block for block in range(first, stop) if blocks.state(block) in _HAS_SUM]
        if file is None or not summed:
            continue
        with content.hold(first, stop):
            bad = await trio.to_thread.run_sync(_differing, file, blocks, summed, limiter=limiter)
        if content.blocks is not blocks:  # adopted anew meanwhile
            continue
        for block in summed:
            if block not in bad and blocks.state(block) is State.UNCHECKED:
                blocks.set(block, State.CHECKED, blocks.crc(block))
        bad = [block for block in bad if blocks.state(block) in _HAS_SUM]
        verified.bytes += sum(len(blocks.bytes_of(block, block + 1)) for block in summed)
        verified.damaged_blocks += len(bad)
        if bad:
            damaged(content, bad)


def _differing(file: SparseFile, blocks: BlockMap, numbers: Sequence[int]) -> list[int]:
    """Blocking: the blocks that cannot be read or differ from their CRC; sums of stored blocks do not change under us."""
    bad = []
    for block in numbers:
        wanted = blocks.bytes_of(block, block + 1)
        try:
            data = file.read(wanted.start, len(wanted))
        except OSError:
            data = b""
        if len(data) != len(wanted) or block_sum(data) != blocks.crc(block):
            bad.append(block)
    return bad
