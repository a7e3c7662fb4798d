"""The cache folder on the local disk: one daemon per folder, the index, one sparse file per version.

Owns the layout ``lock``, ``index.sqlite``, ``content/<hex digit>/<name>``, ``trash/``; everything in it may be deleted by
people while no daemon runs. ``cache.content`` uses it from the trio thread; methods whose text begins with "Blocking" belong
into a worker thread.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from cs3fuse.cache.contents import Content
from cs3fuse.cache.files import SparseFile
from cs3fuse.cache.index import ContentIndex
from cs3fuse.errors import LocalStorageError

_QUICK_BYTES: Final = 16 * 1024 * 1024
"""Files up to this size are deleted at once; a file system takes long to free a large one, a thread does that."""


class CacheFolder:
    """The folder, locked between ``open`` and ``close``."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is touched."""
        self.folder = folder
        self._lock = -1
        self._index: ContentIndex | None = None
        self._serials = itertools.count()

    @property
    def index(self) -> ContentIndex:
        """The table of versions, while the folder is open."""
        assert self._index is not None
        return self._index

    def open(self) -> list[tuple[str, int]]:
        """Blocking: lock the folder, open the index, delete what does not belong to it.

        Returns: the versions that are here, from the least to the most recently used, with their bytes on disk.

        Raises: LocalStorageError.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            try:
                self._index = self._open_index()
                shutil.rmtree(self.folder / "trash", ignore_errors=True)
                (self.folder / "trash").mkdir()
                for digit in "0123456789abcdef":
                    (self.folder / "content" / digit).mkdir(parents=True, exist_ok=True)
                return self._reconcile()
            except BaseException:
                self.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise LocalStorageError(f"The cache folder {self.folder} cannot be used: {error}.", path=str(self.folder)) from error

    def close(self) -> None:
        """Close the index and let another daemon have the folder."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise LocalStorageError(
                f"The cache folder {self.folder} is used by another cs3fuse (process {owner}). "
                "Unmount that one, or give this mount a cache folder of its own.",
                path=str(self.folder),
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _open_index(self) -> ContentIndex:
        path = self.folder / "index.sqlite"
        try:
            return ContentIndex(path)
        except (sqlite3.DatabaseError, ValueError):
            # Damaged or of another release: a cache starts anew.
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            shutil.rmtree(self.folder / "content", ignore_errors=True)
            return ContentIndex(path)

    def _reconcile(self) -> list[tuple[str, int]]:
        """Delete files that the index does not know and rows that have no file."""
        found = set()
        content = self.folder / "content"
        rows = self.index.names()
        known = {name for name, _ in rows}
        for part in os.scandir(content):
            for item in os.scandir(part.path):
                if item.name in known and item.path == str(self.path_of(item.name)):
                    found.add(item.name)
                else:
                    Path(item.path).unlink()
        self.index.write([name for name, _ in rows if name not in found], [])
        return [(name, size) for name, size in rows if name in found]

    def path_of(self, name: str) -> Path:
        """Where a version's file is."""
        return self.folder / "content" / name[:1] / name

    def load(self, content: Content) -> bool:
        """Open a version that was stored earlier. Returns: False if it cannot be used; then it should be discarded."""
        try:
            content.file = SparseFile(content.path, content.size, is_new=False)
            for number, stored, crcs in self.index.chunks(content.name):
                content.blocks.load(number, stored, crcs)
        except (OSError, ValueError, sqlite3.Error):
            return False
        content.is_stored = True
        return True

    def reopen(self, content: Content) -> bool:
        """Open the file of a content that is in memory. Returns: False if it cannot be used any more."""
        try:
            content.file = SparseFile(content.path, content.size, is_new=False)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def stamp(content: Content) -> tuple[int, int, int] | None:
        """What changes when anybody replaces or writes a version's file; None if it is not there."""
        try:
            found = content.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def discard(self, name: str, size_bytes: int) -> Path | None:
        """Delete a version's file, or move a large one out of the way. Returns: what is left to be deleted in a thread."""
        path = self.path_of(name)
        with suppress(OSError):
            if size_bytes > _QUICK_BYTES:
                aside = self.folder / "trash" / f"{name}.{next(self._serials)}"
                path.rename(aside)
                return aside
            os.truncate(path, 0)  # a descriptor that is not collected yet would keep its room
            path.unlink()
        return None

    def can_rename(self, path: Path) -> bool:
        """Whether a file is on the same file system."""
        return path.stat().st_dev == self.folder.stat().st_dev

    def copy_in(self, path: Path) -> Path:
        """Blocking: copy a file into the folder. Returns: where it is, ready to be renamed. Raises: OSError."""
        inside = self.folder / "trash" / f"copy.{next(self._serials)}"
        try:
            shutil.copyfile(path, inside)
        except BaseException:
            inside.unlink(missing_ok=True)
            raise
        return inside

    def free_bytes(self) -> int:
        """Bytes that we may still write on this disk."""
        info = os.statvfs(self.folder)
        return info.f_bavail * info.f_frsize
