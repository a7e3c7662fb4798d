"""Reading: whole files, pieces of files, many files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import uproot

from bench import content
from bench.content import MIB, WrongBytesError, check_piece
from bench.gateways import Gateway
from bench.items.base import Item, Medians, Stage, Verdict, at_most_ratio
from bench.measure import Meter, drop_pages
from bench.mounts import Mount
from tests.support.rootfiles import LargeRootFile, large_root_file

_LARGE_BYTES = 512 * MIB
_SMALL_BYTES = 4096
_BRANCH = 7


def read_through(path: Path, size_bytes: int) -> None:
    """Read a file as cat does, and look at its marks. Raises: WrongBytesError."""
    buffer = memoryview(bytearray(MIB))
    offset = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            check_piece(offset, buffer[:count])
            offset += count
    if offset != size_bytes:
        raise WrongBytesError(f"{path.name} has {offset} bytes instead of {size_bytes}.")


class SequentialCold(Item):
    """A large file from end to end."""

    name = "sequential"
    title = "512 MiB sequential, cold"
    limit_title = "curl to a file"
    with_minimal = True

    def prepare(self, stage: Stage) -> None:
        _large_file(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        with stage.scratch_files() as (target,), meter.timed():
            stage.bare.get_file(_large_file(stage), target)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        with meter.timed():
            read_through(mount.path / _large_file(stage), stage.bytes(_LARGE_BYTES))

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 1.2)


class SequentialStored(Item):
    """The same file again, when the daemon has it and no page cache does."""

    name = "stored"
    title = "512 MiB sequential, from the store"
    limit_title = "read a local file"

    def prepare(self, stage: Stage) -> None:
        _large_file(stage)
        stage.local_file(stage.bytes(_LARGE_BYTES))

    def limit(self, stage: Stage, meter: Meter) -> None:
        size_bytes = stage.bytes(_LARGE_BYTES)
        path = stage.local_file(size_bytes)
        drop_pages([path])
        with meter.timed():
            read_through(path, size_bytes)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path, size_bytes = mount.path / _large_file(stage), stage.bytes(_LARGE_BYTES)
        read_through(path, size_bytes)
        mount.drop_pages(path)
        with meter.timed():
            read_through(path, size_bytes)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 2)


class SequentialRestarted(SequentialStored):
    """The same after the daemon was started anew: checksums of what lies in the store are compared on first use."""

    name = "restarted"
    title = "512 MiB sequential, from the store after a restart"
    with_peers = False

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path, size_bytes = mount.path / _large_file(stage), stage.bytes(_LARGE_BYTES)
        read_through(path, size_bytes)
        mount.stop()
        mount.drop_pages()
        mount.start()
        meter.pid = mount.pid
        with meter.timed():
            read_through(path, size_bytes)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return Verdict()


class OneRange(Item):
    """A few bytes far inside a large file."""

    name = "range"
    title = "4 KiB at 400 MiB of 512 MiB, cold"
    limit_title = "InitiateFileDownload + one range GET"
    with_minimal = True

    def fits(self, gateway: Gateway) -> bool:
        return gateway.ranges

    def prepare(self, stage: Stage) -> None:
        _large_file(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        offset = self._offset(stage)
        with meter.timed():
            data = stage.bare.get(_large_file(stage), offset, offset + _SMALL_BYTES)
        check_piece(offset, data)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        offset = self._offset(stage)
        path = mount.path / _large_file(stage)
        with meter.timed():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, _SMALL_BYTES, offset)
            finally:
                os.close(descriptor)
        check_piece(offset, data)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 3)

    @staticmethod
    def _offset(stage: Stage) -> int:
        return stage.bytes(_LARGE_BYTES) * 400 // 512 // MIB * MIB


class OneBranch(Item):
    """One of twenty branches of a ROOT file, with uproot."""

    name = "branch"
    title = "uproot: 1 of 20 branches of 300 MB, cold"
    limit_title = "curl of the whole file + uproot on it"

    def prepare(self, stage: Stage) -> None:
        made = self._made(stage)
        self._remote(stage)
        _read_branch(made.path, made)  # numba, dictionaries and the like

    def limit(self, stage: Stage, meter: Meter) -> None:
        path, made = self._remote(stage), self._made(stage)
        with stage.scratch_files() as (target,), meter.timed():
            stage.bare.get_file(path, target)
            _read_branch(target, made)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path, made = mount.path / self._remote(stage), self._made(stage)
        with meter.timed():
            _read_branch(path, made)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 0.6 if stage.gateway.ranges else 1.3)

    @staticmethod
    def _made(stage: Stage) -> LargeRootFile:
        return large_root_file(size_bytes=stage.bytes(300_000_000))

    def _remote(self, stage: Stage) -> str:
        local = self._made(stage).path
        size_bytes = local.stat().st_size

        def make(path: str) -> None:
            stage.bare.put_file(path, local)
            stage.bare.wait_for(path, size_bytes)

        return stage.once("events.root", make)


class SmallFiles(Item):
    """All files of a folder, one after the other."""

    name = "small"
    title = "200 files of 4 KiB in one folder, cold"
    limit_title = "InitiateFileDownload + GET, in a row"
    with_minimal = True
    _COUNT = 200

    def prepare(self, stage: Stage) -> None:
        self._folder(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        folder, names = self._folder(stage), self._names(stage)
        with meter.timed():
            found = [stage.bare.get(f"{folder}/{name}") for name in names]
        _check_small(found)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        folder = mount.path / self._folder(stage)
        with meter.timed():
            found = [(folder / name).read_bytes() for name in sorted(os.listdir(folder))]
        if len(found) != len(self._names(stage)):
            raise WrongBytesError(f"The folder has {len(found)} files.")
        _check_small(found)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 1)

    def _names(self, stage: Stage) -> list[str]:
        return [f"{number:04}.dat" for number in range(stage.count(self._COUNT))]

    def _folder(self, stage: Stage) -> str:
        def make(folder: str) -> None:
            stage.bare.mkdir(folder)
            for number, name in enumerate(self._names(stage)):
                stage.bare.put(f"{folder}/{name}", _SMALL_BYTES, content.small(number, _SMALL_BYTES))
            stage.bare.wait_for(f"{folder}/{self._names(stage)[-1]}", _SMALL_BYTES)

        return stage.once("small", make)


class ManyReaders(Item):
    """Several large files by as many threads."""

    name = "readers"
    title = "16 threads, 16 files of 64 MiB, cold"
    limit_title = "16 curls at once to files"
    with_minimal = True
    _COUNT = 16
    _BYTES = 64 * MIB

    def prepare(self, stage: Stage) -> None:
        self._paths(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        paths = self._paths(stage)
        with stage.scratch_files(len(paths)) as targets, meter.timed():
            stage.bare.get_files(list(zip(paths, targets, strict=True)))

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        paths, size_bytes = [mount.path / path for path in self._paths(stage)], stage.bytes(self._BYTES)
        with ThreadPoolExecutor(len(paths)) as threads, meter.timed():
            list(threads.map(lambda path: read_through(path, size_bytes), paths))

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        verdict = at_most_ratio(medians, 1.25)
        return Verdict("≥ 0.8x throughput", verdict.holds)

    def _paths(self, stage: Stage) -> list[str]:
        return [stage.file(f"reader-{number:02}.bin", stage.bytes(self._BYTES)) for number in range(self._COUNT)]


def _large_file(stage: Stage) -> str:
    return stage.file("large.bin", stage.bytes(_LARGE_BYTES))


def _read_branch(path: Path, made: LargeRootFile) -> None:
    with uproot.open(path) as file:
        values = file["events"][f"branch{_BRANCH:02}"].array(library="np")
    if len(values) != made.entries or not np.array_equal(values[:1000], made.expected(_BRANCH)[:1000]):
        raise WrongBytesError("The branch holds other values than were written.")


def _check_small(found: list[bytes]) -> None:
    for number, data in enumerate(found):
        if data != content.small(number, _SMALL_BYTES):
            raise WrongBytesError(f"File {number} holds other bytes than were written.")
