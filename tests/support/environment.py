"""What this machine can do: the reasons for which tests are skipped.

Called by ``tests/conftest.py``. Pure functions of their arguments; nothing is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def why_no_mount(*, device: Path = Path("/dev/fuse"), search_path: str | None = None) -> str | None:
    """Why a real mount cannot be made here; None where it can.

    Opening the device is the proof: in many containers it is there and may not be used. ``search_path`` is a PATH to look
    for fusermount3 in (None: the environment's).
    """
    if not device.exists():
        return f"there is no {device}"
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        return f"{device} cannot be opened: {exc.strerror}"
    if shutil.which("fusermount3", path=search_path) is None:
        return "fusermount3 is not installed (package fuse3)"
    return None


def why_no_live_gateway(environment: Mapping[str, str]) -> str | None:
    """Why the tests against a live gateway cannot run; None where they can."""
    named = environment.get("CS3FUSE_LIVE", "")
    if not named:
        return "CS3FUSE_LIVE names no TOML file of a live gateway"
    if not Path(named).is_file():
        return f"CS3FUSE_LIVE names {named}, which is not a file"
    return None
