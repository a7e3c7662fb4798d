"""``cs3fuse mount``: options, the secret, and the daemon in the background."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs3fuse.cli import signing
from cs3fuse.cli.words import Unsent, absolute, files, say
from cs3fuse.errors import BadRequestError, Cs3FuseError

if TYPE_CHECKING:
    from cs3fuse.auth.secrets import Secret

_SECRET_BYTES = 60_000
_START_TIMEOUT_S = 120.0


def mount(
    source: Annotated[
        str | None, typer.Argument(help="cs3://HOST:PORT[/path], cs3+plain://HOST:PORT[/path], or the name of a TOML file.")
    ] = None,
    mount_point: Annotated[Path | None, typer.Argument(help="An empty folder.")] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Mount every TOML file of the configuration folder that names a mount_point.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="notebook, analysis or shared: sets groups of options that are not given.")
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="What a SOURCE without a path shows: mesh (everything, in folders) or home.")
    ] = None,
    auth: signing.Auth = None,
    user: signing.User = None,
    secret_file: signing.SecretFile = None,
    tls_ca: signing.TlsCa = None,
    tls_insecure: signing.TlsInsecure = None,
    read_only: Annotated[bool | None, typer.Option("--read-only", help="Refuse every change.")] = None,
    allow_other: Annotated[bool | None, typer.Option("--allow-other", help="Let other local users in.")] = None,
    option: signing.AnyOption = None,
    foreground: Annotated[bool, typer.Option("-f", "--foreground", help="Stay in the foreground.")] = False,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    secret_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mount a CS3 gateway; returns when the mount answers."""
    from cs3fuse.auth.secrets import FixedSecret
    from cs3fuse.kernel.mounts import check_mount_point

    given = signing.given(
        {
            "profile": profile,
            "view": view,
            "auth": auth,
            "user": user,
            "secret_file": secret_file,
            "tls_ca": tls_ca,
            "tls_insecure": tls_insecure,
            "read_only": read_only,
            "allow_other": allow_other,
        },
        option,
    )
    if everything:
        if source is not None:
            raise BadRequestError("--all takes its sources and mount points from the configuration folder: name none.")
        _mount_all(given)
        return
    if source is None:
        raise BadRequestError("Name what to mount and where: cs3fuse mount SOURCE MOUNTPOINT.")
    options = signing.load(source, given)
    mount_point = mount_point or options.mount_point
    if mount_point is None:
        raise BadRequestError(f"Name the folder to mount at: cs3fuse mount {source} MOUNTPOINT, or mount_point in the TOML file.")
    mount_point = absolute(mount_point)
    check_mount_point(mount_point)
    secret = FixedSecret(_read_fd(secret_fd)) if secret_fd is not None else signing.secret_for(options)
    if foreground or ready_fd is not None:
        from cs3fuse.app import run_mount

        left = run_mount(options, mount_point, secret, ready_fd=ready_fd)
        if left:
            raise Unsent(f"{files(left)} of {mount_point} stay in the journal; they are sent at the next mount.")
        return
    _start_daemon(source, mount_point, {**given, "user": options.user}, secret)
    say(f"{options.source} is mounted at {mount_point}. Unmount with: cs3fuse umount {mount_point}")


def _mount_all(given: dict[str, Any]) -> None:
    """One process per server, so that none can hurt another. What is mounted already is left alone.

    Raises: Cs3FuseError when something could not be mounted, after the others were.
    """
    from cs3fuse.config.options import config_folder
    from cs3fuse.kernel.mounts import check_mount_point, our_mount_points

    failures: list[str] = []
    found = sorted(config_folder().glob("*.toml"))
    for path in found:
        try:
            options = signing.load(str(path), given)
            if options.mount_point is None:
                failures.append(f"{path.name}: it names no mount_point")
                continue
            mount_point = absolute(options.mount_point.expanduser())
            if mount_point in our_mount_points():
                say(f"{mount_point} is mounted already.")
                continue
            mount_point.mkdir(parents=True, exist_ok=True)
            check_mount_point(mount_point)
            _start_daemon(str(path), mount_point, {**given, "user": options.user}, signing.secret_for(options))
        except (Cs3FuseError, OSError) as error:
            failures.append(f"{path.name}: {error}")
        else:
            say(f"{options.source} is mounted at {mount_point}.")
    if not found:
        raise BadRequestError(f"There is no TOML file in {config_folder()}.")
    if failures:
        raise Cs3FuseError(f"{len(failures)} of {len(found)} could not be mounted. {'; '.join(failures)}")


def _read_fd(fd: int) -> str:
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read(_SECRET_BYTES).decode()


def _start_daemon(source: str, mount_point: Path, given: dict[str, Any], secret: Secret) -> None:
    """Start ourselves in the background and wait for its word; the secret travels through a pipe, never in argv."""
    from cs3fuse.auth.secrets import FixedSecret

    ready_read, ready_write = os.pipe()
    arguments = [sys.executable, "-m", "cs3fuse", "mount", source, str(mount_point), "--ready-fd", str(ready_write)]
    passed = [ready_write]
    if isinstance(secret, FixedSecret):
        secret_read, secret_write = os.pipe()
        arguments += ["--secret-fd", str(secret_read)]
        passed.append(secret_read)
        os.write(secret_write, secret.value.encode())  # fits the pipe's 64 KiB, see _SECRET_BYTES
        os.close(secret_write)
    for name, value in given.items():
        arguments += ["-o", f"{name}={value}"]
    process = subprocess.Popen(
        arguments,
        pass_fds=passed,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "CS3FUSE_SECRET"},
    )
    for fd in passed:
        os.close(fd)
    with os.fdopen(ready_read, "rb") as pipe:
        word = pipe.read()
    if word == b"ready":
        return
    assert process.stderr is not None
    complaint = process.stderr.read().decode(errors="replace").strip()
    process.wait(_START_TIMEOUT_S)
    raise Cs3FuseError(complaint.rpartition("cs3fuse: ")[2] or "The mount ended before it was ready, without saying why.")
