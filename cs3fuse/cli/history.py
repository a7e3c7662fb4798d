"""``cs3fuse versions``, ``restore`` and ``trash``: what was, and bringing it back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.daemons import ask, mount_of
from cs3fuse.cli.progress import counting_bar
from cs3fuse.cli.words import AnyPath, AsJson, clock, files, print_json, print_table, say, size, warn
from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.errors import BadRequestError, Cs3FuseError, NotFoundError
from cs3fuse.kernel.mounts import our_mount_points

_CALL_S = 90
_BATCH = 500
"""Keys in one request, which is one line of at most 1 MiB."""

Of = Annotated[Path | None, typer.Option("--of", help="Only what was deleted at or below this path; default: everything.")]
Wanted = Annotated[str, typer.Argument(metavar="KEY", help="A key that cs3fuse trash shows, or the path that was deleted.")]

trash = typer.Typer(help="List what was deleted, bring it back, or delete it for good.")


def versions(path: AnyPath, *, as_json: AsJson = False) -> None:
    """List the old versions of a file."""
    told = ask(path, "versions", timeout_s=_CALL_S)
    if as_json:
        print_json(told)
        return
    if not told["versions"]:
        say(f"{path} has no old versions.")
        return
    rows = [(each["name"], size(each["size"]), clock(each["mtime"]), each["key"]) for each in told["versions"]]
    print_table(f"Old versions of {told['path']}", ("name", "size", "written", "key"), rows)
    if told["is_readable"] is False:
        say("This server does not serve their bytes; cs3fuse restore brings one back.")
    else:
        say(f"They can be read in {told['folder']}")


def restore(
    path: AnyPath,
    key: Annotated[str, typer.Argument(help="Name or key of a version, as cs3fuse versions shows it.")],
) -> None:
    """Make an old version of a file the present one; what is there now becomes a version."""
    told = ask(path, "restore_version", key=key, timeout_s=_CALL_S)
    say(f"{path} is again as it was at {clock(told['mtime'])}: {size(told['size'])}.")


@trash.callback(invoke_without_command=True)
def _all_of_it(context: typer.Context, *, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        list_trash(None, as_json=as_json)


@trash.command("ls")
def list_trash(
    path: Annotated[Path | None, typer.Argument(help="Only what was deleted at or below this path; default: everything.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List what was deleted, latest first."""
    found = _ask(path)
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing is mounted.")
    for told in found:
        if "error" in told:
            warn(f"{told['mount_point']}: {told['error']}")
        for each in told.get("trash", ()):
            _print(each)


def _print(told: dict[str, Any]) -> None:
    if told["error"]:
        warn(f"{told['path']}: {told['error']}")
    elif not told["items"]:
        say(f"The trash of {told['path']} is empty.")
    else:
        rows = [
            (f"{item['path']}{'/' if item['kind'] == 'directory' else ''}", clock(item["deleted_at"]), item["key"])
            for item in told["items"]
        ]
        print_table(f"Trash of {told['path']}", ("path", "deleted", "key"), rows)


@trash.command("restore")
def restore_trash(
    key: Wanted,
    *,
    to: Annotated[Path | None, typer.Option("--to", help="Under this path instead; nothing is ever replaced.")] = None,
    of: Of = None,
) -> None:
    """Bring back what was deleted, to where it was."""
    mount_point, item = _one(_items(of), key)
    below = ""
    if to is not None:
        its_mount, below = mount_of(to)
        if its_mount != mount_point:
            raise BadRequestError(f"{to} is in another mount; what was deleted in {mount_point} comes back there.")
        if not below:
            raise BadRequestError(f"{to} is a mount point; name what {item['name']} is to be called in it.")
    told = request(
        socket_path(mount_point), "restore_trash", root=item["root"], key=item["key"], to=below, path="", timeout_s=_CALL_S
    )
    say(f"Restored: {told['path']}")


