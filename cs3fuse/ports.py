"""What the core asks of the outside world, as Protocols; the contract between vfs/cache/commit/locks and the rest.

Owns no state. ``client`` and ``mesh`` implement the remote ones, ``cache`` implements ``BaseContent`` for ``commit``,
``auth`` implements ``TokenSource`` for ``client``, ``kernel`` implements ``KernelNotifier`` for ``vfs``.

Conventions that hold for every async method here: it is called from the trio thread; it is cancellable at once; a
cancelled mutation may still be carried out by the server; no method has a time-out parameter, the caller opens a scope.
Failures are ``errors.Cs3FuseError`` kinds; those that callers act on are named in *Raises*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cs3fuse.model import (
    ByteRange,
    ContentKey,
    Entry,
    FileVersion,
    Ino,
    Location,
    Lock,
    LockInfo,
    Quota,
    TrashItem,
)


class RemoteTree(Protocol):
    """Names and attributes on the server."""

    async def stat(self, at: Location) -> Entry:
        """Describe one resource, with its arbitrary metadata.

        Raises: NotFoundError; AccessDeniedError; UnavailableError, DeadlineError, ServerError.
        """
        ...

    async def list(self, at: Location) -> Sequence[Entry]:
        """All entries of a directory in one call, unsafe names ("/", NUL, ".", "..", over 255 bytes) and doubles left out.

        Raises: NotFoundError; NotDirectoryError; TooLargeError above the message limit.
        """
        ...

    async def mkdir(self, at: Location) -> None:
        """Create a directory. Raises: ExistsError; NotFoundError (parent); OutcomeUnknownError."""
        ...

    async def create(self, at: Location) -> None:
        """Create an empty file that must not exist. Raises: ExistsError; NotFoundError (parent); UnsupportedError."""
        ...

    async def delete(self, at: Location, *, lock: Lock | None = None) -> None:
        """Delete a file, or a directory WITH EVERYTHING IN IT: the caller has made sure that this is meant.

        Raises: NotFoundError; LockedError; BusyError while the server processes the file; OutcomeUnknownError.
        """
        ...

    async def move(self, source: Location, destination: Location, *, lock: Lock | None = None) -> None:
        """Move within one storage. The destination must not exist: what happens to it otherwise differs by server.

        Raises: NotFoundError; ExistsError; CrossStorageError; LockedError; BadRequestError (into itself);
        OutcomeUnknownError.
        """
        ...

    async def quota(self, at: Location) -> Quota:
        """Quota of the storage under a location. Raises: UnsupportedError where the storage does not tell."""
        ...

    async def set_metadata(self, at: Location, values: Mapping[str, str], *, lock: Lock | None = None) -> None:
        """Set arbitrary metadata (UTF-8 text). The key "mtime" ("sec.nsec") sets the time on some storages."""
        ...

    async def unset_metadata(self, at: Location, keys: Sequence[str], *, lock: Lock | None = None) -> None:
        """Remove arbitrary metadata keys; absent ones are ignored."""
        ...


class Sink(Protocol):
    """Takes the bytes of a download. Called from ONE thread at a time: a worker's, or the trio thread for a small answer."""

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data`` at file offset ``offset`` (ascending within one fetch).

        May block to pace the transfer, except in the trio thread, which brings at most a block.

        ``data`` is a reused buffer: copy or write it before returning. Raising any exception ends the transfer; the
        exception leaves ``RemoteData.fetch`` unchanged.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a download told of itself. ``etag`` None where the answer carries none (Reva); ``total`` is the whole file's size."""

    etag: str | None
    total: int


@dataclass(frozen=True, slots=True)
class UploadSource:
    """A frozen local file to send: bytes 0 to ``size`` of the open descriptor ``fd`` (read with pread; not closed).

    ``sha1`` is the lower-case hex digest of exactly those bytes, ``mtime_ns`` the modification time to give the file.
    """

    fd: int
    size: int
    sha1: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ExpectAbsent:
    """The upload must create the file."""


@dataclass(frozen=True, slots=True)
class ExpectEtag:
    """The upload must replace exactly this version; "" where the storage has no etags (then nothing can be checked)."""

    etag: str


Expectation = ExpectAbsent | ExpectEtag


class RemoteData(Protocol):
    """Bytes on the server."""

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        """Download a range, or the whole file (``wanted`` None), into ``sink``.

        Args: ``expected`` is the entry whose bytes are wanted: an answer whose ETag (where it has one) or total size
        differs is refused before any byte reaches the sink.

        Raises: RangesUnsupportedError (nothing was written; only with a range); StaleError: the content is another
        version; BadDataError: short body, HTML instead of data; NotFoundError; BusyError: still processed by the server.
        On storages without ETag in answers the caller must Stat after the last byte to bind the version.

        Cancellation: the transfer thread ends by itself soon after; ``sink`` may still see writes until then.
        """
        ...

    async def prepare_fetch(self, at: Location) -> None:
        """A download of this file will probably follow: make the calls that come before its GET now. Nothing is bound to a version.

        Raises: what ``fetch`` raises before its GET. Cancellation: the download makes the calls itself.
        """
        ...

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        """One initiation and one PUT of a whole file; never repeated by itself. Returns the new etag if the answer had it.

        Sends if_match / if_not_exist, lock id, exact length, mtime and Upload-Checksum always, whether the server
        honours them or not. The caller checks type and version of the target before and Stats after.

        Raises: ConflictError (if_match or if_not_exist refused at initiation, or PUT 412); LockedError; QuotaError;
        ChecksumError (419); AccessDeniedError; IsDirectoryError; NotFoundError (parent); UnavailableError: refused
        before any byte of the body could have been stored; OutcomeUnknownError: bytes may have been stored, whole or
        in part: Stat, and if it must be sent again, initiate anew.

        Cancellation: counts as OutcomeUnknownError.
        """
        ...

    async def checks_versions(self, at: Location, source: UploadSource, *, lock: Lock | None = None) -> bool:
        """Whether the server refuses an upload over what must not be there: asked by an initiation for a file that ``at`` must
        not be, of a file of ours that is there. Nothing is sent after it, and nothing changes.

        Args: ``source``: not empty; ``lock``: ours.

        Raises: what ``upload`` raises before its PUT. Cancellation: nothing is left.
        """
        ...


