"""``mesh/``: what users of other sites shared with us (OCM).

Owns one ``Site`` per share. The list is our own site's, so reading the folder never asks another site; what a listing cannot know (sizes
of shared files) is asked for when somebody looks at that one file. Trio thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
import trio

from cs3fuse.client.session import Cs3Client
from cs3fuse.client.sharing import OcmShare, Role, ShareState, is_over
from cs3fuse.errors import Cs3FuseError, NotFoundError
from cs3fuse.mesh.given import domain, role_of
from cs3fuse.mesh.members import Member
from cs3fuse.mesh.namespace import Wish
from cs3fuse.mesh.roots import Grant
from cs3fuse.mesh.sites import Limits, Site
from cs3fuse.model import Entry, Kind, Location, PathRoot

_log = structlog.get_logger(__name__)

_CHECK_S = 5.0
_NO_MOUNT = (
    "The gateway does not tell under which path it serves the files of other sites: set the option ocm_mount "
    "(/ocm-received and /ocm are usual)."
)


class OcmSource:
    """See the module."""

    name = "mesh"

    def __init__(self, client: Cs3Client, mount: str, limits: Limits, *, wall_clock_s: Callable[[], float] = time.time) -> None:
        """``mount``: the path under which the gateway serves received shares, "" where nobody said."""
        self._client = client
        self._mount = mount.rstrip("/")
        self._limits = limits
        self._wall_clock_s = wall_clock_s
        self._sites: dict[str, Site] = {}
        self._mount_problem: str | None = None if mount else _NO_MOUNT

    async def members(self) -> Sequence[Member]:
        """See the protocol."""
        now_s = self._wall_clock_s()
        shares = [share for share in await self._client.sharing.received_ocm() if is_shown(share, now_s)]
        if shares and self._mount_problem is None:
            await self._check_mount()
        shown = {share.id for share in shares}
        self._sites = {share_id: site for share_id, site in self._sites.items() if share_id in shown}
        return [self._member(share) for share in shares]

    async def member(self, known: Member) -> Member:
        """See the protocol: a folder as the list said; of a file its size and time are asked for."""
        site = known.grant.site
        if known.problem or known.entry.kind is not Kind.FILE or site is None:
            return known
        at = Location(known.root)
        try:
            entry = await site.call(lambda: self._client.tree.stat(at), at)
        except NotFoundError:
            raise
        except Cs3FuseError as error:
            remembered = site.remembered(at)
            return known if remembered is None else replace(known, entry=replace(remembered, metadata={"cs3.error": str(error)}))
        site.remember(at, entry)
        return replace(known, entry=entry)

    def _member(self, share: OcmShare) -> Member:
        owner = f"{share.owner}@{domain(share.site)}"
        root = PathRoot(f"{self._mount}/{share.id}")
        site = self._sites.setdefault(share.id, Site(root, domain(share.site), self._client.tree, self._limits))
        is_file = share.kind is Kind.FILE
        entry = Entry(share.name, share.kind, mtime_ns=int(share.mtime_s * 1e9), owner=owner, is_vague=is_file)
        # The permission set of OCM knows reading and writing alone: an editor may delete and make folders, which it never says.
        allowed = frozenset(role_of(share.permissions).permissions) if share.permissions else frozenset(Role.VIEWER.permissions)
        grant = Grant(self._client, allowed, site, is_whole=True)
        wish = Wish(f"ocm:{share.id}", share.name, owner, share.created_s)
        return Member(wish, root, entry, grant, problem=self._mount_problem or "", share_ids=frozenset({share.id}))

    async def _check_mount(self) -> None:
        """Whether the gateway has the mount: one Stat of its root, which Reva cannot describe (INTERNAL) but would not find elsewhere."""
        with trio.move_on_after(_CHECK_S):
            try:
                await self._client.tree.stat(Location(PathRoot(self._mount)))
            except NotFoundError:
                problem = (
                    f"The gateway has nothing at {self._mount}: the option ocm_mount is wrong (/ocm-received and /ocm are usual)."
                )
                _log.warning("ocm_mount_wrong", ocm_mount=self._mount, reason=problem)
                self._mount_problem = problem
                return
            except Cs3FuseError as error:
                _log.debug("ocm_mount_checked", ocm_mount=self._mount, said=str(error))
            self._mount_problem = ""


def is_shown(share: OcmShare, now_s: float) -> bool:
    """Whether a share belongs into the folder: accepted, not hidden, not over. The list keeps everything for ever."""
    return share.state is ShareState.ACCEPTED and not share.is_hidden and not is_over(share.expires_s, now_s)
