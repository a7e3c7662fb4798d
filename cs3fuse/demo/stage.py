"""The stage of the demonstration: the gateways of two sites, the mounts, the folders, and their end.

Owns starting and ending them in the right order; called by ``demo.run``. Runs ``cs3fuse`` and the gateways as processes of
their own, the way a person would from a shell. One caller at a time; ``together`` starts what does not depend on each other at once.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from cs3fuse.demo import content
from cs3fuse.demo.processes import DemoError, GatewayAtWork, run_cs3fuse
from cs3fuse.emulator.control_client import ControlClient, ControlError
from cs3fuse.kernel.mounts import mounted_type

T = TypeVar("T")

PASSWORDS = {"einstein": "relativity", "marie": "radioactivity", "richard": "superfluidity"}
"""What the embedded gateway knows its users by."""
SITES = ("a.example.org", "b.example.org")
OCM_MOUNT = "/ocm-received"
_MOUNT_S = 30.0
_UMOUNT_S = 60.0


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that the demonstration made."""

    user: str
    site: str
    folder: Path


@dataclass
class Stage:
    """Gateways, mounts and folders of one demonstration; leaving it unmounts, ends and removes them in that order.

    ``edited_to`` is what the minutes must hold on the gateway's disk in the end, None if nothing is known of that.
    """

    profile: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cs3fuse-demo-")))
    gateways: dict[str, GatewayAtWork] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    edited_to: str | None = None
    kept_bytes: str | None = None
    problems: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        for site in SITES:
            self.root_of(site).mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        with _undisturbed():
            kept = together([partial(self._unmount, mount) for mount in self.mounts])
            for gateway in self.gateways.values():
                gateway.end()
            if self.edited_to is not None:
                self.kept_bytes = (self.root_of(SITES[0]) / "einstein" / content.MINUTES).read_text()
            # Never through a mount that is still there: that would delete files on the gateway.
            if not all(kept) or (kind is not None and issubclass(kind, Exception)):
                print(f"demo: logs are kept in {self.folder}", file=sys.stderr)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    def root_of(self, site: str) -> Path:
        """A gateway's storage: a folder for each user."""
        return self.folder / site

    def start_gateways(self) -> None:
        """Start the gateways of both sites, wait until they say where they listen, and tell each of the other."""
        for site in SITES:
            self.gateways[site] = GatewayAtWork(site, self.root_of(site), self.profile, self.folder / f"{site}.log")
        urls = dict(zip(SITES, together([gateway.wait for gateway in self.gateways.values()]), strict=True))
        try:
            for site, other in zip(SITES, reversed(SITES), strict=True):
                ControlClient(urls[site]).peers(**{other: urls[other]})
        except (ControlError, OSError) as exc:
            raise DemoError(f"the gateways could not be made known to each other: {exc}") from exc

    def gateways_run(self) -> bool:
        """Whether the gateways are still there."""
        return all(gateway.runs() for gateway in self.gateways.values())

    def mount(self, user: str, site: str) -> Mount:
        """Mount as a person would: ``cs3fuse mount SOURCE MOUNTPOINT --user NAME``, the secret in the environment."""
        folder = self.folder / user
        folder.mkdir()
        mount = Mount(user, site, folder)
        # Listed before the attempt: an interrupted mount may have come up.
        self.mounts.append(mount)
        words = ["mount", self.gateways[site].source, str(folder), "--user", user, "-o", f"ocm_mount={OCM_MOUNT}"]
        run_cs3fuse(self.folder, words, {"CS3FUSE_SECRET": PASSWORDS[user]}, _MOUNT_S)
        return mount

    def command(self, *words: str, mount: Mount | None = None) -> str:
        """What a ``cs3fuse`` command says, about one mount where it is not given by a path. Raises: DemoError with its sentence."""
        return run_cs3fuse(self.folder, [*words, *(("--mount", str(mount.folder)) if mount is not None else ())], {}, _MOUNT_S)

    def verify_afterwards(self) -> None:
        """After the end: everything was unmounted, and what was edited is on the gateway.

        Raises: DemoError naming what went wrong.
        """
        if self.problems:
            raise DemoError(f"not everything ended cleanly: {'; '.join(self.problems)}")
        if self.kept_bytes != self.edited_to:
            raise DemoError(f"the gateway's {content.MINUTES} does not hold what was written into it")

    def _unmount(self, mount: Mount) -> bool:
        if mounted_type(mount.folder) is None:
            return True
        try:
            run_cs3fuse(self.folder, ["umount", str(mount.folder)], {}, _UMOUNT_S)
        except DemoError as exc:
            self.problems.append(str(exc))
            subprocess.run(["fusermount3", "-uz", str(mount.folder)], check=False, capture_output=True)
        if mounted_type(mount.folder) is not None:
            self.problems.append(f"{mount.folder} is still mounted; unmount it with: fusermount3 -uz {mount.folder}")
            return False
        return True


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make the calls at once, each in a thread; returns when all ended. Raises: what the first of them raised."""
    with ThreadPoolExecutor(max(1, len(calls))) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


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
