"""The staged bytes of one file: staged files above each other, over the version on the server.

Owned by one ``WriteSession``; trio thread only. The topmost file takes writes while it is open; it is frozen when a commit takes it, and
the next write opens a new one above. Usually there is one file or none; two or more exist while an upload runs or after it failed.
INVARIANT: no byte enters a staged file before the journal names the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import trio

from cs3fuse.commit.host import SessionHost, Subject
from cs3fuse.commit.records import CommitRecord, RecordState
from cs3fuse.commit.staging import Piece, StagedFile, pieces
from cs3fuse.errors import LocalSpaceError
from cs3fuse.limits import promptly
from cs3fuse.model import ByteRange
from cs3fuse.values import changed

SLOW_WRITE_S = 0.005
"""A write to the page cache that took longer waited for the disk: the next ones go to a thread."""
SLOW_FOR_S = 1.0
"""For how long."""


class StagedStack:
    """See the module."""

    def __init__(self, host: SessionHost, subject: Subject) -> None:
        self._host = host
        self._subject = subject
        self._layers: list[StagedFile] = []
        self.top_record: CommitRecord | None = None
        """The journal's line of the file that takes writes; None while none does."""
        self.mtime_ns = subject.base.mtime_ns if subject.base is not None else time.time_ns()
        self.gate = trio.Lock()
        """Held by writes that wait, by resizing and by freezing; a quick write needs only that nobody holds it."""
        self.is_journaled = True
        self.slow_until = 0.0

    @property
    def size(self) -> int:
        """Size of the file as its writers see it, in bytes."""
        if self._layers:
            return self._layers[0].size
        return self._subject.base.size if self._subject.base is not None else 0

    def __bool__(self) -> bool:
        """Whether any bytes are staged."""
        return bool(self._layers)

    # Writing

    async def write(self, offset: int | None, data: memoryview) -> int:
        """Stage ``data`` at ``offset`` (None: at the end as it is at that moment). See ``WriteSession.write``."""
        # CHECKPOINT-FREE until the return: a plain write to the page cache costs less than a thread.
        if self.top_record is not None and not self.gate.locked() and trio.current_time() >= self.slow_until:
            top = self._layers[0]
            try:
                return self._write_now(top, top.size if offset is None else offset, data)
            except LocalSpaceError:
                pass  # once more below, after the cache made room
        async with promptly(self.gate):
            try:
                top = await self.open_top()
                if trio.current_time() >= self.slow_until:  # the first write of a file
                    return self._write_now(top, top.size if offset is None else offset, data)
                return await self._write_in_thread(top, offset, data)
            except LocalSpaceError as exc:
                full = exc
            if not await self._host.make_room(len(data)):
                raise full
            return await self._write_in_thread(await self.open_top(), offset, data)

    def _write_now(self, top: StagedFile, offset: int, data: memoryview) -> int:
        started_at = time.perf_counter()
        count = top.write(offset, data)
        if time.perf_counter() - started_at > SLOW_WRITE_S:
            self.slow_until = trio.current_time() + SLOW_FOR_S
        self._wrote(top)
        return count

    async def _write_in_thread(self, top: StagedFile, offset: int | None, data: memoryview) -> int:
        """Under the gate: nobody else writes or resizes meanwhile, so the thread may change the staged file's state."""
        count = await trio.to_thread.run_sync(top.write, top.size if offset is None else offset, data)
        self._wrote(top)
        return count

    def _wrote(self, top: StagedFile) -> None:
        self.mtime_ns = time.time_ns()
        if top.follower is not None and top.follower.is_due(top.prefix):
            self._host.start(top.follow)

    async def truncate(self, size: int) -> None:
        """Set the size; see ``WriteSession.truncate``."""
        if size == self.size:
            return
        async with promptly(self.gate):
            top = await self.open_top()
            top.truncate(size)
            self.mtime_ns = time.time_ns()

    async def open_top(self) -> StagedFile:
        """The staged file that takes writes, made (and named in the journal) if there is none. Call under the gate."""
        if self.top_record is not None:
            return self._layers[0]
        staged = StagedFile.create(self._host.folder, lower_size=self.size)
        now = time.time()
        record = CommitRecord(
            id=self._host.journal.new_id(),
            identity=self._host.identity,
            at=self._subject.at,
            base=self._subject.base,
            staged=staged.path.name,
            size=staged.size,
            mtime_ns=self.mtime_ns,
            state=RecordState.DIRTY,
            created_at=now,
            changed_at=now,
            missing=(ByteRange(0, staged.size),) if staged.size else (),
        )
        if self.is_journaled:
            try:
                record = await self._host.journal.put(record, durable=False)
            except BaseException:
                self._host.journal.revoke_soon(record.id)
                staged.discard()
                raise
        self._layers.insert(0, staged)
        self.top_record = record
        return staged

    # Reading

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``; see ``WriteSession.read``."""
        while True:
            stop = min(offset + size, self.size)
            if offset >= stop:
                return b""
            wanted = [ByteRange(offset, stop)]
            layers, base = tuple(self._layers), self._subject.base
            below = [piece.where for piece in pieces(layers, wanted) if piece.source is None]
            if not below or base is None:
                return await _assemble(pieces(layers, wanted), wanted[0], scratch=-1)
            scratch = os.memfd_create("cs3fuse-read", os.MFD_CLOEXEC)
            try:
                await self._host.content.fill(self._subject.at, base, below, scratch)
                # Writes that came meanwhile are seen: the pieces are taken anew. A commit that came makes the base another one.
                if layers == tuple(self._layers) and base is self._subject.base:
                    wanted = [ByteRange(offset, max(offset, min(stop, self.size)))]
                    return await _assemble(pieces(layers, wanted), wanted[0], scratch)
            finally:
                os.close(scratch)

    # Generations

    def take_top(self) -> tuple[StagedFile, CommitRecord] | None:
        """Freeze the file that takes writes. Returns it with its record, which says what it is now; None if there is none."""
        record = self._described()
        if record is None:
            return None
        self.top_record = None
        return self._layers[0], record

    def _described(self) -> CommitRecord | None:
        if self.top_record is None:
            return None
        staged = self._layers[0]
        return changed(
            self.top_record,
            at=self._subject.at,
            base=self._subject.base,
            size=staged.size,
            mtime_ns=self.mtime_ns,
            missing=tuple(staged.needed_from_below(0, staged.size)),
        )

    def note_progress(self) -> None:
        """Tell the journal how far the file came, and where it is now; for whoever finds it after a crash."""
        record = self._described()
        if record is not None and record != self.top_record and self.is_journaled:
            self.top_record = record
            self._host.journal.put_soon(record)

    def put(self, staged: StagedFile) -> None:
        """A file that an earlier run left is all there is."""
        self._layers = [staged]

    def below(self, staged: StagedFile) -> list[StagedFile]:
        """The files under this one, topmost first."""
        position = self._layers.index(staged) if staged in self._layers else len(self._layers)
        return self._layers[position + 1 :]

    def drop_below(self, staged: StagedFile) -> None:
        """This file is complete: what lies under it is not needed any more."""
        below = self.below(staged)
        if below:
            del self._layers[-len(below) :]
        for layer in below:
            layer.discard()

    def hand_over(self, staged: StagedFile) -> bool:
        """The server has this file. Returns whether nothing lies above it: then it is the caller's."""
        if not self._layers or self._layers[0] is not staged:
            return False
        self._layers.clear()
        return True

    def discard(self) -> None:
        """Delete all of it."""
        for layer in self._layers:
            layer.discard()
        self._layers.clear()
        self.top_record = None


async def _assemble(parts: list[Piece], wanted: ByteRange, scratch: int) -> bytes:
    buffer = bytearray(len(wanted))
    try:
        _copy_into(buffer, parts, wanted.start, scratch, may_block=False)
    except BlockingIOError:
        with _all_pinned([part.source for part in parts if part.source is not None]):
            await trio.to_thread.run_sync(lambda: _copy_into(buffer, parts, wanted.start, scratch, may_block=True))
    return bytes(buffer)


def _copy_into(buffer: bytearray, parts: list[Piece], start: int, scratch: int, *, may_block: bool) -> None:
    view = memoryview(buffer)
    for part in parts:
        target = view[part.where.start - start : part.where.stop - start]
        if part.source is not None:
            part.source.read_into(part.where.start, target, may_block=may_block)
        else:
            os.preadv(scratch, [target], part.where.start)


@contextmanager
def _all_pinned(files: Sequence[StagedFile]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in files:
            stack.enter_context(each.pinned())
        yield
