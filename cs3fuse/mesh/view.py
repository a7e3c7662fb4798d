"""What a SOURCE shows: the home, the path that it names, or the mesh view with everything that is ours and was shared with us.

Owns the composition of the view. Called by ``app`` and ``draining`` at the start; ``run`` is a service of the mount. The rest of the
program only sees the ``Location`` of the top and the three ports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client
from cs3fuse.client.sharing import Sharing
from cs3fuse.config.options import MountOptions
from cs3fuse.errors import NotFoundError
from cs3fuse.mesh.folders import Folder
from cs3fuse.mesh.given import GivenBook
from cs3fuse.mesh.links import LinksSource
from cs3fuse.mesh.members import SharesSource, Source, SpacesSource
from cs3fuse.mesh.names import NameBook
from cs3fuse.mesh.ocm import OcmSource
from cs3fuse.mesh.remote import MeshData, MeshHistory, MeshLocks
from cs3fuse.mesh.roots import RootTable
from cs3fuse.mesh.sites import LONGEST_PROBE_WAIT_S, Limits, look_after
from cs3fuse.mesh.tree import TOP, MeshTree
from cs3fuse.model import Location, Root
from cs3fuse.ports import RemoteData, RemoteHistory, RemoteLocks, RemoteTree

_log = structlog.get_logger(__name__)


def _tell_nobody(_at: Location) -> None:
    """For a view of which nothing waits."""


class View:
    """What is mounted: where its top is, the ports behind it, and what a person may ask about sharing."""

    def __init__(
        self, client: Cs3Client, top: Location, mesh: MeshTree | None, table: RootTable, links: LinksSource | None = None
    ) -> None:
        self.client = client
        self.top = top
        self.mesh = mesh
        """The folders, None where the home or a path alone is shown."""
        self._table = table
        self._links = links
        self.given = GivenBook(client.sharing)
        self.site_is_back: Callable[[Location], None] = _tell_nobody
        """Told of the root of each share whose site was away and answers again."""
        self.tree: RemoteTree = mesh if mesh is not None else client.tree
        self.data: RemoteData = MeshData(table) if mesh is not None else client.data
        self.locks: RemoteLocks = MeshLocks(table) if mesh is not None else client.locks
        self.history: RemoteHistory = MeshHistory(table) if mesh is not None else client.history

    @property
    def sharing(self) -> Sharing:
        """The sharing calls of the user."""
        return self.client.sharing

    @property
    def sent_bytes(self) -> int:
        """Bytes that uploads sent since the start."""
        return self.client.data.sent_bytes + (self._links.sent_bytes if self._links is not None else 0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask sites that are away whether they are back, and say so, until cancelled."""
        task_status.started()
        try:
            await look_after(self._table.sites, lambda root: self.site_is_back(Location(root)))
        finally:
            if self._links is not None:
                self._links.close()

    async def know_other_sites(self) -> None:
        """Read which roots have another site behind them, before a journal is sent there: such a site may be silent. Bounded; never raises."""
        if self.mesh is not None:
            await self.mesh.folders[OcmSource.name].known()

    def learn_into(self, book: CapabilityBook) -> None:
        """Where what is known of storages is written down."""
        if self.mesh is not None:
            self.mesh.book = book

    def put_in_front(self, tree: RemoteTree, data: RemoteData, locks: RemoteLocks) -> None:
        """Have everybody who asks from now on ask these, which ask the present ones."""
        self.tree, self.data, self.locks = tree, data, locks

    async def with_trash(self) -> Mapping[str, Location]:
        """What has a trash of its own, by its path below the mount point: the home and the spaces, "" for a top that is no view.

        Deleted things of a share lie in its owner's trash.
        """
        return await self.mesh.with_trash() if self.mesh is not None else {"": self.top}

    def path_of(self, root: Root) -> str | None:
        """Where a root is below the mount point, None if it is not shown."""
        return self.mesh.path_of(root) if self.mesh is not None else None


async def open_view(client: Cs3Client, options: MountOptions, state_folder: Path | None) -> View:
    """The view that the options ask for.

    Raises: NotFoundError: there is no such path, or no home, for this user; NotDirectoryError.
    """
    _, path = parse_source(options.source)
    if path.strip("/") or options.view == "home":
        return View(client, await open_root(client, options.source), None, RootTable(client))
    try:
        home: Root | None = await client.home()
    except NotFoundError as error:
        _log.warning("no_home", reason=str(error))
        home = None
    table = RootTable(client)
    names = NameBook(state_folder)
    limits = Limits(call_s=options.site_timeout_s, probe_s=min(options.site_timeout_s, LONGEST_PROBE_WAIT_S))
    sources: list[Source] = [SpacesSource(client), SharesSource(client), OcmSource(client, options.ocm_mount, limits)]
    links = LinksSource(client.gateway, options.links) if options.links else None
    if links is not None:
        sources.append(links)
    folders = [Folder(source, table, names, limit_s=options.list_timeout_s) for source in sources]
    return View(client, Location(TOP), MeshTree(table, home, folders, started_ns=time.time_ns()), table, links)


async def open_root(client: Cs3Client, source: str) -> Location:
    """The root that a SOURCE names: without a path the user's home, made on the first visit where the server makes homes.

    Raises: NotFoundError: there is no such path for this user; NotDirectoryError.
    """
    _, path = parse_source(source)
    if not path.strip("/"):
        return Location(await client.home())
    try:
        return Location(await client.root_at(path))
    except NotFoundError as error:
        raise NotFoundError(f"{path} does not exist on {client.gateway.endpoint}, or you may not see it.", path=path) from error
