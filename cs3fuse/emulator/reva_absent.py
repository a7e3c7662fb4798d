"""Profile `reva`: what driver `local` has not, which Reva reports as INTERNAL or as UNIMPLEMENTED.

Owns these refusals. Base of `profile_reva`; runs on the server's loop only.
"""

from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.identity import IdentityHandlers
from cs3fuse.emulator.profiles import Call


class RevaAbsent(IdentityHandlers):
    """Locks, symlinks, immutable files."""

    def set_lock(self, call: Call, request: Any) -> Any:
        """SetLock: not supported, which Reva reports as INTERNAL."""
        raise Refusal(proto.INTERNAL, f"error setting lock: {proto.go_text(request.ref)}")

    def get_lock(self, call: Call, request: Any) -> Any:
        """GetLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error getting lock: {proto.go_text(request.ref)}")

    def refresh_lock(self, call: Call, request: Any) -> Any:
        """RefreshLock: not supported."""
        raise Refusal(proto.INTERNAL, f"error refreshing lock: {proto.go_text(request.ref)}")

    def unlock(self, call: Call, request: Any) -> Any:
        """Unlock: not supported."""
        raise Refusal(proto.INTERNAL, f"error unlocking: {proto.go_text(request.ref)}")

    def create_symlink(self, call: Call, request: Any) -> Any:
        """CreateSymlink: not implemented anywhere."""
        raise Refusal(proto.UNIMPLEMENTED, "CreateSymlink not implemented")

    def set_immutable(self, call: Call, request: Any) -> Any:
        """SetImmutable: not implemented anywhere."""
        raise Refusal(proto.UNIMPLEMENTED, "SetImmutable not implemented")

    def unset_immutable(self, call: Call, request: Any) -> Any:
        """UnsetImmutable: not implemented anywhere."""
        raise Refusal(proto.UNIMPLEMENTED, "UnsetImmutable not implemented")
