"""``cs3fuse status``: what is mounted, by whom, and how it is."""

from __future__ import annotations

from typing import Any

from cs3fuse.cli.daemons import ask_each
from cs3fuse.cli.words import AnyMount, AsJson, plain, print_facts, print_json, say


def status(mount_point: AnyMount = None, *, as_json: AsJson = False) -> None:
    """Show mounts: identity, what the storage can do, cache use, open files, unsent bytes."""
    found = ask_each(mount_point, "status")
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing is mounted.")
    for each in found:
        print_facts(
            each["mount_point"], ((name.replace("_", " "), _lines(value)) for name, value in each.items() if name != "mount_point")
        )


def _lines(value: Any) -> str:
    """A value for people; lists and dicts become lines."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {plain(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(plain(item) for item in value) or "-"
    return plain(value)
