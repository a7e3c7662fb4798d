"""``cs3fuse queue``, ``flush`` and ``conflicts``: what is not on the server, or not where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.daemons import ask_each, mount_of
from cs3fuse.cli.progress import sending_bar
from cs3fuse.cli.words import AnyMount, AsJson, Unsent, age, clock, files, print_json, print_table, say, size, warn


def queue(mount_point: AnyMount = None, *, as_json: AsJson = False) -> None:
    """List files that are not on the server yet, with the reason."""
    found = ask_each(mount_point, "queue")
    if as_json:
        print_json(found)
        return
    _warn_of_silent(found)
    rows = [
        (each["path"], each["state"], size(each["size"]), age(each["since"]), each["attempts"], each["reason"])
        for told in found
        for each in told.get("files", [])
    ]
    if rows:
        print_table("Not on the server yet", ("path", "state", "size", "for", "attempts", "reason"), rows)
    else:
        say("Everything is on the server.")
    unfinished = [
        (each["id"], each["path"], size(each["size"]), clock(each["since"]))
        for told in found
        for each in told.get("unfinished", [])
    ]
    if unfinished:
        print_table(
            "Left by programs that never closed them (cs3fuse recover, after umount)", ("id", "path", "size", "since"), unfinished
        )


def flush(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders in mounts; default: all mounts.")] = None,
    *,
    timeout: Annotated[
        float, typer.Option(help="Give up waiting when nothing reached the server for so many seconds.", min=0)
    ] = 60.0,
) -> None:
    """Wait until files are on the server; exit status 3 if some are not."""
    from cs3fuse.kernel.mounts import our_mount_points

    left: list[dict[str, Any]] = []
    sent = 0
    for path in paths if paths is not None else our_mount_points():
        told = _flush_one(path, timeout)
        left += told["files"]
        sent += told["sent"]
    if left:
        for each in left:
            reason = each["reason"] or (
                "a program has it open and has not closed it" if each["state"] == "dirty" else "not yet sent"
            )
            warn(f"{each['path']}: {each['state']}, {reason}")
        raise Unsent(f"{files(len(left))} did not reach the server; nothing is lost, they are here and are sent again.")
    say(f"{files(sent)} sent; everything is on the server." if sent else "Everything is on the server.")


def _flush_one(path: Path, patience_s: float) -> dict[str, Any]:
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request

    mount_point, below = mount_of(path)
    socket = socket_path(mount_point)
    with sending_bar(f"Sending {path}") as advance:
        try:
            return request(socket, "flush", on_progress=advance, path=below, patience_s=patience_s)
        except KeyboardInterrupt:
            # Asked again without patience: it only tells what is left.
            return request(socket, "flush", path=below, patience_s=0)


def conflicts(
    mount_point: AnyMount = None,
    *,
    forget: Annotated[
        int | None, typer.Option(help="Take one off the list, by its number; the copy stays where it is.", metavar="ID")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List files that somebody else changed first: theirs is in place, yours is beside it."""
    if forget is not None:
        _forget(mount_point, forget)
        return
    found = ask_each(mount_point, "conflicts")
    if as_json:
        print_json(found)
        return
    _warn_of_silent(found)
    rows = [
        (each["id"], each["path"], each["copy"], clock(each["noticed_at"]), each["reason"])
        for told in found
        for each in told.get("conflicts", [])
    ]
    if rows:
        print_table("Conflicts", ("id", "path (theirs)", "copy (yours)", "noticed", "reason"), rows)
    else:
        say("There are no conflicts.")


def _forget(mount_point: Path | None, number: int) -> None:
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request
    from cs3fuse.errors import BadRequestError
    from cs3fuse.kernel.mounts import our_mount_points

    if mount_point is None:
        candidates = our_mount_points()
        if len(candidates) != 1:
            raise BadRequestError("There are several mounts: say which, cs3fuse conflicts MOUNTPOINT --forget ID")
        mount_point = candidates[0]
    request(socket_path(mount_of(mount_point)[0]), "forget_conflict", id=number)
    say(f"Conflict {number} is forgotten; the copy stays where it is.")


def _warn_of_silent(found: list[dict[str, Any]]) -> None:
    for told in found:
        if "error" in told:
            warn(f"{told['mount_point']}: {told['error']}")
