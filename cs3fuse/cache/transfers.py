"""What every download of the content store has in common: proof of the version, patience, failures of the local disk.

Owns ``Transfers``, the services that ``cache.blocks`` and ``cache.streams`` use; ``cache.content`` makes one. Used from the
trio thread only.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from cs3fuse.cache.contents import Content
from cs3fuse.cache.layout import State
from cs3fuse.cache.sink import BlockSink, TransferEnded
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import (
    BadDataError,
    BusyError,
    Cs3FuseError,
    DeadlineError,
    LocalSpaceError,
    LocalStorageError,
    NotFoundError,
    ServerError,
    SiteAwayError,
    UnavailableError,
)
from cs3fuse.model import ByteRange, Entry
from cs3fuse.ports import Fetched, RemoteData, RemoteTree

_TRANSIENT: Final = (UnavailableError, DeadlineError, BadDataError, ServerError, BusyError)
_PAUSES_S: Final = (0.05, 0.2, 0.8)
"""Between the attempts of a download that failed in a way that may pass. The reader's own deadline ends it earlier."""
_BUSY_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4, *(1.0,) * 60)
"""While the server processes a file: milliseconds when idle, up to 18 s were measured under load."""


def is_same_content(one: Entry, other: Entry) -> bool:
    """Whether two descriptions stand for the same bytes: by etag and size, where there is no etag by size and mtime."""
    if one.etag and other.etag:
        return one.etag == other.etag and one.size == other.size
    return one.version == other.version


def disk_failure(error: OSError, content: Content) -> Cs3FuseError:
    """Our error for a failure of the cache folder's disk."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LocalSpaceError(f"The disk of the cache folder is full: no room for {content.at}.", path=str(content.at))
    return LocalStorageError(f"The cache folder failed while {content.at} was fetched: {error.strerror}.", path=str(content.at))


class Room(Protocol):
    """What downloads ask of the shelf."""

    def pin(self, content: Content) -> None:
        """It is in use once more."""
        ...

    def unpin(self, content: Content) -> None:
        """It is in use once less."""
        ...

    def noticed(self, content: Content) -> None:
        """Blocks came or went."""
        ...

    def make_room(self, content: Content) -> bool:
        """The disk is full. Returns: whether anything was freed."""
        ...


@dataclass(eq=False)
class Transfers:
    """Services for downloads. The callables and the shelf belong to the content store."""

    data: RemoteData
    tree: RemoteTree
    book: CapabilityBook
    spawn: Callable[[Callable[[], Awaitable[None]]], None]
    """Run a job in the store's nursery."""
    stir_all: Callable[[], None]
    """It was learned how a storage serves: whoever waited for that starts what it lacks."""
    shelf: Room = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    active: set[Transfer] = field(default_factory=set)
    carries_etag: dict[str, bool] = field(default_factory=dict)
    """By storage id: whether answers to GET carry the etag, so that the client compared it before the first byte."""

    def arrival_state(self, content: Content) -> State:
        """What arriving blocks are: proven where answers carry an etag, else provisional."""
        return State.CHECKED if self.carries_etag.get(content.entry.storage_id) else State.PROVISIONAL

    async def prove(self, content: Content, fetched: Fetched | None, first: int = 0, stop: int | None = None) -> None:
        """Bind what came to the version: by the answer's etag, else by a Stat that begins now.

        Args: ``fetched`` None means that the transfer was ended by us, before it told of itself.

        Raises: StaleError; what RemoteTree.stat raises (then nothing is proven).
        """
        if fetched is not None and fetched.total != content.size:
            content.disprove(first, stop)
            raise content.gone()
        if fetched is not None:
            self.carries_etag[content.entry.storage_id] = fetched.etag is not None
        if (fetched is not None and fetched.etag is not None) or await self.is_current(content):
            content.prove(first, stop)
        else:
            content.disprove(first, stop)
            raise content.gone()

    async def is_current(self, content: Content) -> bool:
        """Whether the server still has this version, by a Stat that begins now. Raises: what RemoteTree.stat raises."""
        while True:
            at = content.at
            self.counts["proving_stats"] += 1
            try:
                entry = await self.tree.stat(at)
            except NotFoundError:
                if content.at == at:
                    return False
                continue  # It was renamed meanwhile.
            return is_same_content(entry, content.entry)

    async def patiently(self, content: Content, attempt: Callable[[], Awaitable[None]], is_wanted: Callable[[], bool]) -> None:
        """Make an attempt, again if it failed in a way that may pass and somebody waits for it.

        Raises: Cs3FuseError.
        """
        pauses, busy_pauses = iter(_PAUSES_S), iter(_BUSY_PAUSES_S)
        while True:
            try:
                return await attempt()
            except NotFoundError as error:
                # Not marked as gone: it may be a moment of an overwrite or a rename; the next read looks again.
                raise content.missing() from error
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not self.shelf.make_room(content):
                    raise disk_failure(error, content) from error
                pause_s: float | None = next(pauses, None)
                if pause_s is None:
                    raise disk_failure(error, content) from error
            except SiteAwayError:
                raise
            except _TRANSIENT as error:
                pause_s = next(busy_pauses if isinstance(error, BusyError) else pauses, None)
                if pause_s is None or not is_wanted():
                    raise
                self.counts["fetch_retries"] += 1
            await trio.sleep(pause_s)


