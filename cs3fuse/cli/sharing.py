"""``cs3fuse shares``, ``accept``, ``decline``, ``share``, ``unshare``, ``link``, ``invite``: who may use what."""

from __future__ import annotations

import sys
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.daemons import ask, ask_each
from cs3fuse.cli.words import AnyMount, AnyPath, AsJson, clock, print_json, print_table, say, warn
from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.errors import BadRequestError, Cs3FuseError, NotFoundError
from cs3fuse.kernel.mounts import our_mount_points

_ROLES = ("viewer", "editor")
_CALL_S = 90

Role = Annotated[str, typer.Option("--role", help="viewer (may read) or editor (may change).")]
Until = Annotated[str | None, typer.Option("--until", help="Last day (2026-12-31) or moment (2026-12-31T12:00).")]
OfMount = Annotated[Path | None, typer.Option("--mount", help="Which mount, where there are several.")]


def shares(
    mount_point: AnyMount = None,
    *,
    pending: Annotated[bool, typer.Option("--pending", help="Only what waits for an answer.")] = False,
    given: Annotated[bool, typer.Option("--given", help="What you share with others.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what was shared with you, or what you share."""
    found = ask_each(mount_point, "shares")
    if pending:
        found = [{**told, "received": [each for each in told.get("received", ()) if each["state"] == "pending"]} for told in found]
    if as_json:
        print_json(found)
        return
    for told in found:
        if "error" in told:
            warn(f"{told['mount_point']}: {told['error']}")
        elif given:
            _print_given(told)
        else:
            _print_received(told)


def _print_received(told: dict[str, Any]) -> None:
    rows = [
        (each["path"] or each["name"] or "?", each["owner"], each["role"], each["state"], _until(each["until"]), each["id"])
        for each in told["received"]
    ]
    if rows:
        print_table(f"Shared with you, {told['mount_point']}", ("name", "owner", "role", "state", "until", "id"), rows)
    else:
        say(f"{told['mount_point']}: nothing is shared with you.")


def _print_given(told: dict[str, Any]) -> None:
    rows = [
        (each["name"], each["kind"], each["with"], each["role"], "over" if each["is_over"] else _until(each["until"]))
        for each in told["given"]
    ]
    if rows:
        print_table(f"Shared by you, {told['mount_point']}", ("name", "kind", "with", "role", "until"), rows)
    else:
        say(f"{told['mount_point']}: you share nothing.")


def accept(name: Annotated[str, typer.Argument(help="Name or id, as cs3fuse shares shows it.")], *, mount: OfMount = None) -> None:
    """Accept a share: it appears as a folder in shares/ or mesh/."""
    told, mount_point = _answer(name, mount, decline=False)
    where = mount_point / told["path"] if told["path"] else mount_point
    say(f"{told['name'] or name} of {told['owner']} is accepted: {where}")


def decline(name: Annotated[str, typer.Argument(help="Name or id, as cs3fuse shares shows it.")], *, mount: OfMount = None) -> None:
    """Decline a share, also one that was accepted: it disappears here; its owner keeps everything."""
    told, _mount_point = _answer(name, mount, decline=True)
    say(f"{told['name'] or name} of {told['owner']} is declined.")


def _answer(name: str, mount: Path | None, *, decline: bool) -> tuple[dict[str, Any], Path]:
    """Ask each mount until one has the share. Raises: NotFoundError, BadRequestError."""
    failures: list[str] = []
    for mount_point in _mounts(mount):
        try:
            told = request(socket_path(mount_point), "answer_share", name=name, decline=decline, timeout_s=_CALL_S)
        except Cs3FuseError as error:
            failures.append(str(error))
        else:
            return told, mount_point
    raise NotFoundError("; ".join(dict.fromkeys(failures)))


def share(
    path: AnyPath,
    *,
    receiver: Annotated[str, typer.Option("--with", help="USER or GROUP of this site, or USER@SITE.")],
    role: Role = "viewer",
    until: Until = None,
) -> None:
    """Share a file or folder with somebody."""
    told = ask(path, "share", **{"with": receiver, "role": _known_role(role), "until": _moment(until)}, timeout_s=_CALL_S)
    say(f"{path} is shared with {told['with']} as {role}.")


def unshare(
    path: AnyPath,
    *,
    receiver: Annotated[str, typer.Option("--with", help="From whom, or a link's token; default: from everybody, links too.")] = "",
) -> None:
    """Take back what is shared of a file or folder."""
    told = ask(path, "unshare", **{"with": receiver}, timeout_s=_CALL_S)
    say(f"{path} is not shared any more with {', '.join(told['taken_from'])}.")


def link(
    path: AnyPath,
    *,
    role: Role = "viewer",
    password: Annotated[bool, typer.Option("--password", help="Ask for a password (from stdin, if that is no terminal).")] = False,
    until: Until = None,
) -> None:
    """Make a public link and print its token: whoever has it, and the password, may use the file or folder."""
    told = ask(
        path,
        "link",
        role=_known_role(role),
        password=_asked_password() if password else "",
        until=_moment(until),
        timeout_s=_CALL_S,
    )
    print(told["token"])


def invite(
    words: Annotated[
        list[str] | None, typer.Argument(help="Nothing to make an invitation; accept TOKEN@SITE to accept one.")
    ] = None,
    *,
    mount: OfMount = None,
) -> None:
    """Invite somebody of another site, or accept an invitation: then you can share with each other."""
    mount_point = _one_mount(mount)
    if not words:
        told = request(socket_path(mount_point), "invite", timeout_s=_CALL_S)
        print(told["invitation"])
        return
    if len(words) != 2 or words[0] != "accept":
        raise BadRequestError("Write cs3fuse invite, or cs3fuse invite accept TOKEN@SITE.")
    told = request(socket_path(mount_point), "accept_invitation", invitation=words[1], timeout_s=_CALL_S)
    say(f"You and {told['who']} can share with each other now.")


def _mounts(mount: Path | None) -> list[Path]:
    found = [mount.absolute()] if mount is not None else list(our_mount_points())
    if not found:
        raise BadRequestError("Nothing is mounted.")
    return found


def _one_mount(mount: Path | None) -> Path:
    found = _mounts(mount)
    if len(found) > 1:
        raise BadRequestError(f"There are several mounts; name one with --mount: {', '.join(map(str, found))}.")
    return found[0]


def _known_role(role: str) -> str:
    if role not in _ROLES:
        raise BadRequestError(f"{role} is no role; there are {' and '.join(_ROLES)}.")
    return role


def _moment(until: str | None) -> float:
    """Unix seconds of a day's end, or of a moment, in local time; 0 for none. Raises: BadRequestError."""
    if until is None:
        return 0
    try:
        moment = datetime.fromisoformat(until)
    except ValueError as error:
        raise BadRequestError(f"{until} is no date; write it like 2026-12-31 or 2026-12-31T12:00.") from error
    if moment.time() == time() and "T" not in until and " " not in until:
        moment += timedelta(days=1)
    moment = moment.astimezone()
    if moment <= datetime.now().astimezone():
        raise BadRequestError(f"{until} is over already.")
    return moment.timestamp()


def _asked_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password of the link", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


def _until(expires_s: float | None) -> str:
    return clock(expires_s) if expires_s is not None else "-"
