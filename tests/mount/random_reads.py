"""Programs read at random places of files that other people replace, shorten, empty and delete: each byte is right, or the read is an error.

What the long test and its short form have in common. The model is the list of bytes that each open file had when it was opened; the gateway
and the mount belong to the caller. One play at a time.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.emulator.control_client import ControlClient, ControlError
from tests.support.processes import GatewayProcess, MountProcess

KiB, MiB = 1024, 1024 * 1024
REFUSED = {errno.ESTALE, errno.EIO}
"""What a read may end with once somebody changed the file or the server failed."""
_SIZES = [0, 1, 5000, 128 * KiB, 128 * KiB + 1, MiB, 3 * MiB + 17, 9 * MiB]
_NAMES = ["a", "b.root", "c", "d.parquet", "e.zip", "f"]
_AT_ONCE = 4
_CHANGES_KEPT = 500
_FAULTS: list[dict[str, object]] = [
    {"method": "GET", "times": 2, "http_status": 503},
    {"method": "GET", "times": 2, "reset_after_bytes": 100_000},
    {"method": "GET", "times": 1, "shorten_to": 5000},
    {"method": "GET", "times": 1, "delay_s": 0.5},
    {"call": "InitiateFileDownload", "times": 1, "grpc": "UNAVAILABLE"},
]


@dataclass
class Opened:
    """One descriptor and what it must show. ``is_calm``: nothing happened to its file since, so an error would be one too many."""

    name: str
    fd: int
    data: bytes
    is_calm: bool = True


@dataclass
class Play:
    """One mount and the model of its files. ``seed`` decides all of it but the machine's pace."""

    gateway: GatewayProcess
    mount: MountProcess
    seed: int
    numbers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._control = ControlClient(f"http://127.0.0.1:{self.gateway.http_port}")
        self._files: dict[str, bytes] = {}
        self._opened: list[Opened] = []
        self._is_disturbed = False
        self._returned: set[str] = set()

    def run(self, seconds: float) -> None:
        """So long, then close everything. Raises: AssertionError: a byte was wrong, or a read was refused for no reason."""
        steps: dict[Callable[[], None], int] = {
            self._open: 8, self._read: 24, self._burst: 6, self._sequence: 3, self._close: 6,
            self._change: 3, self._change_midway: 2, self._remove: 1, self._disturb: 1, self._limit: 1, self._look: 2,
        }  # fmt: skip
        if not self._files:
            for name in _NAMES:
                self._replace(name)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                self._chance.choices(list(steps), list(steps.values()))[0]()
                self.numbers["steps"] += 1
        finally:
            while self._opened:
                os.close(self._opened.pop().fd)

    def read_all(self) -> None:
        """Read every file as a whole, so that the cache holds it."""
        request(socket_path(self.mount.path), "cache_limit", bytes=1024 * MiB)
        for name, data in self._files.items():
            fd = self._opened_soon(name, os.O_RDONLY)
            try:
                self._one(Opened(name, fd, data), 0.0, len(data) + 1)
            finally:
                os.close(fd)

    def damage(self) -> None:
        """Change bytes in the cache folder of a mount that does not run."""
        for path in sorted((self.mount.folder / "cache").rglob("*")):
            if path.is_file() and "content" in path.parts and path.stat().st_size and self._chance.random() < 0.5:
                with path.open("r+b") as file:
                    file.seek(self._chance.randrange(path.stat().st_size))
                    file.write(b"!")
                self.numbers["damaged"] += 1

    # Readers

    def _open(self) -> None:
        name = self._chance.choice(_NAMES)
        if name not in self._files or len(self._opened) >= 8:
            return
        fd = self._opened_soon(name, os.O_RDONLY | (os.O_DIRECT if self._chance.random() < 0.05 else 0))
        assert os.fstat(fd).st_size == len(self._files[name]), f"{name} has another size than at its open"
        self._opened.append(Opened(name, fd, self._files[name]))

    def _opened_soon(self, name: str, flags: int) -> int:
        """A name that was deleted may be missed for as long as that is remembered."""
        until = time.monotonic() + 2.0
        while True:
            try:
                return os.open(self.mount.path / name, flags)
            except FileNotFoundError:
                assert name in self._returned and time.monotonic() < until, f"{name} was not found"
                time.sleep(0.05)

    def _close(self) -> None:
        if self._opened:
            os.close(self._opened.pop(self._chance.randrange(len(self._opened))).fd)

    def _read(self) -> None:
        if self._opened:
            self._one(self._chance.choice(self._opened), *self._somewhere())

    def _burst(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Several programs at once."""
        if not self._opened:
            return
        with ThreadPoolExecutor(_AT_ONCE) as programs:
            reads = [programs.submit(self._one, self._chance.choice(self._opened), *self._somewhere()) for _ in range(2 * _AT_ONCE)]
            meanwhile()
            for each in reads:
                each.result()

    def _sequence(self) -> None:
        if self._opened:
            opened = self._chance.choice(self._opened)
            size = self._chance.choice([128 * KiB, MiB])
            for offset in range(0, len(opened.data), size):
                self._one(opened, offset / max(1, len(opened.data)), size)

    def _somewhere(self) -> tuple[float, int]:
        return self._chance.random() * 1.01, self._chance.choice([1, 4 * KiB, 100_000, 400_000])

    def _one(self, opened: Opened, place: float, size: int) -> None:
        """``place``: as a share of the file's length."""
        offset = round(place * len(opened.data))
        self.numbers["reads"] += 1
        was_calm = opened.is_calm and not self._is_disturbed
        try:
            got = _pread(opened.fd, size, offset)
        except OSError as error:
            assert error.errno in REFUSED, f"reading {opened.name}: {error}"
            assert not (was_calm and opened.is_calm), f"reading {opened.name}, which nobody changed: {error}"
            self.numbers[errno.errorcode[error.errno]] += 1
            return
        assert got == opened.data[offset : offset + size], f"{opened.name}: wrong bytes at {offset}, {size} asked, {len(got)} came"

    def _look(self) -> None:
        """As a program that lists does; what is seen may be a second old."""
        assert set(os.listdir(self.mount.path)) <= set(_NAMES)

    # What others do

    def _replace(self, name: str) -> None:
        """Half of all changes keep the size: only the version tells."""
        old = self._files.get(name)
        keeps = old is not None and self._chance.random() < 0.5
        data = self._chance.randbytes(len(old) if keeps and old is not None else self._chance.choice(_SIZES))
        self._touched(name)
        self._control.write(f"/einstein/{name}", data, "einstein")
        self._files[name] = data

    def _touched(self, name: str) -> None:
        for opened in self._opened:
            if opened.name == name:
                opened.is_calm = False

    def _change(self) -> None:
        self._replace(self._chance.choice(_NAMES))
        self.numbers["changes"] += 1
        if self.numbers["changes"] % _CHANGES_KEPT == 0:
            self._empty_old_versions()

    def _empty_old_versions(self) -> None:
        """What the server keeps of replaced and deleted files would be some 150 GB an hour."""
        for path in (self.gateway.root / ".emulator").rglob("*"):
            if {"versions", "trash", "recycle"} & set(path.parts) and path.is_file():
                os.truncate(path, 0)

    def _change_midway(self) -> None:
        self._burst(meanwhile=self._change)

    def _remove(self) -> None:
        name = self._chance.choice(_NAMES)
        if name in self._files:
            self._touched(name)
            self._deleted_soon(name)
            del self._files[name]
            self._returned.add(name)
            self.numbers["removals"] += 1

    def _deleted_soon(self, name: str) -> None:
        """OpenCloud deletes nothing that it still processes."""
        until = time.monotonic() + 5.0
        while True:
            try:
                return self._control.delete(f"/einstein/{name}", "einstein")
            except ControlError:
                assert time.monotonic() < until
                time.sleep(0.05)

    def _disturb(self) -> None:
        """The server fails for a moment."""
        self._is_disturbed = True
        for fault in self._chance.sample(_FAULTS, 2):
            self._control.fault(**fault)
        try:
            self._burst()
        finally:
            self._control.clear_faults()
            self._is_disturbed = False
        self.numbers["disturbances"] += 1

    def _limit(self) -> None:
        """The cache gets smaller, or larger again."""
        budget = self._chance.choice([2 * MiB, 12 * MiB, 1024 * MiB])
        request(socket_path(self.mount.path), "cache_limit", bytes=budget)
        self.numbers["limits"] += 1


def _pread(fd: int, size: int, offset: int) -> bytes:
    """As programs do: what comes short, because a part of it failed, is asked for again."""
    parts = b""
    while len(parts) < size and (more := os.pread(fd, size - len(parts), offset + len(parts))):
        parts += more
    return parts
