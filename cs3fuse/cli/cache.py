"""``cs3fuse cache`` and ``warm``: the content store of a mount."""

from __future__ import annotations

import glob
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cs3fuse.cli.daemons import ask_each, mount_of
from cs3fuse.cli.progress import Advance, counting_bar, fetching_bar
from cs3fuse.cli.words import AsJson, Unsent, files, print_facts, print_json, say, size, size_of, warn
from cs3fuse.errors import BadRequestError, Cs3FuseError

_BATCH = 400_000
"""Characters of paths in one request; a request is one line of at most 1 MiB."""


def cache(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="clear, verify or limit BYTES, and the mount that is meant (unless there is only one); or only a mount, to show it.",
            metavar="[clear|verify|limit BYTES] [MOUNTPOINT]",
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show how full the cache is; delete, verify or limit cached content."""
    action, *rest = words or [""]
    if action == "limit":
        if not rest:
            raise typer.BadParameter("limit needs a size, such as 20G")
        budget, *rest = rest
        _limit(_mount_point(rest), size_of(budget))
    elif action == "clear":
        _clear(_mount_point(rest))
    elif action == "verify":
        _verify(_mount_point(rest))
    else:
        _show(_mount_point(words or []), as_json=as_json)


def _mount_point(words: Sequence[str]) -> Path | None:
    if len(words) > 1:
        raise typer.BadParameter(f"one mount at a time, not {' '.join(words)}")
    return Path(words[0]) if words else None


def _show(mount_point: Path | None, *, as_json: bool) -> None:
    found = ask_each(mount_point, "cache")
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing is mounted.")
    for told in found:
        print_facts(told.pop("mount_point"), (_fact(name, value) for name, value in told.items()))


def _fact(name: str, value: Any) -> tuple[str, object]:
    return (
        (name.removesuffix("_bytes").replace("_", " "), size(value)) if name.endswith("_bytes") else (name.replace("_", " "), value)
    )


def _clear(mount_point: Path | None) -> None:
    told = _ask(mount_point, "cache_clear")
    say(f"{size(told['freed_bytes'])} deleted; {size(told['used_bytes'])} are in use and stay.")


def _verify(mount_point: Path | None) -> None:
    with counting_bar("Verifying", "versions") as advance:
        told = _ask(mount_point, "cache_verify", on_progress=advance)
    if told["damaged_blocks"]:
        raise Unsent(
            f"{told['damaged_blocks']} blocks in {size(told['bytes'])} were damaged: the disk does not keep what is written to it. "
            "They were dropped and are fetched again when they are read."
        )
    say(f"{size(told['bytes'])} in {told['versions']} versions are as they were written.")


def _limit(mount_point: Path | None, budget_bytes: int) -> None:
    told = _ask(mount_point, "cache_limit", bytes=budget_bytes)
    say(
        f"At most {size(told['budget_bytes'])} are kept until the mount ends (cache_bytes says it for good); {size(told['used_bytes'])} are used."
    )


def _ask(mount_point: Path | None, command: str, **arguments: Any) -> dict[str, Any]:
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request
    from cs3fuse.kernel.mounts import our_mount_points

    if mount_point is None:
        mounted = our_mount_points()
        if len(mounted) != 1:
            raise BadRequestError("Say which mount: there is none." if not mounted else "Say which mount: there are several.")
        mount_point = mounted[0]
    return request(socket_path(mount_of(mount_point)[0]), command, timeout_s=300, **arguments)


def warm(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or patterns; - reads paths from stdin, one a line.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Only tell how much is here; exit status 3 if not everything is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch files, and everything in folders, into the cache, so that they are read at the speed of the disk."""
    totals: Counter[str] = Counter()
    problems: list[str] = []
    budget_bytes = 0
    with fetching_bar("Looking" if check else "Fetching") as advance:
        for mount_point, batch in _batches(_expanded(paths)):
            told = _warm_batch(mount_point, batch, advance, totals, check=check)
            problems += told["problems"]
            budget_bytes = told["budget_bytes"]
            totals.update({name: told[name] for name in ("files", "done", "total_bytes", "here_bytes", "failed")})
    if as_json:
        print_json({**totals, "problems": problems})
    else:
        say(f"{size(totals['here_bytes'])} of {size(totals['total_bytes'])} in {files(totals['files'])} are here.")
    for problem in problems:
        warn(problem)
    if totals["failed"]:
        raise Cs3FuseError(f"{totals['failed']} files or folders could not be read.")
    if totals["here_bytes"] < totals["total_bytes"]:
        raise Unsent(
            "Not everything is here."
            if check
            else f"Not everything fits: the cache keeps {size(budget_bytes)} (cs3fuse cache limit)."
        )


def _warm_batch(mount_point: Path, batch: Sequence[str], advance: Advance, before: Counter[str], *, check: bool) -> dict[str, Any]:
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request

    def advance_all(state: dict[str, Any]) -> None:
        advance({name: value + before[name] for name, value in state.items()})

    return request(socket_path(mount_point), "warm", on_progress=advance_all, paths=list(batch), check=check)


def _expanded(paths: Iterable[str]) -> Iterator[str]:
    """Patterns (where no file has that very name) and stdin, as paths. Raises: BadRequestError: a pattern that matches nothing."""
    for path in paths:
        if path == "-":
            yield from (line for line in sys.stdin.read().splitlines() if line)
        elif glob.has_magic(path) and not Path(path).exists():
            matches = glob.glob(path, recursive=True)  # noqa: PTH207 Path.glob takes no absolute patterns
            if not matches:
                raise BadRequestError(f"Nothing matches {path}.")
            yield from matches
        else:
            yield path


def _batches(paths: Iterable[str]) -> Iterator[tuple[Path, list[str]]]:
    """Paths below their mounts, so many at a time that a request stays small."""
    waiting: dict[Path, list[str]] = {}
    lengths: Counter[Path] = Counter()
    for path in paths:
        mount_point, below = mount_of(Path(path))
        waiting.setdefault(mount_point, []).append(below)
        lengths[mount_point] += len(below) * 6 + 4  # a character may become \uXXXX
        if lengths[mount_point] > _BATCH:
            yield mount_point, waiting.pop(mount_point)
            del lengths[mount_point]
    yield from waiting.items()
