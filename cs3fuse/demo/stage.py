"""The stage of the demonstration: the gateway's process, the mounts, the folders, and their end.

Owns starting and ending them in the right order; called by ``demo.run``. Runs ``cs3fuse`` and the gateway as processes of
their own, the way a person would from a shell. Not for use from several threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from cs3fuse.demo import content
from cs3fuse.kernel.mounts import mounted_type

PASSWORDS = {"einstein": "relativity", "marie": "radioactivity", "richard": "superfluidity"}
"""What the embedded gateway knows its users by."""

_START_S = 30.0
_UMOUNT_S = 60.0


class DemoError(Exception):
    """The demonstration did not go as it should; the message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that the demonstration made."""

    user: str
    folder: Path


@dataclass
class Stage:
    """Gateway, mounts and folders of one demonstration; leaving it unmounts, ends and removes them in that order."""

    profile: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cs3fuse-demo-")))
    address: str = ""
    mounts: list[Mount] = field(default_factory=list)
    edited_to: str | None = None
    kept_bytes: str | None = None
    problems: list[str] = field(default_factory=list)
    _gateway: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.gateway_root.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        with _undisturbed():
            left = [mount for mount in reversed(self.mounts) if not self._unmount(mount)]
            self._end_gateway()
            if self.edited_to is not None:
                self.kept_bytes = (self.gateway_root / "einstein" / content.MINUTES).read_text()
            # Never through a mount that is still there: that would delete files on the gateway.
            if left or (kind is not None and issubclass(kind, Exception)):
                print(f"demo: logs are kept in {self.folder}", file=sys.stderr)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def gateway_root(self) -> Path:
        """The gateway's storage: a folder for each user."""
        return self.folder / "gateway"

    def source(self, path: str = "") -> str:
        """SOURCE for ``cs3fuse mount``: an absolute path on the gateway, or the user's home without one."""
        return f"cs3+plain://{self.address}{path}"

    def start_gateway(self) -> None:
        """Start the embedded gateway and wait until it says where it listens."""
        command = [sys.executable, "-m", "cs3fuse.emulator", "--root", str(self.gateway_root), "--profile", self.profile]
        with (self.folder / "gateway.log").open("w") as log:
            self._gateway = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self._gateway.stdout is not None
        line = _read_line(self._gateway.stdout, _START_S)
        try:
            told = json.loads(line)
            self.address = f"127.0.0.1:{int(told['grpc'])}"
        except (ValueError, KeyError, TypeError) as exc:
            raise DemoError(
                f"the gateway did not start: {_tail(self.folder / 'gateway.log') or line or 'no word from it'}"
            ) from exc

    def gateway_runs(self) -> bool:
        """Whether the gateway is still there."""
        return self._gateway is not None and self._gateway.poll() is None

    def mount(self, user: str, source: str) -> Mount:
        """Mount as a person would: ``cs3fuse mount SOURCE MOUNTPOINT --user NAME --view home``, the secret in the environment."""
        folder = self.folder / f"{user}-{len(self.mounts) + 1}"
        folder.mkdir()
        mount = Mount(user, folder)
        # Listed before the attempt: an interrupted mount may have come up.
        self.mounts.append(mount)
        self._cs3fuse(
            ["mount", source, str(folder), "--user", user, "--view", "home"], {"CS3FUSE_SECRET": PASSWORDS[user]}, _START_S
        )
        return mount

    def verify_afterwards(self) -> None:
        """After the end: everything was unmounted, and what was edited is on the gateway.

        Raises: DemoError naming what went wrong.
        """
        if self.problems:
            raise DemoError(f"not everything ended cleanly: {'; '.join(self.problems)}")
        if self.kept_bytes != self.edited_to:
            raise DemoError(f"the gateway's {content.MINUTES} does not hold what einstein wrote")

    def _unmount(self, mount: Mount) -> bool:
        if mounted_type(mount.folder) is None:
            return True
        try:
            self._cs3fuse(["umount", str(mount.folder)], {}, _UMOUNT_S)
        except DemoError as exc:
            self.problems.append(str(exc))
            subprocess.run(["fusermount3", "-uz", str(mount.folder)], check=False, capture_output=True)
        if mounted_type(mount.folder) is not None:
            self.problems.append(f"{mount.folder} is still mounted; unmount it with: fusermount3 -uz {mount.folder}")
            return False
        return True

    def _end_gateway(self) -> None:
        if self._gateway is None:
            return
        self._gateway.terminate()
        try:
            self._gateway.wait(10)
        except subprocess.TimeoutExpired:
            self._gateway.kill()
            self._gateway.wait()
        if self._gateway.stdout is not None:
            self._gateway.stdout.close()

    def _cs3fuse(self, arguments: Sequence[str], secrets: dict[str, str], timeout_s: float) -> None:
        """Run ``cs3fuse`` with folders of its own, so that the demonstration leaves nothing behind and meets no settings."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CS3FUSE_")} | secrets
        for kind in ("CACHE", "STATE", "CONFIG"):
            environment[f"XDG_{kind}_HOME"] = str(self.folder / kind.lower())
        log = self.folder / f"cs3fuse-{arguments[0]}.log"
        # Into a file and not a pipe: a daemon that keeps its end of a pipe would keep us waiting.
        with log.open("w") as output:
            try:
                status = subprocess.run(
                    [sys.executable, "-m", "cs3fuse", *arguments],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_s,
                    check=False,
                    start_new_session=True,
                ).returncode
            except subprocess.TimeoutExpired as exc:
                raise DemoError(f"cs3fuse {arguments[0]} did not end within {timeout_s:.0f} s: {_tail(log)}") from exc
        if status:
            raise DemoError(f"cs3fuse {arguments[0]} failed: {_tail(log) or f'exit status {status}'}")


def _read_line(stream: IO[str], timeout_s: float) -> str:
    """The first line of a stream; "" if it ends, or none comes in time."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(timeout_s)
    return lines[0] if lines else ""


def _tail(file: Path, lines: int = 5) -> str:
    """The end of a log, on one line."""
    return " / ".join(file.read_text(errors="replace").strip().splitlines()[-lines:])


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No second Ctrl-C (or SIGTERM) may leave a mount behind; for steps that are bounded in time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
