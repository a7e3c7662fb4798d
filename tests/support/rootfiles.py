"""Makes large ROOT files for tests and benchmarks, once per machine.

``large_root_file`` is called by tests that read one branch of many. The file is kept in a cache folder and is the same for
the same arguments. Several processes may ask at once: each writes its own temporary file and the last rename wins.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot

_FORMAT = 1
"""Raised when the content changes, so that old files are not taken for new ones."""


@dataclass(frozen=True, slots=True)
class LargeRootFile:
    """A ROOT file with one TTree ``events`` whose branches are ``branch00`` ... of float32."""

    path: Path
    branches: int
    entries: int

    def expected(self, number: int) -> np.ndarray:
        """What branch ``number`` holds, without reading the file."""
        return np.concatenate([_basket(number, start, stop) for start, stop in _chunks(self.entries)])


def large_root_file(*, size_bytes: int = 300_000_000, branches: int = 20, folder: Path | None = None) -> LargeRootFile:
    """A ROOT file of about ``size_bytes`` (a little more; random floats, uncompressed), written where it is not there yet.

    ``folder`` keeps it; by default CS3FUSE_TEST_FILES or a folder of this user in the system's temporary folder.
    """
    entries = size_bytes // (4 * branches)
    keep = folder or default_folder()
    keep.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = keep / f"events-v{_FORMAT}-{branches}x{entries}.root"
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=keep, suffix=".part")
        os.close(handle)
        try:
            _write(Path(temporary), branches, entries)
            Path(temporary).rename(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return LargeRootFile(path, branches, entries)


def default_folder() -> Path:
    """Where large files are kept between runs."""
    named = os.environ.get("CS3FUSE_TEST_FILES")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"cs3fuse-test-files-{os.getuid()}"


def _write(path: Path, branches: int, entries: int) -> None:
    names = [f"branch{number:02}" for number in range(branches)]
    with uproot.recreate(path, compression=None) as file:
        tree = file.mktree("events", dict.fromkeys(names, "float32"), initial_basket_capacity=64)
        for start, stop in _chunks(entries):
            tree.extend({name: _basket(number, start, stop) for number, name in enumerate(names)})


# One basket per branch and chunk: 400 kB, so that the baskets of one branch lie spread over the whole file.
_CHUNK_ENTRIES = 100_000


def _chunks(entries: int) -> list[tuple[int, int]]:
    return [(start, min(start + _CHUNK_ENTRIES, entries)) for start in range(0, entries, _CHUNK_ENTRIES)]


def _basket(number: int, start: int, stop: int) -> np.ndarray:
    return np.random.default_rng([number, start]).random(stop - start, dtype=np.float32)
