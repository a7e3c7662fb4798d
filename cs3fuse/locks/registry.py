"""Which locks this folder's daemons hold, on disk: so that a lock left by a crash is known as our own.

Owns one text file of JSON lines, appended on each change and rewritten at start. ``left`` alone uses it, from the trio thread; a line is one
small write without sync: a lock that is forgotten after a power loss runs out by itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cs3fuse.errors import LocalStorageError
from cs3fuse.model import IdRoot, Location, Lock, PathRoot, ResourceId, Root


class LockRegistry:
    """Held locks by location. With ``path`` None nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Load what an earlier run left. Raises: LocalStorageError."""
        self._path = path
        self._locks: dict[Location, Lock] = {}
        if path is None:
            return
        try:
            if path.exists():
                self._load(path.read_text(encoding="utf-8"))
            rewritten = path.with_suffix(".new")
            rewritten.write_text("".join(_line(at, lock) for at, lock in self._locks.items()), encoding="utf-8")
            rewritten.replace(path)
        except OSError as exc:
            raise LocalStorageError(f"The list of our locks {path} cannot be used: {exc.strerror}.", path=str(path)) from exc

    def _load(self, text: str) -> None:
        for line in text.splitlines():
            try:
                at, lock = _parse(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by a crash names a lock that runs out by itself
            self._locks.pop(at, None)
            if lock is not None:
                self._locks[at] = lock

    def locks(self) -> dict[Location, Lock]:
        """All that are held or were left by an earlier run."""
        return dict(self._locks)

    def add(self, at: Location, lock: Lock) -> None:
        """A lock is held (or its expiry changed)."""
        self._locks[at] = lock
        self._append(_line(at, lock))

    def remove(self, at: Location) -> None:
        """A lock is not held any more."""
        if self._locks.pop(at, None) is not None:
            self._append(_line(at, None))

    def _append(self, line: str) -> None:
        if self._path is None:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        except OSError:
            return  # the lock is good without its line; after a crash it would run out by itself


def _line(at: Location, lock: Lock | None) -> str:
    told = None if lock is None else [lock.lock_id, lock.app_name, lock.expires_at]
    return json.dumps({"root": _root(at.root), "rel": at.rel, "lock": told}) + "\n"


def _root(root: Root) -> str | list[str]:
    if isinstance(root, PathRoot):
        return root.path
    assert isinstance(root, IdRoot), "a folder that only the view has is never locked"
    return [root.id.storage_id, root.id.space_id, root.id.opaque_id]


def _parse(value: dict[str, Any]) -> tuple[Location, Lock | None]:
    root = PathRoot(value["root"]) if isinstance(value["root"], str) else IdRoot(ResourceId(*value["root"]))
    return Location(root, value["rel"]), None if value["lock"] is None else Lock(*value["lock"])
