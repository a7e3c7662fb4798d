"""WebDAV for the peers: they speak nothing else, and the embedded gateway does not speak it.

Owns an ``rclone serve webdav`` over the embedded gateway's folder. What is measured with it is the peer's client, against a
server that is faster than the WebDAV of Reva or OpenCloud.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_START_S = 20.0
_STOP_S = 10.0


@dataclass(frozen=True)
class WebDav:
    """Where the root of the user's files is, and who signs in."""

    url: str
    user: str
    secret: str = field(repr=False)


@contextmanager
def served_folder(folder: Path) -> Iterator[WebDav | None]:
    """A WebDAV server over a folder; None where rclone is not installed."""
    if shutil.which("rclone") is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "rclone",
        "serve",
        "webdav",
        str(folder),
        "--addr",
        f"127.0.0.1:{port}",
        "--dir-cache-time",
        "0",
        "--config",
        "/dev/null",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield WebDav(f"http://127.0.0.1:{port}/", "", "")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("rclone serve webdav did not start.") from None
            time.sleep(0.05)
        else:
            return
