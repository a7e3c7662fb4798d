"""Gateways and mounts as processes of their own, the way people run them.

Used by the tests with a real mount. Each object ends what it started, by pid, whatever happened in between.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.kernel.mounts import mounted_type

SECRETS = {"einstein": "relativity", "marie": "radioactivity", "richard": "superfluidity"}
_START_S = 60.0
_STOP_S = 90.0


class GatewayProcess:
    """The embedded gateway in a process of its own; files of users lie in ``root``."""

    def __init__(self, root: Path, profile: str, *options: str) -> None:
        self.root = root
        self.profile = profile
        self._options = options
        self.grpc_port = 0
        self.http_port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, on the same ports as before where it ran already."""
        self.root.mkdir(parents=True, exist_ok=True)
        arguments = [sys.executable, "-m", "cs3fuse.emulator", "--profile", self.profile, "--root", str(self.root), "--control"]
        arguments += ["--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port), *self._options]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.grpc_port, self.http_port = int(told["grpc"]), int(told["http"])

    def stop(self, *, how: int = signal.SIGTERM) -> None:
        """End it and wait."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def source(self, path: str = "") -> str:
        """SOURCE for ``cs3fuse mount``."""
        return f"cs3+plain://127.0.0.1:{self.grpc_port}{path}"


@dataclass
class MountProcess:
    """``cs3fuse mount`` of one user at a folder of its own, with cache, state and configuration below ``folder``.

    It shows the home alone unless ``options`` say otherwise. ``options`` are given with -o; ``toml`` names a configuration file instead of ``source``.
    """

    source: str
    folder: Path
    user: str = "einstein"
    options: dict[str, object] = field(default_factory=dict)
    is_live: bool = False

    @property
    def path(self) -> Path:
        """The mount point."""
        return self.folder / "mnt"

    @property
    def state(self) -> Path:
        """The state folder: journal, staged files, log."""
        return self.folder / "state"

    def __enter__(self) -> Self:
        self.mount()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.clean_up()

    def environment(self) -> dict[str, str]:
        """Nothing of the tester's own settings, and the user's secret."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CS3FUSE_")}
        for kind in ("CACHE", "STATE", "CONFIG"):
            variables[f"XDG_{kind}_HOME"] = str(self.folder / f"xdg-{kind.lower()}")
        if not self.is_live:
            variables["CS3FUSE_SECRET"] = SECRETS[self.user]
        return variables

    def run(self, *arguments: str, check: bool = True, timeout_s: float = _STOP_S) -> subprocess.CompletedProcess[str]:
        """Run a ``cs3fuse`` command."""
        done = subprocess.run(
            [sys.executable, "-m", "cs3fuse", *arguments],
            env=self.environment(), capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"cs3fuse {' '.join(arguments)} gave {done.returncode}: {done.stderr or done.stdout}\n{self.log()}"
            )
        return done

    def mount(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Mount; returns when it answers."""
        self.path.mkdir(parents=True, exist_ok=True)
        arguments = ["mount", self.source, str(self.path)]
        if not self.is_live:
            arguments += ["--user", self.user]
        options = {
            "view": "home",
            "state_folder": self.state,
            "cache_folder": self.folder / "cache",
            "log_level": "debug",
            **self.options,
        }
        for name, value in options.items():
            arguments += ["-o", f"{name}={value}"]
        return self.run(*arguments, check=check, timeout_s=_START_S)

    def umount(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Unmount as a person would."""
        return self.run("umount", str(self.path), check=check)

    def status(self) -> dict[str, Any]:
        """What ``cs3fuse status`` would show."""
        return request(socket_path(self.path), "status")

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return int(request(socket_path(self.path), "ping")["pid"])

    def kill(self, pid: int) -> None:
        """Kill the daemon as a crash would, and take the dead mount away."""
        os.kill(pid, signal.SIGKILL)
        self.wait_for_end(pid)
        subprocess.run(["fusermount3", "-uz", str(self.path)], check=False, capture_output=True)

    @staticmethod
    def wait_for_end(pid: int, limit_s: float = 30.0) -> None:
        """Until a process is gone."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.01)
        raise AssertionError(f"process {pid} did not end")

    def log(self) -> str:
        """The end of the daemon's log."""
        path = self.state / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def clean_up(self) -> None:
        """Unmount, by force if need be."""
        if mounted_type(self.path) is None:
            return
        pid = None
        try:
            pid = self.pid
            self.umount()
        finally:
            if mounted_type(self.path) is not None:
                subprocess.run(["fusermount3", "-uz", str(self.path)], check=False, capture_output=True)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
