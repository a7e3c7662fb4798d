"""Downloads from storages that serve ranges: runs of blocks, each fetched once however many want it.

Owns the way from "these blocks are absent" to GETs. ``cache.content`` calls ``want`` and ``want_ahead``; the transfers run in
the store's nursery. Used from the trio thread only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Final

from cs3fuse.cache.contents import Content
from cs3fuse.cache.layout import BLOCK_BYTES, State
from cs3fuse.cache.transfers import Transfer, Transfers
from cs3fuse.errors import Cs3FuseError, RangesUnsupportedError, StaleError
from cs3fuse.limits import RootLimits, promptly

_LEAST_PIECE: Final = 8
_LARGEST_PIECE: Final = 256
"""Blocks of one GET (1 and 32 MiB). Each GET costs calls, a thread and a look; measured with pieces of 8 MiB, sixteen readers took a quarter longer."""
_LARGEST_UNPROVEN: Final = 64
"""Where answers carry no etag: nothing of a piece is served before a Stat after its last byte."""
_PIECES_AHEAD: Final = 2
"""Into how many parallel pieces a read-ahead is cut."""
_MANY_TRANSFERS: Final = 8
"""With so many under way the network is busy without cutting."""
_GAP: Final = 1
"""Absent runs of one read that are this many blocks apart are fetched in one GET with what lies between."""


class RangedTransfers:
    """Plans and runs ranged GETs."""

    def __init__(self, services: Transfers, *, max_parallel: int) -> None:
        """Plan for at most ``max_parallel`` GETs that readers wait for, and a quarter less than that for read-ahead, below each root."""
        self._services = services
        self._probing: set[str] = set()
        self._waited = RootLimits(max_parallel)
        # Apart, so that a small read never queues behind the megabytes that somebody may want later.
        self._ahead = RootLimits(max(1, max_parallel * 3 // 4))

    def want(self, content: Content, first: int, stop: int, ahead: int) -> None:
        """Start what is absent of blocks first to stop, and with it, in the same GET, the ``ahead`` blocks behind.

        On a storage that was never asked for a range one GET goes out first; who comes meanwhile waits and is stirred.
        """
        if self._services.book.of(content.entry.storage_id).ranges is None:
            self._probe(content, first, stop)
            return
        piece = self._piece(content, ahead)
        runs = list(_merged(content.blocks.absent_runs(first, stop)))
        for low, high in runs:
            end = high
            if (low, high) == runs[-1] and high == stop:
                limit = min(len(content.blocks), high + min(ahead, piece))
                end = next((start for start, _ in _busy_runs(content, high, limit)), limit)
            self._launch(content, low, end, self._waited)
        if runs:
            self.want_ahead(content, stop, ahead)

    def _probe(self, content: Content, first: int, stop: int) -> None:
        storage_id = content.entry.storage_id
        if storage_id not in self._probing:
            for low, high in itertools.islice(content.blocks.absent_runs(first, stop), 1):
                self._probing.add(storage_id)
                self._launch(content, low, high, self._waited)

    def want_ahead(self, content: Content, first: int, ahead: int) -> None:
        """Start the absent ones of the ``ahead`` blocks from ``first`` on, unless half of them are here or coming."""
        stop = min(len(content.blocks), first + ahead)
        absent = content.blocks.first_absent(first, stop)
        if absent is None or (absent - first > ahead // 2 and stop - absent < self._largest(content)):
            return
        piece = self._piece(content, ahead)
        for low, high in list(content.blocks.absent_runs(absent, stop)):
            for start in range(low, high, piece):
                self._launch(content, start, min(start + piece, high), self._ahead)

    def _piece(self, content: Content, ahead: int) -> int:
        """Blocks of one GET of a read-ahead of so many."""
        cuts = _PIECES_AHEAD if len(self._services.active) < _MANY_TRANSFERS else 1
        return min(self._largest(content), max(_LEAST_PIECE, ahead // cuts))

    def _largest(self, content: Content) -> int:
        return _LARGEST_PIECE if self._services.carries_etag.get(content.entry.storage_id) else _LARGEST_UNPROVEN

    def _launch(self, content: Content, first: int, stop: int, limits: RootLimits) -> None:
        content.blocks.replace(State.ABSENT, State.COMING, first, stop)
        # Pinned from here on: between launch and start of the job nobody may drop the content.
        self._services.shelf.pin(content)
        self._services.spawn(partial(self._run, content, first, stop, limits))

    async def _run(self, content: Content, first: int, stop: int, limits: RootLimits) -> None:
        """The job: failures go to those who wait for a block of it, nobody else."""
        try:
            async with promptly(limits.of(content.at)):
                if content.readers or content.has_waiters:
                    await self._services.patiently(
                        content, partial(self._attempt, content, first, stop), partial(content.is_wanted, first, stop)
                    )
        except RangesUnsupportedError:
            self._services.book.of(content.entry.storage_id).ranges = False
        except StaleError as error:
            content.is_gone = True
            content.fail(error, first, stop)
        except Cs3FuseError as error:
            content.fail(error, first, stop)
        finally:
            content.blocks.replace(State.COMING, State.ABSENT, first, stop)
            content.disprove(first, stop)
            self._services.shelf.noticed(content)
            self._services.shelf.unpin(content)
            # Whoever still lacks a block starts it anew, on a storage without ranges as a stream.
            content.stir()
            if content.entry.storage_id in self._probing:
                self._probing.discard(content.entry.storage_id)
                self._services.stir_all()

    async def _attempt(self, content: Content, first: int, stop: int) -> None:
        """One GET of what is still lacking, and the proof of its version."""
        still = next((block for block in range(first, stop) if content.blocks.state(block) is State.COMING), None)
        if still is None:
            return
        self._services.counts["range_gets"] += 1
        transfer = Transfer(self._services, content, content.blocks.bytes_of(still, stop), occupied=_foreign(content, still, stop))
        try:
            fetched = await transfer.run(is_whole=False)
            self._services.book.of(content.entry.storage_id).ranges = True
            await self._services.prove(content, fetched, first, stop)
        finally:
            # After a failure: what came and is not proven must come again.
            content.blocks.replace(State.PROVISIONAL, State.COMING, first, stop)


def _merged(runs: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs with small gaps between them as one."""
    held: tuple[int, int] | None = None
    for low, high in runs:
        if held is not None and low - held[1] <= _GAP:
            held = (held[0], high)
            continue
        if held is not None:
            yield held
        held = (low, high)
    if held is not None:
        yield held


def _busy_runs(content: Content, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """The runs within the range that are not absent."""
    at = first
    for low, high in content.blocks.absent_runs(first, stop):
        if at < low:
            yield at, low
        at = high
    if at < stop:
        yield at, stop


def _foreign(content: Content, first: int, stop: int) -> bytes:
    """A mask over the whole file: what lies in the gaps of this GET and must be left alone."""
    states = bytearray(content.blocks.occupied())
    for block in range(first, stop):
        if states[block] == State.COMING:
            states[block] = State.ABSENT
    return bytes(states)


def ahead_blocks(ahead_bytes: int) -> int:
    """Whole blocks of a read-ahead."""
    return ahead_bytes // BLOCK_BYTES
