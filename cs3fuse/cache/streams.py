"""Downloads of whole files: one stream per file that all its readers join.

Owns the stream of a content and the rules of its pace: it pauses when it is a window ahead of every reader, it runs when one
waits far ahead, it ends when nobody reads any more. Storages without ranges (Reva's local, ceph and OCM drivers) know nothing
else; small files come this way everywhere. ``cache.content`` starts streams; they run in the store's nursery.
Used from the trio thread only.

Version: a stream is one answer of the server, so its bytes are of one version. Which one is proven by the answer's etag, or
by a Stat that begins after the last byte. A reader of a large file cannot wait for that: it is served as soon as a Stat
that began after the first bytes agreed, because servers send an opened file to its end when it is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import structlog
import trio

from cs3fuse.cache.contents import Content
from cs3fuse.cache.layout import BLOCK_BYTES, State
from cs3fuse.cache.transfers import Transfer, Transfers
from cs3fuse.errors import Cs3FuseError, StaleError
from cs3fuse.limits import RootLimits, promptly
from cs3fuse.model import ByteRange
from cs3fuse.ports import Fetched

SMALL_BYTES: Final = 1024 * 1024
"""Files up to this size are fetched whole in one GET everywhere, and served when their version is proven."""
_GRACE_S: Final = 2.0
"""How long a stream without readers may wait for the next one."""
_PAUSE_LIMIT_S: Final = 30.0
"""How long a stream stays paused, holding a connection, for a reader that does not read on."""
_PACE_STEP: Final = 1024 * 1024

_log = structlog.get_logger(__name__)


class StreamSlots:
    """How many large streams run at once below each root; a paused one gives way to one that is needed now."""

    def __init__(self, limit: int) -> None:
        """Allow ``limit`` streams."""
        self._limit = limit
        self._running: set[Stream] = set()
        self._changed = trio.Event()

    def __iter__(self) -> Iterator[Stream]:
        """The streams that hold a slot."""
        return iter(list(self._running))

    async def acquire(self, stream: Stream) -> None:
        """Wait for a slot, ending the stream that is paused longest if there is one."""
        while len(beside := self._beside(stream)) >= self._limit:
            paused = [other for other in beside if other.paused_at is not None]
            if paused:
                min(paused, key=lambda other: other.paused_at or 0.0).end("another file needs its connection")
            await self._changed.wait()
        self._running.add(stream)

    def _beside(self, stream: Stream) -> list[Stream]:
        """Those that run below the same root."""
        root = stream.content.at.root
        return [other for other in self._running if other.content.at.root == root]

    def release(self, stream: Stream) -> None:
        """Give the slot back."""
        self._running.discard(stream)
        self.changed()

    def changed(self) -> None:
        """A stream paused or ended: those who wait look again."""
        self._changed.set()
        self._changed = trio.Event()


class WholeTransfers:
    """Starts and watches streams."""

    def __init__(self, services: Transfers, *, window_bytes: int, max_streams: int, max_small: int) -> None:
        """Allow ``max_streams`` large and, apart from them, ``max_small`` small files at once below each root."""
        self._services = services
        self._small = RootLimits(max_small)
        self.window_bytes = window_bytes
        self.slots = StreamSlots(max_streams)
        self._streams: set[Stream] = set()

    def __len__(self) -> int:
        """Number of streams, waiting ones too."""
        return len(self._streams)

    def want(self, content: Content, first: int, stop: int) -> None:
        """See that a stream brings blocks first to stop: join the one that runs, replace it if it has passed them, or start one."""
        stream = content.stream
        if stream is None:
            self._services.spawn(partial(self._run, self._started(content)))
            return
        absent = content.blocks.first_absent(first, stop)
        if absent is not None and stream.has_passed(absent):
            stream.end("a reader went back to what was dropped")
        else:
            stream.pace()

    async def fetch(self, content: Content) -> None:
        """Fetch a small file that has no stream, within the caller's job. Failures go to those who wait for it, if any."""
        await self._run(self._started(content))

    def _started(self, content: Content) -> Stream:
        stream = content.stream = Stream(self, self._services, content)
        self._streams.add(stream)
        # Pinned from here on: between this and the start of the job nobody may drop the content.
        self._services.shelf.pin(content)
        return stream

    def tick(self, now: float) -> None:
        """Once a second: end what is abandoned or paused for too long."""
        for stream in list(self._streams):
            stream.tick(now)

    async def _run(self, stream: Stream) -> None:
        try:
            if stream.content.size <= SMALL_BYTES:
                async with promptly(self._small.of(stream.content.at)):
                    await stream.run()
            else:
                await self.slots.acquire(stream)
                await stream.run()
        finally:
            self._streams.discard(stream)
            self.slots.release(stream)
            self._services.shelf.unpin(stream.content)


