"""What stat(2) shows of a resource: mode bits from CS3 permissions, times, sizes.

Pure functions and values; called by ``vfs.tree`` and ``vfs.files``.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import lru_cache

from cs3fuse.model import Entry, Ino, Kind
from cs3fuse.values import quickly_made

_BLOCK_BYTES = 512  # the unit of st_blocks, stat(2)

READ_FILE = "initiate_file_download"
WRITE_FILE = "initiate_file_upload"
LIST_DIRECTORY = "list_container"
CHANGE_DIRECTORY = ("create_container", "initiate_file_upload", "delete")


@dataclass(frozen=True, slots=True)
class Owner:
    """The local user whom all files of the mount belong to; CS3 has no numbers for people that mean anything here."""

    uid: int
    gid: int


@quickly_made
@dataclass(frozen=True, slots=True)
class Attributes:
    """The fields of struct stat that we fill. ``valid_s``: how long the kernel may keep them, in seconds.

    ``is_written``: the file is open for writing here, which decides in what pieces programs had better go through it.
    """

    ino: Ino
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    valid_s: float
    is_written: bool = False

    @property
    def blocks(self) -> int:
        """Number of 512-byte blocks, rounded up."""
        return -(-self.size // _BLOCK_BYTES)

    @property
    def nlink(self) -> int:
        """1 for everything: link counts of directories are not known without listing them (find(1) understands 1)."""
        return 1


def mode_of(entry: Entry) -> int:
    """File type and permission bits: what this user may do, for the owner; read bits for group and others alike.

    Where the server said nothing of permissions everything is allowed: the operation itself will tell.
    """
    return _mode(entry.kind, entry.permissions)


@lru_cache(maxsize=512)
def _mode(kind: Kind, permissions: frozenset[str] | None) -> int:
    """A listing repeats few sets thousands of times."""

    def may(permission: str) -> bool:
        return permissions is None or permission in permissions

    if kind is Kind.DIRECTORY:
        bits = 0o555 if may(LIST_DIRECTORY) else 0
        if any(map(may, CHANGE_DIRECTORY)):
            bits |= 0o200
        return stat.S_IFDIR | bits
    bits = 0o444 if may(READ_FILE) else 0
    if may(WRITE_FILE):
        bits |= 0o200
    return (stat.S_IFLNK if kind is Kind.SYMLINK else stat.S_IFREG) | bits


def attributes_of(ino: Ino, entry: Entry, owner: Owner, valid_s: float) -> Attributes:
    """Attributes of an entry under an inode number."""
    return Attributes(
        ino=ino,
        mode=mode_of(entry),
        size=entry.size,
        mtime_ns=entry.mtime_ns,
        uid=owner.uid,
        gid=owner.gid,
        valid_s=valid_s,
    )
