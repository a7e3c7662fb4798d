"""The command line: mount, umount, status, gateway, demo and the questions to a running mount.

Owns words for people: arguments, exit status, sentences. Late imports keep ``--help`` and ``umount`` fast. Exit status: 0 done,
1 failed with a sentence on stderr, 2 wrong usage, 3 unmounted but unsent bytes stay in the journal.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs3fuse import __version__
from cs3fuse.errors import Cs3FuseError

if TYPE_CHECKING:
    from cs3fuse.auth.secrets import Secret

app = typer.Typer(
    name="cs3fuse",
    help="A CS3 gateway (Reva, OpenCloud, EOS behind them) as a local folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SECRET_BYTES = 60_000
_START_TIMEOUT_S = 120.0
_UNMOUNT_RETRY_S = 0.1

MountPoint = Annotated[Path, typer.Argument(help="The folder where it is mounted.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Unsent(Exception):  # noqa: N818 it is an exit status with a sentence, not a fault
    """Unmounted, but bytes wait in the journal."""


def main() -> None:
    """Entry point: run a command; a failure is one sentence and an exit status."""
    try:
        app()
    except Unsent as left:
        print(f"cs3fuse: {left}", file=sys.stderr)
        sys.exit(3)
    except Cs3FuseError as error:
        print(f"cs3fuse: {error}", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"cs3fuse {__version__}")
        raise typer.Exit


@app.command()
def mount(
    source: Annotated[
        str, typer.Argument(help="cs3://HOST:PORT[/path], cs3+plain://HOST:PORT[/path], or the name of a TOML file.")
    ],
    mount_point: Annotated[Path, typer.Argument(help="An empty folder.")],
    *,
    auth: Annotated[str | None, typer.Option(help="basic, bearer, appauth, machine or publicshares.")] = None,
    user: Annotated[str | None, typer.Option(help="User name to sign in with.")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="File with the secret (mode 0600).")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM file with the CA of the servers.")] = None,
    tls_insecure: Annotated[bool | None, typer.Option("--tls-insecure", help="Do not verify certificates. For tests only.")] = None,
    read_only: Annotated[bool | None, typer.Option("--read-only", help="Refuse every change.")] = None,
    allow_other: Annotated[bool | None, typer.Option("--allow-other", help="Let other local users in.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", help="Any other option as NAME=VALUE; see the documentation.")
    ] = None,
    foreground: Annotated[bool, typer.Option("-f", "--foreground", help="Stay in the foreground.")] = False,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    secret_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mount a CS3 gateway; returns when the mount answers."""
    from cs3fuse.auth.secrets import FixedSecret, find_secret, terminal_prompt
    from cs3fuse.config import options as config
    from cs3fuse.kernel.mounts import check_mount_point

    given: dict[str, Any] = {
        "auth": auth,
        "user": user,
        "secret_file": secret_file,
        "tls_ca": tls_ca,
        "tls_insecure": tls_insecure,
        "read_only": read_only,
        "allow_other": allow_other,
    }
    given = {name: value for name, value in given.items() if value is not None} | _parse_options(option or [])
    options = config.load(source, given)
    if not options.user:
        options = options.model_copy(update={"user": getpass.getuser() if options.auth != "bearer" else ""})
    mount_point = Path(os.path.abspath(mount_point))  # noqa: PTH100 resolve() would ask a dead mount
    check_mount_point(mount_point)
    if secret_fd is not None:
        secret: Secret = FixedSecret(_read_fd(secret_fd))
    else:
        secret = find_secret(
            environment=os.environ,
            file=options.secret_file,
            value=options.secret.get_secret_value(),
            prompt=terminal_prompt(options.user, options.source),
        )
    if foreground or ready_fd is not None:
        from cs3fuse.app import run_mount

        run_mount(options, mount_point, secret, ready_fd=ready_fd)
        return
    _start_daemon(source, mount_point, {**given, "user": options.user}, secret)
    print(f"{options.source} is mounted at {mount_point}. Unmount with: cs3fuse umount {mount_point}")


def _parse_options(pairs: list[str]) -> dict[str, Any]:
    from cs3fuse.errors import BadRequestError

    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        name = name.replace("-", "_")
        if name == "secret":
            raise BadRequestError("A secret on the command line can be read by everybody: use CS3FUSE_SECRET or --secret-file.")
        parsed[name] = value if sign else True
    return parsed


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


