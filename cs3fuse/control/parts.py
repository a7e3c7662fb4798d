"""What the daemon's answers are made of: the parts of a running mount, and how paths of people become locations.

Owns nothing. ``app`` builds one ``Parts`` per mount; the modules beside this one answer from it. Trio thread only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import trio

from cs3fuse.cache.content import ContentStore
from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.engine import CommitEngine
from cs3fuse.config.options import MountOptions
from cs3fuse.errors import BadRequestError, Cs3FuseError
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.mesh.view import View
from cs3fuse.model import Identity, Location
from cs3fuse.observability.failures import RecentFailures
from cs3fuse.ports import RemoteLocks, RemoteTree
from cs3fuse.vfs.filesystem import Vfs
from cs3fuse.vfs.refresh import known_node

LOOK_S = 20.0
"""How long a question may wait for the server before it is answered with what is known here."""


class Requests(Protocol):
    """What ``kernel.operations`` counts; a Protocol because only the kernel adapter may import pyfuse3."""

    requests: Counter[str]
    failures: Counter[str]
    recent_failures: RecentFailures


class KernelTeller(Protocol):
    """What ``refresh`` needs of the notifier."""

    async def settle(self) -> None:
        """Wait until the kernel was told everything ordered so far."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """One running mount. ``sent_bytes`` counts what uploads sent since the start; ``started_at`` is unix seconds.

    ``leave`` makes the end of the mount not wait for what is unsent.
    """

    options: MountOptions
    mount_point: Path
    state_folder: Path
    identity: Identity
    view: View
    tree: RemoteTree
    locks: RemoteLocks
    book: CapabilityBook
    metadata: MetadataCache
    content: ContentStore
    commits: CommitEngine
    leases: LeaseManager
    vfs: Vfs
    requests: Requests
    kernel: KernelTeller
    sent_bytes: Callable[[], int]
    leave: Callable[[], None]
    started_at: float

    async def locate(self, rel: str) -> Location:
        """Where a path below the mount point is on the server, through the roots of shares on the way.

        What the kernel does not know is asked for, within a bound; if the server does not answer, names are taken as they are.
        """
        names = [name for name in rel.split("/") if name]
        node, rest = known_node(self.vfs.state.inodes, names)
        at = node.location
        with trio.move_on_after(LOOK_S):
            for position, name in enumerate(rest):
                try:
                    entry = await self.metadata.stat(at.child(name))
                except Cs3FuseError:
                    return _below(at, rest[position:])
                at = Location(entry.anchor) if entry.anchor is not None else at.child(name)
            return at
        return _below(node.location, rest)

    def shown(self, at: Location) -> str:
        """A location as the person sees it: the path in the mount where it is below one of its roots, else the server's."""
        state = self.vfs.state
        if at.root == state.inodes.root.anchor:
            return str(self.mount_point / at.rel) if at.rel else str(self.mount_point)
        for node in state.inodes.subtree(state.inodes.root):
            if node.anchor == at.root:
                names = []
                above = node
                while above.parent is not None:
                    names.append(above.name)
                    above = above.parent
                return str(Path(self.mount_point, *reversed(names), at.rel))
        below = self.view.path_of(at.root)
        return str(Path(self.mount_point, below, at.rel)) if below is not None else str(at)


def _below(at: Location, names: Sequence[str]) -> Location:
    for name in names:
        at = at.child(name)
    return at


def text(request: Mapping[str, Any], name: str) -> str:
    """A text argument of a request, "" if it is not given. Raises: BadRequestError."""
    value = request.get(name, "")
    if not isinstance(value, str):
        raise BadRequestError(f"The argument {name} must be a text.")
    return value


def number(request: Mapping[str, Any], name: str, default: float) -> float:
    """A number argument of a request. Raises: BadRequestError."""
    value = request.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRequestError(f"The argument {name} must be a number.")
    return float(value)
