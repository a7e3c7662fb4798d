"""One sparse file on the local disk: reads that do not block, holes, copies.

Owns one file descriptor, closed when the last user of the ``SparseFile`` object lets go of it; so a transfer thread that is
still writing, or a read that is still going on, never meets a descriptor that was closed or given to another file.
Methods whose text begins with "Blocking" belong into worker threads; the others may be called from the trio thread. Any number of threads
may use one object at once.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from pathlib import Path
from typing import Final

_PUNCH: Final = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. Source: linux/falloc.h."""
_COPY_BYTES: Final = 1024 * 1024

_scratch = memoryview(bytearray(1024 * 1024))
"""For the trio thread; the kernel asks for at most this much at once."""

_LARGE_BYTES: Final = 256 * 1024
"""Whoever reads this much at once reads on: the kernel asks for so much only where it reads ahead itself."""
_AHEAD_BYTES: Final = 4 * 1024 * 1024
_AHEAD_STEP: Final = 1024 * 1024
"""The kernel starts no more than about this much at once. Source: Linux mm/readahead.c, force_page_cache_ra."""


class _ThreadMemory(threading.local):
    """A buffer for each worker thread."""

    def __init__(self) -> None:
        self.buffer = memoryview(mmap.mmap(-1, _COPY_BYTES))  # not zeroed before it is used


_of_thread = _ThreadMemory()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int


class SparseFile:
    """A file of a fixed length whose blocks come and go."""

    __slots__ = ("fd", "path")

    def __init__(self, path: Path, size: int, *, is_new: bool) -> None:
        """Open, or make (or empty) it with a length of ``size`` bytes without occupying any.

        Raises: OSError; FileNotFoundError if it should be there; ValueError if it has another length.
        """
        self.fd = -1
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_TRUNC if is_new else 0)
        self.fd = os.open(path, flags, 0o600)
        if is_new:
            os.ftruncate(self.fd, size)
        elif (found := os.fstat(self.fd).st_size) != size:
            raise ValueError(f"{path} has {found} bytes, not {size}")

    def __del__(self) -> None:
        """Close with the last reference."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read_now(self, offset: int, size: int) -> memoryview | None:
        """The bytes if the page cache has all of them, else None. Trio thread only. Source: preadv2(2), RWF_NOWAIT.

        Returns: a view of a buffer that the next call overwrites: copy it, or be done with it before anybody else runs.
        """
        # A new buffer for each read costs more than the read: the allocator returns its pages each time (1 against 7 GB/s).
        buffer = _scratch[:size] if size <= len(_scratch) else memoryview(bytearray(size))
        try:
            count = os.preadv(self.fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            # EOPNOTSUPP: the file system cannot tell; then a thread reads.
            if error.errno in {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINTR}:
                return None
            raise
        return buffer if count == size else None

    def bring(self, offset: int, size: int) -> None:
        """Blocking: have the page cache take a range in, and begin with what a reader of much will want next; then ``read_now`` has it.

        Into a buffer that is thrown away: new memory for the bytes costs more than reading them twice (0.7 against 0.1 ms for 1 MiB).
        """
        if size >= _LARGE_BYTES:
            for start in range(offset + size, offset + size + _AHEAD_BYTES, _AHEAD_STEP):
                os.posix_fadvise(self.fd, start, _AHEAD_STEP, os.POSIX_FADV_WILLNEED)
        buffer, stop = _of_thread.buffer, offset + size
        while offset < stop and (count := os.preadv(self.fd, [buffer[: stop - offset]], offset)):
            offset += count

    def read(self, offset: int, size: int) -> bytes:
        """Blocking: the bytes, fewer only at the end of the file."""
        data = os.pread(self.fd, size, offset)
        while 0 < len(data) < size and (more := os.pread(self.fd, size - len(data), offset + len(data))):
            data += more
        return data

    def write(self, offset: int, data: memoryview) -> None:
        """Blocking: write all of it."""
        while data:
            count = os.pwrite(self.fd, data, offset)
            offset, data = offset + count, data[count:]

    def punch(self, offset: int, length: int) -> bool:
        """Give the room of a range back; it reads as zeros. Returns: False where the file system cannot."""
        if _libc.fallocate(self.fd, _PUNCH, offset, length) == 0:
            return True
        code = ctypes.get_errno()
        if code in {errno.EOPNOTSUPP, errno.ENOSYS}:
            return False
        raise OSError(code, os.strerror(code), str(self.path))

    def copy_to(self, fd: int, offset: int, length: int) -> None:
        """Blocking: copy a range into another file at the same offset. Raises: OSError; EOFError if this one is shorter."""
        stop = offset + length
        while offset < stop:
            count = _copy_some(self.fd, fd, offset, min(_COPY_BYTES, stop - offset))
            if count == 0:
                raise EOFError(f"{self.path} ends at {offset}")
            offset += count

    @property
    def allocated_bytes(self) -> int:
        """What it takes on disk."""
        return os.fstat(self.fd).st_blocks * 512


def _copy_some(source: int, target: int, offset: int, length: int) -> int:
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        # Another file system, or one that cannot.
        if error.errno not in {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise
    data = memoryview(os.pread(source, length, offset))
    done = 0
    while done < len(data):
        done += os.pwrite(target, data[done:], offset + done)
    return len(data)
