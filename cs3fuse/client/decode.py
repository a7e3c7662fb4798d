"""What a server's ResourceInfo means.

Owns the conversion of protobuf answers to ``model`` values. Servers are not trusted: names are checked, numbers are capped, unknown
types are left out. Called by ``client.tree``, ``client.locks`` and ``client.history``; pure but for caches of permission sets and metadata, safe in any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import structlog
from cs3.storage.provider.v1beta1 import resources_pb2

from cs3fuse.client.references import model_id, name_problem
from cs3fuse.model import Checksum, Entry, FileVersion, IdRoot, Kind, Location, LockInfo, PathRoot, ResourceId, TrashItem

_log = structlog.get_logger(__name__)

# REFERENCE appears below Reva's share folders and behaves like the folder it names.
# Source: resources.proto, ResourceType.
_KINDS = {
    resources_pb2.RESOURCE_TYPE_FILE: Kind.FILE,
    resources_pb2.RESOURCE_TYPE_CONTAINER: Kind.DIRECTORY,
    resources_pb2.RESOURCE_TYPE_REFERENCE: Kind.DIRECTORY,
    resources_pb2.RESOURCE_TYPE_SYMLINK: Kind.SYMLINK,
}
_CHECKSUM_KINDS = {
    resources_pb2.RESOURCE_CHECKSUM_TYPE_SHA1: "sha1",
    resources_pb2.RESOURCE_CHECKSUM_TYPE_MD5: "md5",
    resources_pb2.RESOURCE_CHECKSUM_TYPE_ADLER32: "adler32",
}
_HEX_DIGITS = {"sha1": 40, "md5": 32, "adler32": 8}
_LOCK_KINDS = {
    resources_pb2.LOCK_TYPE_SHARED: "shared",
    resources_pb2.LOCK_TYPE_WRITE: "write",
    resources_pb2.LOCK_TYPE_EXCL: "exclusive",
}
_HEX = re.compile(r"[0-9a-f]+")
_NO_METADATA: Mapping[str, str] = MappingProxyType({})

_MAX_SIZE = 2**63 - 1
# Year 2242: nothing real is later, and nanoseconds still fit into 63 bits.
_MAX_SECONDS = 2**33
_MAX_ETAG = 1024
_MAX_CACHED_METADATA = 1024
_MAX_KEY = 1024
# OpenCloud's keys are node ids of their own, ``<node id>.REV.<RFC 3339>`` (measured): such a version is fetched like a file.
NODE_MARK = ".REV."
_KEY_TIME = re.compile(r"\.REV\.(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$")
MOST_VERSIONS = 10_000
"""A file may have more; older ones are not shown."""


class UnusableEntryError(ValueError):
    """An entry that is no file, folder or link."""


def entry(info: Any, *, name: str, listed: Location | None = None) -> Entry:
    """One resource under the name it is to have.

    Args: ``listed`` is the directory's location where the answer is part of a listing.

    Raises: UnusableEntryError: a type that means nothing here.
    """
    kind = _KINDS.get(info.type)
    if kind is None:
        raise UnusableEntryError(f"type {info.type}")
    opaque = info.opaque.map if info.HasField("opaque") else {}
    etag = info.etag
    return Entry(
        name=name,
        kind=kind,
        size=_size(info.size),
        mtime_ns=_mtime_ns(info),
        etag=etag if etag.isprintable() and len(etag) <= _MAX_ETAG else "",
        id=_id(info, listed),
        checksum=_checksum(info, opaque),
        permissions=_permission_names(info.permission_set.SerializeToString()) if info.HasField("permission_set") else None,
        owner=info.owner.opaque_id if info.HasField("owner") else "",
        mime_type=info.mime_type,
        metadata=_metadata(info),
        lock=_entry_lock(info, opaque),
        is_processing="status" in opaque and opaque["status"].value == b"processing",
    )


def listing(infos: Sequence[Any], at: Location) -> list[Entry]:
    """The entries of a directory; what has an unsafe or doubled name or no usable type is left out and logged."""
    entries: dict[str, Entry] = {}
    for info in infos:
        name = info.name or info.path.rstrip("/").rpartition("/")[2]
        problem = name_problem(name) or ("its name appears twice" if name in entries else "")
        if not problem:
            try:
                entries[name] = entry(info, name=name, listed=at)
                continue
            except UnusableEntryError as exc:
                problem = str(exc)
        _log.warning("entry_left_out", folder=str(at), name=ascii(name)[:120], reason=problem)
    return list(entries.values())


def is_safe_key(key: str) -> bool:
    """Whether a key can be sent back: an empty one means everything, "a/b" and ".." something else."""
    return (
        0 < len(key) <= _MAX_KEY and bool(key.strip(".")) and not any(each == "/" or each < " " or each == "\x7f" for each in key)
    )


def versions(messages: Iterable[Any], shown_path: str) -> list[FileVersion]:
    """Old versions, newest first; at most ``MOST_VERSIONS``.

    Of a version that a restore made, OpenCloud's list tells the moment of the restore and an etag that no download has (measured): there the
    key tells when the content was written, and is all that identifies it.
    """
    found: dict[str, FileVersion] = {}
    for message in messages:
        if not is_safe_key(message.key) or message.key in found:
            _log.warning("version_left_out", path=shown_path, key=ascii(message.key)[:120])
            continue
        mtime_ns, etag = round(_told_seconds(message.mtime) * 1000) * 1_000_000, message.etag
        if NODE_MARK in message.key:
            mtime_ns, etag = _time_in(message.key) or mtime_ns, ""
        elif not etag.isprintable() or len(etag) > _MAX_ETAG:
            etag = ""
        found[message.key] = FileVersion(message.key, _size(message.size), mtime_ns, etag)
    return sorted(found.values(), key=lambda version: (version.mtime_ns, version.key), reverse=True)[:MOST_VERSIONS]


def trash(messages: Iterable[Any], root: Location) -> list[TrashItem]:
    """Deleted things that lay below a root, latest first.

    Driver local has one trash for all users: what lies elsewhere is none of ours. Its paths begin with the mount's; OpenCloud's are from the
    space's root.
    """
    found: dict[str, TrashItem] = {}
    foreign = 0
    above = f"{root.root.path}/" if isinstance(root.root, PathRoot) else ""
    above += f"{root.rel}/" if root.rel else ""
    for message in messages:
        path = message.ref.path if isinstance(root.root, PathRoot) else message.ref.path.removeprefix(".").lstrip("/")
        if not path.startswith(above):
            foreign += 1
            continue
        rel = path[len(above) :]
        kind = _KINDS.get(message.type, Kind.FILE)
        if not is_safe_key(message.key) or message.key in found or any(name_problem(name) for name in rel.split("/")):
            _log.warning("trash_item_left_out", root=str(root), key=ascii(message.key)[:120], path=ascii(message.ref.path)[:120])
            continue
        deleted_at = _told_seconds(message.deletion_time.seconds)
        found[message.key] = TrashItem(message.key, rel, kind, _size(message.size), deleted_at)
    if foreign:
        _log.debug("trash_items_elsewhere", root=str(root), items=foreign)
    return sorted(found.values(), key=lambda item: (item.deleted_at, item.key), reverse=True)


def _time_in(key: str) -> int:
    """The time in OpenCloud's key of a version, in ns; 0 if there is none that can be understood."""
    match = _KEY_TIME.search(key)
    if match is None:
        return 0
    try:
        seconds = int(datetime.fromisoformat(f"{match[1]}+00:00").timestamp())
    except ValueError:
        return 0
    return seconds * 1_000_000_000 + int(match[2].ljust(9, "0") if match[2] else 0) if 0 <= seconds <= _MAX_SECONDS else 0


