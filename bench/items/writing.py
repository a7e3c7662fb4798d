"""Writing: a large file, many small ones, editors' saves."""

from __future__ import annotations

import os
from pathlib import Path

from bench import content
from bench.content import MIB, Buffer, WrongBytesError
from bench.items.base import Item, Medians, Stage, Verdict, at_most_ratio, at_most_seconds
from bench.measure import Meter
from bench.mounts import Mount

_LARGE_BYTES = 256 * MIB
_SMALL_BYTES = 4096
_NOTEBOOK_BYTES = 240_000
_SAVES = 10


def write_and_sync(path: Path, size_bytes: int, data: Buffer) -> None:
    """Write a file with marked content, fsync and close it."""
    with path.open("wb", buffering=0) as file:
        for piece in data.pieces(size_bytes):
            file.write(piece)
        os.fsync(file.fileno())


def must_be_there(stage: Stage, mount: Mount, paths: list[str], size_bytes: int) -> None:
    """See that the server has the files; peers, which close before they send, are waited for."""
    for path in paths:
        if not mount.acknowledges:
            stage.bare.wait_for(path, size_bytes)


def check_there(stage: Stage, paths: list[str], size_bytes: int) -> None:
    """Prove afterwards what the mount acknowledged. Raises: WrongBytesError."""
    for path in paths:
        stage.bare.wait_for(path, size_bytes)
        if stage.bare.size(path) != size_bytes:
            raise WrongBytesError(f"{path} was acknowledged but is not on the server.")


class LargeWrite(Item):
    """One large file."""

    name = "write"
    title = "256 MiB written and fsynced"
    limit_title = "InitiateFileUpload + curl PUT"
    with_minimal = True

    def prepare(self, stage: Stage) -> None:
        stage.local_file(stage.bytes(_LARGE_BYTES))

    def limit(self, stage: Stage, meter: Meter) -> None:
        source, path = stage.local_file(stage.bytes(_LARGE_BYTES)), stage.new("bare.bin")
        with meter.timed():
            stage.bare.put_file(path, source)
        stage.bare.wait_for(path, stage.bytes(_LARGE_BYTES))
        stage.delete_quietly([path])

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path, size_bytes, data = stage.new("written.bin"), stage.bytes(_LARGE_BYTES), Buffer()
        with meter.timed():
            write_and_sync(mount.path / path, size_bytes, data)
            must_be_there(stage, mount, [path], size_bytes)
        check_there(stage, [path], size_bytes)
        stage.delete_quietly([path])

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 2)


class CreateSmall(Item):
    """Many small files, created, written and closed one after the other."""

    name = "create"
    title = "100 files of 4 KiB created and closed"
    limit_title = "InitiateFileUpload + PUT, in a row"
    with_minimal = True
    _COUNT = 100

    def limit(self, stage: Stage, meter: Meter) -> None:
        folder, paths = self._folder(stage)
        datas = [content.small(number, _SMALL_BYTES) for number in range(len(paths))]
        with meter.timed():
            for path, data in zip(paths, datas, strict=True):
                stage.bare.put(path, len(data), data)
        check_there(stage, paths[-1:], _SMALL_BYTES)
        stage.bare.delete(folder)

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        folder, paths = self._folder(stage)
        datas = [content.small(number, _SMALL_BYTES) for number in range(len(paths))]
        os.listdir(mount.path / folder)  # as the shell or the program that creates them there did
        with meter.timed():
            for path, data in zip(paths, datas, strict=True):
                (mount.path / path).write_bytes(data)
            self._settle(mount)
            must_be_there(stage, mount, paths, _SMALL_BYTES)
        check_there(stage, paths, _SMALL_BYTES)
        stage.bare.delete(folder)

    def _settle(self, mount: Mount) -> None:
        """Nothing: close(2) is the promise."""

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 5)

    def _folder(self, stage: Stage) -> tuple[str, list[str]]:
        folder = stage.new("created")
        stage.bare.mkdir(folder)
        return folder, [f"{folder}/{number:04}.dat" for number in range(stage.count(self._COUNT))]


class CreateInBackground(CreateSmall):
    """The same with uploads in the background, until everything is sent."""

    name = "create-background"
    title = "the same, commit = background, until flush returns"
    mount_options = {"commit": "background"}  # noqa: RUF012
    with_peers = False

    def _settle(self, mount: Mount) -> None:
        mount.settle()

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_ratio(medians, 2)


class NotebookSaves(Item):
    """What Jupyter does to save: a copy aside, the file written in place, the copy removed."""

    name = "notebook"
    title = "ten notebook saves of 240 KB"
    limit_title = "ten uploads of it"

    def limit(self, stage: Stage, meter: Meter) -> None:
        path = stage.new("bare.ipynb")
        datas = [content.small(number, _NOTEBOOK_BYTES) for number in range(_SAVES)]
        with meter.timed():
            for data in datas:
                stage.bare.put(path, len(data), data)
        check_there(stage, [path], _NOTEBOOK_BYTES)
        stage.delete_quietly([path])

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path = stage.new("saved.ipynb")
        datas = [content.small(number, _NOTEBOOK_BYTES) for number in range(_SAVES + 1)]
        stage.bare.put(path, _NOTEBOOK_BYTES, datas[-1])
        stage.bare.wait_for(path, _NOTEBOOK_BYTES)
        with meter.timed():
            for data in datas[:-1]:
                self._save(mount.path / path, data)
            must_be_there(stage, mount, [path], _NOTEBOOK_BYTES)
        stage.bare.wait_for(path, _NOTEBOOK_BYTES)
        if mount.acknowledges and stage.bare.get(path) != datas[_SAVES - 1]:
            raise WrongBytesError(f"{path} does not hold what was saved last.")
        stage.delete_quietly([path])

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return at_most_seconds(medians, 1.5)

    def _save(self, path: Path, data: bytes) -> None:
        """jupyter_server.services.contents.fileio.atomic_writing, step by step."""
        aside = path.with_name(f".~{path.name}")
        aside.write_bytes(path.read_bytes())
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.unlink()


class ReplacingSaves(NotebookSaves):
    """What most editors do to save: a new file, moved over the old one."""

    name = "replace"
    title = "ten saves of 240 KB by rename over the file"

    def _save(self, path: Path, data: bytes) -> None:
        aside = path.with_name(f"{path.name}.tmp")
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        return Verdict()


class MemoryOfWrites(Item):
    """How the daemon grows while much is written."""

    name = "write-memory"
    title = "memory while 2 GiB are written"
    runs = 1
    with_peers = False
    _BYTES = 2048 * MIB
    _MOST_BYTES = 64 * MIB

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        path, size_bytes, data = stage.new("huge.bin"), stage.bytes(self._BYTES), Buffer()
        os.stat(mount.path / stage.folder)
        with meter.timed():
            write_and_sync(mount.path / path, size_bytes, data)
        check_there(stage, [path], size_bytes)
        stage.delete_quietly([path])

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        growth = medians.ours.growth_bytes
        return Verdict("grows < 64 MiB", None if growth is None else growth < self._MOST_BYTES)
