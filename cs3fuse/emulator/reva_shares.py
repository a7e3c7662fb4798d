"""Profile `reva`, continued: user shares and public links; the complete profile is `RevaProfile`.

Owns what is shared and the mounts `/public/<token>` of links. Runs on the server's loop only.

Source: reva pkg/share/manager/sql, internal/grpc/services/publicstorageprovider.
"""

import posixpath
import urllib.parse
from pathlib import Path
from typing import Any

import grpc

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.groups import GroupHandlers
from cs3fuse.emulator.links import Link, LinkBook, LinkHandlers
from cs3fuse.emulator.localfs import LocalFolder
from cs3fuse.emulator.profile_reva import Mount
from cs3fuse.emulator.profiles import Call, Services
from cs3fuse.emulator.proto import storage_pb
from cs3fuse.emulator.reva_data import LINK_BASE, RevaData
from cs3fuse.emulator.reva_sql_shares import SqlShareHandlers
from cs3fuse.emulator.shares import ShareBook
from cs3fuse.emulator.users import User

_NOT_BEHIND_LINKS = frozenset({"SetLock", "GetLock", "RefreshLock", "Unlock", "GetPath", "UnsetArbitraryMetadata"})


class RevaProfile(LinkHandlers, RevaData, GroupHandlers, SqlShareHandlers):
    """Reva 3.12, driver local."""

    def __init__(self, services: Services) -> None:
        self._link_mounts: dict[str, Mount] = {}
        self.links = LinkBook(services.state)
        self.shares = ShareBook(services.state)
        super().__init__(services)

    def share_target(self, call: Call, info: Any) -> tuple[tuple[str, str, str], str, User]:
        """Anything below the root of a space; the id of the space is not kept, as in the sql share manager."""
        spot = self.resolve(storage_pb.Reference(resource_id=info.id)) if info.id.opaque_id else self.resolve_path(info.path)
        mount = spot.here
        with self.failing("path not found when statting", "error statting"):
            mount.folder.stat(spot.inner)
        if len(spot.path.strip("/").split("/")) <= mount.depth:
            raise Refusal(proto.PERMISSION_DENIED, "permission denied")
        opaque_id = f"fileid-{urllib.parse.quote_plus(spot.inner)}"
        return (mount.storage_id, "", opaque_id), posixpath.basename(spot.inner), call.user

    # -- public links

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The two storages and one mount per link in force."""
        links = [link for link in self.links.all() if self.links.get(link.token, self.clock.now_s()) is not None]
        return (*self.fixed_mounts, *(self._link_mount(link) for link in links))

    def _link_mount(self, link: Link) -> Mount:
        mount = self._link_mounts.get(link.token)
        if mount is None:
            home, inner = self._shared(link)
            disk = Path(home.folder.disk(inner))
            folder = LocalFolder(disk, self.config.state_path / "reva-public" / link.token, self.state, self.clock, link.token)
            mount = Mount(
                f"/public/{link.token}", f"public-{link.token}", 2, LINK_BASE, exposed=False, folder=folder, link=link.token
            )
            self._link_mounts[link.token] = mount
        return mount

    def _shared(self, link: Link) -> tuple[Mount, str]:
        """The mount and the inner path that a link shares."""
        mount = next(mount for mount in self.fixed_mounts if mount.storage_id == link.resource[0])
        return mount, urllib.parse.unquote_plus(link.resource[2].removeprefix("fileid-"))

    def check_link(self, call: Call, request: Any) -> None:
        """As for every profile, and some RPCs do not exist behind a link."""
        if call.link is not None and call.name in _NOT_BEHIND_LINKS:
            raise GrpcAbort(grpc.StatusCode.UNIMPLEMENTED, "method not implemented")
        super().check_link(call, request)

    def link_reaches(self, link: Link, reference: Any) -> bool:
        """Below the link's own mount, or below the owner's path."""
        try:
            spot = self.resolve(reference)
        except Refusal:
            return False
        mount, inner = self._shared(link)
        if spot.mount is None:
            return False
        return spot.mount.link == link.token or (
            spot.mount is mount and (spot.inner == inner or spot.inner.startswith(f"{inner}/"))
        )

    def forbidden_by_link(self, rpc: str, request: Any) -> Exception:
        """A status, not a gRPC error."""
        return Refusal(proto.PERMISSION_DENIED, "permission denied")
