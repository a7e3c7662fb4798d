"""Bytes for the benchmark's files: random ones that can be checked while they are read, at next to no cost.

Each mebibyte begins with its own number, so a reader proves with eight bytes that it got the right piece. Pure.
"""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator

MIB = 1 << 20
_MARK_BYTES = 8


class WrongBytesError(Exception):
    """What was read is not what was written: a benchmark of wrong bytes is worth nothing."""


def pieces(size_bytes: int, *, seed: int = 1) -> Iterator[bytes]:
    """A file of ``size_bytes`` in pieces of 1 MiB (the last one shorter)."""
    body = random.Random(seed).randbytes(MIB - _MARK_BYTES)
    for number in range(-(-size_bytes // MIB)):
        piece = number.to_bytes(_MARK_BYTES, "big") + body
        yield piece[: size_bytes - number * MIB]


class Buffer:
    """The bytes of ``pieces`` in one page-aligned buffer that is used again, as cp and dd hold what they copy: making them costs nothing."""

    def __init__(self, *, seed: int = 1) -> None:
        self._memory = mmap.mmap(-1, MIB)
        self._memory[_MARK_BYTES:] = random.Random(seed).randbytes(MIB - _MARK_BYTES)

    def pieces(self, size_bytes: int) -> Iterator[memoryview]:
        """A file of ``size_bytes`` in pieces of 1 MiB, each valid until the next one."""
        view = memoryview(self._memory)
        for number in range(-(-size_bytes // MIB)):
            self._memory[:_MARK_BYTES] = number.to_bytes(_MARK_BYTES, "big")
            yield view[: size_bytes - number * MIB]


def small(number: int, size_bytes: int, *, seed: int = 1) -> bytes:
    """The content of the ``number``-th of many small files."""
    return random.Random(f"{seed}/{number}").randbytes(size_bytes)


def check_piece(offset: int, data: bytes | memoryview) -> None:
    """Look at the marks within bytes that were read at ``offset``. Raises: WrongBytesError."""
    for start in range(-offset % MIB, len(data) - _MARK_BYTES + 1, MIB):
        found = int.from_bytes(data[start : start + _MARK_BYTES], "big")
        if found != (offset + start) // MIB:
            raise WrongBytesError(f"At byte {offset + start} stands the mark {found}.")
