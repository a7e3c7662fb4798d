"""Whether a program has a file open once more: what the kernel does not say when it tells of a close(2).

FUSE sends FLUSH for each descriptor that is closed and names neither it nor those that are left. A shell that carries out ``command > file``
opens the file, makes the descriptor its standard output with dup2(2), and closes the first one: FLUSH comes while nothing was written
yet. ``kernel.operations`` asks here who opened it. Stateless; reads /proc of one process, which costs no request to any mount.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

_TOLD = re.compile(rb"^flags:\t([0-7]+)$.*^ino:\t([0-9]+)$", re.MULTILINE | re.DOTALL)
_MOST_DESCRIPTORS = 256
"""Of a process with more, nothing is known: looking would take longer than what it could spare."""


def can_write_elsewhere(pid: int, ino: int, name: str) -> bool:
    """Whether the process (or thread) still has the file open for writing, after the descriptor whose close(2) is told of.

    Called while that close(2) waits for our answer: the kernel takes the descriptor out of its table before. Number and name of the file
    must agree; one alone may be that of another file system. False where nothing can be known: another user's process, one in another
    PID namespace (0), one that ended.
    Source: Linux fs/file.c (close_fd, do_dup2), fs/proc/fd.c (``ino:`` since 5.14).
    """
    if pid <= 0:
        return False
    with suppress(OSError):
        return any(_is_open_as(pid, number, ino, name) for number in _descriptors(pid))
    return False


def _descriptors(pid: int) -> Iterator[str]:
    numbers = os.listdir(f"/proc/{pid}/fdinfo")  # noqa: PTH208 - names are enough
    return iter(numbers if len(numbers) <= _MOST_DESCRIPTORS else [])


def _is_open_as(pid: int, number: str, ino: int, name: str) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{number}", "rb", buffering=0) as file:  # noqa: PTH123 - once for each descriptor
            told = file.read(1024)
        found = _TOLD.search(told)
        if found is None or int(found[2]) != ino or int(found[1], 8) & os.O_ACCMODE == os.O_RDONLY:
            return False
        return os.readlink(f"/proc/{pid}/fd/{number}").endswith(f"/{name}")  # noqa: PTH115 - it need not be a path
    except OSError:  # closed meanwhile
        return False
