"""What ``cs3fuse status`` shows.

Called by ``cli``; asks each daemon through its socket and prints a table or returns plain values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.errors import UnavailableError
from cs3fuse.kernel.mounts import our_mount_points


def statuses(only: Path | None) -> list[dict[str, Any]]:
    """The status of one mount, or of all that this user may ask.

    Raises: UnavailableError for ``only`` if nothing answers there. Others that do not answer are listed with their error.
    """
    if only is not None:
        return [request(socket_path(only), "status")]
    found = []
    for mount_point in our_mount_points():
        try:
            found.append(request(socket_path(mount_point), "status"))
        except UnavailableError as error:
            found.append({"mount_point": str(mount_point), "error": str(error)})
    return found


def print_status(found: list[dict[str, Any]]) -> None:
    """Print for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not found:
        console.print("Nothing is mounted.")
    for status in found:
        table = Table(title=status["mount_point"], show_header=False, title_justify="left", title_style="bold")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in status.items():
            if name != "mount_point":
                table.add_row(name.replace("_", " "), _words(value))
        console.print(table)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_inline(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(_inline(item) for item in value) or "-"
    return _inline(value)


def _inline(value: Any) -> str:
    if value is None:
        return "not known yet"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_inline(item)}" for name, item in value.items())
    return str(value)
