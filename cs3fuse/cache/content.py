"""The content store: bytes of files on the local disk, keyed by version, fetched when they are read.

Owns the cache folder (one daemon per folder) and the nursery in which downloads live: a download belongs to the store, not
to the reader who asked first. ``vfs`` opens readers, ``commit`` fills staged files from it and gives committed ones to it,
``control`` shows and trims it. Used from the trio thread only.

A cache problem is a miss: what cannot be read back, fails its CRC or lacks its file is fetched again.
"""

from __future__ import annotations

import gc
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from cs3fuse.cache.blocks import RangedTransfers, ahead_blocks
from cs3fuse.cache.contents import Content
from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.folder import CacheFolder
from cs3fuse.cache.following import FolderRuns
from cs3fuse.cache.layout import BLOCK_BYTES, BlockMap, State, block_sum
from cs3fuse.cache.reader import ContentReader
from cs3fuse.cache.shelf import Shelf
from cs3fuse.cache.streams import SMALL_BYTES, WholeTransfers
from cs3fuse.cache.transfers import Transfers
from cs3fuse.cache.uncached import read_uncached
from cs3fuse.cache.verifying import Verified, verify
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import Cs3FuseError, LocalStorageError
from cs3fuse.limits import promptly
from cs3fuse.model import ByteRange, ContentKey, Entry, Kind, Location
from cs3fuse.ports import RemoteData, RemoteTree

_FLUSH_S: Final = 2.0
_TICK_S: Final = 1.0
_COLLECT_S: Final = 60.0
_STALL_S: Final = 20.0
"""A download that brought nothing for this long, without being paused, is started anew."""
_ROUNDS: Final = 16
"""How often a read starts what it lacks before it gives up; each round is a download that ended without bringing it."""
_ENDS: Final = (".root", ".parquet", ".h5", ".hdf5", ".nc", ".zip", ".npz")
"""Formats whose readers begin with the head and the tail of the file."""
_END_BYTES: Final = 256 * 1024
_SUM_BLOCKS: Final = 64
_SUM_NOW_BYTES: Final = 256 * 1024
_ROOM_BYTES: Final = 64 * 1024 * 1024
"""How much more is freed than was asked for: the writer that needed room will write on."""

_log = structlog.get_logger(__name__)


