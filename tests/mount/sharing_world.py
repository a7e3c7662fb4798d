"""Three people who share: einstein, richard at his site, marie at another; over embedded gateways or live servers.

Owns the mounts. A live world is named by TOML files (as ``cs3fuse mount`` takes them): CS3FUSE_LIVE is einstein, CS3FUSE_LIVE_COLLEAGUE
somebody else at his site, CS3FUSE_LIVE_PEER somebody at another site that knows his; CS3FUSE_LIVE_GROUP is a group that both of his site are
in. Who is not named does not take part.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from cs3fuse.mesh.given import domain
from tests.support.mesh import OCM_MOUNT, two_sites
from tests.support.processes import MountProcess

REFRESH_S = 1.0
"""The attribute_timeout_s of the mounts: after it a change of a list must show."""
_DAEMON_S = 90


@dataclass
class Person:
    """Somebody with a mount. ``name`` is what others write behind ``--with``, ``folder`` where einstein's shares appear."""

    mount: MountProcess
    name: str
    folder: str

    @property
    def shares(self) -> Path:
        return self.mount.path / self.folder

    def cli(self, *words: str) -> str:
        """A command of the person, about the own mount."""
        return self.mount.run(*words, "--mount", str(self.mount.path)).stdout

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """What a command would ask the daemon, without starting a process for it."""
        return request(socket_path(self.mount.path), command, timeout_s=_DAEMON_S, **arguments)

    def received(self, name: str) -> list[dict[str, Any]]:
        """What was shared with the person under this name, whatever became of it."""
        return [each for each in self.ask("shares")["received"] if each["name"] == name]


@dataclass
class World:
    """See the module. ``tag`` makes names that no earlier run used: servers list old shares for ever."""

    einstein: Person
    receivers: Mapping[str, Person]
    group: str = ""
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    @property
    def home(self) -> Path:
        return self.einstein.mount.path / "home"

    def name(self, name: str) -> str:
        return f"{name} {self.tag}"

    def make(self, name: str, *, file: bool = False) -> Path:
        """A new folder, or file, in einstein's home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if file:
            path.write_text(f"this is {name}")
        else:
            path.mkdir()
        return path

    def give(self, path: Path, receiver: Person, role: str = "viewer", until: float = 0) -> None:
        """Share and accept, without processes for the commands."""
        before = {each["id"] for each in receiver.received(path.name)}
        below = str(path.relative_to(self.einstein.mount.path))
        self.einstein.ask("share", path=below, **{"with": receiver.name}, role=role, until=until)
        (new,) = {each["id"] for each in receiver.received(path.name)} - before
        receiver.ask("answer_share", name=new)

    def answered(self, path: Path, receiver: Person, *, decline: bool) -> None:
        receiver.ask("answer_share", name=path.name, decline=decline)


@contextmanager
def embedded(folder: Path) -> Iterator[World]:
    """Two embedded sites of profile reva."""
    options = {"view": "mesh", "ocm_mount": OCM_MOUNT, "attribute_timeout_s": REFRESH_S}
    with two_sites(folder) as sites:
        a, b = sites.gateway_a.source(), sites.gateway_b.source()
        mounts = [
            MountProcess(source, folder / user, user, {**options})
            for user, source in (("einstein", a), ("richard", a), ("marie", b))
        ]
        with _mounted(mounts) as (einstein, richard, marie):
            yield _introduced(einstein, richard, marie, "physicists")


@contextmanager
def live(folder: Path) -> Iterator[World]:
    """The servers that the environment names."""
    options = {"view": "mesh", "attribute_timeout_s": REFRESH_S}
    names = ("CS3FUSE_LIVE", "CS3FUSE_LIVE_COLLEAGUE", "CS3FUSE_LIVE_PEER")
    mounts = {
        name: MountProcess(os.environ[name], folder / name.lower(), options={**options}, is_live=True)
        for name in names
        if os.environ.get(name)
    }
    with _mounted(list(mounts.values())):
        yield _introduced(*(mounts.get(name) for name in names), os.environ.get("CS3FUSE_LIVE_GROUP", ""))


@contextmanager
def _mounted(mounts: list[MountProcess]) -> Iterator[list[MountProcess]]:
    """All at once: each takes a second or two."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        for mount in mounts:
            stack.callback(mount.clean_up)
        list(pool.map(lambda mount: mount.mount(), mounts))
        yield mounts


def _introduced(einstein: MountProcess | None, richard: MountProcess | None, marie: MountProcess | None, group: str) -> World:
    assert einstein is not None, "CS3FUSE_LIVE names nobody"
    first = Person(einstein, _identity(einstein)["user"], "")
    receivers = {}
    if richard is not None:
        receivers["richard"] = Person(richard, _identity(richard)["user"], "shares")
    if marie is not None:
        identity = _identity(marie)
        receivers["marie"] = Person(marie, f"{identity['user']}@{domain(identity['idp'])}", "mesh")
        invitation = first.cli("invite").strip()
        accepted = marie.run("invite", "accept", invitation, "--mount", str(marie.path), check=False)
        assert accepted.returncode == 0 or "already" in accepted.stderr, accepted.stderr
    return World(first, receivers, group)


def _identity(mount: MountProcess) -> dict[str, str]:
    return dict(mount.status()["identity"])


def names(folder: Path) -> set[str]:
    """What ``ls`` shows."""
    return {entry.name for entry in os.scandir(folder)}


def after_refresh(is_so: Any) -> None:
    """What must be so once the refresh time is over: one look, no patience."""
    time.sleep(REFRESH_S)
    assert is_so()