class Transfer:
    """One GET on its way into a content, watched for stalls."""

    def __init__(
        self, services: Transfers, content: Content, wanted: ByteRange, *, occupied: bytes = b"", limit: int | None = None
    ) -> None:
        """Prepare it. Raises: OSError of the cache folder's disk."""
        self._services = services
        self._content = content
        self._wanted = wanted
        self._scope = trio.CancelScope()
        self._seen = wanted.start
        self._moved_at = trio.current_time()
        self.is_stalled = False
        self._is_over = False
        self.followed_by: Callable[[Transfer], None] | None = None
        self.sink = BlockSink(content.sparse_file(), wanted, size=content.size, notify=self.collect, occupied=occupied, limit=limit)

    async def run(self, *, is_whole: bool) -> Fetched | None:
        """Fetch. Returns: what the answer told, None if ``end`` ended it.

        Raises: Cs3FuseError of RemoteData.fetch; OSError of the disk; BadDataError also for a stall.

        Cancellation: only when the store is closed; the thread may then still write one piece, which counts for nothing.
        """
        try:
            fetched = await self._fetch(is_whole=is_whole)
        finally:
            self._is_over = True
            # Without a reference from the sink to us the file is closed with its last user, not at the next garbage collection.
            self.sink.detach()
        self._judge(fetched)
        return fetched

    async def _fetch(self, *, is_whole: bool) -> Fetched | None:
        content, services = self._content, self._services
        fetched: Fetched | None = None
        failure: Cs3FuseError | OSError | None = None
        services.active.add(self)
        try:
            with self._scope:
                fetched = await services.data.fetch(
                    content.at, None if is_whole else self._wanted, self.sink, expected=content.entry
                )
        except TransferEnded:
            pass
        except (Cs3FuseError, OSError) as error:
            failure = error
        finally:
            services.active.discard(self)
            self.sink.close()
            self.collect()
        # The client may have given up on its thread: nobody else may write these blocks before that thread's last write ended.
        await self.sink.wait_quiet()
        self.collect()
        if failure is None:
            return fetched
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame

    def _judge(self, fetched: Fetched | None) -> None:
        content = self._content
        if self.is_stalled:
            raise UnavailableError(f"The server stopped sending {content.at}.", path=str(content.at))
        if fetched is not None and fetched.total == content.size and self.sink.position != self._wanted.stop:
            raise BadDataError(
                f"The server sent {self.sink.position - self._wanted.start} of {len(self._wanted)} bytes of {content.at}.",
                path=str(content.at),
            )

    def end(self) -> None:
        """End it soon; ``run`` returns None."""
        self.sink.close()
        self._scope.cancel()

    def watch(self, now: float, stall_s: float) -> None:
        """End it if nothing came for ``stall_s`` although it was not paused."""
        if self.sink.is_paused or self.sink.position != self._seen:
            self._seen, self._moved_at = self.sink.position, now
        elif now - self._moved_at > stall_s:
            self.is_stalled = True
            self._services.counts["stalls"] += 1
            self.end()

    def collect(self) -> None:
        """Take over the blocks that were finished. What a thread still writes after the store was closed under it is not counted."""
        if self._is_over:
            return
        content = self._content
        content.arrived(self._counted(), self._services.arrival_state(content))
        self._services.shelf.noticed(content)
        if self.followed_by is not None:
            self.followed_by(self)

    def _counted(self) -> Iterator[tuple[int, int]]:
        for block, crc in self.sink.take():
            self._services.counts["fetched_bytes"] += len(self._content.blocks.bytes_of(block, block + 1))
            yield block, crc
