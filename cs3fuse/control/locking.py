"""Answers about locks: our leases, the locks of others that were in the way, and releasing one.

Called by ``control.commands`` for each request, concurrently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cs3fuse.control.description import FileAnswers, describe_lock
from cs3fuse.control.parts import Parts, text
from cs3fuse.control.server import Progress
from cs3fuse.errors import AccessDeniedError, LockedError, LockLostError, NotFoundError
from cs3fuse.locks.foreign import ADVISORY_KEY, advisory_lock, describe
from cs3fuse.model import Entry, Location, LockInfo


class LockAnswers:
    """See the module."""

    def __init__(self, parts: Parts, files: FileAnswers) -> None:
        self._parts = parts
        self._files = files

    async def locks(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Our leases, locks that an earlier run left, and locks of others that were met (those that have run out are left out)."""
        parts = self._parts
        now = parts.leases.now()
        ours = [
            {
                "path": parts.shown(each.at),
                "state": each.state,
                "open_files": each.holders,
                "application": each.lock.app_name,
                "expires_at": each.lock.expires_at,
            }
            for each in parts.leases.held()
        ]
        foreign = [
            {"path": parts.shown(each.at), **(describe_lock(parts, each.at, each.lock) or {}), "met_at": each.met_at}
            for each in parts.leases.foreign()
            if each.lock.expires_at is None or each.lock.expires_at > now
        ]
        stale = [parts.shown(at) for at in parts.leases.stale()]
        return {"mount_point": str(parts.mount_point), "ours": ours, "foreign": foreign, "of_an_earlier_run": stale}

    async def unlock(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Release the lock on ``path`` if it is ours. A foreign one is described, and released only when asked with its ``mark``.

        Raises: NotFoundError: it is not locked; LockedError: the lock is another one than the person was asked about; what the server
        refuses with.
        """
        parts = self._parts
        at = await parts.locate(text(request, "path"))
        if await parts.leases.unlock(at):
            return {"released": "ours"}
        entry = await parts.metadata.stat(at, fresh=True)
        lock, problem = await self._files.lock_of(at, entry)
        if lock is None:
            raise NotFoundError(f"{parts.shown(at)} is not locked{f' ({problem})' if problem else ''}.", path=str(at))
        mark = text(request, "mark")
        if not mark:
            return {"released": "", "lock": describe_lock(parts, at, lock), "words": describe(lock), "mark": _mark(lock)}
        if mark != _mark(lock):
            raise LockedError(f"{parts.shown(at)} is {describe(lock)}: that is another lock than before.", lock=lock, path=str(at))
        await self._release_foreign(at, entry, lock)
        return {"released": "foreign"}

    async def _release_foreign(self, at: Location, entry: Entry, lock: LockInfo) -> None:
        """The server decides whether we may."""
        parts = self._parts
        if lock == advisory_lock(entry.metadata, parts.leases.now()):
            await parts.tree.unset_metadata(at, [ADVISORY_KEY])
        else:
            try:
                await parts.leases.break_foreign(at)
            except (LockLostError, AccessDeniedError) as error:
                raise AccessDeniedError(
                    f"The server does not let you release this lock: {parts.shown(at)} is {describe(lock)}.", path=str(at)
                ) from error
        parts.metadata.forget(at)


def _mark(lock: LockInfo) -> str:
    """Which lock a person was asked about, without telling its id."""
    return hashlib.sha256(lock.lock_id.encode()).hexdigest()[:16]
