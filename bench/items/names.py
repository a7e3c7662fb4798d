"""Names and attributes: a large folder, a deep tree."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.bare import Bare, tree_of
from bench.content import WrongBytesError
from bench.items.base import Item, Medians, Stage, Verdict, at_most_ratio, at_most_seconds
from bench.measure import Meter
from bench.mounts import Mount

_UPLOADERS = 8


def list_long(folder: Path) -> None:
    """``ls -l`` of a folder."""
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run(["ls", "-l", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=environment)


def put_many(stage: Stage, paths: list[str], data: bytes) -> None:
    """Upload many small files, by several connections."""
    callers = [Bare(stage.gateway.access) for _ in range(_UPLOADERS)]
    try:

        def upload(part: int) -> None:
            for path in paths[part::_UPLOADERS]:
                callers[part].put(path, len(data), data)

        with ThreadPoolExecutor(_UPLOADERS) as threads:
            list(threads.map(upload, range(_UPLOADERS)))
    finally:
        for caller in callers:
            caller.close()
    for path in paths[-_UPLOADERS:]:
        stage.bare.wait_for(path, len(data))


class ListCold(Item):
    """A folder with many files, for the first time."""

    name = "ls"
    title = "ls -l of 5000 files, cold"
    limit_title = "one ListContainer"
    with_minimal = True
    _COUNT = 5000

    def prepare(self, stage: Stage) -> None:
        self._folder(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        folder = self._folder(stage)
        with meter.timed():
            names = stage.bare.names(folder)
        if len(names) != stage.count(self._COUNT):
            raise WrongBytesError(f"The folder has {len(names)} files.")

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        folder = mount.path / self._folder(stage)
        with meter.timed():
            list_long(folder)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 2)

    def _folder(self, stage: Stage) -> str:
        def make(folder: str) -> None:
            stage.bare.mkdir(folder)
            put_many(stage, [f"{folder}/{number:05}.dat" for number in range(stage.count(self._COUNT))], b"x")

        return stage.once("many", make)


class ListWarm(ListCold):
    """The same folder at once again."""

    name = "ls-warm"
    title = "ls -l of 5000 files, again"
    with_minimal = False

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        folder = mount.path / self._folder(stage)
        list_long(folder)
        with meter.timed():
            list_long(folder)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_seconds(medians, 0.1)


class WalkCold(Item):
    """A tree of folders, with the attributes of every file."""

    name = "walk"
    title = "walk of 221 folders, 2000 files, cold"
    limit_title = "ListContainer of each, in a row"
    with_minimal = True
    _TOP, _BELOW, _FILES = 20, 10, 10

    def prepare(self, stage: Stage) -> None:
        self._folder(stage)

    def limit(self, stage: Stage, meter: Meter) -> None:
        folder = self._folder(stage)
        with meter.timed():
            files = sum(not is_folder for _, names in tree_of(stage.bare, folder) for _, is_folder in names)
        self._check(stage, files)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        folder = mount.path / self._folder(stage)
        with meter.timed():
            sizes = [os.lstat(f"{at}/{name}").st_size for at, _, names in os.walk(folder) for name in names]
        self._check(stage, sum(sizes))

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 1)

    def _check(self, stage: Stage, files: int) -> None:
        if files != stage.count(self._TOP) * self._BELOW * self._FILES:
            raise WrongBytesError(f"The tree has {files} files of one byte.")

    def _folder(self, stage: Stage) -> str:
        def make(folder: str) -> None:
            stage.bare.mkdir(folder)
            files = []
            for top in range(stage.count(self._TOP)):
                stage.bare.mkdir(f"{folder}/{top:02}")
                for below in range(self._BELOW):
                    inner = f"{folder}/{top:02}/{below:02}"
                    stage.bare.mkdir(inner)
                    files += [f"{inner}/{number}.dat" for number in range(self._FILES)]
            put_many(stage, files, b"x")

        return stage.once("tree", make)
