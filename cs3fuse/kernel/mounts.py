"""The kernel's table of mounts, and what makes a folder fit to be a mount point.

Pure reading of /proc; imports no pyfuse3, so that ``umount`` and ``status`` start fast. Called by ``cli`` and ``kernel.session``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cs3fuse.errors import BadRequestError, UnsupportedError

_MOUNT_TABLE = Path("/proc/self/mountinfo")
_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def _mounts() -> Iterator[tuple[str, str, str]]:
    """(mount point, type, "major:minor") of each mount. Source: proc(5), /proc/pid/mountinfo."""
    with _MOUNT_TABLE.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            target = fields[4]
            for escape, character in _ESCAPES.items():
                target = target.replace(escape, character)
            yield target, after.split(" ", 1)[0], fields[2]


def mounted_type(mount_point: Path) -> str | None:
    """Type of the file system mounted exactly at ``mount_point`` (the topmost), None if nothing is."""
    found = None
    for target, kind, _device in _mounts():
        if target == str(mount_point):
            found = kind
    return found


def mount_point_device(mount_point: Path) -> int:
    """Device number of what is mounted there; from the table, because stat(2) would ask a daemon that does not serve yet."""
    found = 0
    for target, _kind, device in _mounts():
        if target == str(mount_point):
            major, _, minor = device.partition(":")
            found = os.makedev(int(major), int(minor))
    return found


def our_mount_points() -> list[Path]:
    """Every cs3fuse mount of this machine."""
    return [Path(target) for target, kind, _device in _mounts() if kind == "fuse.cs3fuse"]


def check_mount_point(mount_point: Path) -> None:
    """Refuse a mount point before anything else is done.

    Raises: BadRequestError with one sentence: not there, not a directory, not empty, already mounted, dead mount;
    UnsupportedError without /dev/fuse.
    """
    kind = mounted_type(mount_point)
    if kind is not None:
        raise BadRequestError(
            f"{mount_point} is already mounted ({kind}); unmount it first: cs3fuse umount {mount_point}", path=str(mount_point)
        )
    try:
        is_empty = not any(mount_point.iterdir())
    except FileNotFoundError as error:
        raise BadRequestError(f"The mount point {mount_point} does not exist; create it: mkdir -p {mount_point}") from error
    except NotADirectoryError as error:
        raise BadRequestError(f"The mount point {mount_point} is not a directory.") from error
    except OSError as error:
        raise BadRequestError(f"The mount point {mount_point} cannot be read: {error.strerror}.") from error
    if not is_empty:
        raise BadRequestError(f"The mount point {mount_point} is not empty; its files would be hidden. Choose an empty folder.")
    if not Path("/dev/fuse").exists():
        raise UnsupportedError("There is no /dev/fuse on this machine: load the fuse module, or give the container /dev/fuse.")
    if shutil.which("fusermount3") is None and os.geteuid() != 0:
        raise UnsupportedError("fusermount3 is missing: install the package fuse3.")
