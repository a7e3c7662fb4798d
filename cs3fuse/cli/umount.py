"""``cs3fuse umount``: wait for what is unsent, take the mount away, wait for the daemon, say what is left.

Ctrl-C ends each wait; nothing is lost by that, the journal has it.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.progress import sending_bar
from cs3fuse.cli.words import MountPoint, Unsent, absolute, files
from cs3fuse.errors import Cs3FuseError, UnavailableError

_LOOK_AGAIN_S = 0.1
_LAZY_S = 2.0
"""How long a lazy umount waits for a daemon that nobody uses; one that is in use lives on."""


def umount(
    mount_point: MountPoint,
    *,
    timeout: Annotated[
        float, typer.Option(help="Give up waiting when nothing reached the server for so many seconds.", min=0)
    ] = 60.0,
    lazy: Annotated[bool, typer.Option("--lazy", help="Take it away even while programs use it.")] = False,
) -> None:
    """Wait for unsent bytes, then unmount. Ctrl-C stops waiting; what is unsent stays in the journal (exit status 3)."""
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request
    from cs3fuse.kernel.mounts import mounted_type

    mount_point = absolute(mount_point)
    socket = socket_path(mount_point)
    daemon: dict[str, Any] = {}
    try:
        daemon = request(socket, "ping")
    except UnavailableError:
        if mounted_type(mount_point) is None:
            raise UnavailableError(f"Nothing is mounted at {mount_point}.") from None
    left = _send(socket, mount_point, timeout) if daemon else []
    _fusermount(mount_point, lazy=lazy)
    if not daemon:
        return
    if left:
        _leave(socket)
    try:
        has_ended = _has_ended(int(daemon["pid"]), limit_s=_LAZY_S if lazy else None)
    except KeyboardInterrupt:
        _leave(socket)
        has_ended = _has_ended(int(daemon["pid"]), limit_s=None)
    if not has_ended:
        raise Unsent(f"{mount_point} is gone, but programs still have files of it open; the daemon ends with the last of them.")
    if "state_folder" in daemon:  # not told by daemons of an older release
        _tell_what_is_left(mount_point, Path(daemon["state_folder"]), {item["reason"] for item in left})


def _send(socket: Path, mount_point: Path, patience_s: float) -> list[dict[str, Any]]:
    """Wait until everything is sent. Returns: the files that are left."""
    from cs3fuse.control.client import request

    with sending_bar(f"Sending what is unsent at {mount_point}") as advance:
        try:
            told = request(socket, "flush", on_progress=advance, patience_s=patience_s)
        except KeyboardInterrupt:
            told = request(socket, "queue", timeout_s=5)
    return list(told.get("files", []))  # daemons of an older release tell only how many


def _leave(socket: Path) -> None:
    """Tell the daemon not to wait once more when it ends; it may have ended already."""
    from cs3fuse.control.client import request

    with contextlib.suppress(Cs3FuseError):
        request(socket, "leave", timeout_s=5)


def _fusermount(mount_point: Path, *, lazy: bool) -> None:
    from cs3fuse.kernel.mounts import mounted_type

    if mounted_type(mount_point) is None:
        return
    arguments = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(mount_point)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Cs3FuseError("fusermount3 is missing: install the package fuse3.") from None
    if done.returncode:
        reason = done.stderr.strip() or "it failed without a reason"
        raise Cs3FuseError(
            f"{mount_point} could not be unmounted ({reason}). Programs may still use it: see  fuser -vm {mount_point}"
        )


def _has_ended(pid: int, *, limit_s: float | None) -> bool:
    """Wait for the daemon: it releases its locks before it ends."""
    ends_at = None if limit_s is None else time.monotonic() + limit_s
    while _is_alive(pid):
        if ends_at is not None and time.monotonic() > ends_at:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _tell_what_is_left(mount_point: Path, state_folder: Path, reasons: set[str]) -> None:
    """The journal knows, now that nobody writes it any more; ``reasons`` are those of the last attempts. Raises: Unsent."""
    from cs3fuse.commit.inspection import inspect

    left = inspect(state_folder).waiting
    if left:
        reasons = (reasons | {record.reason for record in left}) - {""}
        why = f" {min(reasons)}" if reasons else ""
        raise Unsent(
            f"{mount_point} is unmounted; {files(len(left))} did not reach the server.{why} What is left stays in the journal and is sent "
            f"at the next mount, or by: cs3fuse recover {state_folder}"
        )
