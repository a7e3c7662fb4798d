"""The words of the project: addresses, versions, entries, locks, ranges.

Owns the value types that every layer speaks. Everybody imports it; it imports nothing of ours but ``values``.
All values are immutable and may be shared freely between tasks and threads.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NewType, TypeAlias

from cs3fuse.values import quickly_made

Ino = NewType("Ino", int)
"""Inode number of the mount, allocated by us; servers' ids are not usable as such."""
Fh = NewType("Fh", int)
"""File handle number given to the kernel."""
Borrowed: TypeAlias = bytes | memoryview
"""Bytes on their way to the kernel. A view may be of a buffer that the next read overwrites: copy it, or use it before the next checkpoint."""

NAME_MAX_BYTES = 255
"""Longest file name that the storages behind CS3 carry, in bytes of UTF-8 (measured: 256 is INTERNAL)."""


class Kind(enum.Enum):
    """What a resource is. Source: cs3/storage/provider/v1beta1/resources.proto, ResourceType."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"

    __hash__ = object.__hash__  # enum's own is a function of Python, and kinds are keys of what is looked up for each entry


@quickly_made
@dataclass(frozen=True, slots=True)
class ResourceId:
    """A CS3 resource id. Source: resources.proto, ResourceId; ``space_id`` may be empty."""

    storage_id: str
    space_id: str
    opaque_id: str

    def __str__(self) -> str:
        """The text form ``storage$space!opaque`` that Reva and OpenCloud print."""
        return f"{self.storage_id}${self.space_id}!{self.opaque_id}"


@dataclass(frozen=True, slots=True)
class PathRoot:
    """A root that is addressed by an absolute CS3 path without trailing slash ("" is the global root)."""

    path: str

    def __str__(self) -> str:
        """The absolute path."""
        return self.path or "/"


@dataclass(frozen=True, slots=True)
class IdRoot:
    """A root that is addressed by a resource id (OpenCloud has no global paths)."""

    id: ResourceId

    def __str__(self) -> str:
        """The text form of the id."""
        return str(self.id)


@dataclass(frozen=True, slots=True)
class VirtualRoot:
    """A folder that no server has: the mesh view makes it. ``name`` is its path in the view ("" is the top, "shares")."""

    name: str

    def __str__(self) -> str:
        """As a path below the mount point."""
        return f"/{self.name}"


Root = PathRoot | IdRoot | VirtualRoot


@quickly_made
@dataclass(frozen=True, slots=True)
class Location:
    """Where a resource is found: a root and the path below it (``rel``, "" is the root itself, no "/" at its ends)."""

    root: Root
    rel: str = ""

    def __hash__(self) -> int:
        """Of the path below the root alone, which Python remembers in the string: locations are the keys of most tables."""
        return hash(self.rel)

    def child(self, name: str) -> Location:
        """The location of ``name`` in this directory."""
        return Location(self.root, f"{self.rel}/{name}" if self.rel else name)

    @property
    def parent(self) -> Location:
        """The directory that holds this one; the root is its own parent."""
        return Location(self.root, self.rel.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last component; "" for a root."""
        return self.rel.rpartition("/")[2]

    def is_below(self, other: Location) -> bool:
        """Whether this is ``other`` itself or lies in its subtree."""
        if self.root != other.root:
            return False
        return not other.rel or self.rel == other.rel or self.rel.startswith(other.rel + "/")

    def __str__(self) -> str:
        """For people: the path as the server spells it."""
        if isinstance(self.root, PathRoot):
            return f"{self.root.path}/{self.rel}" if self.rel else str(self.root)
        if isinstance(self.root, VirtualRoot):
            return "/" + "/".join(part for part in (self.root.name, self.rel) if part)
        return f"{self.root}/{self.rel}" if self.rel else str(self.root)


@quickly_made
@dataclass(frozen=True, slots=True)
class ContentVersion:
    """Which bytes: two equal versions of one resource have equal content as far as the storage can tell.

    ``etag`` keeps its quotes and is "" where the storage has none (OCM); then size and mtime alone decide.
    """

    etag: str
    size: int
    mtime_ns: int


