"""What the journal remembers: one record per frozen (or unfinished) generation of a file, one per conflict.

Owns the value types and their text form. ``journal`` stores them, ``engine`` and ``session`` make them, ``control`` shows them.
Immutable; a change of state is a new value under the same id.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cs3fuse.model import ByteRange, Checksum, Entry, IdRoot, Kind, Location, Lock, PathRoot, ResourceId, Root, VirtualRoot
from cs3fuse.values import quickly_made


class RecordState(enum.Enum):
    """How far a generation came.

    ``DIRTY``: written, never asked to be committed; not sent by itself after a crash. ``SEALED``: frozen, may be sent.
    ``UPLOADING``: an upload was started: whatever stands on the server may be half of ours. ``UNKNOWN``: the answer of an upload was
    lost. ``CONFLICT``: the base is gone; the bytes go beside the original. ``FAILED``: refused for a reason that waiting rarely
    cures; kept. ``CLEANUP``: committed; the source of a replacement still has to be deleted. ``ASIDE``: the old version of ``at`` stands at ``copy_at`` for a moment, no bytes of ours.
    """

    DIRTY = "dirty"
    SEALED = "sealed"
    UPLOADING = "uploading"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    FAILED = "failed"
    CLEANUP = "cleanup"
    ASIDE = "aside"


@quickly_made
@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One generation of one file.

    ``identity`` says whose it is ("server|user"): records of others are never touched. ``base`` is the version it replaces, None
    where it creates the file. ``missing`` are the ranges of the staged file that still have to come from ``base``; empty once
    sealed. ``copy_at`` is where the conflict copy goes, once chosen. ``source`` and ``source_entry`` name the file whose rename onto
    ``at`` this is: it is deleted after the commit. With ``source`` set the bytes have
    another place already and need no conflict copy. ``attempted``: an earlier upload may have stored bytes of ours. ``earlier``: size and
    SHA-1 of older bytes of ours for this name whose upload was given up and may still be carried out. Times are unix seconds.
    """

    id: int
    identity: str
    at: Location
    base: Entry | None
    staged: str
    size: int
    mtime_ns: int
    state: RecordState
    created_at: float
    changed_at: float
    sha1: str = ""
    missing: tuple[ByteRange, ...] = ()
    copy_at: Location | None = None
    source: Location | None = None
    source_entry: Entry | None = None
    lock: Lock | None = None
    attempts: int = 0
    reason: str = ""
    attempted: bool = False
    earlier: tuple[tuple[int, str], ...] = ()

    @property
    def may_be_on_the_server(self) -> bool:
        """Whether bytes of ours can stand on the server although we never saw the success."""
        return self.attempted or self.state in {RecordState.UPLOADING, RecordState.UNKNOWN}

    @property
    def outstanding(self) -> tuple[tuple[int, str], ...]:
        """What a later generation must expect of this one and those before it: their bytes may appear any time."""
        return (*self.earlier, (self.size, self.sha1)) if self.may_be_on_the_server and self.sha1 else self.earlier


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """Somebody else's version stands at ``at``; ours was put at ``copy_at``. ``noticed_at`` is unix seconds."""

    id: int
    identity: str
    at: Location
    copy_at: Location
    noticed_at: float
    reason: str


@lru_cache(maxsize=128)
def encode_root(root: Root) -> str:
    """The text form of a root; ``decode_root`` reverses it. There are few, and each change of a record tells its own."""
    if isinstance(root, PathRoot):
        return json.dumps({"path": root.path})
    if isinstance(root, VirtualRoot):
        return json.dumps({"view": root.name})
    return json.dumps({"id": [root.id.storage_id, root.id.space_id, root.id.opaque_id]})


def decode_root(text: str) -> Root:
    """Reverse of ``encode_root``. Raises: ValueError, KeyError, TypeError for a damaged text."""
    value = json.loads(text)
    if "path" in value:
        return PathRoot(value["path"])
    if "view" in value:
        return VirtualRoot(value["view"])
    return IdRoot(ResourceId(*value["id"]))


def encode_location(at: Location | None) -> str | None:
    """The text form of a location."""
    return None if at is None else json.dumps([encode_root(at.root), at.rel])


def decode_location(text: str | None) -> Location | None:
    """Reverse of ``encode_location``."""
    if text is None:
        return None
    root, rel = json.loads(text)
    return Location(decode_root(root), rel)


def encode_entry(entry: Entry | None) -> str | None:
    """The parts of an entry that say which version it is; permissions and metadata are not kept."""
    if entry is None:
        return None
    value: dict[str, Any] = {"name": entry.name, "size": entry.size, "mtime_ns": entry.mtime_ns, "etag": entry.etag}
    if entry.id is not None:
        value["id"] = [entry.id.storage_id, entry.id.space_id, entry.id.opaque_id]
    if entry.checksum is not None:
        value["checksum"] = [entry.checksum.kind, entry.checksum.hex]
    return json.dumps(value)


def decode_entry(text: str | None) -> Entry | None:
    """Reverse of ``encode_entry``; always a file."""
    if text is None:
        return None
    value = json.loads(text)
    return Entry(
        name=value["name"],
        kind=Kind.FILE,
        size=value["size"],
        mtime_ns=value["mtime_ns"],
        etag=value["etag"],
        id=ResourceId(*value["id"]) if "id" in value else None,
        checksum=Checksum(*value["checksum"]) if "checksum" in value else None,
    )


def encode_ranges(ranges: Sequence[ByteRange]) -> str:
    """The text form of ranges."""
    return json.dumps([[each.start, each.stop] for each in ranges]) if ranges else "[]"


def decode_ranges(text: str) -> tuple[ByteRange, ...]:
    """Reverse of ``encode_ranges``."""
    return tuple(ByteRange(start, stop) for start, stop in json.loads(text))


def encode_earlier(earlier: Sequence[tuple[int, str]]) -> str:
    """The text form of ``CommitRecord.earlier``."""
    return json.dumps([list(each) for each in earlier]) if earlier else "[]"


def decode_earlier(text: str) -> tuple[tuple[int, str], ...]:
    """Reverse of ``encode_earlier``."""
    return tuple((int(size), str(sha1)) for size, sha1 in json.loads(text))


def encode_lock(lock: Lock | None) -> str | None:
    """The text form of a lock that we hold."""
    return None if lock is None else json.dumps([lock.lock_id, lock.app_name, lock.expires_at])


def decode_lock(text: str | None) -> Lock | None:
    """Reverse of ``encode_lock``."""
    return None if text is None else Lock(*json.loads(text))
