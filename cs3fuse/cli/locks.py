"""``cs3fuse locks`` and ``unlock``: who has what locked, and releasing it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cs3fuse.cli.daemons import ask, ask_each
from cs3fuse.cli.words import AnyMount, AnyPath, AsJson, clock, print_json, print_table, say, warn
from cs3fuse.errors import LockedError


def locks(mount_point: AnyMount = None, *, as_json: AsJson = False) -> None:
    """List our locks, and those of others that were in the way."""
    found = ask_each(mount_point, "locks")
    if as_json:
        print_json(found)
        return
    rows: list[tuple[object, ...]] = []
    for told in found:
        if "error" in told:
            warn(f"{told['mount_point']}: {told['error']}")
            continue
        rows += [(each["path"], "this mount", each["state"], clock(each["expires_at"])) for each in told["ours"]]
        rows += [(path, "this mount, before a crash", "held", "") for path in told["of_an_earlier_run"]]
        rows += [
            (
                each["path"],
                f"{each['application']}/{each['holder']}".strip("/"),
                f"met {clock(each['met_at'])}",
                clock(each["expires_at"]),
            )
            for each in told["foreign"]
        ]
    if rows:
        print_table("Locks", ("path", "holder", "state", "until"), rows)
    else:
        say("No locks are held, and none were met.")


def unlock(
    path: AnyPath,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also a lock of somebody else, if the server allows it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Release the lock of this mount on a file (a program that has it open takes it again when it saves)."""
    told = ask(path, "unlock", timeout_s=90)
    if told["released"]:
        say(f"The lock on {path} is released.")
        return
    if not force:
        raise LockedError(f"{path} is {told['words']}, not by this mount. --force asks the server to release it all the same.")
    if not yes and not _is_wanted(f"{path} is {told['words']}. They may be editing it and lose work. Release the lock?"):
        raise typer.Exit(1)
    ask(path, "unlock", mark=told["mark"], timeout_s=90)
    say(f"The lock on {path} is released.")


def _is_wanted(question: str) -> bool:
    if not sys.stdin.isatty():
        raise LockedError("There is no terminal to ask at: add --yes if you are sure.")
    return typer.confirm(question, default=False)
