"""Where the bytes of one download go: into a sparse file, summed per block, at the pace of the readers.

Owns the state shared between one transfer thread (``write``; for a small answer the trio thread is that) and the trio thread (everything
else). ``cache.blocks`` and
``cache.streams`` make one per transfer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import trio

from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.layout import BLOCK_BYTES, block_sum
from cs3fuse.errors import BadDataError
from cs3fuse.model import ByteRange


class TransferEnded(Exception):  # noqa: N818 - it is not an error: we ended the transfer ourselves
    """Leaves ``RemoteData.fetch`` after ``BlockSink.close``."""


class BlockSink:
    """Implements ports.Sink. INVARIANT: a block is reported only when all its bytes were written and summed in order."""

    def __init__(
        self,
        file: SparseFile,
        wanted: ByteRange,
        *,
        size: int,
        notify: Callable[[], None],
        occupied: bytes = b"",
        limit: int | None = None,
    ) -> None:
        """Take the bytes of ``wanted`` (its start on a block's boundary) of a file of ``size`` bytes.

        Args: ``notify`` is called in the trio thread after blocks came, a pause began or the last write ended; ``occupied``
        holds one byte per block of the file, those that are not 0 are passed over; ``limit`` is the offset at which the
        transfer pauses until ``allow`` raises it, None for no limit.
        """
        self._file = file
        self._stop = wanted.stop
        self._size = size
        self._notify = notify
        self._occupied = occupied
        self._token = trio.lowlevel.current_trio_token()
        self._home = threading.get_ident()
        self._condition = threading.Condition()
        # Guarded by the condition.
        self._limit = wanted.stop if limit is None else limit
        self._is_closed = False
        self._is_writing = False
        self._is_paused = False
        # Written by the transfer thread only.
        self._position = wanted.start
        self._crc = 0
        self._finished: deque[tuple[int, int]] = deque()
        # Used by the trio thread only.
        self._quiet = trio.Event()

    # -- the transfer thread -----------------------------------------------------------------------------------------

    def write(self, offset: int, data: memoryview) -> None:
        """Store a piece. Blocks while it is beyond the limit, but for the trio thread: what that brings is in memory already.

        Raises: TransferEnded after ``close``; BadDataError for bytes out of order or beyond the range; OSError of the disk.
        """
        if offset != self._position or offset + len(data) > self._stop:
            raise BadDataError(
                f"The server sent bytes {offset} to {offset + len(data)} where {self._position} to {self._stop} were due."
            )
        self._wait_for_room(offset)
        try:
            self._store(offset, data)
        finally:
            with self._condition:
                self._is_writing = False
        self._tell()

    def _wait_for_room(self, offset: int) -> None:
        with self._condition:
            while not self._is_closed and offset >= self._limit and not self._is_at_home:
                if not self._is_paused:
                    self._is_paused = True
                    self._tell()
                self._condition.wait()
            self._is_paused = False
            if self._is_closed:
                raise TransferEnded
            self._is_writing = True

    def _store(self, offset: int, data: memoryview) -> None:
        """Write runs of blocks that are wanted at once, then sum them: each call of the system may have to wait for the GIL."""
        while data:
            is_occupied, stop = self._run_from(offset, offset + len(data))
            run, data = data[: stop - offset], data[stop - offset :]
            if not is_occupied:
                self._file.write(offset, run)
            while run:
                block = offset // BLOCK_BYTES
                block_stop = min((block + 1) * BLOCK_BYTES, self._size)
                part, run = run[: block_stop - offset], run[block_stop - offset :]
                offset += len(part)
                if not is_occupied:
                    self._crc = block_sum(part, self._crc)
                    if offset == block_stop:
                        self._finished.append((block, self._crc))
                if offset == block_stop:
                    self._crc = 0
            # Last: whoever sees the position finds the blocks before it.
            self._position = offset

    def _run_from(self, offset: int, stop: int) -> tuple[bool, int]:
        """Whether the block at ``offset`` is to be passed over, and up to where (at most ``stop``) that holds for those behind it too."""
        if not self._occupied:
            return False, stop
        first, last = offset // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        is_occupied = bool(self._occupied[first])
        block = first + 1
        while block <= last and bool(self._occupied[block]) == is_occupied:
            block += 1
        return is_occupied, min(block * BLOCK_BYTES, stop)

    @property
    def _is_at_home(self) -> bool:
        return threading.get_ident() == self._home

    def _tell(self) -> None:
        if self._is_at_home:
            self._told()
            return
        try:
            self._token.run_sync_soon(self._told, idempotent=True)
        except (trio.RunFinishedError, OSError) as error:
            # The daemon ends; while it does, the socket that wakes its loop may be closed already.
            raise TransferEnded from error

    # -- the trio thread ---------------------------------------------------------------------------------------------

    def _told(self) -> None:
        self._quiet.set()
        self._notify()

    @property
    def position(self) -> int:
        """Offset up to which bytes have come."""
        return self._position

    @property
    def is_paused(self) -> bool:
        """Whether the transfer waits for ``allow``."""
        return self._is_paused

    def take(self) -> Iterator[tuple[int, int]]:
        """The blocks that were finished since the last call, with their CRCs."""
        while self._finished:
            yield self._finished.popleft()

    def allow(self, limit: int) -> None:
        """Let the transfer run up to an offset; it may also be lowered."""
        with self._condition:
            self._limit = limit
            self._condition.notify_all()

    def close(self) -> None:
        """End the transfer: its next write raises. One write may still be going on, see ``wait_quiet``."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def detach(self) -> None:
        """Tell nobody any more; what a thread still writes counts for nothing."""
        self._notify = _nobody

    async def wait_quiet(self) -> None:
        """Wait until no write is going on; after ``close`` none will follow."""
        while self._is_writing:
            self._quiet = trio.Event()
            if self._is_writing:
                await self._quiet.wait()


def _nobody() -> None:
    """Nobody is to be told."""
