"""The content store: bytes of files on the local disk, keyed by version, fetched when they are read.

Owns the cache folder (one daemon per folder), every cached version in use, and the nursery in which downloads live: a
download belongs to the store, not to the reader who asked first. ``vfs`` opens readers, ``commit`` fills staged files from it
and gives committed ones to it, ``control`` shows and trims it. Used from the trio thread only.

A cache problem is a miss: what cannot be read back, fails its CRC or lacks its file is fetched again.
"""

from __future__ import annotations

import math
import sqlite3
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from cs3fuse.cache.blocks import RangedTransfers, ahead_blocks
from cs3fuse.cache.contents import Content
from cs3fuse.cache.eviction import EvictionPolicy
from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.folder import CacheFolder
from cs3fuse.cache.index import Row
from cs3fuse.cache.layout import BLOCK_BYTES, BlockMap, State, file_name
from cs3fuse.cache.reader import ContentReader
from cs3fuse.cache.streams import SMALL_BYTES, WholeTransfers
from cs3fuse.cache.transfers import Transfers
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import LocalStorageError
from cs3fuse.model import ByteRange, ContentKey, Entry, Location
from cs3fuse.ports import RemoteData, RemoteTree

_FLUSH_S: Final = 2.0
_TICK_S: Final = 1.0
_STALL_S: Final = 20.0
"""A download that brought nothing for this long, without being paused, is started anew."""
_ROUNDS: Final = 16
"""How often a read starts what it lacks before it gives up; each round is a download that ended without bringing it."""
_ENDS: Final = (".root", ".parquet", ".h5", ".hdf5", ".nc", ".zip", ".npz")
"""Formats whose readers begin with the head and the tail of the file."""
_END_BYTES: Final = 256 * 1024
_BEHIND_BYTES: Final = 1024 * 1024
"""What is kept behind a reader when holes are made."""
_HOLES_BYTES: Final = 16 * 1024 * 1024
"""Holes are made for at least this much at once."""
_SUM_BLOCKS: Final = 64

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
        ranged GETs and ``max_streams`` whole-file GETs of large files run at once (each occupies a thread of the client).
        """
        self._folder = CacheFolder(folder)
        self._budget_bytes = budget_bytes
        self._min_free_bytes = min_free_bytes
        self._window_bytes = max(BLOCK_BYTES * 8, min(window_bytes, budget_bytes // 4))
        self._policy = EvictionPolicy(budget_bytes)
        self._contents: dict[str, Content] = {}
        self._dirty: set[Content] = set()
        self._removed: set[str] = set()
        self._jobs: trio.MemorySendChannel[Callable[[], Awaitable[None]]] | None = None
        self._flushing = trio.Lock()
        # Verifying and reading back: beyond a few threads the disk is the limit.
        self.disk_limiter = trio.CapacityLimiter(8)
        self._services = Transfers(
            data, tree, book, self._spawn, self._pin, self._unpin, self._noticed, self._make_room, self._stir_all
        )
        self.counts = self._services.counts
        self._book = book
        self._ranged = RangedTransfers(self._services, max_parallel=max_parallel)
        self._whole = WholeTransfers(
            self._services, window_bytes=self._window_bytes, max_streams=max_streams, max_small=max_parallel * 2
        )

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the folder, run downloads until cancelled, store the index.

        Raises: LocalStorageError: the folder cannot be used or another daemon uses it.

        Cancellation: downloads end, what is proven is in the index.
        """
        for name, size in await trio.to_thread.run_sync(self._folder.open):
            self._policy.add(name, size)
        try:
            send, receive = trio.open_memory_channel[Callable[[], Awaitable[None]]](math.inf)
            self._jobs = send
            self._check_disk()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._housekeep)
                task_status.started()
                async for job in receive:
                    nursery.start_soon(job)
        finally:
            self._jobs = None
            with suppress(sqlite3.Error):
                self._folder.index.write(*self._unsaved())
            self._contents.clear()
            self._folder.close()

    async def _housekeep(self) -> None:
        """Once a second look after streams and stalls, store the index now and then."""
        flushed_at = trio.current_time()
        while True:
            await trio.sleep(_TICK_S)
            now = trio.current_time()
            self._whole.tick(now)
            for transfer in list(self._services.active):
                transfer.watch(now, _STALL_S)
            if now - flushed_at >= _FLUSH_S:
                flushed_at = now
                await self.flush()

    async def flush(self) -> None:
        """Store in the index what changed, and let go of what is not in use."""
        if not self._dirty and not self._removed:
            return
        async with self._flushing:
            self._check_disk()
            removed, rows = self._unsaved()
            try:
                await trio.to_thread.run_sync(self._folder.index.write, removed, rows)
            except sqlite3.Error as error:
                # After a restart these versions are not known and their files are deleted.
                _log.warning("cache index not written", reason=str(error))
            for content in list(self._contents.values()):
                if content not in self._dirty and not self._policy.is_pinned(content.name):
                    del self._contents[content.name]

    def _unsaved(self) -> tuple[list[str], list[Row]]:
        """What the index lacks; it counts as stored from here on."""
        removed, self._removed = list(self._removed), set()
        rows = []
        for content in self._dirty:
            content.is_stored = True
            rows.append(
                Row(content.name, content.key, content.blocks.present_bytes, content.used_at, tuple(content.blocks.take_dirty()))
            )
        self._dirty.clear()
        return removed, rows

    # -- readers -----------------------------------------------------------------------------------------------------

    def open(self, at: Location, entry: Entry) -> ContentReader:
        """A reader of this version, which stays in the store until it is closed. No I/O on the network.

        Raises: LocalStorageError if the store is not running.
        """
        if self._jobs is None:
            raise LocalStorageError("The content store is not open.", path=str(at))
        content = self._content_of(entry.content_key(at))
        content.place(at, entry)
        content.is_gone = False
        self._used(content)
        self._pin(content)
        reader = ContentReader(self, content, ahead_bound_bytes=self._window_bytes)
        content.readers.add(reader)
        if content.stream is not None:
            content.stream.pace()
        self._want_ends(content)
        return reader

    def close_reader(self, reader: ContentReader, content: Content) -> None:
        """A reader was closed (called by the reader, once)."""
        content.readers.discard(reader)
        if content.stream is not None:
            content.stream.pace()
        self._used(content)
        self._unpin(content)

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

    def damaged(self, content: Content, blocks: Sequence[int]) -> None:
        """Blocks could not be read back as they were written: they are not here."""
        self.counts["damaged_blocks"] += len(blocks)
        _log.warning("cached blocks damaged", blocks=len(blocks), resource=content.key.resource)
        content.blocks.set_all(blocks, State.ABSENT)
        self._noticed(content)

    def _want(self, content: Content, first: int, stop: int, ahead_bytes: int) -> None:
        if not self._fetches_ranges(content):
            self._whole.want(content, first, stop)
        else:
            self._ranged.want(content, first, stop, ahead_blocks(ahead_bytes))

    def _fetches_ranges(self, content: Content) -> bool:
        """Whether blocks come one by one: not for small files, not while a stream runs, not where ranges were refused."""
        return content.size > SMALL_BYTES and content.stream is None and self._book.of(content.entry.storage_id).ranges is not False

    def _want_ends(self, content: Content) -> None:
        """Fetch head and tail of the formats that begin with them, unless that would be the first trial of ranges."""
        if content.entry.name.lower().endswith(_ENDS) and self._fetches_ranges(content) and not content.entry.is_processing:
            first = ahead_blocks(_END_BYTES)
            last = (content.size - _END_BYTES) // BLOCK_BYTES
            self._ranged.want(content, 0, first, 0)
            if self._book.of(content.entry.storage_id).ranges:
                self._ranged.want(content, last, len(content.blocks), 0)

    # -- contents ----------------------------------------------------------------------------------------------------

    def _content_of(self, key: ContentKey) -> Content:
        name = file_name(key)
        content = self._contents.get(name)
        if content is not None:
            return content
        content = Content(name, key, self._folder.path_of(name))
        if name in self._policy and not self._folder.load(content):
            self._forget(name)
        if name not in self._policy:
            for older in self._folder.versions_of(key.resource):
                if older in self._policy:
                    self._policy.demote(older)
            self._policy.add(name)
        self._contents[name] = content
        return content

    def _used(self, content: Content) -> None:
        content.used_at = time.time()
        self._policy.touch(content.name)
        if content.is_stored:
            self._dirty.add(content)

    def _pin(self, content: Content) -> None:
        self._policy.pin(content.name)

    def _unpin(self, content: Content) -> None:
        self._policy.unpin(content.name)
        if self._policy.is_pinned(content.name):
            return
        if not content.blocks.present_bytes:
            self._forget(content.name)
        elif self._policy.excess_bytes:
            self._trim()

    def _forget(self, name: str) -> int:
        """Delete a version that nobody uses. Returns: bytes freed."""
        size = self._policy.size_of(name)
        self._policy.remove(name)
        content = self._contents.pop(name, None)
        if content is not None:
            self._dirty.discard(content)
        self._removed.add(name)
        if trash := self._folder.discard(name, size):
            self._spawn(partial(trio.to_thread.run_sync, partial(_unlink, trash)))
        return size

    def _stir_all(self) -> None:
        for content in self._contents.values():
            content.stir()

    def _spawn(self, job: Callable[[], Awaitable[None]]) -> None:
        # Without a bound of its own: each job is a download of blocks that no other job brings, or deletes one file.
        if self._jobs is not None:
            self._jobs.send_nowait(job)

    # -- room --------------------------------------------------------------------------------------------------------

    def _noticed(self, content: Content) -> None:
        if content.blocks.is_dirty:
            self._dirty.add(content)
        self._policy.resize(content.name, content.blocks.present_bytes)
        if self._policy.excess_bytes:
            self._trim()

    def _trim(self) -> None:
        """Keep the budget: delete what is not in use, then make holes behind the readers of what is."""
        for name in self._policy.victims():
            self.counts["evicted"] += 1
            self._forget(name)
        if self._policy.excess_bytes:
            goal = max(self._policy.excess_bytes, min(_HOLES_BYTES, self._policy.budget_bytes // 8))
            for content in sorted(self._contents.values(), key=lambda content: content.blocks.present_bytes, reverse=True):
                goal -= self._punch(content, goal)
                if goal <= 0:
                    break

    def _punch(self, content: Content, goal: int) -> int:
        """Drop blocks that no reader is near to. Returns: bytes freed."""
        file = content.file
        if file is None or not content.blocks.present_bytes:
            return 0
        keep = bytearray(len(content.blocks))
        near = [(reader.reach - _BEHIND_BYTES, reader.reach + self._window_bytes) for reader in content.readers]
        spans = [content.blocks.span(ByteRange(max(0, start), min(max(0, stop), content.size))) for start, stop in near]
        for first, stop in (*spans, *content.keeps()):
            keep[first:stop] = b"\1" * (stop - first)
        freed = 0
        for first, stop in content.blocks.droppable(keep, with_provisional=content.serves_provisional):
            wanted = content.blocks.bytes_of(first, stop)
            if freed >= goal or not file.punch(wanted.start, len(wanted)):
                break
            content.blocks.set_all(range(first, stop), State.ABSENT)
            freed += len(wanted)
        if freed:
            self.counts["punched_bytes"] += freed
            self._policy.resize(content.name, content.blocks.present_bytes)
            self._dirty.add(content)
        return freed

    def _make_room(self, content: Content) -> bool:
        """The disk is full: delete what is not in use, a tenth of the budget at once."""
        freed = 0
        for name in self._policy.victims(self._policy.budget_bytes - self._policy.used_bytes + self._policy.used_bytes // 10 + 1):
            freed += self._forget(name)
        freed += self._punch(content, _HOLES_BYTES)
        self.counts["disk_full"] += 1
        return freed > 0

    def _check_disk(self) -> None:
        """Shrink the budget so that the disk keeps its free share."""
        room = self._policy.used_bytes + self._folder.free_bytes() - self._min_free_bytes
        self._policy.budget_bytes = max(0, min(self._budget_bytes, room))
        if self._policy.excess_bytes:
            self._trim()

    def limit(self, budget_bytes: int) -> None:
        """Set another budget, now."""
        self._budget_bytes = budget_bytes
        self._check_disk()

    def clear(self) -> int:
        """Delete what is not in use. Returns: bytes freed."""
        return sum(self._forget(name) for name in list(self._policy) if not self._policy.is_pinned(name))

    def present_bytes(self, at: Location, entry: Entry) -> int:
        """How many bytes of a version are here."""
        name = file_name(entry.content_key(at))
        content = self._contents.get(name)
        if content is not None:
            return content.blocks.present_bytes
        return self._policy.size_of(name) if name in self._policy else 0

    def usage(self) -> dict[str, object]:
        """For ``status``: sizes in bytes, counters since the start."""
        return {
            "budget_bytes": self._budget_bytes,
            "effective_budget_bytes": self._policy.budget_bytes,
            "used_bytes": self._policy.used_bytes,
            "pinned_bytes": self._policy.pinned_bytes,
            "versions": len(self._policy),
            "open_versions": sum(bool(content.readers) for content in self._contents.values()),
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
        """Take the complete file at ``path`` as the content of ``key`` (by rename, or by copy across file systems).

        Never raises for a cache problem: then the file is simply not cached, and ``path`` is gone all the same. Returns as
        soon as the file can be read from the store; its CRCs are computed afterwards.

        Cancellation: while copying across file systems ``path`` may be left.
        """
        try:
            if self._is_adoptable(key, path):
                is_near = self._folder.can_rename(path)
                inside = path if is_near else await trio.to_thread.run_sync(self._folder.copy_in, path)
                self._take_over(key, inside)
        except (OSError, ValueError, sqlite3.Error) as error:
            _log.warning("file not adopted", path=str(path), reason=str(error))
        finally:
            _unlink(path)

    def _is_adoptable(self, key: ContentKey, path: Path) -> bool:
        content = self._contents.get(file_name(key))
        if self._jobs is None or (content is not None and content.blocks.is_complete):
            return False
        if (length := path.stat().st_size) != key.version.size:
            raise ValueError(f"it has {length} bytes, not {key.version.size}")
        return True

    def _take_over(self, key: ContentKey, path: Path) -> None:
        """CHECKPOINT-FREE: the file becomes the content of the key, also for readers that are open."""
        content = self._content_of(key)
        if content.stream is not None:
            content.stream.end("the file is here")
        content.path.parent.mkdir(parents=True, exist_ok=True)
        path.rename(content.path)
        content.file = SparseFile(content.path, content.size, is_new=False)
        content.blocks = BlockMap(content.size)
        content.blocks.set_all(range(len(content.blocks)), State.UNSUMMED)
        self._used(content)
        self._pin(content)
        self._noticed(content)
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
                sums = await trio.to_thread.run_sync(partial(_sums, file, ranges), limiter=self.disk_limiter)
                for block, crc in enumerate(sums, first):
                    if blocks.state(block) is State.UNSUMMED:
                        blocks.set(block, State.CHECKED if crc is not None else State.ABSENT, crc)
            self._noticed(content)
        finally:
            self._unpin(content)


def _sums(file: SparseFile, ranges: Sequence[ByteRange]) -> list[int | None]:
    """Blocking: the CRC of each range, None if it cannot be read."""
    sums: list[int | None] = []
    for wanted in ranges:
        try:
            data = file.read(wanted.start, len(wanted))
        except OSError:
            data = b""
        sums.append(zlib.crc32(data) if len(data) == len(wanted) else None)
    return sums


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
