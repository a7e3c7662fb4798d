"""Checksums of local files, in bounded memory; all functions here block and are called in a worker thread.

Owns nothing. ``protocol`` compares with what a server reports; ``sender`` computes the sha1 that each upload carries; ``follower`` does
so while the file is still being written.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from typing import Protocol

_CHUNK = 1 << 21


class Digest(Protocol):
    """What hashlib's objects have in common with ours."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """Lower-case hex of the bytes so far."""
        ...


class _Adler32:
    """Adler-32 with hashlib's interface; eight hex digits as EOS and OpenCloud print it."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def new_digest(kind: str) -> Digest | None:
    """A digest of one of the kinds that CS3 names, None for one that we do not know."""
    if kind == "sha1":
        return hashlib.sha1(usedforsecurity=False)
    if kind == "md5":
        return hashlib.md5(usedforsecurity=False)
    if kind == "adler32":
        return _Adler32()
    return None


def feed(digest: Digest, fd: int, start: int, stop: int, *, stop_now: Callable[[], int] | None = None) -> int:
    """Give bytes ``start`` to ``stop`` of ``fd`` to ``digest``; returns where it ended: earlier if the file does.

    ``stop_now`` tells after each piece of 2 MiB where to stop by now: another thread writes ahead.
    """
    buffer = bytearray(min(_CHUNK, max(stop - start, 1)))
    view = memoryview(buffer)
    position = start
    while (left := (stop if stop_now is None else stop_now()) - position) > 0:
        count = os.preadv(fd, [view[:left]], position)
        if count == 0:
            break
        digest.update(view[:count])
        position += count
    return position


def hex_of(kind: str, fd: int, size: int) -> str | None:
    """The checksum of the first ``size`` bytes, None for an unknown kind or a shorter file. Blocks; raises OSError."""
    digest = new_digest(kind)
    if digest is None or feed(digest, fd, 0, size) != size:
        return None
    return digest.hexdigest()
