"""Mounts of the gateway: cs3fuse, and the peers that are installed. Each is a folder, a process, and a way to end it.

Owns the mounted folders and the daemons' own folders; every mount is new and starts without a cache. Blocking. ``kill`` may be
called from another thread while the mount is in use: whoever waits for it gets an error.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from bench.gateways import Gateway
from bench.measure import drop_pages
from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.kernel.mounts import mounted_type
from cs3fuse.kernel.session import raise_read_ahead
from tests.support.processes import MountProcess

_START_S = 30.0
_STOP_S = 60.0
_POLL_S = 0.01
_DAVFS_CACHES = Path("/var/cache/davfs2")
SETTLED = b"user.settled"
"""The extended attribute of the minimal mount that can be read when everything was sent."""
_DAVFS_RUNNING = Path("/var/run/mount.davfs")


class Mount(ABC):
    """One mounted folder. ``acknowledges``: a file that was closed is on the server, or ``settle`` sees to it."""

    label: ClassVar[str]
    acknowledges: ClassVar[bool] = False

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.path = folder / "mnt"
        self.pid = 0

    @abstractmethod
    def start(self) -> None:
        """Mount; returns when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Unmount in order and wait for the daemon's end."""

    @property
    @abstractmethod
    def cache(self) -> Path:
        """Where it keeps what it fetched."""

    def settle(self) -> None:
        """Wait until what was written is on the server, if there is a way to ask."""

    def kill(self) -> None:
        """End it at once."""
        subprocess.run(["fusermount3", "-uz", str(self.path)], check=False, capture_output=True)
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def drop_pages(self, *inside: Path) -> None:
        """Empty the page cache of these files of the mount, and of all that the daemon keeps."""
        drop_pages(inside)
        drop_pages(path for path in self.cache.rglob("*") if path.is_file())

    def _wait_until_mounted(self) -> None:
        until = time.monotonic() + _START_S
        while mounted_type(self.path) is None:
            if time.monotonic() > until:
                raise RuntimeError(f"{self.label} did not mount.")
            time.sleep(_POLL_S)


class Cs3FuseMount(Mount):
    """The program under test."""

    label = "cs3fuse"
    acknowledges = True

    def __init__(self, gateway: Gateway, folder: Path, options: Mapping[str, object]) -> None:
        super().__init__(gateway, folder)
        given = {"log_level": "warning", **options}
        self._process = MountProcess(gateway.source, folder, options=given, is_live=gateway.is_live)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def start(self) -> None:
        self._process.mount()
        self.pid = self._process.pid

    def stop(self) -> None:
        self._process.clean_up()

    def settle(self) -> None:
        request(socket_path(self.path), "flush", timeout_s=None)


class ForegroundMount(Mount):
    """One whose daemon is our child and keeps its cache in the mount's folder."""

    _daemon: subprocess.Popen[bytes] | None = None

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def stop(self) -> None:
        if self._daemon is None:
            return
        subprocess.run(["fusermount3", "-u", str(self.path)], check=False, capture_output=True)
        try:
            self._daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._daemon.wait()


class MinimalMount(ForegroundMount):
    """A mount of the embedded gateway that keeps no promise (``bench.minimal``)."""

    label = "minimal"
    acknowledges = True

    def __init__(self, gateway: Gateway, folder: Path, options: Mapping[str, object]) -> None:
        super().__init__(gateway, folder)
        self._mode = str(options.get("commit", "close"))

    def start(self) -> None:
        self.path.mkdir(parents=True)
        self.cache.mkdir()
        access = self.gateway.access
        command = [sys.executable, "-m", "bench.minimal", access.target, access.user, str(self.path), str(self.cache), self._mode]
        self._daemon = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._daemon.stdin is not None
        self._daemon.stdin.write(access.secret.encode())
        self._daemon.stdin.close()
        self.pid = self._daemon.pid
        self._wait_until_mounted()
        self.path.stat()
        raise_read_ahead(self.path)

    def settle(self) -> None:
        os.getxattr(self.path, SETTLED)


class RcloneMount(ForegroundMount):
    """rclone mount of WebDAV, with its full cache (the mode in which reads may seek)."""

    label = "rclone"

    def start(self) -> None:
        webdav = self.gateway.webdav
        assert webdav is not None
        self.path.mkdir(parents=True)
        environment = {**os.environ, "RCLONE_WEBDAV_URL": webdav.url, "RCLONE_CONFIG": "/dev/null"}
        if webdav.user:
            environment["RCLONE_WEBDAV_USER"] = webdav.user
            done = subprocess.run(["rclone", "obscure", "-"], input=webdav.secret, capture_output=True, text=True, check=True)
            environment["RCLONE_WEBDAV_PASS"] = done.stdout.strip()
        command = ["rclone", "mount", ":webdav:", str(self.path), "--vfs-cache-mode", "full", "--cache-dir", str(self.cache)]
        command += ["--vfs-write-back", "0s"]
        self._daemon = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._daemon.pid
        self._wait_until_mounted()


class DavfsMount(Mount):
    """davfs2; only root may mount it. It keeps its cache where its own user may write."""

    label = "davfs2"

    @property
    def _dashed(self) -> str:
        """How davfs2 names what belongs to a mount point."""
        return str(self.path).strip("/").replace("/", "-")

    @property
    def cache(self) -> Path:
        found = list(_DAVFS_CACHES.glob(f"*+{self._dashed}+*"))
        return found[0] if found else self.folder / "no-cache-yet"

    def start(self) -> None:
        webdav = self.gateway.webdav
        assert webdav is not None
        self.path.mkdir(parents=True)
        secrets, configuration = self.folder / "secrets", self.folder / "davfs2.conf"
        secrets.touch(mode=0o600)
        secrets.write_text(f'{self.path} "{webdav.user or "nobody"}" "{webdav.secret or "nothing"}"\n', encoding="utf-8")
        settings = {"secrets": secrets, "ask_auth": 0, "use_locks": 0, "delay_upload": 0}
        configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        done = subprocess.run(
            ["mount.davfs", webdav.url, str(self.path), "-o", f"conf={configuration},uid={os.getuid()}"],
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_START_S,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"davfs2 did not mount: {done.stderr.strip()}")
        self._wait_until_mounted()
        self.pid = self._read_pid()

    def _read_pid(self) -> int:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            try:
                return int((_DAVFS_RUNNING / f"{self._dashed}.pid").read_text(encoding="ascii"))
            except (FileNotFoundError, ValueError):  # written after the mount is there
                time.sleep(_POLL_S)
        raise RuntimeError("davfs2 does not tell its process.")

    def stop(self) -> None:
        try:
            subprocess.run(["umount", str(self.path)], check=False, capture_output=True, timeout=_STOP_S)
        finally:
            if mounted_type(self.path) is not None:
                subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)
            shutil.rmtree(self.cache, ignore_errors=True)


def installed_peers(gateway: Gateway) -> list[type[Mount]]:
    """The peers that can be mounted here."""
    if gateway.webdav is None:
        return []
    peers: list[type[Mount]] = []
    if shutil.which("rclone"):
        peers.append(RcloneMount)
    if shutil.which("mount.davfs") and os.geteuid() == 0:
        peers.append(DavfsMount)
    return peers


@contextmanager
def mounted(mount: Mount) -> Iterator[Mount]:
    """Started, stopped and removed."""
    try:
        mount.start()
        yield mount
    finally:
        try:
            mount.stop()
        finally:
            if mounted_type(mount.path) is not None:
                mount.kill()
            shutil.rmtree(mount.folder, ignore_errors=True)
