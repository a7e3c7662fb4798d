"""A folder the way Reva's `local` driver keeps it: path-shaped ids, versions and a recycle bin beside the tree.

Owns the disk of one mount of the `reva` profile: content in the root itself, everything else below an inner folder.
Inner paths are absolute, clean strings such as "/einstein/a.txt". Used by `profile_reva` on the server's loop only.
Every OSError goes to the caller: which status it becomes depends on the RPC.

Source: reva pkg/storage/utils/localfs (localfs.go, localfs_unix.go, db.go, upload.go).
"""

import contextlib
import hashlib
import os
import posixpath
import shutil
import stat as stat_modes
import struct
from pathlib import Path
from typing import Any

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.config import STATE_FOLDER
from cs3fuse.emulator.state import State


def clean(path: str) -> str:
    """An absolute path without "..", "." and double slashes."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")


def etag(status: os.stat_result) -> str:
    """The etag of a file or folder: seconds of mtime, inode, device, size.

    Source: localfs_unix.go, calcEtag (md5 over big-endian fields, in double quotes).
    """
    packed = struct.pack(">qQQq", int(status.st_mtime_ns // 1_000_000_000), status.st_ino, status.st_dev, status.st_size)
    return f'"{hashlib.md5(packed, usedforsecurity=False).hexdigest()}"'


class LocalFolder:
    """One mount: the tree, its metadata rows, its versions, its recycle bin."""

    def __init__(self, root: Path, inner: Path, state: State, clock: Clock, mount_id: str) -> None:
        self.root = str(root)
        self._versions = inner / "versions"
        self._recycle = inner / "recycle"
        self.uploads = inner / "uploads"
        for folder in (root, self._versions, self._recycle, self.uploads):
            if not folder.is_file():  # the root of a public link may be a file
                folder.mkdir(parents=True, exist_ok=True)
        self._state = state
        self._clock = clock
        self._metadata_bucket = f"reva.metadata.{mount_id}"
        self._recycle_bucket = f"reva.recycle.{mount_id}"
        self.metadata: dict[str, dict[str, str]] = state.load(self._metadata_bucket)
        self._recycled: dict[str, str] = state.load(self._recycle_bucket)

    def disk(self, inner: str) -> str:
        """Where an inner path is on disk. Raises: FileNotFoundError for the emulator's own folder."""
        if inner == f"/{STATE_FOLDER}" or inner.startswith(f"/{STATE_FOLDER}/"):
            raise FileNotFoundError(inner)
        return self.root if inner == "/" else self.root + inner

    def stat(self, inner: str) -> os.stat_result:
        """Status of a file or folder; symlinks are followed, as the driver's Stat does."""
        return os.stat(self.disk(inner))

    def listing(self, inner: str) -> list[tuple[str, os.stat_result]]:
        """Entries by name; symlinks are not followed, as the driver's listing does not."""
        with os.scandir(self.disk(inner)) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        if inner == "/":
            found = [item for item in found if item[0] != STATE_FOLDER]
        return sorted(found, key=lambda item: item[0])

    def make_folder(self, inner: str) -> None:
        """Create a folder."""
        os.mkdir(self.disk(inner), 0o700)
        self._stamp(inner)
        self.propagate(posixpath.dirname(inner))

    def touch(self, inner: str) -> None:
        """Create an empty file."""
        os.close(os.open(self.disk(inner), os.O_CREAT | os.O_WRONLY, 0o664))
        self._stamp(inner)
        self.propagate(posixpath.dirname(inner))

    def delete(self, inner: str) -> None:
        """Move a file or a whole folder into the recycle bin."""
        disk = self.disk(inner)
        os.stat(disk)
        number = self._clock.now_ns() // 1_000_000
        while (key := f"{posixpath.basename(inner)}.d{number}") in self._recycled:
            number += 1  # two of one name and millisecond: the driver would overwrite the first
        os.rename(disk, self._recycle / key)
        self._recycled[key] = inner
        self._state.put(self._recycle_bucket, key, inner)
        self.propagate(posixpath.dirname(inner))

    def move(self, source: str, target: str) -> None:
        """Rename. A folder never replaces a folder, not even an empty one (Go's rename refuses that)."""
        disk, target_disk = self.disk(source), self.disk(target)
        moved = os.lstat(disk)
        if stat_modes.S_ISDIR(moved.st_mode) and os.path.lexists(target_disk):
            raise FileExistsError(target)
        os.rename(disk, target_disk)
        if source in self.metadata:
            # Only the row of the moved path follows; rows of a folder's children stay behind, as in the driver.
            rows = self.metadata.pop(source)
            self._state.drop(self._metadata_bucket, source)
            self.set_metadata(target, rows)
        self.propagate(target)
        self.propagate(posixpath.dirname(source))

    def propagate(self, inner: str) -> None:
        """Give every folder above a path the mtime of that path, even an older one."""
        stamp = self.stat(inner).st_mtime_ns
        parent = inner
        while parent != "/":
            parent = posixpath.dirname(parent)
            os.utime(self.disk(parent), ns=(stamp, stamp))

    def set_mtime(self, inner: str, nanoseconds: int) -> None:
        """Set atime and mtime of one path."""
        os.utime(self.disk(inner), ns=(nanoseconds, nanoseconds))

    def _stamp(self, inner: str) -> None:
        if self._clock.skew_s:
            self.set_mtime(inner, self._clock.now_ns())

    # -- uploads and versions

    def archive(self, inner: str) -> None:
        """Rename whatever is at a path, file or folder, into the version store."""
        folder = self._versions_of(inner)
        folder.mkdir(parents=True, exist_ok=True)
        number = self._clock.now_ns() // 1_000_000
        while (folder / f"v{number}").exists():
            number += 1  # two of one millisecond: the driver would overwrite the first
        os.rename(self.disk(inner), folder / f"v{number}")

    def archive_present(self, inner: str) -> bool:
        """Archive what is at a path, if anything is; tells whether something was."""
        if not os.path.lexists(self.disk(inner)):
            return False
        self.archive(inner)
        return True

    def place(self, upload: Path, inner: str) -> None:
        """Rename an uploaded file into the tree. The parents' mtimes are left alone, as the driver does."""
        os.rename(upload, self.disk(inner))
        self._stamp(inner)

    def _versions_of(self, inner: str) -> Path:
        return self._versions / inner.lstrip("/")

    def versions(self, inner: str) -> list[tuple[str, os.stat_result]]:
        """Versions as (key in milliseconds, status), newest first; nothing for a path that never existed."""
        try:
            with os.scandir(self._versions_of(inner)) as entries:
                found = [(entry.name[1:], entry.stat()) for entry in entries if entry.name[1:].isdigit()]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda item: item[0], reverse=True)

    def restore_version(self, inner: str, key: str) -> None:
        """Bring a version back; `key` must carry the leading "v" that the listing lacks."""
        version = self._versions_of(inner) / key
        if not stat_modes.S_ISREG(os.stat(version).st_mode):
            raise IsADirectoryError(key)
        self.archive(inner)
        os.rename(version, self.disk(inner))
        self.propagate(inner)

    # -- recycle bin

    def recycled(self) -> list[tuple[str, str, os.stat_result]]:
        """Deleted items of everybody as (key, inner path, status)."""
        found = []
        for key, inner in sorted(self._recycled.items()):
            try:
                found.append((key, inner, os.stat(self._recycle / key)))
            except FileNotFoundError:
                continue
        return found

    def restore(self, key: str, target: str) -> None:
        """Bring a deleted item back, to its old path when `target` is empty. Raises: OSError, KeyError."""
        inner = clean(target) if target else self._recycled[key]
        disk = self.disk(inner)
        if os.path.lexists(disk):
            raise FileExistsError(inner)
        os.rename(self._recycle / key, disk)
        self._forget_recycled(key)
        self.propagate(inner)

    def purge(self, key: str) -> None:
        """Remove one item for good, or with an empty key everything of everybody."""
        if not key:
            shutil.rmtree(self._recycle)
            self._recycle.mkdir()
            for name in list(self._recycled):
                self._forget_recycled(name)
            return
        item = self._recycle / key
        if item.is_dir():
            item.rmdir()
        else:
            item.unlink()
        self._forget_recycled(key)

    def _forget_recycled(self, key: str) -> None:
        self._recycled.pop(key, None)
        self._state.drop(self._recycle_bucket, key)

    # -- metadata rows

    def set_metadata(self, inner: str, values: dict[str, str]) -> None:
        """Add or replace metadata rows of a path. They are not tied to the file: they outlive its deletion."""
        self.metadata.setdefault(inner, {}).update(values)
        self._state.put(self._metadata_bucket, inner, self.metadata[inner])

    def unset_metadata(self, inner: str, keys: list[str]) -> None:
        """Remove metadata rows; absent ones are no error."""
        rows: dict[str, Any] = self.metadata.get(inner, {})
        for key in keys:
            rows.pop(key, None)
        self._state.put(self._metadata_bucket, inner, rows)


def tree_size(folder: str) -> int:
    """Bytes of all files below a folder; the emulator's own folder does not count."""
    total = 0
    for where, folders, files in os.walk(folder):
        if STATE_FOLDER in folders:
            folders.remove(STATE_FOLDER)
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total
