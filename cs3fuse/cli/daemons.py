"""Which daemon to ask: from a path of a person to a mount, its control socket and the path below it.

Called by the commands. Looks at the table of mounts and asks daemons through ``control.client``; never touches a mounted file before
it is sure that it must.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cs3fuse.cli.words import absolute, clean
from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.errors import BadRequestError, UnavailableError
from cs3fuse.kernel.mounts import our_mount_points


def mount_of(path: Path) -> tuple[Path, str]:
    """The mount that holds a path, and the path below it ("" for the mount point itself).

    A path is taken as it is written; only where that leads into no mount are symbolic links followed.

    Raises: BadRequestError: it is in no mount.
    """
    mount_points = our_mount_points()
    written = absolute(path)
    found = _below_one(written, mount_points) or _below_one(Path(os.path.realpath(path)), mount_points)
    if found is None:
        raise BadRequestError(f"{clean(path)} is in no cs3fuse mount; cs3fuse status shows what is mounted.")
    return found


def _below_one(wanted: Path, mount_points: Sequence[Path]) -> tuple[Path, str] | None:
    holding = [point for point in mount_points if wanted.is_relative_to(point)]
    if not holding:
        return None
    innermost = max(holding, key=lambda point: len(point.parts))
    below = wanted.relative_to(innermost)
    return innermost, "" if below == Path() else below.as_posix()


def ask(path: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon of the mount that holds ``path``, about that path. Raises: as ``mount_of`` and ``control.client.request``."""
    mount_point, below = mount_of(path)
    return request(socket_path(mount_point), command, path=below, **arguments)


def ask_each(mount_point: Path | None, command: str) -> list[dict[str, Any]]:
    """The answer of one mount, or of each that this user may ask; those that do not answer say so under ``error``.

    Raises: UnavailableError, BadRequestError for the one that was named.
    """
    if mount_point is not None:
        return [request(socket_path(mount_of(mount_point)[0]), command)]
    found = []
    for each in our_mount_points():
        try:
            found.append(request(socket_path(each), command))
        except UnavailableError as error:
            found.append({"mount_point": str(each), "error": str(error)})
    return found