class Stream:
    """The stream of one content. Implements contents.WholeTransfer."""

    def __init__(self, owner: WholeTransfers, services: Transfers, content: Content) -> None:
        """Prepare it; ``run`` starts it."""
        self._owner = owner
        self._services = services
        self.content = content
        self._transfer: Transfer | None = None
        self._is_ending = False
        self._is_running_out = False
        self._proof_started = False
        self._idle_since: float | None = None
        self._allowed = 0
        self.paused_at: float | None = None

    async def run(self) -> None:
        """Fetch the file. Failures go to those who wait for it."""
        content = self.content
        try:
            await self._services.patiently(content, self._attempt, lambda: content.has_waiters and not self._is_ending)
        except Cs3FuseError as error:
            content.is_gone = content.is_gone or isinstance(error, StaleError)
            content.unproven_since = None
            content.fail(error)
        finally:
            content.stream = None
            content.serves_provisional = False
            if content.unproven_since is None:
                content.disprove()
            self._services.shelf.noticed(content)
            content.stir()

    async def _attempt(self) -> None:
        content, services = self.content, self._services
        if self._is_ending:
            return
        if content.unproven_since is not None:
            await services.prove(content, None)
            content.unproven_since = None
            return
        services.counts["whole_gets"] += 1
        # INVARIANT: what is proven is never overwritten with bytes that are not.
        self._allowed = self._limit()
        transfer = self._transfer = Transfer(
            services, content, ByteRange(0, content.size), occupied=content.blocks.occupied(), limit=self._allowed
        )
        with self._following(transfer):
            fetched = await transfer.run(is_whole=True)
        if fetched is not None and self._may_wait(fetched):
            # Whoever opens it asks the server for its version then: that proves these bytes, without a Stat of their own.
            content.unproven_since = trio.current_time()
            return
        if content.blocks.runs_of(State.PROVISIONAL) or fetched is not None:
            await services.prove(content, fetched)

    def _may_wait(self, fetched: Fetched) -> bool:
        """Whether the proof may wait: the file was fetched ahead, nobody has it open."""
        content = self.content
        is_whole = fetched.total == content.size and content.blocks.is_ready(0, len(content.blocks), with_provisional=True)
        return is_whole and fetched.etag is None and not content.readers

    @contextmanager
    def _following(self, transfer: Transfer) -> Iterator[None]:
        """Notice progress and pauses, whatever wakes us."""
        self._proof_started = False
        transfer.followed_by = self._moved
        try:
            yield
        finally:
            transfer.followed_by = None
            self._transfer = None
            self.paused_at = None
            self.content.serves_provisional = False

    # -- pace --------------------------------------------------------------------------------------------------------

    def has_passed(self, block: int) -> bool:
        """Whether the stream is beyond an absent block, so that it will not bring it."""
        if self._transfer is None or self._transfer.sink.position < min((block + 1) * BLOCK_BYTES, self.content.size):
            return False
        # What the thread finished may not have been taken over yet.
        self._transfer.collect()
        return self.content.blocks.state(block) is State.ABSENT

    def pace(self) -> None:
        """Compute anew how far the stream may run."""
        limit = self._limit()
        if self._transfer is not None and not self._is_ending and limit != self._allowed:
            self._allowed = limit
            self._transfer.sink.allow(limit)
            self.paused_at = None

    def end(self, reason: str) -> None:
        """End it; what came is kept if its version can be proven."""
        if not self._is_ending:
            self._is_ending = True
            self._services.counts["streams_ended"] += 1
            _log.debug("stream ended", path=str(self.content.at), reason=reason, position=self._position)
            if self._transfer is not None:
                self._transfer.end()

    def tick(self, now: float) -> None:
        """End it if it is abandoned or paused for too long; let it run out if little is left."""
        content = self.content
        if content.readers or content.has_waiters:
            self._idle_since = None
            if self.paused_at is not None and now - self.paused_at > _PAUSE_LIMIT_S:
                self.end("its readers do not read on")
            return
        if self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > _GRACE_S and not self._is_running_out:
            if content.size - self._position <= self._owner.window_bytes:
                self._is_running_out = True
                self.pace()
            else:
                self.end("nobody reads the file any more")

    @property
    def _position(self) -> int:
        return self._transfer.sink.position if self._transfer is not None else 0

    def _limit(self) -> int:
        if self._is_running_out:
            return self.content.size
        # In steps: each change of the limit wakes the transfer thread.
        reach = -(-self.content.reach // _PACE_STEP) * _PACE_STEP
        return min(self.content.size, reach + self._owner.window_bytes)

    def _moved(self, transfer: Transfer) -> None:
        """Bytes came, or the transfer paused."""
        content = self.content
        if transfer.sink.is_paused and self.paused_at is None:
            self.paused_at = trio.current_time()
            self._owner.slots.changed()
        is_provisional = self._services.arrival_state(content) is State.PROVISIONAL
        if is_provisional and not self._proof_started and content.size > SMALL_BYTES and transfer.sink.position:
            self._proof_started = True
            self._services.shelf.pin(content)
            self._services.spawn(partial(self._prove_early, transfer))

    async def _prove_early(self, transfer: Transfer) -> None:
        """Serve the running stream if the server still has the version after its first bytes came."""
        content = self.content
        try:
            is_current = await self._services.is_current(content)
        except Cs3FuseError:
            return  # The proof after the last byte decides.
        finally:
            self._services.shelf.unpin(content)
        if self._transfer is not transfer:
            return
        if is_current:
            content.serves_provisional = True
            content.wake()
        else:
            content.fail(content.gone())
            self.end("the file was changed on the server")
