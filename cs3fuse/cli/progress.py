"""Bars where a person waits; on stderr, and silent where that is no terminal.

Used by the commands, around one request each: the context gives a function that takes the daemon's progress lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cs3fuse.cli.words import size

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Advance = Callable[[dict[str, Any]], None]


def _bar(*columns: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, transient=True, console=console, disable=not console.is_terminal)


@contextmanager
def sending_bar(title: str) -> Iterator[Advance]:
    """Files that are being sent: ``done``, ``total`` and ``bytes`` of a progress line."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} files"),
        TextColumn("{task.fields[sent]}"),
        TimeElapsedColumn(),
    )
    with _bar(*columns) as bar:
        task = bar.add_task(title, total=None, visible=False, sent="")

        def advance(state: dict[str, Any]) -> None:
            sent = size(state["bytes"]) if state.get("bytes") else ""
            bar.update(task, total=state.get("total"), completed=state.get("done", 0), visible=bool(state.get("total")), sent=sent)

        yield advance


@contextmanager
def fetching_bar(title: str) -> Iterator[Advance]:
    """Bytes that are being fetched: ``here_bytes``, ``total_bytes``, ``done`` and ``files`` of a progress line."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[files]}"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with _bar(*columns) as bar:
        task = bar.add_task(title, total=None, files="")

        def advance(state: dict[str, Any]) -> None:
            files = f"{state['done']}/{state['files']} files"
            bar.update(task, total=state["total_bytes"] or None, completed=state["here_bytes"], files=files)

        yield advance


@contextmanager
def counting_bar(title: str, unit: str) -> Iterator[Advance]:
    """Things that are being done one after another: ``done`` and ``total`` of a progress line."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    counted = TextColumn("{task.completed}/{task.total} " + unit)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), counted, TimeElapsedColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(title, total=None)

        def advance(state: dict[str, Any]) -> None:
            bar.update(task, total=state.get("total"), completed=state.get("done", 0))

        yield advance
