"""Answers about one path: what the server says of it, what is here, who has it locked, why it failed; and forgetting all that.

Called by ``control.commands`` for each request, concurrently. A server that does not answer takes nothing away but its own part.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import trio

from cs3fuse.capabilities import LockSupport
from cs3fuse.control.parts import LOOK_S, Parts, text
from cs3fuse.control.server import Progress
from cs3fuse.errors import Cs3FuseError, NotFoundError, UnsupportedError
from cs3fuse.locks.foreign import advisory_lock
from cs3fuse.model import Entry, Kind, Location, LockInfo
from cs3fuse.vfs.refresh import known_node, refresh

_SETTLE_S = 5.0


class FileAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def info(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Everything that is known of ``path``. Raises: NotFoundError: it is neither on the server nor waiting to be sent."""
        parts = self._parts
        at = await parts.locate(text(request, "path"))
        entry, problem = await self._ask(at)
        session = parts.commits.session_at(at)
        if entry is None and isinstance(problem, NotFoundError) and session is None:
            raise problem
        told: dict[str, Any] = {"path": parts.shown(at), "location": str(at), "server_problem": str(problem or "")}
        seen = entry if entry is not None else session.entry() if session is not None else parts.metadata.peek(at)
        if seen is not None:
            told |= _attributes(seen)
            told["storage"] = {"id": seen.storage_id, **parts.book.of(seen.storage_id).as_dict()} if seen.storage_id else None
        if seen is None or seen.kind is Kind.FILE:
            told |= await self._of_file(at, entry)
        told["recent_failures"] = [
            {
                "errno": errno.errorcode.get(each.errno, str(each.errno)),
                "operation": each.op,
                "reason": each.sentence,
                "at": each.at,
            }
            for each in parts.requests.recent_failures.of(str(at), f"/{at.rel}")
        ]
        return told

    async def _ask(self, at: Location) -> tuple[Entry | None, Cs3FuseError | None]:
        """What the server says now, or why it does not."""
        try:
            with trio.fail_after(LOOK_S):
                return await self._parts.metadata.stat(at, fresh=True), None
        except trio.TooSlowError:
            return None, Cs3FuseError(f"The server did not answer within {LOOK_S:.0f} s.")
        except Cs3FuseError as error:
            return None, error

    async def _of_file(self, at: Location, entry: Entry | None) -> dict[str, Any]:
        parts = self._parts
        session = parts.commits.session_at(at)
        waiting = next((item for item in parts.commits.queue() if item.at == at), None)
        lock, lock_problem = await self.lock_of(at, entry)
        return {
            "lock": describe_lock(parts, at, lock),
            "lock_problem": lock_problem,
            "state": session.state if session is not None else "clean",
            "unsent_reason": waiting.reason if waiting is not None else "",
            "unsent_attempts": waiting.attempts if waiting is not None else 0,
            "cached_bytes": parts.content.present_bytes(at, entry) if entry is not None else None,
            "conflict_copies": [parts.shown(each.copy_at) for each in parts.commits.conflicts() if each.at == at],
        }

    async def lock_of(self, at: Location, entry: Entry | None) -> tuple[LockInfo | None, str]:
        """The lock on a file as the server tells it, and why that is not known."""
        parts = self._parts
        if entry is None:
            return None, ""
        advisory = advisory_lock(entry.metadata, parts.leases.now())
        if entry.lock is not None or advisory is not None or parts.book.of(entry.storage_id).locks is LockSupport.NONE:
            return entry.lock or advisory, ""
        try:
            with trio.fail_after(LOOK_S):
                return await parts.locks.get_lock(at), ""
        except UnsupportedError:
            return None, ""
        except trio.TooSlowError:
            return None, f"The server did not answer within {LOOK_S:.0f} s."
        except Cs3FuseError as error:
            return None, str(error)

    async def refresh(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Forget what is known of ``path`` and everything below it, here and in the kernel."""
        parts = self._parts
        names = [name for name in text(request, "path").split("/") if name]
        node, rest = known_node(parts.vfs.state.inodes, names)
        if rest:
            parts.metadata.forget(await parts.locate("/".join(names)), subtree=True)
            told = 0
        else:
            told = refresh(parts.vfs.state, node)
        with trio.move_on_after(_SETTLE_S):
            await parts.kernel.settle()
        return {"inodes": told}


def describe_lock(parts: Parts, at: Location, lock: LockInfo | None) -> dict[str, Any] | None:
    """A lock for people: its id stays secret, because knowing it is enough to write."""
    if lock is None:
        return None
    ours = parts.leases.lock_at(at)
    return {
        "holder": lock.user,
        "application": lock.app_name,
        "type": lock.kind,
        "expires_at": lock.expires_at,
        "is_ours": ours is not None and ours.lock_id == lock.lock_id,
    }


def _attributes(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "id": str(entry.id) if entry.id is not None else "",
        "etag": entry.etag,
        "size": entry.size,
        "mtime": entry.mtime_ns / 1e9,
        "checksum": f"{entry.checksum.kind}:{entry.checksum.hex}" if entry.checksum is not None else "",
        "owner": entry.owner,
        "permissions": sorted(entry.permissions) if entry.permissions is not None else None,
        "mime_type": entry.mime_type,
        "is_processing": entry.is_processing,
        "is_share_root": entry.anchor is not None,
    }
