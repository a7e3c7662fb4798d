"""Received shares: what their storage has not, said at once without asking the other site.

Owns these refusals and what a reference below the mount is. Base of `ocm_received`; runs on the server's loop only.
"""

import posixpath
from dataclasses import dataclass
from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.profiles import Call


@dataclass(frozen=True)
class Spot:
    """A reference below the mount.

    Args:
        share_id: empty for the mount itself.
        rel: path in the share: "/", "/a/b", or without the first slash where an id had no colon.
        form: how it was addressed: path, id or relative.

    """

    share_id: str
    rel: str
    form: str = "path"

    @property
    def inner(self) -> str:
        """The path below the mount."""
        return "/" + posixpath.join(self.share_id, self.rel.strip("/")).rstrip("/")


class OcmAbsent:
    """Locks, quota, metadata, versions, recycle bin."""

    def set_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """SetLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error setting lock: {proto.go_text(request.ref)}")

    def get_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error getting lock: {proto.go_text(request.ref)}")

    def refresh_lock(self, call: Call, request: Any, spot: Spot) -> Any:
        """RefreshLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error refreshing lock: {proto.go_text(request.ref)}")

    def unlock(self, call: Call, request: Any, spot: Spot) -> Any:
        """Unlock: not supported."""
        raise Refusal(proto.INTERNAL, f"error unlocking: {proto.go_text(request.ref)}")

    def get_quota(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetQuota: not supported."""
        raise Refusal(proto.INTERNAL, "error getting quota")

    def set_arbitrary_metadata(self, call: Call, request: Any, spot: Spot) -> Any:
        """SetArbitraryMetadata: not supported, mtime neither."""
        raise Refusal(proto.INTERNAL, f"error setting arbitrary metadata: {proto.go_text(request.ref)}")

    def unset_arbitrary_metadata(self, call: Call, request: Any, spot: Spot) -> Any:
        """UnsetArbitraryMetadata: not supported."""
        raise Refusal(proto.INTERNAL, f"error unsetting arbitrary metadata: {proto.go_text(request.ref)}")

    def list_file_versions(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListFileVersions: not supported."""
        text = "error: not supported: operation not supported"
        raise Refusal(proto.INTERNAL, f"error listing file versions for {proto.go_text(request.ref)}: {text}")

    def restore_file_version(self, call: Call, request: Any, spot: Spot) -> Any:
        """RestoreFileVersion: not supported."""
        raise Refusal(proto.INTERNAL, f"error restoring version: {proto.go_text(request.ref)}")

    def list_recycle(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListRecycle: not supported."""
        raise Refusal(proto.INTERNAL, "error listing recycle")

    def restore_recycle_item(self, call: Call, request: Any, spot: Spot) -> Any:
        """RestoreRecycleItem: not supported."""
        raise Refusal(proto.INTERNAL, "error restoring recycle bin item")

    def purge_recycle(self, call: Call, request: Any, spot: Spot) -> Any:
        """PurgeRecycle: not supported."""
        raise Refusal(proto.INTERNAL, "error purging recycle item")