def _told_seconds(value: int) -> float:
    """Unix seconds of a number that driver local gives in milliseconds (measured), and that may be anything."""
    seconds = value / 1000 if value > _MAX_SECONDS else float(value)
    return seconds if 0 <= seconds <= _MAX_SECONDS else 0.0


def lock_info(lock: Any) -> LockInfo:
    """A CS3 Lock message. Source: resources.proto, Lock."""
    return LockInfo(
        lock_id=lock.lock_id,
        app_name=lock.app_name,
        user=lock.user.opaque_id if lock.HasField("user") else "",
        kind=_LOCK_KINDS.get(lock.type, "unknown"),
        expires_at=_seconds(lock.expiration) if lock.HasField("expiration") else None,
    )


def _size(value: int) -> int:
    """Sizes above 63 bits are negative numbers that somebody pushed into an unsigned field."""
    return value if value <= _MAX_SIZE else 0


def _mtime_ns(info: Any) -> int:
    if not info.HasField("mtime"):
        return 0
    mtime = info.mtime
    seconds: int = mtime.seconds
    nanos: int = mtime.nanos
    if seconds > _MAX_SECONDS:
        return 0 if seconds > _MAX_SIZE else _MAX_SECONDS * 1_000_000_000
    return seconds * 1_000_000_000 + (nanos if nanos < 1_000_000_000 else 0)