@app.command()
def umount(
    mount_point: MountPoint,
    *,
    lazy: Annotated[bool, typer.Option("--lazy", help="Take it away even while programs use it.")] = False,
) -> None:
    """Wait for unsent bytes, then unmount. Ctrl-C stops waiting; what is unsent stays in the journal."""
    from cs3fuse.config.folders import socket_path
    from cs3fuse.control.client import request
    from cs3fuse.errors import UnavailableError
    from cs3fuse.kernel.mounts import mounted_type

    mount_point = Path(os.path.abspath(mount_point))  # noqa: PTH100 resolve() would ask a dead mount
    left = 0
    path = socket_path(mount_point)
    pid = None
    try:
        pid = request(path, "ping").get("pid")
        left = _drain(path, mount_point)
    except UnavailableError:
        if mounted_type(mount_point) is None:
            raise UnavailableError(f"Nothing is mounted at {mount_point}.") from None
    _fusermount(mount_point, lazy=lazy)
    if isinstance(pid, int):
        _wait_for_end(pid)
    if left:
        raise Unsent(
            f"{mount_point} is unmounted; {left} files are not on the server yet. They stay in the journal and are sent at the next mount."
        )


def _drain(path: Path, mount_point: Path) -> int:
    """Wait until everything is sent; how many files are left. Ctrl-C ends the wait."""
    from cs3fuse.control.client import request

    with _progress(f"Sending what is unsent at {mount_point}") as advance:
        try:
            return int(request(path, "flush", on_progress=advance, timeout_s=None)["left"])
        except KeyboardInterrupt:
            return int(request(path, "status")["unsent"])


@contextlib.contextmanager
def _progress(title: str) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} files"),
        TimeElapsedColumn(),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None, visible=False)

        def advance(state: dict[str, Any]) -> None:
            bar.update(task, total=state.get("total"), completed=state.get("done", 0), visible=True)

        yield advance


def _fusermount(mount_point: Path, *, lazy: bool) -> None:
    from cs3fuse.kernel.mounts import mounted_type

    if mounted_type(mount_point) is None:
        return
    arguments = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(mount_point)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Cs3FuseError("fusermount3 is missing: install the package fuse3.") from None
    if done.returncode:
        reason = done.stderr.strip() or "it failed without a reason"
        raise Cs3FuseError(
            f"{mount_point} could not be unmounted ({reason}). Programs may still use it: see  fuser -vm {mount_point}"
        )


def _wait_for_end(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(_UNMOUNT_RETRY_S)


@app.command()
def status(
    mount_point: Annotated[Path | None, typer.Argument(help="One mount; default: all of this user.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show mounts: identity, what the storage can do, cache use, open files, unsent bytes."""
    from cs3fuse.control.report import print_status, statuses

    found = statuses(Path(os.path.abspath(mount_point)) if mount_point else None)  # noqa: PTH100
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print_status(found)


@app.command()
def gateway(
    folder: Annotated[Path | None, typer.Argument(help="Folder to serve; default: a temporary one, removed at the end.")] = None,
    *,
    profile: Annotated[str, typer.Option(help="reva, opencloud or eos: whose answers to give.")] = "reva",
    grpc_port: Annotated[int, typer.Option(help="Port of the gRPC gateway; 0 takes a free one.")] = 0,
    http_port: Annotated[int, typer.Option(help="Port of the data server; 0 takes a free one.")] = 0,
) -> None:
    """Run the embedded CS3 gateway on loopback, for trying out and for tests."""
    import tempfile

    from cs3fuse.emulator.config import PROFILES, EmulatorConfig
    from cs3fuse.emulator.server import run

    if profile not in PROFILES:
        raise typer.BadParameter(f"there is no profile {profile}; choose one of {', '.join(PROFILES)}")
    with tempfile.TemporaryDirectory(prefix="cs3fuse-gateway-") as temporary:
        root = folder.absolute() if folder is not None else Path(temporary)
        run(EmulatorConfig(root=root, profile=profile, grpc_port=grpc_port, http_port=http_port))


@app.command()
def demo(
    *,
    check: Annotated[bool, typer.Option("--check", help="Run, verify, clean up and exit.")] = False,
    profile: Annotated[str, typer.Option(help="reva, opencloud or eos: whose answers the embedded gateway gives.")] = "reva",
) -> None:
    """Start the embedded gateway with sample files, mount it, and show it at work."""
    from cs3fuse.demo.run import run_demo

    raise typer.Exit(run_demo(check=check, profile=profile))
