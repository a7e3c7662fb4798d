"""The FUSE session: mount, serve, stop.

Owns the one pyfuse3 session of the process (pyfuse3 keeps it in module globals). Called by ``app`` only.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyfuse3
import structlog

from cs3fuse.errors import LocalStorageError, NotPermittedError
from cs3fuse.kernel.mounts import mount_point_device
from cs3fuse.kernel.operations import Operations

log = structlog.get_logger(__name__)

_READ_AHEAD_KB = 1024  # measured: reads of 1 MiB are served nine times as fast as the default's 128 KiB


def attach(operations: Operations, mount_point: Path, *, source: str, allow_other: bool, is_read_only: bool) -> None:
    """Mount; the kernel's requests wait until ``serve`` runs. Raises: LocalStorageError, NotPermittedError."""
    options = set(pyfuse3.default_options)
    options |= {f"fsname={source.replace(',', '_')}", "subtype=cs3fuse"}
    if allow_other:
        options.add("allow_other")
    if is_read_only:
        options.add("ro")
    try:
        pyfuse3.init(operations, str(mount_point), options)
    except RuntimeError as error:
        if allow_other and os.geteuid() != 0:
            raise NotPermittedError(
                f"{mount_point} could not be mounted: allow_other needs the line user_allow_other in /etc/fuse.conf."
            ) from error
        raise LocalStorageError(
            f"{mount_point} could not be mounted: fusermount3 refused (see the line above), or you may not mount there."
        ) from error


def raise_read_ahead(mount_point: Path) -> None:
    """Let the kernel read ahead in pieces of 1 MiB; only root may, and nothing is wrong without.

    Call it when the mount has answered a request: the kernel sets its own value when it handles the answer to INIT.
    Source: Linux fs/fuse/inode.c, process_init_reply.
    """
    device = mount_point_device(mount_point)
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        setting.write_text(str(_READ_AHEAD_KB))
    except OSError as error:
        log.debug("read_ahead_not_set", reason=str(error))


async def serve(*, max_tasks: int) -> None:
    """Answer the kernel until the file system is unmounted or ``stop`` is called."""
    await pyfuse3.main(min_tasks=4, max_tasks=max_tasks)


def stop() -> None:
    """Make ``serve`` return; from the trio thread."""
    pyfuse3.terminate()


def detach(*, unmount: bool) -> None:
    """End the session. ``unmount`` only after an orderly end: after a crash an empty mount point would mislead rsync."""
    pyfuse3.close(unmount=unmount)
