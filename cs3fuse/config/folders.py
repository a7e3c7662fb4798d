"""Where a mount keeps its cache, its journal and its socket.

Pure functions of options and mount point; called by ``app``, ``cli`` and ``control``.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

import platformdirs

_SAFE = re.compile(r"[^A-Za-z0-9._-]+")


def mount_name(source: str, user: str, mount_point: Path) -> str:
    """A folder name for one mount: one per server, user and mount point; readable, and unique by a hash."""
    digest = hashlib.sha256("\0".join((source, user, str(mount_point))).encode()).hexdigest()[:12]
    host = _SAFE.sub("_", source.partition("://")[2].partition("/")[0])[:40]
    return f"{host}-{_SAFE.sub('_', user)[:24]}-{digest}"


def default_cache_folder(name: str) -> Path:
    """Cached content; may be deleted at any time while the mount is down."""
    return platformdirs.user_cache_path("cs3fuse") / name


def default_state_folder(name: str) -> Path:
    """Journal and unsent files: never delete these."""
    return platformdirs.user_state_path("cs3fuse") / name


def state_folders() -> list[Path]:
    """Every default state folder of this user."""
    above = platformdirs.user_state_path("cs3fuse")
    return sorted(folder for folder in above.iterdir() if folder.is_dir()) if above.is_dir() else []


def socket_path(mount_point: Path) -> Path:
    """The control socket of what is mounted at ``mount_point`` by this user.

    Below XDG_RUNTIME_DIR; without one, in a folder of the temporary directory that belongs to this user alone.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "cs3fuse" if runtime else Path(tempfile.gettempdir()) / f"cs3fuse-{os.getuid()}"
    # sun_path holds 108 bytes (unix(7)): a hash, not the mount point's own name.
    return folder / f"{hashlib.sha256(str(mount_point).encode()).hexdigest()[:16]}.sock"


def make_private(folder: Path) -> Path:
    """Create a folder for this user alone. Raises: PermissionError if somebody else owns it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else.")
    return folder
