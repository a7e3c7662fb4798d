"""What a piece of work is: how it is prepared, what bare calls do for it, what a program does in a mount, what is promised.

Owns the stage on which all pieces of one gateway play: the caller, the folder on the server, what was put there already.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.bare import Bare
from bench.content import MIB, pieces
from bench.gateways import Gateway
from bench.measure import Meter, Sample
from bench.mounts import Mount


@dataclass
class Stage:
    """One gateway with a folder of ours. ``scale`` shrinks sizes and counts for a quick trial; then nothing is promised.
    ``calm_s``: how long each measurement may wait for a calm machine. ``latency_s`` is added to each call of the embedded gateway.
    """

    gateway: Gateway
    bare: Bare
    folder: str
    scratch: Path
    scale: float = 1.0
    idle_s: float = 60.0
    calm_s: float = 0.0
    latency_s: float = 0.0
    _made: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def bytes(self, size_bytes: int) -> int:
        """A size, scaled, whole mebibytes and at least one."""
        return max(1, round(size_bytes * self.scale / MIB)) * MIB

    def count(self, number: int) -> int:
        """A count, scaled, at least two."""
        return max(2, round(number * self.scale))

    def once(self, name: str, make: Callable[[str], None]) -> str:
        """The path on the server of something that is made when it is first asked for."""
        path = f"{self.folder}/{name}"
        if name not in self._made:
            make(path)
            self._made.add(name)
        return path

    def new(self, name: str) -> str:
        """A path that nobody used before."""
        return f"{self.folder}/{next(self._numbers)}-{name}"

    def file(self, name: str, size_bytes: int) -> str:
        """The path on the server of a file with marked content."""

        def make(path: str) -> None:
            self.bare.put(path, size_bytes, pieces(size_bytes))
            self.bare.wait_for(path, size_bytes)

        return self.once(name, make)

    def local_file(self, size_bytes: int) -> Path:
        """The same content on the local disk."""
        path = self.scratch / f"{size_bytes}.bin"
        if not path.exists():
            with path.open("wb", buffering=0) as file:
                for piece in pieces(size_bytes):
                    file.write(piece)
        return path

    @contextmanager
    def scratch_files(self, count: int = 1) -> Iterator[list[Path]]:
        """Names for files to download into; removed before the disk has to write them."""
        paths = [self.scratch / f"download-{next(self._numbers)}" for _ in range(count)]
        try:
            yield paths
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def delete_quietly(self, paths: Iterable[str]) -> None:
        """Remove files that were written for a measurement."""
        for path in paths:
            if self.bare.size(path) is not None:
                self.bare.delete(path)


@dataclass(frozen=True)
class Verdict:
    """What is promised, and whether it holds; None: nothing is promised here."""

    bound: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class Medians:
    """What came out for one item: medians over the runs; ``ratio`` is the median of the runs' own ratios."""

    ours: Sample
    limit: Sample | None
    ratio: float | None


def at_most_ratio(medians: Medians, most: float) -> Verdict:
    """The promise of a ratio to the bare calls."""
    return Verdict(f"≤ {most:g}x", None if medians.ratio is None else medians.ratio <= most)


def at_most_seconds(medians: Medians, most_s: float) -> Verdict:
    """The promise of a time."""
    return Verdict(f"≤ {most_s:g} s", medians.ours.seconds <= most_s)


class Item(ABC):
    """One piece of work. Subclasses hold no state between calls; ``prepare`` may be called more than once."""

    name: ClassVar[str]
    title: ClassVar[str]
    limit_title: ClassVar[str] = ""
    """What the bare calls are; "" where there are none to compare with."""
    mount_options: ClassVar[dict[str, object]] = {}
    runs: ClassVar[int | None] = None
    """How often, where that differs from what was asked for."""
    with_peers: ClassVar[bool] = True
    with_minimal: ClassVar[bool] = False
    """Whether the minimal mount can do it."""

    def fits(self, gateway: Gateway) -> bool:
        """Whether it makes sense with this gateway."""
        return True

    def prepare(self, stage: Stage) -> None:
        """Put onto the server what is needed; not timed."""

    def limit(self, stage: Stage, meter: Meter) -> None:
        """Do it with bare calls."""
        raise NotImplementedError

    @abstractmethod
    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        """Do it in a new mount without cache."""

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        """What is promised."""
        return Verdict()
