"""The processes of the demonstration: embedded gateways and ``cs3fuse`` commands.

Owns a gateway's process from start to end. Called by ``demo.stage``, from several threads at once, each for a process of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_START_S = 30.0
_END_S = 10.0
_numbers = itertools.count(1)


class DemoError(Exception):
    """The demonstration did not go as it should; the message is a sentence for a person."""


class GatewayAtWork:
    """One embedded gateway, running from here on. ``source`` is what ``cs3fuse mount`` takes, once ``wait`` returned."""

    def __init__(self, site: str, root: Path, profile: str, log: Path) -> None:
        """Start it; ``site`` is its name in the mesh, ``root`` holds its users' folders, what it says goes to ``log``."""
        self.site = site
        self.source = ""
        self._log = log
        words = ["--root", str(root), "--profile", profile, "--site", site, "--control"]
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cs3fuse.emulator", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def wait(self) -> str:
        """Wait until it says where it listens. Returns: the URL of its HTTP side. Raises: DemoError with its words."""
        assert self._process.stdout is not None
        line = _read_line(self._process.stdout, _START_S)
        try:
            told = json.loads(line)
            self.source = f"cs3+plain://127.0.0.1:{int(told['grpc'])}"
            return f"http://127.0.0.1:{int(told['http'])}"
        except (ValueError, KeyError, TypeError) as exc:
            raise DemoError(f"the gateway did not start: {tail(self._log) or line or 'no word from it'}") from exc

    def runs(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it and wait; bounded."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def run_cs3fuse(folder: Path, words: Sequence[str], secrets: Mapping[str, str], timeout_s: float) -> str:
    """Run ``cs3fuse`` with state, cache and logs in ``folder``, so that nothing is left behind and no settings are met.

    Returns: what it said. Raises: DemoError with its last words.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CS3FUSE_")} | dict(secrets)
    for kind in ("CACHE", "STATE", "CONFIG"):
        environment[f"XDG_{kind}_HOME"] = str(folder / kind.lower())
    log = folder / f"cs3fuse-{next(_numbers):02}-{words[0]}.log"
    # Into a file and not a pipe: a daemon that keeps its end of a pipe would keep us waiting.
    with log.open("w") as output:
        try:
            status = subprocess.run(
                [sys.executable, "-m", "cs3fuse", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            ).returncode
        except subprocess.TimeoutExpired as exc:
            raise DemoError(f"cs3fuse {words[0]} did not end within {timeout_s:.0f} s: {tail(log)}") from exc
    if status:
        raise DemoError(f"cs3fuse {words[0]} failed: {tail(log) or f'exit status {status}'}")
    return log.read_text(errors="replace").strip()


def _read_line(stream: IO[str], timeout_s: float) -> str:
    """The first line of a stream; "" if it ends, or none comes in time."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(timeout_s)
    return lines[0] if lines else ""


def tail(file: Path, lines: int = 5) -> str:
    """The end of a log, on one line."""
    return " / ".join(file.read_text(errors="replace").strip().splitlines()[-lines:])
