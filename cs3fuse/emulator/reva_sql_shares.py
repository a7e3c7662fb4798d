"""User shares as Reva's sql manager keeps them: two roles, numbers for ids, users without a domain, times in seconds.

Owns what differs from `shares`; mixed into profile `reva`. Runs on the server's loop only.

Source: reva pkg/share/manager/sql, internal/grpc/services/gateway/usershareprovider.go, as measured.
"""

import json
import urllib.parse
from typing import Any

import grpc
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.inside import Inside
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import gateway_pb, storage_pb, user_pb
from cs3fuse.emulator.shares import GRANTEE_USER, PENDING, REJECTED, Share, ShareHandlers

_VIEWER = ("get_path", "initiate_file_download", "list_container", "list_file_versions", "list_recycle", "stat")
_EDITOR = (
    *_VIEWER,
    "create_container",
    "delete",
    "initiate_file_upload",
    "move",
    "purge_recycle",
    "restore_file_version",
    "restore_recycle_item",
)
_ROLE_IDS = {False: "b1e2218d-eef8-4d4c-b82d-0f1a1b48f3b5", True: "fb6c3e19-e378-47e5-b277-9732f9de6e21"}
_COUNTER = ("reva.sql", "shares")


class SqlShareHandlers(ShareHandlers):
    """The collaboration RPCs on sqlite."""

    def share_id(self, resource: tuple[str, str, str]) -> str:
        """The next number; those of removed shares do not come again."""
        bucket, key = _COUNTER
        number = int(self.state.load(bucket).get(key, 0)) + 1
        self.state.put(bucket, key, number)
        return str(number)

    def kept_permissions(self, names: list[str]) -> list[str]:
        """One of two sets: whoever may upload may do everything."""
        return list(_EDITOR if "initiate_file_upload" in names else _VIEWER)

    def share_identifier(self, opaque_id: str) -> Any:
        """The domain is not kept; nobody asks whether the user exists."""
        return user_pb.UserId(opaque_id=opaque_id, type=user_pb.USER_TYPE_PRIMARY)

    def check_new_share(self, resource: tuple[str, str, str], kind: int, who: str, permissions: list[str]) -> None:
        """A second share is a gRPC error, one below a share with the same rights a conflict; any name will do as grantee."""
        if self.has_share(resource, kind, who):
            text = "ShareClient returned error: CODE_INTERNAL: error creating share: error: already exists"
            raise GrpcAbort(grpc.StatusCode.UNKNOWN, text)
        path = _inner(resource)
        for share in self.shares.all():
            above = _inner(share.resource)
            same = share.resource[0] == resource[0] and (share.grantee_type, share.grantee) == (kind, who)
            if same and path.startswith(f"{above}/") and set(permissions) <= set(share.permissions):
                raise Refusal(proto.ABORTED, self._conflict(share, path))

    def _conflict(self, share: Share, path: str) -> str:
        mount = f"/{share.resource[0]}"
        above, can_write = mount + _inner(share.resource), "initiate_file_upload" in share.permissions
        kind = "RW" if can_write else "RO"
        conflicting = {
            "id": share.id,
            "path": above,
            "permission_type": _ROLE_IDS[can_write],
            "sharee": share.grantee,
            "sharee_type": "user" if share.grantee_type == GRANTEE_USER else "group",
        }
        values = {
            "error_type": "parent_conflict",
            "message": f'resource at "{mount}{path}" is already accessible via a {kind} share on parent "{above}"',
            "can_force": False,
            "conflicting_shares": [conflicting],
        }
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False)

    def own_share(self, call: Call, share_id: str) -> Share:
        """A share that does not exist is a gRPC error."""
        if self.shares.get(share_id) is None:
            text = f"gateway: error calling GetShare: rpc error: code = Unknown desc = error: not found: {share_id}"
            raise GrpcAbort(grpc.StatusCode.UNKNOWN, text)
        return super().own_share(call, share_id)

    def update_received_share(self, call: Call, request: Any) -> Any:
        """UpdateReceivedShare: a rejected share is hidden; pending is answered OK and does nothing."""
        share = self.shares.get(request.share.share.id.opaque_id)
        if share is None or not share.reaches(call.user):
            raise Refusal(proto.INTERNAL, "error updating received share")
        if "state" not in request.update_mask.paths:
            return super().update_received_share(call, request)
        if request.share.state != PENDING:
            super().update_received_share(call, request)
            share.hidden = share.state == REJECTED
            self.shares.put(share)
        return share_api_pb.UpdateReceivedShareResponse(share=self.received_message(share))

    async def list_existing_shares(self, call: Call, request: Any) -> Any:
        """ListExistingShares: without those whose resource is gone."""
        response = gateway_pb.ListExistingSharesResponse()
        for share in self.list_shares(call, request).shares:
            info = await self._existing(call, share.resource_id)
            if info is not None:
                response.share_infos.add(share=share, resource_info=info)
        return response

    async def list_existing_received_shares(self, call: Call, request: Any) -> Any:
        """ListExistingReceivedShares: without those whose resource is gone."""
        response = gateway_pb.ListExistingReceivedSharesResponse()
        for received in self.list_received_shares(call, request).shares:
            info = await self._existing(call, received.share.resource_id)
            if info is not None:
                response.share_infos.add(received_share=received, resource_info=info)
        return response

    async def _existing(self, call: Call, rid: Any) -> Any:
        try:
            return await Inside(self, call.user).stat(storage_pb.Reference(resource_id=rid))
        except Refusal:
            return None

    def share_message(self, share: Share) -> Any:
        """The Share message, its times in whole seconds."""
        message = super().share_message(share)
        for stamp in (message.ctime, message.mtime):
            stamp.nanos = 0
        return message


def _inner(resource: tuple[str, str, str]) -> str:
    """The path below its mount that an id stands for."""
    return urllib.parse.unquote_plus(resource[2].removeprefix("fileid-"))
