"""Which name an old version and a deleted thing have in a folder: a time in UTC, and more only where that is not enough.

Pure. Called by ``history.tree`` and ``control.history``. Names of deleted things come from servers and are made safe.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cs3fuse.mesh.namespace import safe
from cs3fuse.model import FileVersion, TrashItem

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-[0-9a-f]{8})?")


def stamp(unix_s: float) -> str:
    """``2026-01-02T14-03-05Z``; the earliest one for a moment that no calendar has."""
    try:
        moment = datetime.fromtimestamp(int(unix_s), tz=UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, tz=UTC)
    # Not strftime: it leaves out the zeros of early years.
    return f"{moment.replace(tzinfo=None).isoformat().replace(':', '-')}Z"


def is_stamp(name: str) -> bool:
    """Whether a version could be called so."""
    return _STAMP.fullmatch(name) is not None


def version_names(versions: Iterable[FileVersion]) -> dict[str, FileVersion]:
    """A name for each version, in their order: when its content was written. Of several in one second each also has its key's mark."""
    found = list(versions)
    times = [stamp(version.mtime_ns / 1e9) for version in found]
    several = Counter(times)
    return {
        time if several[time] == 1 else f"{time}-{_mark(version.key)}": version for time, version in zip(times, found, strict=True)
    }


def find_version(versions: Sequence[FileVersion], wanted: str) -> FileVersion | None:
    """The version with a name or key. A name with a mark goes on meaning the same one when the others of its second are gone."""
    for version in versions:
        if wanted in {version.key, f"{stamp(version.mtime_ns / 1e9)}-{_mark(version.key)}"}:
            return version
    return version_names(versions).get(wanted)


def trash_names(items: Iterable[TrashItem]) -> dict[str, TrashItem]:
    """A name for each deleted thing, in their order: when it was deleted, and what it was called."""
    found = list(items)
    names = [(stamp(item.deleted_at), safe(item.name)) for item in found]
    several = Counter(names)
    return {
        f"{time} {name}" if several[time, name] == 1 else f"{time}-{_mark(item.key)} {name}": item
        for (time, name), item in zip(names, found, strict=True)
    }


def _mark(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:8]
