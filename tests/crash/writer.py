"""A program that saves files and notes what it was told: ``python -m tests.crash.writer FOLDER LEDGER SEED ROUND THREADS [SECONDS]``.

Creates, overwrites, appends to, patches and replaces files of 0 bytes to a few MiB below FOLDER, in several threads with files of their
own, until an end is put to it: by a call that fails because the mount died, or after SECONDS. It knows nothing of cs3fuse.
"""

from __future__ import annotations

import errno
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.crash.ledger import Ledger, Step

T = TypeVar("T")

POOL = 4
"""Files of each thread that live from round to round."""
_MOUNT_DIED = {errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ENODEV}
_PIECE = 256 * 1024


class Writer(threading.Thread):
    """One thread with its own names."""

    def __init__(self, folder: Path, ledger: Ledger, seed: str, turn: int, number: int, ends_at: float) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._ledger = ledger
        self._random = random.Random(f"{seed}/{turn}/{number}")
        self._seed = f"{seed}/{turn}/{number}"
        self._turn = turn
        self._number = number
        self._ends_at = ends_at
        self._steps = 0
        self._left_alone: set[str] = set()

    def run(self) -> None:
        actions = [self._create, self._overwrite, self._append, self._patch, self._replace]
        while time.monotonic() < self._ends_at:
            action = self._random.choices(actions, weights=[3, 3, 2, 2, 3])[0]
            try:
                action()
            except OSError as error:
                if error.errno in _MOUNT_DIED:
                    return

    # What an editor, a logger, a notebook do

    def _create(self) -> None:
        self._save(f"r{self._turn:03}/{self._number}-{self._steps:04}", os.O_CREAT | os.O_EXCL)

    def _overwrite(self) -> None:
        self._save(self._pick(), os.O_CREAT | os.O_TRUNC)

    def _save(self, name: str, flags: int) -> None:
        """Write a whole file; half of them in two parts with an fsync between."""
        if name in self._left_alone:
            return
        first = self._step(name, "whole", self._size())
        fd = self._call(first, lambda: os.open(self._folder / name, os.O_WRONLY | flags))
        try:
            self._call(first, lambda: _write(fd, first.body(), 0))
            if self._random.random() < 0.5:
                self._call(first, lambda: os.fsync(fd))
                self._done(first)
                first = self._step(name, "append", self._size() // 4)
                offset = os.fstat(fd).st_size
                self._call(first, lambda: _write(fd, first.body(), offset))
        except BaseException:
            os.close(fd)
            raise
        self._call(first, lambda: os.close(fd))
        self._done(first)

    def _append(self) -> None:
        name = self._pick()
        if name in self._left_alone or not (self._folder / name).exists():
            return
        step = self._step(name, "append", self._size() // 8)
        fd = self._call(step, lambda: os.open(self._folder / name, os.O_WRONLY | os.O_APPEND))
        self._finish(step, fd, lambda: _write(fd, step.body(), None))

    def _patch(self) -> None:
        name = self._pick()
        if name in self._left_alone or not (self._folder / name).exists():
            return
        offset = self._random.randint(0, (self._folder / name).stat().st_size)
        step = self._step(name, "patch", self._random.choice([1, 100, 4096, 100_000]), offset=offset)
        fd = self._call(step, lambda: os.open(self._folder / name, os.O_RDWR))
        self._finish(step, fd, lambda: _write(fd, step.body(), offset))

    def _replace(self) -> None:
        """A temporary file renamed onto the old one."""
        name = self._pick()
        if name in self._left_alone:
            return
        temporary = f"r{self._turn:03}/{self._number}-{self._steps:04}.tmp"
        self._save(temporary, os.O_CREAT | os.O_EXCL)
        step = self._step(name, "replace", 0, source=temporary)
        self._call(step, lambda: os.rename(self._folder / temporary, self._folder / name))
        self._done(step)

    # Steps

    def _pick(self) -> str:
        return f"pool/{self._number}-{self._random.randrange(POOL)}"

    def _size(self) -> int:
        kind = self._random.random()
        if kind < 0.1:
            return self._random.choice([0, 1])
        if kind < 0.6:
            return self._random.randint(2, 64 * 1024)
        return self._random.randint(64 * 1024, 512 * 1024 if kind < 0.9 else 3 * 1024 * 1024)

    def _step(self, name: str, kind: str, size: int, *, offset: int = 0, source: str = "") -> Step:
        number = self._number * 1_000_000 + self._steps
        self._steps += 1
        step = Step(number, name, kind, f"{self._seed}/{number}", size, offset, source)  # type: ignore[arg-type]
        self._ledger.begin(step)
        return step

    def _finish(self, step: Step, fd: int, write: Callable[[], object]) -> None:
        try:
            self._call(step, write)
        except BaseException:
            os.close(fd)
            raise
        self._call(step, lambda: os.close(fd))
        self._done(step)

    def _call(self, step: Step, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as error:
            self._left_alone |= {step.name, step.source}
            if error.errno not in _MOUNT_DIED:
                self._ledger.failed(step, error)
            raise

    def _done(self, step: Step) -> None:
        self._ledger.done(step)


def _write(fd: int, data: bytes, offset: int | None) -> None:
    view = memoryview(data)
    while view:
        piece = view[:_PIECE]
        count = os.write(fd, piece) if offset is None else os.pwrite(fd, piece, offset)
        view = view[count:]
        offset = None if offset is None else offset + count


def main() -> None:
    folder, ledger, seed, turn, threads = (
        Path(sys.argv[1]),
        Ledger(Path(sys.argv[2])),
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    seconds = float(sys.argv[6]) if len(sys.argv) > 6 else 30.0
    for name in ("pool", f"r{turn:03}"):
        (folder / name).mkdir(exist_ok=True)
    writers = [Writer(folder, ledger, seed, turn, number, time.monotonic() + seconds) for number in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


if __name__ == "__main__":
    main()
