"""Which versions are here and how much room they take: memory, index and disk kept in step.

Owns the ``Content`` of every version in use or not yet stored, the eviction policy, and what the index still lacks.
``cache.content`` has one; everything here is synchronous but ``flush``. Used from the trio thread only.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from cs3fuse.cache.contents import Content
from cs3fuse.cache.eviction import EvictionPolicy
from cs3fuse.cache.folder import CacheFolder
from cs3fuse.cache.index import Row
from cs3fuse.cache.layout import State, file_name
from cs3fuse.model import ByteRange, ContentKey

_BEHIND_BYTES: Final = 1024 * 1024
"""What is kept behind a reader when holes are made."""
_HOLES_BYTES: Final = 16 * 1024 * 1024
"""Holes are made for at least this much at once."""

_IDLE_FILES: Final = 64
"""Files that stay open after their last use: a small file fetched ahead is opened a moment later."""
_KEPT_BLOCKS: Final = 1024 * 1024
"""Block maps (5 bytes a block) of unused versions that stay in memory: what was checked since the start needs no second check."""
_UNPROVEN_S: Final = 10.0
"""What was fetched ahead and not asked for in this time is deleted."""

_log = structlog.get_logger(__name__)


class Shelf:
    """The versions of one cache folder, between ``open`` and ``close``."""

    def __init__(
        self,
        folder: CacheFolder,
        *,
        budget_bytes: int,
        min_free_bytes: int,
        window_bytes: int,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        counts: Counter[str],
    ) -> None:
        """Prepare an empty shelf.

        Args: ``budget_bytes`` bounds what is kept, ``min_free_bytes`` stay free on the disk; ``window_bytes`` are kept before
        a reader when holes are made; ``spawn`` runs a job in the store's nursery.
        """
        self.folder = folder
        self.policy = EvictionPolicy(budget_bytes)
        self.window_bytes = window_bytes
        self._budget_bytes = budget_bytes
        self._min_free_bytes = min_free_bytes
        self._spawn = spawn
        self._counts = counts
        self._contents: dict[str, Content] = {}
        self._dirty: set[Content] = set()
        self._removed: set[str] = set()
        # Unused contents whose files are still open, from the least to the most recently used.
        self._idle: OrderedDict[Content, None] = OrderedDict()
        # Unused contents that are on the disk, without their files, from the least to the most recently used.
        self._kept: OrderedDict[str, Content] = OrderedDict()
        self._kept_blocks = 0
        self._flushing = trio.Lock()

    def __iter__(self) -> Iterator[Content]:
        """The contents in memory."""
        return iter(list(self._contents.values()))

    async def open(self) -> None:
        """Lock the folder and learn what is in it. Raises: LocalStorageError."""
        for name, size in await trio.to_thread.run_sync(self.folder.open):
            self.policy.add(name, size)
        self.check_disk()

    def close(self) -> None:
        """Store what the index lacks and let the folder go."""
        with suppress(sqlite3.Error):
            self.folder.index.write(*self._unsaved())
        self._contents.clear()
        self._idle.clear()
        self._kept.clear()
        self._kept_blocks = 0
        self.folder.close()

    # -- contents ----------------------------------------------------------------------------------------------------

    def find(self, key: ContentKey) -> Content | None:
        """The content of a version if it is in memory."""
        return self._contents.get(file_name(key))

    def get(self, key: ContentKey) -> Content:
        """The content of a version: from memory, from the disk, or new and empty."""
        name = file_name(key)
        content = self._contents.get(name) or self._taken_back(name)
        if content is not None and (content.file is not None or not content.blocks.present_bytes or self._is_reopened(content)):
            return content
        content = Content(name, key, self.folder.path_of(name))
        if name in self.policy and not self.folder.load(content):
            content = Content(name, key, content.path)
            self.forget(name)
        if name not in self.policy:
            self.policy.add(name)
        self._contents[name] = content
        return content

    def stored(self, name: str) -> Content | None:
        """The content of a file of the folder by its name; None if it is not here any more, or cannot be used (then it is forgotten)."""
        if name not in self.policy:
            return None
        content = self._contents.get(name)
        if content is not None:
            return self.get(content.key)
        with suppress(sqlite3.Error):
            key = self.folder.index.key(name)
            return self.get(key) if key is not None else None
        return None

    def let_go(self, content: Content) -> None:
        """Keep a content that nothing uses on the disk only; one that was never proven is not kept for long."""
        if content in self._dirty or self._contents.get(content.name) is not content or self.policy.is_pinned(content.name):
            return
        if content.unproven_since is None:
            del self._contents[content.name]
            self._idle.pop(content, None)
            content.file = None
            self._keep(content)
        elif trio.current_time() - content.unproven_since > _UNPROVEN_S:
            self.forget(content.name)

    def _keep(self, content: Content) -> None:
        content.stamp = self.folder.stamp(content)
        self._kept[content.name] = content
        self._kept_blocks += len(content.blocks)
        while self._kept_blocks > _KEPT_BLOCKS:
            self._drop_kept(next(iter(self._kept)))

    def _drop_kept(self, name: str) -> Content | None:
        content = self._kept.pop(name, None)
        if content is not None:
            self._kept_blocks -= len(content.blocks)
        return content

    def _taken_back(self, name: str) -> Content | None:
        """An unused content whose file is as it was left; of one that somebody touched only what the index says counts."""
        content = self._drop_kept(name)
        if content is None or content.stamp is None or self.folder.stamp(content) != content.stamp:
            return None
        self._contents[name] = content
        return content

    def _is_reopened(self, content: Content) -> bool:
        """Whether the file of a content that was not in use could be opened again; if not it is forgotten."""
        if self.folder.reopen(content):
            return True
        self.forget(content.name)
        return False

    def present_bytes(self, key: ContentKey) -> int:
        """How many bytes of a version are here."""
        name = file_name(key)
        content = self._contents.get(name)
        if content is not None:
            return content.blocks.present_bytes
        return self.policy.size_of(name) if name in self.policy else 0

    def used(self, content: Content) -> None:
        """It was used just now."""
        content.used_at = time.time()
        self.policy.touch(content.name)
        if content.is_stored:
            self._dirty.add(content)

    def pin(self, content: Content) -> None:
        """It is in use once more."""
        self._idle.pop(content, None)
        self.policy.pin(content.name)

    def unpin(self, content: Content) -> None:
        """It is in use once less; descriptors are open only for what is in use, and a few more."""
        self.policy.unpin(content.name)
        if self.policy.is_pinned(content.name):
            return
        self._idle[content] = None
        if len(self._idle) > _IDLE_FILES:
            self._idle.popitem(last=False)[0].file = None
        if not content.blocks.present_bytes:
            self.forget(content.name)
        elif self.policy.excess_bytes:
            self.trim()

    def noticed(self, content: Content) -> None:
        """Blocks of a content came or went."""
        if content.blocks.is_dirty:
            self._dirty.add(content)
        self.policy.resize(content.name, content.blocks.present_bytes)
        if self.policy.excess_bytes:
            self.trim()

    def forget(self, name: str) -> int:
        """Delete a version that nobody uses. Returns: bytes freed."""
        size, trash = self._take_out(name)
        if trash is not None:
            self._spawn(partial(trio.to_thread.run_sync, partial(unlink_quietly, trash)))
        return size

    def _take_out(self, name: str) -> tuple[int, Path | None]:
        """Forget a version. Returns: its bytes on disk, and the file that is still to be deleted in a thread."""
        size = self.policy.size_of(name)
        self.policy.remove(name)
        self._drop_kept(name)
        content = self._contents.pop(name, None)
        if content is not None:
            self._dirty.discard(content)
            self._idle.pop(content, None)
            content.file = None
        self._removed.add(name)
        return size, self.folder.discard(name, size)

    # -- the index ---------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in memory, and the index lacks nothing."""
        return not self._contents and not self._removed

    async def flush(self) -> None:
        """Store in the index what changed, and let go of what is not in use."""
        if self.is_idle:
            return
        async with self._flushing:
            self.check_disk()
            if self._dirty or self._removed:
                await self._write_index()
            for content in self:
                self.let_go(content)

    async def _write_index(self) -> None:
        new = [content.name for content in self._dirty if not content.is_stored]
        removed, rows = self._unsaved()
        try:
            for older in await trio.to_thread.run_sync(self._store, removed, rows, new):
                if older in self.policy:
                    self.policy.demote(older)
        except sqlite3.Error as error:
            # After a restart these versions are not known and their files are deleted.
            _log.warning("cache index not written", reason=str(error))

    def _store(self, removed: list[str], rows: list[Row], new: list[str]) -> list[str]:
        """Blocking: write the index. Returns: the versions that a new one replaces; they are evicted first."""
        index = self.folder.index
        index.write(removed, rows)
        newest = {row.key.resource: row for row in sorted(rows, key=lambda row: row.used_at) if row.name in new}
        return index.other_versions(newest.values())

    def _unsaved(self) -> tuple[list[str], list[Row]]:
        """What the index lacks; it counts as stored from here on."""
        removed, self._removed = list(self._removed), set()
        rows = []
        for content in self._dirty:
            content.is_stored = True
            chunks = tuple(content.blocks.take_dirty())
            rows.append(Row(content.name, content.key, content.blocks.present_bytes, content.used_at, chunks))
        self._dirty.clear()
        return removed, rows

    # -- room --------------------------------------------------------------------------------------------------------

    def trim(self) -> None:
        """Keep the budget: delete what is not in use, then make holes behind the readers of what is."""
        for name in self.policy.victims():
            self._counts["evicted"] += 1
            self.forget(name)
        if self.policy.excess_bytes:
            goal = max(self.policy.excess_bytes, min(_HOLES_BYTES, self.policy.budget_bytes // 8))
            for content in sorted(self, key=lambda content: content.blocks.present_bytes, reverse=True):
                goal -= self._punch(content, goal)
                if goal <= 0:
                    break

    def _punch(self, content: Content, goal: int) -> int:
        """Drop blocks that no reader is near to. Returns: bytes freed."""
        file = content.file
        if file is None or not content.blocks.present_bytes or content.keepers:
            return 0
        keep = bytearray(len(content.blocks))
        for reader in content.readers:
            start, stop = reader.reach - _BEHIND_BYTES, reader.reach + self.window_bytes
            first, last = content.blocks.span(ByteRange(min(max(0, start), content.size), min(stop, content.size)))
            keep[first:last] = b"\1" * (last - first)
        for first, last in content.keeps():
            keep[first:last] = b"\1" * (last - first)
        freed = 0
        for first, last in content.blocks.droppable(keep, with_provisional=content.serves_provisional):
            wanted = content.blocks.bytes_of(first, last)
            if freed >= goal or not file.punch(wanted.start, len(wanted)):
                break
            content.blocks.set_all(range(first, last), State.ABSENT)
            freed += len(wanted)
        if freed:
            self._counts["punched_bytes"] += freed
            self.policy.resize(content.name, content.blocks.present_bytes)
            self._dirty.add(content)
        return freed

    def make_room(self, content: Content) -> bool:
        """The disk is full: delete a tenth of what is not in use, and what ``content``'s readers are not near to.

        Returns: whether anything was freed.
        """
        self._counts["disk_full"] += 1
        need = self.policy.budget_bytes - self.policy.used_bytes + self.policy.used_bytes // 10 + 1
        freed = sum(self.forget(name) for name in self.policy.victims(need))
        return freed + self._punch(content, _HOLES_BYTES) > 0

    async def free(self, wanted_bytes: int) -> bool:
        """The disk is full for somebody else: delete at least ``wanted_bytes`` of what is not in use, if there is as much.

        Returns: whether anything was freed. Cancellation: the files go with the next start.
        """
        policy = self.policy
        taken = [self._take_out(name) for name in policy.victims(policy.budget_bytes - policy.used_bytes + wanted_bytes)]
        for _, trash in taken:
            if trash is not None:
                await trio.to_thread.run_sync(unlink_quietly, trash)
        return any(size for size, _ in taken)

    def check_disk(self) -> None:
        """Shrink the budget so that the disk keeps its free share."""
        room = self.policy.used_bytes + self.folder.free_bytes() - self._min_free_bytes
        self.policy.budget_bytes = max(0, min(self._budget_bytes, room))
        if self.policy.excess_bytes:
            self.trim()

    @property
    def budget_bytes(self) -> int:
        """The budget that was asked for; the disk may allow less."""
        return self._budget_bytes

    def limit(self, budget_bytes: int) -> None:
        """Set another budget, now."""
        self._budget_bytes = budget_bytes
        self.check_disk()

    def clear(self) -> int:
        """Delete what is not in use. Returns: bytes freed."""
        return sum(self.forget(name) for name in list(self.policy) if not self.policy.is_pinned(name))


def unlink_quietly(path: Path) -> None:
    """Delete a file of ours that nobody uses; if that fails the next start does it."""
    with suppress(OSError):
        os.truncate(path, 0)  # a descriptor that is not collected yet would keep its room
        path.unlink()