class ContentStore:
    """Implements ports.BaseContent."""

    def __init__(
        self,
        folder: Path,
        data: RemoteData,
        tree: RemoteTree,
        book: CapabilityBook,
        *,
        budget_bytes: int,
        min_free_bytes: int,
        window_bytes: int = 64 * 1024 * 1024,
        max_parallel: int = 8,
        max_streams: int = 16,
    ) -> None:
        """Prepare a store in ``folder``; ``run`` opens it.

        Args: ``budget_bytes`` bounds what is kept, ``min_free_bytes`` is left free on the disk; files in use may exceed both
        by a window each. ``window_bytes`` bounds read-ahead and how far a stream runs ahead of its readers. ``max_parallel``
        ranged GETs (and three quarters as many for read-ahead), twice as many GETs of small files and ``max_streams`` of
        large ones run at once below each root; each occupies a thread of the client.
        """
        window_bytes = max(BLOCK_BYTES * 8, min(window_bytes, budget_bytes // 4))
        self._services = Transfers(data, tree, book, spawn=self._spawn, stir_all=self._stir_all)
        self.counts = self._services.counts
        self._shelf = Shelf(
            CacheFolder(folder),
            budget_bytes=budget_bytes,
            min_free_bytes=min_free_bytes,
            window_bytes=window_bytes,
            spawn=self._spawn,
            counts=self.counts,
        )
        self._services.shelf = self._shelf
        self._jobs: trio.MemorySendChannel[Callable[[], Awaitable[None]]] | None = None
        # Verifying and reading back: beyond a few threads the disk is the limit.
        self.disk_limiter = trio.CapacityLimiter(8)
        self._in_use = trio.Event()
        self._collected_at = -math.inf
        self._book = book
        self._siblings: Callable[[Location], Sequence[Entry] | None] | None = None
        self._runs = FolderRuns(small_bytes=SMALL_BYTES)
        self._ahead_limiter = trio.CapacityLimiter(max_parallel)
        self._ranged = RangedTransfers(self._services, max_parallel=max_parallel)
        self._whole = WholeTransfers(self._services, window_bytes=window_bytes, max_streams=max_streams, max_small=max_parallel * 2)

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the folder, run downloads until cancelled, store the index.

        Raises: LocalStorageError: the folder cannot be used or another daemon uses it.

        Cancellation: downloads end, what is proven is in the index.
        """
        await self._shelf.open()
        try:
            # Without a bound of its own: each job is a download of blocks that no other job brings, or deletes one file.
            self._jobs, receive = trio.open_memory_channel[Callable[[], Awaitable[None]]](math.inf)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._housekeep)
                task_status.started()
                async for job in receive:
                    nursery.start_soon(job)
        finally:
            self._jobs = None
            self._shelf.close()

    async def _housekeep(self) -> None:
        """Once a second look after streams and stalls, store the index now and then; while nothing is in use do nothing."""
        flushed_at = trio.current_time()
        while True:
            await trio.sleep(_TICK_S)
            if self._shelf.is_idle:
                self._close_lost_files()
                self._in_use = trio.Event()
                await self._in_use.wait()
            now = trio.current_time()
            self._whole.tick(now)
            for transfer in list(self._services.active):
                transfer.watch(now, _STALL_S)
            if now - flushed_at >= _FLUSH_S:
                flushed_at = now
                await self._shelf.flush()

    def _close_lost_files(self) -> None:
        """Close files that nobody uses any more but the frames of errors, which refer to their errors and so to themselves.

        The collector runs by what is allocated, which on an idle mount is nothing. A full run costs some 40 ms for each 100 000 cached entries.
        """
        now = trio.current_time()
        is_full = now >= self._collected_at + _COLLECT_S
        gc.collect(2 if is_full else 1)
        if is_full:
            self._collected_at = now

    async def flush(self) -> None:
        """Store in the index what changed (it is done every two seconds anyway)."""
        await self._shelf.flush()

    def _spawn(self, job: Callable[[], Awaitable[None]]) -> None:
        if self._jobs is not None:
            self._jobs.send_nowait(job)

    def _stir_all(self) -> None:
        for content in self._shelf:
            content.stir()

    # -- readers -----------------------------------------------------------------------------------------------------

    def open(self, at: Location, entry: Entry, *, asked_at: float | None = None) -> ContentReader:
        """A reader of this version, which stays in the store until it is closed. No I/O on the network.

        Args: ``asked_at`` is when (trio's clock) the Stat that gave ``entry`` began, if the caller knows: it then proves what
        was fetched ahead before, and spares a Stat where answers carry no etag.

        Raises: LocalStorageError if the store is not running.
        """
        if self._jobs is None:
            raise LocalStorageError("The content store is not open.", path=str(at))
        content = self._opened(at, entry)
        if (
            content.unproven_since is not None
            and content.stream is None
            and asked_at is not None
            and asked_at > content.unproven_since
        ):
            content.unproven_since = None
            content.prove()
            self._shelf.noticed(content)
        reader = ContentReader(self, content, ahead_bound_bytes=self._shelf.window_bytes)
        content.readers.add(reader)
        if content.stream is not None:
            content.stream.pace()
        self._want_ends(content)
        if 0 < content.size <= SMALL_BYTES:
            self._fetch_ahead(at)
        return reader

    def expect_reader(self, at: Location, entry: Entry) -> None:
        """This file is about to be opened, probably as ``entry`` describes it: what a download of it begins with is done meanwhile."""
        if entry.kind is Kind.FILE and not entry.is_processing and self.present_bytes(at, entry) < entry.size:
            self._spawn(partial(self._prepare, at))

    async def _prepare(self, at: Location) -> None:
        """A job; whoever reads learns of a failure by making the same call."""
        with suppress(Cs3FuseError):
            await self._services.data.prepare_fetch(at)

    def follow(self, siblings: Callable[[Location], Sequence[Entry] | None]) -> None:
        """Fetch small files ahead of programs that read a folder's files one after another.

        Args: ``siblings`` gives the listing of a folder without I/O (``MetadataCache.peek_list``).
        """
        self._siblings = siblings

    def _fetch_ahead(self, at: Location) -> None:
        siblings = self._siblings(at.parent) if self._siblings is not None and at.rel else None
        if siblings:
            for entry in self._runs.opened(at.parent, at.name, siblings, trio.current_time()):
                place = at.parent.child(entry.name) if entry.anchor is None else Location(entry.anchor)
                if self.present_bytes(place, entry) < entry.size:
                    self._spawn(partial(self._fetch_small, place, entry))

    async def _fetch_small(self, at: Location, entry: Entry) -> None:
        """A job: bring a file that will probably be opened. Who opens it meanwhile joins; failures are told to them only."""
        async with promptly(self._ahead_limiter):
            content = self._opened(at, entry)
            try:
                if not content.blocks.present_bytes and content.stream is None:
                    self.counts["small_ahead"] += 1
                    await self._whole.fetch(content)
            finally:
                self._shelf.unpin(content)

    def _opened(self, at: Location, entry: Entry) -> Content:
        """The content of a version, pinned."""
        content = self._get(entry.content_key(at))
        content.place(at, entry)
        content.is_gone = False
        self._shelf.used(content)
        self._shelf.pin(content)
        return content

    def _get(self, key: ContentKey) -> Content:
        self._in_use.set()
        return self._shelf.get(key)

    def close_reader(self, reader: ContentReader, content: Content) -> None:
        """A reader was closed (called by the reader, once)."""
        content.readers.discard(reader)
        content.keepers.discard(reader)
        if content.stream is not None:
            content.stream.pace()
        self._shelf.used(content)
        self._shelf.unpin(content)

    async def bring(self, content: Content, first: int, stop: int, *, ahead_bytes: int = 0, is_proven: bool = False) -> None:
        """Wait until the blocks may be read; with ``is_proven`` until their version does not depend on a running stream.

        Raises: StaleError; what the downloads raise. Cancellation: downloads go on, they are the store's.
        """
        for _ in range(_ROUNDS):
            if content.is_ready(first, stop, is_proven=is_proven):
                return
            if content.is_gone:
                raise content.gone()
            self._want(content, first, stop, ahead_bytes)
            await content.wait(first, stop, is_proven=is_proven)
        if not content.is_ready(first, stop, is_proven=is_proven):
            raise LocalStorageError(f"{content.at} could not be kept in the cache folder while it was read.", path=str(content.at))

    def read_ahead(self, content: Content, offset: int, ahead_bytes: int) -> None:
        """Fetch what a reader will want next, where the storage serves ranges and it is not on its way."""
        if ahead_bytes and self._fetches_ranges(content) and self._book.of(content.entry.storage_id).ranges:
            self._ranged.want_ahead(content, offset // BLOCK_BYTES, ahead_blocks(ahead_bytes))

    def expect(self, content: Content, wanted: ByteRange) -> None:
        """Fetch a part that a reader will probably want, where the storage serves ranges; it may reach beyond the end."""
        stop = min(wanted.stop, content.size)
        if wanted.start < stop and self._fetches_ranges(content) and self._book.of(content.entry.storage_id).ranges:
            first, last = content.blocks.span(ByteRange(wanted.start, stop))
            self._ranged.want_ahead(content, first, last - first)

    async def read_uncached(self, content: Content, wanted: ByteRange) -> bytes:
        """A range that is fetched past the cache folder. Raises: as ``uncached.read_uncached``."""
        return await read_uncached(self._services, content, wanted)

    def damaged(self, content: Content, blocks: Sequence[int]) -> None:
        """Blocks could not be read back as they were written: they are not here."""
        self.counts["damaged_blocks"] += len(blocks)
        _log.warning("cached blocks damaged", blocks=len(blocks), resource=content.key.resource)
        content.blocks.set_all(blocks, State.ABSENT)
        self._shelf.noticed(content)

    def _want(self, content: Content, first: int, stop: int, ahead_bytes: int) -> None:
        if self._fetches_ranges(content):
            self._ranged.want(content, first, stop, ahead_blocks(ahead_bytes))
        else:
            self._whole.want(content, first, stop)

    def _fetches_ranges(self, content: Content) -> bool:
        """Whether blocks come one by one: not for small files, not while a stream runs, not where ranges were refused."""
        return content.size > SMALL_BYTES and content.stream is None and self._book.of(content.entry.storage_id).ranges is not False

    def _want_ends(self, content: Content) -> None:
        """Fetch head and tail of the formats that begin with them; where ranges were never tried the head is the trial."""
        if content.entry.name.lower().endswith(_ENDS) and self._fetches_ranges(content) and not content.entry.is_processing:
            self._ranged.want(content, 0, ahead_blocks(_END_BYTES), 0)
            if self._book.of(content.entry.storage_id).ranges:
                self._ranged.want(content, (content.size - _END_BYTES) // BLOCK_BYTES, len(content.blocks), 0)

    # -- people ------------------------------------------------------------------------------------------------------

    def limit(self, budget_bytes: int) -> None:
        """Set another budget, now."""
        self._in_use.set()
        self._shelf.limit(budget_bytes)

    def clear(self) -> int:
        """Delete what is not in use. Returns: bytes freed."""
        self._in_use.set()
        return self._shelf.clear()

    async def verify(self, tell: Callable[[int, int], Awaitable[None]]) -> Verified:
        """Read everything back and drop what is damaged. ``tell(done, total)`` is called before each version."""
        verified = await verify(self._shelf, limiter=self.disk_limiter, damaged=self.damaged, tell=tell)
        await self.flush()
        return verified

    async def make_room(self, wanted_bytes: int, disk_of: Path) -> bool:
        """Give room to another folder on the same disk. Returns: False if it is another disk, or nothing could be freed."""
        try:
            is_same_disk = self._shelf.folder.can_rename(disk_of)
        except OSError:
            return False
        self._in_use.set()
        return is_same_disk and await self._shelf.free(wanted_bytes + _ROOM_BYTES)

    def present_bytes(self, at: Location, entry: Entry) -> int:
        """How many bytes of a version are here."""
        return self._shelf.present_bytes(entry.content_key(at))

    def usage(self) -> dict[str, object]:
        """For ``status``: sizes in bytes, counters since the start."""
        policy = self._shelf.policy
        return {
            "budget_bytes": self._shelf.budget_bytes,
            "effective_budget_bytes": policy.budget_bytes,
            "used_bytes": policy.used_bytes,
            "pinned_bytes": policy.pinned_bytes,
            "versions": len(policy),
            "open_versions": sum(bool(content.readers) for content in self._shelf),
            "streams": len(self._whole),
            "transfers": len(self._services.active),
            **{key: self.counts[key] for key in sorted(self.counts)},
        }

    # -- commit ------------------------------------------------------------------------------------------------------

    async def fill(self, at: Location, base: Entry, wanted: Sequence[ByteRange], fd: int) -> None:
        """Write the ``wanted`` ranges of ``base``'s bytes into ``fd`` at the same offsets, as a stream (bounded memory).

        Raises: StaleError; LocalSpaceError, LocalStorageError also for ``fd``; what the downloads raise.

        Cancellation: part of the ranges may be written.
        """
        reader = self.open(at, base)
        try:
            for part in sorted(wanted):
                await reader.copy_to(fd, ByteRange(min(part.start, base.size), min(part.stop, base.size)))
        finally:
            reader.close()

    async def adopt(self, key: ContentKey, path: Path) -> None:
        """Take the complete file at ``path``, to which nobody writes any more, as the content of ``key``.

        By rename, or by copy across file systems. Never raises for a cache problem: then the file is simply not cached, and
        ``path`` is gone all the same. Returns as soon as the file can be read from the store; its CRCs are computed later.

        Cancellation: only while copying across file systems; ``path`` is gone and nothing is cached.
        """
        try:
            if self._is_adoptable(key, path):
                folder = self._shelf.folder
                inside = path if folder.can_rename(path) else await trio.to_thread.run_sync(folder.copy_in, path)
                self._take_over(key, inside)
        except (OSError, ValueError, sqlite3.Error) as error:
            _log.warning("file not adopted", path=str(path), reason=str(error))
        finally:
            # Only the name: somebody may still read the file through a descriptor.
            with suppress(OSError):
                path.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call on a local file

    def _is_adoptable(self, key: ContentKey, path: Path) -> bool:
        content = self._shelf.find(key)
        if self._jobs is None or (content is not None and content.blocks.is_complete):
            return False
        if (length := path.stat().st_size) != key.version.size:
            raise ValueError(f"it has {length} bytes, not {key.version.size}")
        return True

    def _take_over(self, key: ContentKey, path: Path) -> None:
        """CHECKPOINT-FREE: the file becomes the content of the key, also for readers that are open."""
        content = self._get(key)
        if content.stream is not None:
            content.stream.end("the file is here")
        content.path.parent.mkdir(parents=True, exist_ok=True)
        path.rename(content.path)
        content.file = SparseFile(content.path, content.size, is_new=False)
        content.blocks = BlockMap.adopted(content.size)
        self._shelf.used(content)
        self._shelf.pin(content)
        self._shelf.noticed(content)
        content.wake()
        self._spawn(partial(self._sum, content))

    async def _sum(self, content: Content) -> None:
        """Compute the CRCs of an adopted file; without them it would not survive a restart."""
        file, blocks = content.file, content.blocks
        try:
            for first in range(0, len(blocks), _SUM_BLOCKS):
                if file is None or content.blocks is not blocks:
                    return
                ranges = [blocks.bytes_of(block, block + 1) for block in range(first, min(first + _SUM_BLOCKS, len(blocks)))]
                if content.size <= _SUM_NOW_BYTES:  # just written: in the page cache, and sooner summed than a thread is woken
                    sums = _sums(file, ranges)
                else:
                    sums = await trio.to_thread.run_sync(partial(_sums, file, ranges), limiter=self.disk_limiter)
                for block, crc in enumerate(sums, first):
                    if blocks.state(block) is State.UNSUMMED:
                        blocks.set(block, State.CHECKED if crc is not None else State.ABSENT, crc)
            self._shelf.noticed(content)
        finally:
            self._shelf.unpin(content)


def _sums(file: SparseFile, ranges: Sequence[ByteRange]) -> list[int | None]:
    """Blocking: the CRC of each range, None if it cannot be read."""
    sums: list[int | None] = []
    for wanted in ranges:
        try:
            data = file.read(wanted.start, len(wanted))
        except OSError:
            data = b""
        sums.append(block_sum(data) if len(data) == len(wanted) else None)
    return sums