@quickly_made
@dataclass(frozen=True, slots=True)
class ContentKey:
    """Key of the content store: a resource (its id's text form, else its location's) in one version."""

    resource: str
    version: ContentVersion


@quickly_made
@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum that a server reported: ``kind`` is "sha1", "md5" or "adler32", ``hex`` is lower case."""

    kind: str
    hex: str


@dataclass(frozen=True, slots=True)
class LockInfo:
    """A CS3 lock as seen on the server. ``expires_at`` is unix seconds of the server's clock, None = never."""

    lock_id: str
    app_name: str
    user: str
    kind: str
    expires_at: float | None

    def __str__(self) -> str:
        """For people: ``locked by APP/USER until 14:03`` (local time), with what is known."""
        who = "/".join(part for part in (self.app_name, self.user) if part) or "somebody"
        if self.expires_at is None:
            return f"locked by {who} without end"
        return f"locked by {who} until {time.strftime('%H:%M', time.localtime(self.expires_at))}"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that we hold or ask for. ``expires_at`` is unix seconds; always sent (a lock without it crashes servers)."""

    lock_id: str
    app_name: str
    expires_at: float


_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@quickly_made
@dataclass(frozen=True, slots=True)
class Entry:
    """One resource as the server described it at one moment.

    ``permissions`` holds the names of CS3 ResourcePermissions that are true; None means that the server said nothing
    (absent is not "all false"). ``anchor`` is set where the entry's content lives under a root of its own (a share);
    otherwise it is found under its parent's location. ``is_processing`` marks content that cannot be fetched yet
    (OpenCloud answers GET 500 meanwhile). ``is_vague`` marks an entry of a listing whose size and time are not known: they are asked for
    when somebody looks at it. ``is_hidden`` marks a name that lookup finds and no listing shows to programs. ``refusal`` says why its
    content can never be had although it is there (something in the trash): open is EOPNOTSUPP.
    """

    name: str
    kind: Kind
    size: int = 0
    mtime_ns: int = 0
    etag: str = ""
    id: ResourceId | None = None
    checksum: Checksum | None = None
    permissions: frozenset[str] | None = None
    owner: str = ""
    mime_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: _NO_METADATA)
    lock: LockInfo | None = None
    is_processing: bool = False
    anchor: Root | None = None
    is_vague: bool = False
    is_hidden: bool = False
    refusal: str = ""

    @property
    def version(self) -> ContentVersion:
        """Which bytes this entry stands for."""
        return ContentVersion(self.etag, self.size, self.mtime_ns)

    @property
    def storage_id(self) -> str:
        """The storage that answered, "" where it is unknown: capabilities are remembered under it."""
        return self.id.storage_id if self.id else ""

    def content_key(self, at: Location) -> ContentKey:
        """The content store's key of these bytes; ``at`` is used where the server gave no id."""
        return ContentKey(str(self.id) if self.id else str(at), self.version)

    def may(self, permission: str) -> bool:
        """Whether the permission set allows it; True where the server said nothing."""
        return self.permissions is None or permission in self.permissions


@dataclass(frozen=True, slots=True)
class FileVersion:
    """An older content of a file. ``key`` is the server's word for it, safe to send back; ``mtime_ns`` is when it was written."""

    key: str
    size: int
    mtime_ns: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class TrashItem:
    """Something that was deleted. ``rel`` is where it was below the root that was asked about, ``deleted_at`` unix seconds.

    ``size`` of a folder, and on OpenCloud of anything, says nothing.
    """

    key: str
    rel: str
    kind: Kind
    size: int
    deleted_at: float

    @property
    def name(self) -> str:
        """The name that it had."""
        return self.rel.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes of a storage; ``total`` None means without limit (or not told)."""

    total: int | None
    used: int


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Bytes ``start`` (inclusive) to ``stop`` (exclusive); never negative, may be empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        """Refuse what is not a range."""
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a byte range: {self.start}..{self.stop}")

    def __len__(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is signed in."""

    username: str
    opaque_id: str
    idp: str = ""
    display_name: str = ""