@trash.command("purge")
def purge_trash(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY...]", help="Keys that cs3fuse trash shows.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Everything that was deleted at or below --of.")] = False,
    of: Of = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete for good what is in the trash, one by one."""
    if everything and (of is None or keys):
        raise BadRequestError("--all goes with --of PATH, which says from where, and without keys.")
    if not everything and not keys:
        raise BadRequestError("Name what is to be deleted for good; cs3fuse trash lists the keys.")
    found = _items(of)
    wanted = found if everything else [_one(found, key) for key in keys or ()]
    if not wanted:
        say("The trash is empty.")
        return
    if not yes and not _is_wanted(wanted, of):
        raise typer.Exit(1)
    if failed := _purge(wanted):
        raise Cs3FuseError(f"{files(failed)} could not be deleted for good.")


def _purge(wanted: Sequence[tuple[Path, dict[str, Any]]]) -> int:
    """Purge, some at a time. Returns: how many are left; why is said."""
    purged = failed = 0
    by_root: dict[tuple[Path, str], list[str]] = {}
    for mount_point, item in wanted:
        by_root.setdefault((mount_point, item["root"]), []).append(item["key"])
    with counting_bar("Deleting", "items") as advance:
        for (mount_point, root), keys in by_root.items():
            for start in range(0, len(keys), _BATCH):
                told = request(
                    socket_path(mount_point), "purge_trash", root=root, keys=keys[start : start + _BATCH], on_progress=advance,
                    timeout_s=_CALL_S,
                )  # fmt: skip
                purged, failed = purged + told["purged"], failed + told["failed"]
                for problem in told["problems"]:
                    warn(problem)
    say(f"Deleted for good: {wanted[0][1]['path'] if purged == len(wanted) == 1 else files(purged)}")
    return failed


def _is_wanted(wanted: Sequence[tuple[Path, dict[str, Any]]], of: Path | None) -> bool:
    if not sys.stdin.isatty():
        raise BadRequestError("There is no terminal to ask at: add --yes if you are sure.")
    what = wanted[0][1]["path"] if len(wanted) == 1 else files(len(wanted)) + (f" deleted from {of}" if of is not None else "")
    return typer.confirm(f"{what}: delete for good? Nothing brings it back.", default=False)


def _ask(path: Path | None) -> list[dict[str, Any]]:
    """What the mount of a path, or each mount, says of its trash. Raises: as ``ask`` where one is named."""
    if path is not None:
        return [ask(path, "trash", timeout_s=_CALL_S)]
    found = []
    for each in our_mount_points():
        try:
            found.append(request(socket_path(each), "trash", timeout_s=_CALL_S))
        except Cs3FuseError as error:
            found.append({"mount_point": str(each), "error": str(error)})
    return found


def _items(of: Path | None) -> list[tuple[Path, dict[str, Any]]]:
    """Everything in the trash, with its mount point and the root it was deleted from."""
    found = []
    for told in _ask(of):
        for each in told.get("trash", ()):
            if each["error"] and of is not None:
                raise Cs3FuseError(each["error"])
            found += [(Path(told["mount_point"]), {**item, "root": each["root"]}) for item in each["items"]]
    return found


def _one(items: Sequence[tuple[Path, dict[str, Any]]], wanted: str) -> tuple[Path, dict[str, Any]]:
    """The item with a key, or the only one that lay at a path. Raises: NotFoundError, BadRequestError."""
    found = [each for each in items if each[1]["key"] == wanted] or [
        each for each in items if str(Path(wanted).absolute()) in {each[1]["path"], each[1]["shown_at"]}
    ]
    if not found:
        raise NotFoundError(f"There is no {wanted} in the trash; cs3fuse trash lists what there is.")
    if len(found) > 1:
        keys = ", ".join(f"{item['key']} ({clock(item['deleted_at'])})" for _mount_point, item in found)
        raise BadRequestError(f"{wanted} was deleted several times; name one by its key: {keys}.")
    return found[0]
