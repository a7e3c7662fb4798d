"""One open file's view of the content store: reads of the version it opened, and of no other.

Owns the position and the read-ahead of one reader. ``vfs`` has one per open file, ``cache.content`` uses them itself for
``fill``. Used from the trio thread only; several reads of one reader may be under way at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio

from cs3fuse.cache.contents import Content
from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.layout import State, block_sum
from cs3fuse.cache.readahead import ReadAhead
from cs3fuse.cache.transfers import disk_failure
from cs3fuse.errors import LocalSpaceError, LocalStorageError, UnsupportedError
from cs3fuse.model import Borrowed, ByteRange, Entry, Location

_ATTEMPTS = 4
"""How often a read is repeated because its blocks were damaged or dropped under it."""
_STEP_BYTES = 4 * 1024 * 1024


class Store(Protocol):
    """What a reader asks of the content store."""

    counts: Counter[str]
    disk_limiter: trio.CapacityLimiter

    async def bring(self, content: Content, first: int, stop: int, *, ahead_bytes: int = 0, is_proven: bool = False) -> None:
        """Wait until blocks may be read, or are proven."""
        ...

    def expect(self, content: Content, wanted: ByteRange) -> None:
        """See ``ContentStore.expect``."""
        ...

    def read_ahead(self, content: Content, offset: int, ahead_bytes: int) -> None:
        """Fetch what is wanted next."""
        ...

    async def read_uncached(self, content: Content, wanted: ByteRange) -> bytes:
        """Fetch past the cache folder."""
        ...

    def damaged(self, content: Content, blocks: Sequence[int]) -> None:
        """Blocks cannot be read back."""
        ...

    def close_reader(self, reader: ContentReader, content: Content) -> None:
        """A reader is done."""
        ...


class ContentReader:
    """Reads one version; the version stays in the store until ``close``."""

    def __init__(self, store: Store, content: Content, *, ahead_bound_bytes: int) -> None:
        """Made by ``ContentStore.open``."""
        self.entry: Entry = content.entry
        self._store = store
        self._content = content
        self._ahead = ReadAhead(ahead_bound_bytes)
        self._reach = 0
        self._is_closed = False

    @property
    def reach(self) -> int:
        """Where the last read ended."""
        return self._reach

    @property
    def is_complete(self) -> bool:
        """Whether every byte is here."""
        return self._content.blocks.is_complete

    def read_now(self, offset: int, size: int) -> Borrowed | None:
        """The bytes if they are here and in the page cache, else None (then ``read`` gets them). No I/O, no await.

        Args: clipped at the entry's size.
        """
        content, wanted = self._content, self._clip(offset, size)
        first, stop = content.blocks.span(wanted)
        if content.file is None or not content.is_ready(first, stop) or not content.blocks.is_checked(first, stop):
            return None if len(wanted) else b""
        try:
            data = content.file.read_now(wanted.start, len(wanted))
        except OSError:
            return None
        if data is not None:
            self._store.counts["read_hits"] += 1
            self._follow(wanted)
        return data

    async def read(self, offset: int, size: int) -> Borrowed:
        """The bytes of this version, fetched if they are not here; clipped at the entry's size.

        Raises: StaleError: the version is gone and not all here; LocalSpaceError, LocalStorageError; what downloads raise.

        Cancellation: a download that was started goes on.
        """
        wanted = self._clip(offset, size)
        if not len(wanted):
            await trio.lowlevel.checkpoint()
            return b""
        content = self._content
        is_hit = content.is_ready(*content.blocks.span(wanted))
        self._store.counts["read_hits" if is_hit else "read_misses"] += 1
        ahead_bytes = self._follow(wanted)
        for _ in range(_ATTEMPTS):
            try:
                data = await self._attempt(wanted, ahead_bytes)
            except LocalSpaceError as error:
                return await self._read_past(wanted, error)
            if data is not None:
                return data
        raise self._unreadable()

    async def read_direct(self, offset: int, size: int) -> Borrowed:
        """The bytes as the server has them now (O_DIRECT): fetched, not from the store, where the storage allows it.

        Raises: as ``read``.
        """
        wanted = self._clip(offset, size)
        if not len(wanted):
            await trio.lowlevel.checkpoint()
            return b""
        try:
            return await self._store.read_uncached(self._content, wanted)
        except UnsupportedError:
            return await self.read(offset, size)

    async def _read_past(self, wanted: ByteRange, full: LocalSpaceError) -> bytes:
        """The disk is full: serve without caching where that is possible."""
        try:
            return await self._store.read_uncached(self._content, wanted)
        except UnsupportedError as error:
            raise full from error

    async def copy_to(self, fd: int, wanted: ByteRange) -> None:
        """Write a range of this version into another file at the same offset, in steps of bounded size.

        Raises: as ``read``; LocalSpaceError, LocalStorageError also for ``fd``.
        """
        for start in range(wanted.start, wanted.stop, _STEP_BYTES):
            step = ByteRange(start, min(start + _STEP_BYTES, wanted.stop))
            ahead_bytes = self._follow(step)
            for _ in range(_ATTEMPTS):
                if await self._copy_step(fd, step, ahead_bytes):
                    break
            else:
                raise self._unreadable()

    async def complete(self) -> None:
        """Fetch all that is not here yet; until ``close`` every read succeeds then, whatever happens on the server.

        For a file larger than the budget that needs more room than the budget has.

        Raises: as ``read``. Cancellation: what came is kept.
        """
        content = self._content
        content.keepers.add(self)
        for start in range(0, content.size, _STEP_BYTES):
            if content.blocks.is_complete:
                return
            step = ByteRange(start, min(start + _STEP_BYTES, content.size))
            first, stop = content.blocks.span(step)
            await self._store.bring(content, first, stop, ahead_bytes=self._follow(step))
        # A provisional block may be read, but only the proof after the stream's last byte makes it stay.
        await self._store.bring(content, 0, len(content.blocks), is_proven=True)

    def relocate(self, at: Location) -> None:
        """The file has another place on the server now; its bytes are the same."""
        self._content.place(at)

    def close(self) -> None:
        """Let the version go; more calls do nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._store.close_reader(self, self._content)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _clip(self, offset: int, size: int) -> ByteRange:
        stop = min(offset + size, self._content.size)
        return ByteRange(min(offset, stop), stop)

    def _follow(self, wanted: ByteRange) -> int:
        """Note a read: pace the stream, read ahead. Returns: bytes to be read ahead together with this read, if it misses."""
        content = self._content
        self._reach = wanted.stop
        ahead_bytes = self._ahead.observe(wanted.start, len(wanted))
        for expected in content.strides.observe(wanted.start, len(wanted)):
            self._store.expect(content, expected)
        if content.stream is not None:
            content.stream.pace()
        elif content.is_ready(*content.blocks.span(wanted)):
            self._store.read_ahead(content, wanted.stop, ahead_bytes)
        return ahead_bytes

    async def _attempt(self, wanted: ByteRange, ahead_bytes: int) -> Borrowed | None:
        """Bring and read. Returns: None if the blocks turned out not to be here."""
        content = self._content
        first, stop = content.blocks.span(wanted)
        if not content.is_ready(first, stop):
            await self._store.bring(content, first, stop, ahead_bytes=ahead_bytes)
        file = content.file
        assert file is not None
        with content.hold(first, stop):
            if not await self._check(file, first, stop):
                return None
            try:
                data = await self._read_back(file, wanted)
            except OSError:
                data = b""
            if len(data) != len(wanted):
                self._store.damaged(content, range(first, stop))
                return None
        # While a thread read, a stream may have ended unproven.
        return data if content.is_ready(first, stop) else None

    async def _read_back(self, file: SparseFile, wanted: ByteRange) -> Borrowed:
        """The bytes from the page cache, brought there by a thread if need be. Raises: OSError."""
        start, size, limiter = wanted.start, len(wanted), self._store.disk_limiter
        now = file.read_now(start, size)
        if now is None:
            await trio.to_thread.run_sync(file.bring, start, size, limiter=limiter, abandon_on_cancel=True)
            now = file.read_now(start, size)
        if now is not None:
            return now
        # Dropped again already, or a file system that cannot tell.
        return await trio.to_thread.run_sync(file.read, start, size, limiter=limiter, abandon_on_cancel=True)

    async def _copy_step(self, fd: int, step: ByteRange, ahead_bytes: int) -> bool:
        content = self._content
        first, stop = content.blocks.span(step)
        if not content.is_ready(first, stop):
            await self._store.bring(content, first, stop, ahead_bytes=ahead_bytes)
        file = content.file
        assert file is not None
        with content.hold(first, stop):
            if not await self._check(file, first, stop):
                return False
            try:
                # Not abandoned when cancelled: the caller may close ``fd`` as soon as this returns.
                await trio.to_thread.run_sync(file.copy_to, fd, step.start, len(step), limiter=self._store.disk_limiter)
            except EOFError:
                self._store.damaged(content, range(first, stop))
                return False
            except OSError as error:
                raise disk_failure(error, content) from error
        return content.is_ready(first, stop)

    async def _check(self, file: SparseFile, first: int, stop: int) -> bool:
        """Compare the CRCs of blocks that were here when the store was opened. Returns: False if one is damaged."""
        blocks = self._content.blocks
        if blocks.is_checked(first, stop):
            return True
        sums = {block: blocks.crc(block) for block in blocks.unchecked(first, stop)}
        ranges = {block: blocks.bytes_of(block, block + 1) for block in sums}
        bad = await trio.to_thread.run_sync(
            partial(_damaged, file, ranges, sums), limiter=self._store.disk_limiter, abandon_on_cancel=True
        )
        for block, crc in sums.items():
            if block not in bad and blocks.state(block) is State.UNCHECKED:
                blocks.set(block, State.CHECKED, crc)
        bad = [block for block in bad if blocks.state(block) is State.UNCHECKED]
        if bad:
            self._store.damaged(self._content, bad)
        return not bad

    def _unreadable(self) -> LocalStorageError:
        return LocalStorageError(
            f"The cache folder's disk does not give back what was written to it, for {self._content.at}.",
            path=str(self._content.at),
        )


def _damaged(file: SparseFile, ranges: dict[int, ByteRange], sums: dict[int, int]) -> list[int]:
    """Blocking: the blocks that cannot be read or whose CRC differs."""
    bad = []
    for block, wanted in ranges.items():
        try:
            data = file.read(wanted.start, len(wanted))
        except OSError:
            data = b""
        if len(data) != len(wanted) or block_sum(data) != sums[block]:
            bad.append(block)
    return bad
