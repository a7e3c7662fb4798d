"""Answers about what is not on the server: the queue, waiting for it, conflicts, files that were never finished.

Called by ``control.commands`` for each request, concurrently. Waiting never holds anything: a client that goes away only stops listening.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cs3fuse.commit.engine import QueueItem
from cs3fuse.control.parts import Parts, number, text
from cs3fuse.control.server import Progress
from cs3fuse.control.waiting import below, wait_until_sent
from cs3fuse.errors import NotFoundError


class UnsentAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def queue(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Files that are not on the server yet, oldest first, and those that a killed run left unfinished."""
        parts = self._parts
        files = [self._item(item) for item in parts.commits.queue()]
        unfinished = [
            {"id": record.id, "path": parts.shown(record.at), "size": record.size, "since": record.created_at}
            for record in parts.commits.unfinished()
        ]
        return {"mount_point": str(parts.mount_point), "files": files, "unfinished": unfinished}

    async def flush(self, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Wait until what is below ``path`` (default: everything) is on the server, or until nothing moves for ``patience_s``.

        Returns what is left, with reasons. Files that a program still writes are left alone and count as left.
        """
        parts = self._parts
        rel = text(request, "path")
        at = await parts.locate(rel) if rel else None
        total = len(below(parts.commits, at))
        left = await wait_until_sent(
            parts.commits,
            at,
            patience_s=number(request, "patience_s", 60.0),
            sent_bytes=parts.sent_bytes,
            tell=lambda done, total, sent: progress({"done": done, "total": total, "bytes": sent}),
        )
        return {"left": len(left), "sent": max(0, total - len(left)), "files": [self._item(item) for item in left]}

    def _item(self, item: QueueItem) -> dict[str, Any]:
        return {
            "path": self._parts.shown(item.at),
            "location": str(item.at),
            "state": item.state,
            "size": item.size,
            "since": item.since,
            "attempts": item.attempts,
            "reason": item.reason,
        }

    async def leave(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """The person does not want to wait: what is unsent stays in the journal when the mount ends."""
        self._parts.leave()
        return {}

    async def conflicts(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Conflicts whose copies are on the server and that nobody has forgotten yet, oldest first."""
        parts = self._parts
        found = [
            {
                "id": each.id,
                "path": parts.shown(each.at),
                "copy": parts.shown(each.copy_at),
                "noticed_at": each.noticed_at,
                "reason": each.reason,
            }
            for each in parts.commits.conflicts()
        ]
        return {"mount_point": str(parts.mount_point), "conflicts": found}

    async def forget_conflict(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """The person has seen one. Raises: NotFoundError."""
        wanted = int(number(request, "id", -1))
        if all(each.id != wanted for each in self._parts.commits.conflicts()):
            raise NotFoundError(f"There is no conflict {wanted} at {self._parts.mount_point}.")
        await self._parts.commits.forget_conflict(wanted)
        return {}
