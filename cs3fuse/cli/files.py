"""``cs3fuse info`` and ``refresh``: one path, and everything that is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.daemons import ask
from cs3fuse.cli.words import AnyPath, AsJson, age, clock, plain, print_facts, print_json, say, size


def info(path: AnyPath, *, as_json: AsJson = False) -> None:
    """Show what is known of a file or folder: on the server, here, its lock, its storage, why it failed."""
    told = ask(path, "info", timeout_s=90)
    if as_json:
        print_json(told)
    else:
        print_facts(told["path"], _facts(told))


def _facts(told: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "location", told["location"]
    if told["server_problem"]:
        yield "server", told["server_problem"]
    if "kind" in told:
        yield "kind", told["kind"] + (", the root of a share" if told["is_share_root"] else "")
        yield "id", told["id"] or "-"
        yield "etag", told["etag"] or "-"
        yield "size", f"{size(told['size'])} ({told['size']} bytes)"
        yield "modified", clock(told["mtime"])
        yield "checksum", told["checksum"] or "-"
        yield "owner", told["owner"] or "-"
        yield "permissions", ", ".join(told["permissions"]) if told["permissions"] is not None else "the server says nothing"
    if "state" in told:
        yield from _file_facts(told)
    if told.get("storage"):
        yield "storage", plain(told["storage"])
    for failure in told["recent_failures"]:
        yield f"failed {age(failure['at'])} ago", f"{failure['operation']}: {failure['errno']}, {failure['reason']}"


def _file_facts(told: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "state", told["state"] + (f": {told['unsent_reason']}" if told["unsent_reason"] else "")
    if told["cached_bytes"] is not None:
        yield "here", f"{size(told['cached_bytes'])} of {size(told.get('size', 0))}"
    lock = told["lock"]
    if lock is not None:
        who = "this mount" if lock["is_ours"] else "/".join(part for part in (lock["application"], lock["holder"]) if part)
        yield "lock", f"{lock['type']}, by {who or 'somebody'}, until {clock(lock['expires_at'])}"
    elif told["lock_problem"]:
        yield "lock", f"not known: {told['lock_problem']}"
    else:
        yield "lock", "none"
    for copy in told["conflict_copies"]:
        yield "your version", copy


def refresh(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders in mounts; of folders everything below is meant.")],
) -> None:
    """Forget names and attributes: the next look at them asks the server."""
    for path in paths:
        ask(path, "refresh", timeout_s=60)
    say("What was known is forgotten." if len(paths) > 1 else f"What was known of {paths[0]} is forgotten.")
