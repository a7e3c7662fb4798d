"""Looks again at files whose upload broke off once before it went through.

Owned by the engine; trio thread only. On a storage that commits what arrived (Reva), an upload that we gave up may still be carried out
after the one that succeeded, when the server at last notices that its connection is dead: then a truncated file stands where the
acknowledged one stood. Older bytes of ours that were given up may come as late. Nothing else can tell us, so such files are looked at a few
times; a beginning of our bytes, or those older ones, are replaced by what we sent last. Anything else is somebody's later save, and stays. An empty file stays too: somebody may have meant that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from cs3fuse.commit.generation import Generation
from cs3fuse.commit.host import SessionHost, SessionLock
from cs3fuse.commit.records import CommitRecord, RecordState
from cs3fuse.commit.session import WriteSession
from cs3fuse.commit.staging import StagedFile
from cs3fuse.commit.verdict import same_version
from cs3fuse.errors import Cs3FuseError, NotFoundError
from cs3fuse.model import ByteRange, Entry, Location
from cs3fuse.ports import RemoteTree

_LOG = structlog.get_logger(__name__)

LOOK_AFTER_S = (5.0, 30.0, 120.0)
"""When to look, counted from the commit."""


@dataclass(slots=True, eq=False)
class _Watch:
    at: Location
    entry: Entry
    earlier: tuple[tuple[int, str], ...]
    started_at: float
    looks: int = 0

    def may_be_ours(self, size: int) -> bool:
        """Whether a file of this size can be an upload of ours that was given up; the protocol compares the bytes."""
        return 0 < size < self.entry.size or any(size == each for each, _sha1 in self.earlier)

    def is_due(self, now: float) -> bool:
        return now >= self.started_at + LOOK_AFTER_S[self.looks]


class Watcher:
    """See the module."""

    def __init__(self, tree: RemoteTree, host: SessionHost, *, send: Callable[[WriteSession], None]) -> None:
        """``send`` is given a session that has to be sent."""
        self._tree = tree
        self._host = host
        self._send = send
        self._watches: dict[Location, _Watch] = {}

    def __len__(self) -> int:
        """How many files are watched."""
        return len(self._watches)

    def watch(self, at: Location, entry: Entry | None, earlier: Sequence[tuple[int, str]] = ()) -> None:
        """The server has ``entry`` at last, after an upload whose outcome was unknown; None: it has a version beyond doubt.

        ``earlier``: as in ``CommitRecord``.
        """
        self._watches.pop(at, None)
        if entry is not None and entry.size:
            self._watches[at] = _Watch(at, entry, tuple(earlier), trio.current_time())

    async def look(self) -> None:
        """Look at what is due. Never raises for the server's sake. Cancellation: nothing is lost."""
        now = trio.current_time()
        for watch in [watch for watch in self._watches.values() if watch.is_due(now)]:
            watch.looks += 1
            try:
                found = await self._tree.stat(watch.at)
            except NotFoundError:
                found = None
            except Cs3FuseError as exc:
                _LOG.debug("could not look again", path=str(watch.at), reason=str(exc))
                found = watch.entry
            is_over = watch.looks == len(LOOK_AFTER_S)
            if found is None or not same_version(watch.entry, found):
                is_over = True
                if found is not None and watch.may_be_ours(found.size):
                    await self._repair(watch)
            if is_over and self._watches.get(watch.at) is watch:
                del self._watches[watch.at]

    async def _repair(self, watch: _Watch) -> None:
        """Send our bytes again, if the shorter file is their beginning (the protocol compares)."""
        size, now = watch.entry.size, time.time()
        staged = None
        try:
            staged = StagedFile.create(self._host.folder, lower_size=size)
            record = CommitRecord(
                id=self._host.journal.new_id(),
                identity=self._host.identity,
                at=watch.at,
                base=watch.entry,
                staged=staged.path.name,
                size=size,
                mtime_ns=watch.entry.mtime_ns,
                state=RecordState.SEALED,
                created_at=now,
                changed_at=now,
                # If it is somebody's own file after all, these bytes need no copy: they had their time under this name.
                source=watch.at,
                source_entry=watch.entry,
                attempted=True,
                earlier=watch.earlier,
            )
            with staged.pinned():
                await self._host.content.fill(watch.at, watch.entry, [ByteRange(0, size)], staged.fd)
            staged.note_complete()
            record = await self._host.journal.put(record, durable=False)
        except Cs3FuseError as exc:
            if staged is not None:
                staged.discard()
            _LOG.warning(
                "file changed after our upload, perhaps by an earlier one, and our bytes are not here any more",
                path=str(watch.at),
                reason=str(exc),
            )
            return
        _LOG.warning("file changed after our upload: perhaps an earlier attempt was carried out late", path=str(watch.at))
        session = WriteSession(self._host, watch.at, watch.entry, lock=SessionLock(), created=False)
        session.restore(Generation(staged, record, is_restored=True))
        self._send(session)
