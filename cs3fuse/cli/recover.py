"""``cs3fuse recover``: journals without a mount; what is in them, and bringing it to the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs3fuse.cli import signing
from cs3fuse.cli.progress import sending_bar
from cs3fuse.cli.words import AsJson, Unsent, absolute, age, clean, files, print_json, print_table, say, size, warn
from cs3fuse.errors import BadRequestError, Cs3FuseError, LocalStorageError

if TYPE_CHECKING:
    from cs3fuse.commit.inspection import StateFolderContent
    from cs3fuse.commit.records import CommitRecord
    from cs3fuse.draining import Drained, Wishes


def recover(
    where: Annotated[
        str | None, typer.Argument(help="A state folder, or a SOURCE as for mount; default: all state folders.", metavar="WHERE")
    ] = None,
    *,
    only_list: Annotated[bool, typer.Option("--list", help="Only list what is there; nothing is sent, nobody signs in.")] = False,
    as_json: AsJson = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Copy the bytes into a folder instead of sending them; the journal keeps them.", metavar="DIR"),
    ] = None,
    save: Annotated[
        list[int] | None, typer.Option(help="Store a file that was never closed as a copy beside the original.", metavar="ID")
    ] = None,
    discard: Annotated[list[int] | None, typer.Option(help="Delete a file that was never closed.", metavar="ID")] = None,
    timeout: Annotated[
        float, typer.Option(help="Give up waiting when nothing reached the server for so many seconds.", min=0)
    ] = 60.0,
    auth: signing.Auth = None,
    user: signing.User = None,
    secret_file: signing.SecretFile = None,
    tls_ca: signing.TlsCa = None,
    tls_insecure: signing.TlsInsecure = None,
    option: signing.AnyOption = None,
) -> None:
    """List what earlier mounts left unsent, and send it without mounting. Exit status 3 if something is left."""
    from cs3fuse.draining import Wishes
    from cs3fuse.observability.logging import configure

    configure("error")  # what became of each file is told in sentences below
    given = signing.given(
        {"auth": auth, "user": user, "secret_file": secret_file, "tls_ca": tls_ca, "tls_insecure": tls_insecure}, option
    )
    folders = list(_with_something_in_them(_folders(where, given)))
    if only_list or export is not None:
        if export is not None:
            _export(folders, absolute(export))
        _list(folders, as_json=as_json)
        return
    wishes = Wishes(save=save or (), discard=discard or (), patience_s=timeout)
    if (wishes.save or wishes.discard) and len(folders) != 1:
        raise BadRequestError("Numbers are those of one folder: say which, cs3fuse recover FOLDER --save ID")
    if not folders:
        _list(folders, as_json=as_json)
        return
    source = where if where is not None and not _is_folder(where) else None
    told = [_drain(content, source, given, wishes, as_json=as_json) for content in folders]
    if as_json:
        print_json(told)
    left = sum(len(each["left"]) for each in told)
    if left:
        raise Unsent(f"{files(left)} did not reach the server; they stay in the journal.")
    if any(each["error"] for each in told):
        raise Cs3FuseError("Not every journal could be sent; the reasons stand above.")


# Which folders


def _is_folder(where: str) -> bool:
    from cs3fuse.commit.inspection import is_state_folder

    return "://" not in where and is_state_folder(Path(where))


def _folders(where: str | None, given: dict[str, Any]) -> Iterator[Path]:
    """The state folders that are meant. Raises: BadRequestError."""
    from cs3fuse.client.channel import parse_source
    from cs3fuse.commit.inspection import is_state_folder
    from cs3fuse.config.folders import state_folders
    from cs3fuse.core import About

    if where is None:
        yield from (folder for folder in state_folders() if is_state_folder(folder))
        return
    if _is_folder(where):
        yield absolute(Path(where))
        return
    options = signing.load(where, given)
    if options.state_folder is not None:
        yield options.state_folder
        return
    wanted = parse_source(options.source)[0].target
    for folder in state_folders():
        about = About.read(folder)
        if about is not None and is_state_folder(folder) and parse_source(about.source)[0].target == wanted:
            yield folder


def _with_something_in_them(folders: Iterator[Path]) -> Iterator[StateFolderContent]:
    from cs3fuse.commit.inspection import inspect

    for folder in folders:
        try:
            content = inspect(folder)
        except LocalStorageError as error:
            warn(str(error))
            continue
        if content.records:
            yield content


# Looking


def _list(folders: Sequence[StateFolderContent], *, as_json: bool) -> None:
    if as_json:
        print_json([_described(content) for content in folders])
        return
    if not folders:
        say("Nothing is left in any journal.")
    for content in folders:
        told = _described(content)
        rows = [
            (each["id"], each["path"], size(each["size"]), each["state"], age(each["since"]), each["reason"])
            for each in told["files"]
        ]
        state = f", in use by the mount at {told['mount_point']}" if told["is_in_use"] else ""
        print_table(
            f"{told['folder']} ({told['user']} at {told['source']}{state})", ("id", "path", "size", "state", "for", "reason"), rows
        )


def _described(content: StateFolderContent) -> dict[str, Any]:
    from cs3fuse.core import About

    about = About.read(content.folder)
    return {
        "folder": str(content.folder),
        "is_in_use": content.is_in_use,
        "source": about.source if about else "",
        "user": about.user if about else "",
        "mount_point": about.mount_point if about else "",
        "files": [_described_record(record) for record in content.records],
    }


def _described_record(record: CommitRecord) -> dict[str, Any]:
    from cs3fuse.commit.records import RecordState

    return {
        "id": record.id,
        "identity": record.identity,
        "path": record.at.rel,
        "location": str(record.at),
        "size": record.size,
        "state": "unfinished" if record.state is RecordState.DIRTY else record.state.value,
        "since": record.created_at,
        "attempts": record.attempts,
        "reason": record.reason,
    }


def _export(folders: Sequence[StateFolderContent], target: Path) -> None:
    """Copy the bytes of each record; a name that is taken gets the record's number. Raises: LocalStorageError."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        for content in folders:
            for record in content.records:
                staged = content.staged(record)
                if not record.staged or not staged.exists():
                    continue
                wanted = target / (record.at.name or "file")
                if wanted.exists():
                    wanted = wanted.with_name(f"{wanted.stem} ({content.folder.name} {record.id}){wanted.suffix}")
                shutil.copyfile(staged, wanted)
                holes = sum(len(part) for part in record.missing)
                say(
                    f"{record.at.rel} was copied to {wanted}"
                    + (f"; {size(holes)} of it were never here and are zeros." if holes else ".")
                )
    except OSError as error:
        raise LocalStorageError(f"The bytes cannot be copied to {target}: {error.strerror}.", path=str(target)) from error