class RemoteHistory(Protocol):
    """Old versions of files, and the trash. Source: provider_api.proto ListFileVersions, RestoreFileVersion, ListRecycle and so on."""

    async def versions(self, at: Location) -> Sequence[FileVersion]:
        """The older contents of a file, newest first, without the present one; keys that cannot be sent back are left out.

        Raises: NotFoundError; AccessDeniedError; UnsupportedError: no versions here.
        """
        ...

    async def restore_version(self, at: Location, key: str) -> None:
        """Make an old content the present one; what was present becomes a version.

        Raises: NotFoundError: no such file or version; LockedError, also by our own lock; AccessDeniedError; OutcomeUnknownError.
        """
        ...

    async def fetch_version(self, at: Location, version: FileVersion, wanted: ByteRange | None, sink: Sink) -> Fetched:
        """Download a range of an old content, or all of it, as ``RemoteData.fetch`` does.

        Raises: UnsupportedError: this storage lists versions and does not serve their bytes (Reva's driver local); NotFoundError: the
        version is gone; else as ``RemoteData.fetch``.
        """
        ...

    async def trash(self, root: Location) -> Sequence[TrashItem]:
        """What was deleted below a root, latest first; what lies elsewhere, or has an unsafe path or key, is left out.

        Raises: UnsupportedError: no trash of its own; AccessDeniedError; TooLargeError.
        """
        ...

    async def restore_trash(self, root: Location, item: TrashItem, to: Location) -> None:
        """Bring something back to where it was, or to another free name below the same root. Never replaces anything.

        Raises: ExistsError; NotFoundError: no such item, or no folder to put it into; CrossStorageError; UnsupportedError: only to
        where it was; OutcomeUnknownError.
        """
        ...

    async def purge_trash(self, root: Location, item: TrashItem) -> None:
        """Delete one thing for good. Raises: NotFoundError; AccessDeniedError; UnsupportedError; OutcomeUnknownError."""
        ...


class RemoteLocks(Protocol):
    """CS3 locks. Source: provider_api.proto SetLock, GetLock, RefreshLock, Unlock."""

    async def set_lock(self, at: Location, lock: Lock) -> None:
        """Take a WRITE lock. Raises: LockedError (already locked, even by us); UnsupportedError: no locks here; NotFoundError."""
        ...

    async def get_lock(self, at: Location) -> LockInfo | None:
        """The lock on a file, None if there is none. Raises: UnsupportedError."""
        ...

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        """Extend our lock to ``lock.expires_at``. Raises: LockLostError: it is not ours any more."""
        ...

    async def unlock(self, at: Location, lock: Lock) -> None:
        """Release our lock. Raises: LockLostError: it was not ours any more."""
        ...


class TokenSource(Protocol):
    """Where the client gets its access token."""

    async def token(self) -> str:
        """A token that is good for now; renewed ahead of expiry, single-flight. Raises: SignInError, UnavailableError."""
        ...

    async def renew(self, refused: str) -> str:
        """A token other than ``refused``, which the server did not accept; at once if somebody renewed meanwhile."""
        ...


class BaseContent(Protocol):
    """What ``commit`` needs of the content store."""

    async def fill(self, at: Location, base: Entry, wanted: Sequence[ByteRange], fd: int) -> None:
        """Write the ``wanted`` ranges of ``base``'s bytes into ``fd`` at the same offsets, as a stream (bounded memory).

        Raises: StaleError: that version is gone from the server and not all here.
        """
        ...

    async def adopt(self, key: ContentKey, path: Path) -> None:
        """Take the complete file at ``path`` as the content of ``key`` (by rename, or by copy across file systems).

        Never raises for a cache problem: then the file is simply not cached, and ``path`` is gone all the same.
        """
        ...


class KernelNotifier(Protocol):
    """How the core tells the kernel that what it caches is no longer true. Never blocks; errors are logged, not raised."""

    def invalidate_inode(self, ino: Ino, *, attributes_only: bool) -> None:
        """Drop the kernel's attributes (and pages) of an inode."""
        ...

    def attributes_changed(self, ino: Ino) -> None:
        """Drop the kernel's attributes of an inode before this returns: for a handler whose answer relies on it."""
        ...

    def invalidate_entry(self, parent: Ino, name: str) -> None:
        """Drop a dentry."""
        ...
