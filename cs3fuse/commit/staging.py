"""Staged files: sparse local files that hold written bytes until the server has them.

Owns the files in the state folder's ``staged`` directory. A ``StagedFile`` knows which of its bytes were written and below which
size the bytes of the version underneath still show through. ``session`` writes and reads it from the trio thread; threads may read
a file that is pinned. INVARIANT: a file that was sealed is never written again; later writes go to a new file above it.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cs3fuse.commit.follower import Follower
from cs3fuse.commit.intervals import IntervalSet
from cs3fuse.errors import Cs3FuseError, LocalSpaceError, LocalStorageError
from cs3fuse.model import ByteRange

_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def local_error(exc: OSError, what: str, path: Path) -> Cs3FuseError:
    """Our error for a failure of the state folder's disk; ``what`` completes "The bytes cannot be ...". Raise it ``from exc``."""
    if exc.errno in _SPACE_ERRNOS:
        return LocalSpaceError(
            f"The disk of the state folder is full: {path} cannot be {what}. What was written before is kept.",
            call=f"staging.{what}",
            path=str(path),
        )
    return LocalStorageError(f"The staged file {path} cannot be {what}: {exc.strerror}.", call=f"staging.{what}", path=str(path))


class StagedFile:
    """One sparse file.

    ``size`` is the logical size. Bytes in ``written`` are ours; others below ``lower_limit`` are those of the version underneath;
    the rest are zeros (and holes in the file). INVARIANT: ``lower_limit <= size``; the file on disk has exactly ``size`` bytes.
    """

    __slots__ = ("_is_doomed", "_pins", "fd", "follower", "lower_limit", "path", "size", "written")

    def __init__(self, path: Path, fd: int, *, size: int, lower_limit: int, written: IntervalSet | None = None) -> None:
        self.path = path
        self.fd = fd
        self.size = size
        self.lower_limit = lower_limit
        self.written = written if written is not None else IntervalSet()
        self.follower = Follower() if not size else None
        self._pins = 0
        self._is_doomed = False

    @classmethod
    def create(cls, folder: Path, *, lower_size: int) -> StagedFile:
        """A new file over a version of ``lower_size`` bytes, nothing written yet. Raises: LocalSpaceError, LocalStorageError."""
        path = folder / uuid.uuid4().hex
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if lower_size:
                os.ftruncate(fd, lower_size)
        except OSError as exc:
            raise local_error(exc, "created", path) from exc
        return cls(path, fd, size=lower_size, lower_limit=lower_size)

    @classmethod
    def reopen(cls, path: Path, *, size: int, missing: Sequence[ByteRange]) -> StagedFile:
        """A file that an earlier run left; all but ``missing`` is taken as written. Raises: LocalStorageError."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            found = os.fstat(fd).st_size
        except OSError as exc:
            raise local_error(exc, "opened again", path) from exc
        if found < size:
            os.close(fd)
            raise LocalStorageError(
                f"The staged file {path} has {found} bytes instead of {size}.", call="staging.reopen", path=str(path)
            )
        written = IntervalSet([ByteRange(0, size)])
        for each in missing:
            written = _without(written, each, size)
        return cls(path, fd, size=size, lower_limit=max((each.stop for each in missing), default=0), written=written)

    def write(self, offset: int, data: memoryview) -> int:
        """Write at ``offset``; returns how many bytes, fewer than asked only when the disk filled up in between.

        Raises: LocalSpaceError, LocalStorageError: nothing of this call was written.
        """
        done = 0
        try:
            while done < len(data):
                count = os.pwrite(self.fd, data[done:], offset + done)
                if count == 0:
                    break
                done += count
        except OSError as exc:
            if done == 0:
                raise local_error(exc, "written", self.path) from exc
        self.written.add(offset, offset + done)
        if self.follower is not None:
            self.follower.changed_from(offset)
        self.size = max(self.size, offset + done)
        return done

    def truncate(self, size: int) -> None:
        """Set the size; bytes that are cut away are gone for good, new ones are zeros. Raises: LocalSpaceError, LocalStorageError."""
        try:
            os.ftruncate(self.fd, size)
        except OSError as exc:
            raise local_error(exc, "resized", self.path) from exc
        self.written.truncate(size)
        self.lower_limit = min(self.lower_limit, size)
        if size == 0:
            self.follower = Follower()
        elif self.follower is not None:
            self.follower.changed_from(min(size, self.size))
        self.size = size

    async def follow(self) -> None:
        """Let the digest catch up with what was written from the start. A failure only means that the commit digests anew."""
        if self.follower is None or self._is_doomed:
            return
        with self.pinned():
            try:
                await self.follower.follow(self.fd, self.prefix)
            except OSError:
                self.follower = None

    @property
    def prefix(self) -> int:
        """How many bytes from the start are written without a gap."""
        return next((first.stop for first in self.written if first.start == 0), 0)

    def needed_from_below(self, start: int, stop: int) -> list[ByteRange]:
        """Which parts of ``start`` to ``stop`` are those of the version underneath."""
        stop = min(stop, self.lower_limit)
        return self.written.missing(start, stop) if start < stop else []

    def read_into(self, offset: int, view: memoryview, *, may_block: bool = True) -> None:
        """Read exactly ``len(view)`` bytes. Raises: LocalStorageError; BlockingIOError if not ``may_block`` and the disk is needed."""
        done = 0
        flags = 0 if may_block else os.RWF_NOWAIT
        try:
            while done < len(view):
                count = os.preadv(self.fd, [view[done:]], offset + done, flags)
                if count == 0:
                    raise LocalStorageError(
                        f"The staged file {self.path} ends at {offset + done} although it should have {self.size} bytes.",
                        call="staging.read",
                        path=str(self.path),
                    )
                done += count
        except BlockingIOError:
            raise
        except OSError as exc:
            raise local_error(exc, "read", self.path) from exc

    def copy_from(self, other: StagedFile, what: ByteRange) -> None:
        """Copy bytes of another staged file to the same place; call in a thread. Raises: LocalSpaceError, LocalStorageError."""
        position = what.start
        try:
            while position < what.stop:
                count = os.copy_file_range(other.fd, self.fd, what.stop - position, position, position)
                if count == 0:
                    raise LocalStorageError(f"The staged file {other.path} is shorter than it should be.", path=str(other.path))
                position += count
        except OSError as exc:
            raise local_error(exc, "filled", self.path) from exc

    def note_complete(self) -> None:
        """Every byte is here now: nothing shows through from underneath."""
        self.written = IntervalSet([ByteRange(0, self.size)])
        self.lower_limit = 0

    def sync(self) -> None:
        """Wait until the bytes would survive a power loss; call in a thread. Raises: LocalSpaceError, LocalStorageError."""
        try:
            os.fdatasync(self.fd)
        except OSError as exc:
            raise local_error(exc, "synced", self.path) from exc

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the descriptor open meanwhile, whatever happens to the file."""
        self._pins += 1
        try:
            yield
        finally:
            self._pins -= 1
            if self._is_doomed and not self._pins:
                self._close()

    def close(self) -> None:
        """Give up the descriptor, now or when the last pin is gone; the file stays."""
        self._is_doomed = True
        if not self._pins:
            self._close()

    def discard(self) -> None:
        """Close and delete."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a range's bytes are: in a staged file, or (``source`` None) in the version underneath all of them."""

    source: StagedFile | None
    where: ByteRange


def pieces(layers: Sequence[StagedFile], wanted: Sequence[ByteRange]) -> list[Piece]:
    """Where the bytes of ``wanted`` are, looking through ``layers`` from the topmost down. What no piece names is zeros."""
    found: list[Piece] = []
    ranges = list(wanted)
    for layer in layers:
        found += [Piece(layer, ours) for each in ranges for ours in layer.written.within(each.start, each.stop)]
        ranges = [below for each in ranges for below in layer.needed_from_below(each.start, each.stop)]
    return [*found, *(Piece(None, each) for each in ranges if len(each))]


def _without(written: IntervalSet, gap: ByteRange, size: int) -> IntervalSet:
    return IntervalSet([*written.within(0, gap.start), *written.within(gap.stop, size)])
