"""How the command line takes and gives words: arguments, sizes, times, tables, exit status.

Pure but for printing. Used by the modules beside this one.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs3fuse.errors import BadRequestError

if TYPE_CHECKING:
    from rich.console import Console

MountPoint = Annotated[Path, typer.Argument(help="The folder where it is mounted.")]
AnyMount = Annotated[Path | None, typer.Argument(help="One mount; default: all of this user.")]
AnyPath = Annotated[Path, typer.Argument(help="A file or folder in a mount.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_PIPE_COLUMNS = 400
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Unsent(Exception):  # noqa: N818 it is exit status 3 with a sentence, not a fault
    """Done, but something that should be on the server is not."""


def absolute(path: Path) -> Path:
    """The path from the root, without asking any file system: ``resolve`` would hang on a dead mount."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def size_of(text: str) -> int:
    """Bytes from words of people: ``20G``, ``512 MiB``, ``1000``; units are powers of 1024. Raises: BadRequestError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadRequestError(f"{text!r} is not a size; write it like 20G, 512M or 1000000.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def size(count: float) -> str:
    """Bytes for people: three digits are enough."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def files(count: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} file" if count == 1 else f"{count} files"


def age(since: float, now: float | None = None) -> str:
    """How long ago, in the one unit that matters."""
    seconds = max(0, (time.time() if now is None else now) - since)
    for bound, unit, length in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < bound:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def clock(at: float | None) -> str:
    """A moment of today as a time, of another day with its date."""
    if at is None:
        return "no end"
    told = time.localtime(at)
    is_today = told[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M", told)


def clean(text: object) -> str:
    """Names from a server may hold line ends and terminal commands: they are shown as question marks."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def plain(value: Any) -> str:
    """A value of JSON in one line for people."""
    if value is None:
        return "not known yet"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {plain(item)}" for name, item in value.items())
    return str(value)


def print_json(value: Any) -> None:
    """For machines: one JSON value on stdout."""
    print(json.dumps(value, indent=2))


def say(sentence: str) -> None:
    """One sentence for a person, on stdout."""
    print(clean(sentence))


def warn(sentence: str) -> None:
    """One sentence for a person, on stderr."""
    print(f"cs3fuse: {clean(sentence)}", file=sys.stderr)


def console() -> Console:
    """Where tables go: nothing in them is markup, and a pipe gets whole lines."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; the first column is never cut."""
    from rich.table import Table

    table = Table(title=clean(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=position > 0 and name != "reason")
    for row in rows:
        table.add_row(*(clean(cell) for cell in row))
    console().print(table)


def print_facts(title: str, facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    from rich.table import Table

    table = Table(title=clean(title), show_header=False, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, "\n".join(clean(line) for line in str(value).split("\n")))
    console().print(table)