def _seconds(timestamp: Any) -> float:
    return float(min(int(timestamp.seconds), _MAX_SECONDS)) + min(int(timestamp.nanos), 999_999_999) / 1e9


def _id(info: Any, at: Location | None) -> ResourceId | None:
    """The id; below an id root with the root's space, because Reva derives the space of relative listings from cut paths."""
    found = model_id(info.id) if info.HasField("id") else None
    if found is None or at is None or not isinstance(at.root, IdRoot):
        return found
    space_id = at.root.id.space_id
    if space_id and at.root.id.storage_id == found.storage_id and found.space_id != space_id:
        return ResourceId(found.storage_id, space_id, found.opaque_id)
    return found


def _checksum(info: Any, opaque: Any) -> Checksum | None:
    """The strongest checksum told; OpenCloud has further ones in the opaque map."""
    told: Checksum | None = None
    if info.HasField("checksum"):
        checksum = info.checksum
        told = _checked(_CHECKSUM_KINDS.get(checksum.type), checksum.sum)
        if told is not None and told.kind == "sha1":
            return told
    for kind in ("md5", "adler32"):
        if told is not None and told.kind == kind:
            return told
        if kind in opaque and (found := _checked(kind, opaque[kind].value.decode("ascii", "replace"))) is not None:
            return found
    return told


def _checked(kind: str | None, digits: str) -> Checksum | None:
    digits = digits.lower()
    if kind is None or len(digits) != _HEX_DIGITS[kind] or not _HEX.fullmatch(digits):
        return None
    return Checksum(kind, digits)


@lru_cache(maxsize=512)
def _permission_names(serialized: bytes) -> frozenset[str]:
    """Names of the permissions that are true. A listing repeats few sets thousands of times, so they are cached."""
    permissions = resources_pb2.ResourcePermissions.FromString(serialized)
    return frozenset(field.name for field, value in permissions.ListFields() if value is True)


def _metadata(info: Any) -> Mapping[str, str]:
    if not info.HasField("arbitrary_metadata"):
        return _NO_METADATA
    serialized = info.arbitrary_metadata.SerializeToString()
    return _metadata_of(serialized) if len(serialized) <= _MAX_CACHED_METADATA else _metadata_of.__wrapped__(serialized)


@lru_cache(maxsize=512)
def _metadata_of(serialized: bytes) -> Mapping[str, str]:
    """A listing repeats few sets thousands of times, as with permissions."""
    values = resources_pb2.ArbitraryMetadata.FromString(serialized).metadata
    return MappingProxyType(dict(values)) if values else _NO_METADATA


def _entry_lock(info: Any, opaque: Any) -> LockInfo | None:
    if info.HasField("lock") and info.lock.lock_id:
        return lock_info(info.lock)
    if "lock" not in opaque:
        return None
    try:
        return _json_lock(json.loads(opaque["lock"].value))
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _json_lock(told: Any) -> LockInfo | None:
    """OpenCloud's lock in the opaque map: JSON with the field names of the message."""
    if not isinstance(told, dict) or not told.get("lock_id"):
        return None
    expiration = told.get("expiration")
    return LockInfo(
        lock_id=str(told["lock_id"]),
        app_name=str(told.get("app_name", "")),
        user=str((told.get("user") or {}).get("opaque_id", "")),
        kind=_LOCK_KINDS.get(told.get("type", 0), "unknown"),
        expires_at=float(min(int(expiration["seconds"]), _MAX_SECONDS))
        if isinstance(expiration, dict) and "seconds" in expiration
        else None,
    )
