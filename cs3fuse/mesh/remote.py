"""Bytes, locks and history of the view: each transfer goes to whoever serves the root, with the rights of the share.

Holds no state of its own. ``cache``, ``commit`` and ``locks`` call it through the ports, from the trio thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from cs3fuse.errors import AccessDeniedError, UnsupportedError
from cs3fuse.limits import promptly
from cs3fuse.mesh.roots import Grant, RootTable
from cs3fuse.model import ByteRange, Entry, FileVersion, Location, Lock, LockInfo, TrashItem, VirtualRoot
from cs3fuse.ports import Expectation, Fetched, RemoteHistory, Sink, UploadSource


class _Awaited:
    """A sink that ends a scope's deadline when the first byte arrives. Called from a transfer thread."""

    def __init__(self, sink: Sink, scope: trio.CancelScope) -> None:
        self._sink = sink
        self._scope: trio.CancelScope | None = scope
        self._token = trio.lowlevel.current_trio_token()

    def write(self, offset: int, data: memoryview) -> None:
        """See the port."""
        scope, self._scope = self._scope, None
        if scope is not None:
            self._token.run_sync_soon(setattr, scope, "deadline", float("inf"))
        self._sink.write(offset, data)


class MeshData:
    """``ports.RemoteData`` over many roots."""

    def __init__(self, table: RootTable) -> None:
        self._table = table

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        """See the port."""
        grant = self._table.of(at)
        grant.require("initiate_file_download", at)
        site = grant.site
        if site is None:
            return await grant.remote.data.fetch(at, wanted, sink, expected=expected)
        site.check(at)
        # Until the first byte a frozen site looks like a slow one; afterwards the client watches the progress.
        with trio.CancelScope(deadline=trio.current_time() + site.call_s) as scope:
            async with promptly(site.transfers):
                site.check(at)
                return await grant.remote.data.fetch(at, wanted, _Awaited(sink, scope), expected=expected)
        raise site.timed_out(at)

    async def prepare_fetch(self, at: Location) -> None:
        """See the port. Not where another site may keep the call waiting."""
        grant = self._table.of(at)
        grant.require("initiate_file_download", at)
        if grant.site is None:
            await grant.remote.data.prepare_fetch(at)

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        """See the port. Another site's PUT 401 for a share that was taken back is EACCES: the client does not sign in for it."""
        if isinstance(at.root, VirtualRoot):
            raise AccessDeniedError(f"{at} is a folder of the view; nothing can be made in it.", path=str(at))
        grant = self._table.of(at)
        grant.require("initiate_file_upload", at)
        if grant.site is None:
            return await grant.remote.data.upload(at, source, expect=expect, lock=lock)
        return await grant.site.upload(lambda: grant.remote.data.upload(at, source, expect=expect, lock=lock), at, source.size)

    async def checks_versions(self, at: Location, source: UploadSource, *, lock: Lock | None = None) -> bool:
        """See the port. No other site does."""
        grant = self._table.of(at)
        return grant.site is None and await grant.remote.data.checks_versions(at, source, lock=lock)


class MeshLocks:
    """``ports.RemoteLocks`` over many roots. Other sites have no locks."""

    def __init__(self, table: RootTable) -> None:
        self._table = table

    def _of(self, at: Location) -> Grant:
        grant = self._table.of(at)
        if grant.site is not None:
            raise UnsupportedError(f"The site of {at} has no locks.", path=str(at))
        return grant

    async def set_lock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        grant = self._of(at)
        grant.require("initiate_file_upload", at)
        await grant.remote.locks.set_lock(at, lock)

    async def get_lock(self, at: Location) -> LockInfo | None:
        """See the port."""
        return await self._of(at).remote.locks.get_lock(at)

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        await self._of(at).remote.locks.refresh_lock(at, lock)

    async def unlock(self, at: Location, lock: Lock) -> None:
        """See the port."""
        await self._of(at).remote.locks.unlock(at, lock)


class MeshHistory:
    """``ports.RemoteHistory`` over many roots. Other sites have neither versions nor a trash (Reva's OCM driver)."""

    def __init__(self, table: RootTable) -> None:
        self._table = table

    def _of(self, at: Location, permission: str) -> RemoteHistory:
        """Raises: AccessDeniedError; UnsupportedError."""
        if isinstance(at.root, VirtualRoot):
            raise UnsupportedError(f"{at} is a folder of the view; it has no versions and no trash.", path=str(at))
        grant = self._table.of(at)
        if grant.site is not None:
            raise UnsupportedError(f"The site of {at} shows no versions and no trash.", path=str(at))
        grant.require(permission, at)
        return grant.remote.history

    async def versions(self, at: Location) -> Sequence[FileVersion]:
        """See the port."""
        return await self._of(at, "initiate_file_download").versions(at)

    async def restore_version(self, at: Location, key: str) -> None:
        """See the port. Restoring writes: a share that may not be written to is refused here."""
        await self._of(at, "initiate_file_upload").restore_version(at, key)

    async def fetch_version(self, at: Location, version: FileVersion, wanted: ByteRange | None, sink: Sink) -> Fetched:
        """See the port."""
        return await self._of(at, "initiate_file_download").fetch_version(at, version, wanted, sink)

    async def trash(self, root: Location) -> Sequence[TrashItem]:
        """See the port."""
        return await self._of(root, "list_container").trash(root)

    async def restore_trash(self, root: Location, item: TrashItem, to: Location) -> None:
        """See the port."""
        await self._of(root, "initiate_file_upload").restore_trash(root, item, to)

    async def purge_trash(self, root: Location, item: TrashItem) -> None:
        """See the port."""
        await self._of(root, "delete").purge_trash(root, item)