# Sending


def _drain(
    content: StateFolderContent, source: str | None, given: dict[str, Any], wishes: Wishes, *, as_json: bool
) -> dict[str, Any]:
    """Send one folder; a failure of it is told and does not keep the others from being sent."""
    told: dict[str, Any] = {
        "folder": str(content.folder), "committed": [], "conflicts": [], "saved": [], "vanished": [], "left": [], "error": ""
    }  # fmt: skip
    try:
        drained = _drain_or_raise(content, source, given, wishes)
    except Cs3FuseError as error:
        told["error"] = str(error)
        told["left"] = [_described_record(record) for record in content.waiting]
        warn(f"{content.folder}: {error}")
        return told
    told["committed"] = [str(at.rel) for at in drained.committed]
    told["conflicts"] = [{"path": each.at.rel, "copy": each.copy_at.rel, "reason": each.reason} for each in drained.conflicts]
    told["saved"] = [{"path": each.at.rel, "copy": each.copy_at.rel} for each in drained.saved]
    told["vanished"] = [at.rel for at in drained.vanished]
    told["left"] = [{"path": item.at.rel, "state": item.state, "reason": item.reason} for item in drained.left]
    if not as_json:
        _report(content.folder, drained)
    return told


def _drain_or_raise(content: StateFolderContent, source: str | None, given: dict[str, Any], wishes: Wishes) -> Drained:
    from cs3fuse.core import About
    from cs3fuse.draining import drain_folder

    about = About.read(content.folder)
    if content.is_in_use:
        where = about.mount_point if about else "MOUNTPOINT"
        raise LocalStorageError(f"A running mount uses this folder. It sends by itself: cs3fuse flush {where}")
    if source is None:
        if about is None:
            raise BadRequestError(
                f"It does not say which server it belongs to: cs3fuse recover SOURCE -o state_folder={content.folder}"
            )
        remembered = {name: getattr(about, name) for name in ("user", "auth", "secret_file", "tls_ca", "tls_insecure")}
        given = {name: value for name, value in remembered.items() if value} | given
        source = about.source
    options = signing.load(source, given)
    secret = signing.secret_for(options)
    with sending_bar(f"Sending {content.folder.name}") as advance:
        return drain_folder(
            content,
            options,
            secret,
            wishes,
            lambda done, total, sent: advance({"done": done, "total": total, "bytes": sent}),
        )


def _report(folder: Path, drained: Drained) -> None:
    for at in drained.committed:
        say(f"{at.rel}: on the server.")
    for each in drained.conflicts:
        say(f"{each.at.rel}: somebody else was first; yours is beside it as {clean(each.copy_at.name)}.")
    for each in drained.saved:
        say(f"{each.at.rel}: stored as {clean(each.copy_at.name)}.")
    for at in drained.vanished:
        warn(f"{at.rel}: named in the journal, but its bytes are not in {folder}.")
    for item in drained.left:
        warn(f"{item.at.rel}: {item.state}, {item.reason or 'not yet sent'}")
    if drained.discarded:
        say(f"{files(drained.discarded)} discarded.")
