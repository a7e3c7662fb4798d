"""The daemon's commands: which word of the control socket is answered by what, and the two that everything else begins with.

Called by ``app``, once; ``control.server`` calls the commands, concurrently. Each takes the request's arguments and a function that sends
progress, and returns plain values.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import trio

from cs3fuse import __version__
from cs3fuse.control.caching import CacheAnswers
from cs3fuse.control.description import FileAnswers
from cs3fuse.control.history import HistoryAnswers
from cs3fuse.control.locking import LockAnswers
from cs3fuse.control.parts import Parts
from cs3fuse.control.server import Command, Progress
from cs3fuse.control.sharing import SharingAnswers
from cs3fuse.control.unsent import UnsentAnswers


def commands(parts: Parts) -> dict[str, Command]:
    """All of them, by name."""
    general, unsent, files, cache = GeneralAnswers(parts), UnsentAnswers(parts), FileAnswers(parts), CacheAnswers(parts)
    locks = LockAnswers(parts, files)
    sharing = SharingAnswers(parts)
    history = HistoryAnswers(parts)
    return {
        "ping": general.ping,
        "status": general.status,
        "queue": unsent.queue,
        "flush": unsent.flush,
        "leave": unsent.leave,
        "conflicts": unsent.conflicts,
        "forget_conflict": unsent.forget_conflict,
        "info": files.info,
        "refresh": files.refresh,
        "locks": locks.locks,
        "unlock": locks.unlock,
        "shares": sharing.shares,
        "answer_share": sharing.answer_share,
        "share": sharing.share,
        "unshare": sharing.unshare,
        "link": sharing.link,
        "invite": sharing.invite,
        "accept_invitation": sharing.accept_invitation,
        "versions": history.versions,
        "restore_version": history.restore_version,
        "trash": history.trash,
        "restore_trash": history.restore_trash,
        "purge_trash": history.purge_trash,
        "cache": cache.cache,
        "cache_clear": cache.cache_clear,
        "cache_limit": cache.cache_limit,
        "cache_verify": cache.cache_verify,
        "warm": cache.warm,
    }


class GeneralAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ping(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Who is there, and where its journal is."""
        return {"pid": os.getpid(), "version": __version__, "state_folder": str(self._parts.state_folder)}

    async def status(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Everything that ``cs3fuse status`` shows."""
        parts = self._parts
        identity, requests = parts.identity, parts.requests
        return {
            "mount_point": str(parts.mount_point),
            "source": parts.options.source,
            "root": str(parts.view.top),
            "profile": parts.options.profile,
            "identity": {"user": identity.username, "name": identity.display_name, "id": identity.opaque_id, "idp": identity.idp},
            "storages": parts.book.as_dict(),
            "cache": parts.content.usage(),
            "metadata": parts.metadata.statistics(),
            "open_files": parts.vfs.files.open_count,
            "leases": len(parts.leases.held()),
            "unsent": len(parts.commits.queue()),
            "unfinished": len(parts.commits.unfinished()),
            "conflicts": len(parts.commits.conflicts()),
            "requests": sum(requests.requests.values()),
            "failures": dict(requests.failures),
            "recent_failures": [each.sentence for each in requests.recent_failures.newest(3)],
            "commit": parts.options.commit,
            "state_folder": str(parts.state_folder),
            "uptime_s": round(time.time() - parts.started_at),
            "pid": os.getpid(),
            "threads": threading.active_count(),
            "tasks": _own_tasks(),
            "version": __version__,
        }


def _own_tasks() -> int:
    """How many tasks live, without those that wait for the kernel's next request: pyfuse3 keeps more of them after busy times."""
    count, found = 0, [trio.lowlevel.current_root_task()]
    while found:
        task = found.pop()
        if task is not None:
            count += not task.name.startswith("pyfuse-")
            found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count
