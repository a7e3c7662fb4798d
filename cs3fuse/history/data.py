"""The view's bytes and locks with ``.cs3`` in front: old versions are downloaded, and nothing there is uploaded or locked.

Holds no state. ``cache``, ``commit`` and ``locks`` call it through the ports, from the trio thread.
"""

from __future__ import annotations

from cs3fuse.errors import UnsupportedError
from cs3fuse.history.tree import ROOT, HistoryTree
from cs3fuse.model import ByteRange, Entry, Location, Lock, LockInfo
from cs3fuse.ports import Expectation, Fetched, RemoteData, RemoteHistory, RemoteLocks, Sink, UploadSource


class HistoryData:
    """``ports.RemoteData`` over the view's."""

    def __init__(self, inner: RemoteData, remote: RemoteHistory, tree: HistoryTree) -> None:
        self._inner = inner
        self._remote = remote
        self._tree = tree

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        """See the port."""
        if at.root != ROOT:
            return await self._inner.fetch(at, wanted, sink, expected=expected)
        place, version = await self._tree.made_of(at, expected)
        return await self._remote.fetch_version(place, version, wanted, sink)

    async def prepare_fetch(self, at: Location) -> None:
        """See the port. What comes from the history is addressed by key."""
        if at.root != ROOT:
            await self._inner.prepare_fetch(at)

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        """See the port."""
        self._tree.refuse_ours(at)
        return await self._inner.upload(at, source, expect=expect, lock=lock)

    async def checks_versions(self, at: Location, source: UploadSource, *, lock: Lock | None = None) -> bool:
        """See the port."""
        return await self._inner.checks_versions(at, source, lock=lock)


class HistoryLocks:
    """``ports.RemoteLocks`` over the view's."""

    def __init__(self, inner: RemoteLocks) -> None:
        self._inner = inner

    def _of(self, at: Location) -> RemoteLocks:
        if at.root == ROOT:
            raise UnsupportedError(f"{at} never changes and has no locks.", path=str(at))
        return self._inner

    async def set_lock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        await self._of(at).set_lock(at, lock)

    async def get_lock(self, at: Location) -> LockInfo | None:
        """See the port. Nobody locks what never changes."""
        return None if at.root == ROOT else await self._inner.get_lock(at)

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        await self._of(at).refresh_lock(at, lock)

    async def unlock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        await self._of(at).unlock(at, lock)
