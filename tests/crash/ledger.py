"""What a writing program was told: the steps that it began, and how each ended.

Shared by the writing program (``writer``) and by whoever judges afterwards. The ledger is a file of JSON lines outside the mount, opened
with O_APPEND and synced after every line, so that a line is there if and only if the program came that far.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one file that the program wants acknowledged.

    ``whole``: the file has exactly these bytes; ``append``: they follow the old ones; ``patch``: they lie at ``offset``; ``replace``:
    ``source`` was renamed onto the name. ``seed`` and ``size`` stand for the bytes. Numbers grow within one run of the program.
    """

    number: int
    name: str
    kind: Literal["whole", "append", "patch", "replace"]
    seed: str = ""
    size: int = 0
    offset: int = 0
    source: str = ""

    def body(self) -> bytes:
        """The bytes of this step."""
        return random.Random(self.seed).randbytes(self.size)


def after(before: bytes | None, step: Step, source: bytes | None = None) -> bytes:
    """The content of a file after a step; ``source`` is the content of the file that a ``replace`` renames."""
    match step.kind:
        case "whole":
            return step.body()
        case "append":
            return (before or b"") + step.body()
        case "patch":
            held = bytearray(before or b"")
            held[step.offset : step.offset + step.size] = step.body()
            return bytes(held)
        case "replace":
            assert source is not None
            return source


class Ledger:
    """The file, for the program."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def begin(self, step: Step) -> None:
        """The step's first system call follows."""
        self._put({"begin": asdict(step)})

    def done(self, step: Step) -> None:
        """The system call that acknowledges it returned 0."""
        self._put({"done": step.number})

    def failed(self, step: Step, error: OSError) -> None:
        """A system call of the step was refused."""
        self._put({"failed": step.number, "errno": error.errno})

    def _put(self, line: dict[str, object]) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._fd)


@dataclass(slots=True)
class Told:
    """A step with its end: ``errno`` 0 for success, None where no call returned (or the program was not told)."""

    step: Step
    errno: int | None = None

    @property
    def is_acknowledged(self) -> bool:
        return self.errno == 0


def read(path: Path) -> list[Told]:
    """All steps in the order of their beginnings."""
    told: dict[int, Told] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "begin" in entry:
            step = Step(**entry["begin"])
            told[step.number] = Told(step)
        elif "done" in entry:
            told[entry["done"]].errno = 0
        else:
            told[entry["failed"]].errno = entry["errno"]
    return list(told.values())


class Expected:
    """What the server must hold: for each name its acknowledged content, and what a step without an answer may have made of it."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes | None] = {}
        self.doubtful: dict[str, Told] = {}

    def play(self, told: Iterable[Told]) -> None:
        """Take the steps of one run. A step without success makes its names doubtful; the program must leave those alone from then on."""
        for item in told:
            step = item.step
            names = [step.name, step.source] if step.kind == "replace" else [step.name]
            assert not any(name in self.doubtful for name in names), f"the program went on with a doubtful name: {step}"
            if not item.is_acknowledged:
                self.doubtful.update(dict.fromkeys(names, item))
                continue
            self.contents[step.name] = after(self.contents.get(step.name), step, self.contents.get(step.source))
            if step.kind == "replace":
                self.contents[step.source] = None

    def wanted(self, name: str) -> bytes | None:
        """What a doubtful name holds if its step was carried out."""
        step = self.doubtful[name].step
        if name == step.source:
            return None
        return after(self.contents.get(name), step, self.contents.get(step.source))

    def settle(self, name: str, found: bytes | None) -> None:
        """What a doubtful name was found to hold in the end."""
        self.contents[name] = found
        del self.doubtful[name]
