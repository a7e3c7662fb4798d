"""The RPCs about OCM shares: what is given to users of other sites, and what came from them.

Owns the share records' way into the two books. Mixed into a profile by `ocm`; runs on the server's loop only.

Source: reva internal/grpc/services/{ocmshareprovider,ocmincoming}, pkg/ocm/share/repository/json, as measured.
"""

import json
import uuid
from collections.abc import Iterable
from typing import Any

import grpc
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.inside import Inside
from cs3fuse.emulator.ocm_book import GotShare, SentShare
from cs3fuse.emulator.ocm_invites import InviteHandlers, federated, new_secret
from cs3fuse.emulator.ocm_peers import PeerError
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import gateway_pb, storage_pb, user_pb

DAV = "/remote.php/dav/ocm"
"""Where the content of sent shares is served."""
_READ = ("get_path", "initiate_file_download", "list_container", "stat")
_TYPE_USER = 1


def got_permissions(share: GotShare) -> Any:
    """The ResourcePermissions that a received share shows."""
    return proto.permissions(*_READ, *(("initiate_file_upload",) if "write" in share.permissions else ()))


class OcmShareHandlers(InviteHandlers):
    """OCM shares, given and received."""

    # -- given

    async def create_ocm_share(self, call: Call, request: Any) -> Any:
        """CreateOCMShare: the other site hears of it at once, or nothing is created."""
        rid, grantee = request.resource_id, request.grantee.user_id
        info = await Inside(self, call.user).stat(storage_pb.Reference(resource_id=rid))
        resource = (rid.storage_id, rid.space_id, rid.opaque_id)
        site, url = self.site_and_url(request.recipient_mesh_provider)
        mine = (share for share in self.book.sent.all() if share.owner == call.user.opaque_id)
        if any((share.resource, share.grantee, share.site) == (resource, grantee.opaque_id, site) for share in mine):
            raise Refusal(proto.ALREADY_EXISTS, "share already exists")
        way = next((item.webdav_options for item in request.access_methods if item.HasField("webdav_options")), None)
        if way is None:
            raise Refusal(proto.INVALID_ARGUMENT, "no supported access method")
        share = SentShare(
            id=str(uuid.uuid4()),
            token=new_secret(),
            resource=resource,
            name=info.name or info.path.rpartition("/")[2],
            owner=call.user.opaque_id,
            grantee=grantee.opaque_id,
            site=site,
            grantee_type=grantee.type,
            permissions=_names(way.permissions),
            requirements=list(way.requirements),
            created_ns=self.clock.now_ns(),
            expires_s=proto.timestamp_s(request.expiration) if request.HasField("expiration") else 0.0,
        )
        # A site that offers to itself looks the share up while it is being told.
        self.book.sent.put(share.id, share)
        try:
            share.received_id = await self._offer(share, url, call.user.display_name, is_folder=info.type == proto.CONTAINER)
        except Refusal:
            self.book.sent.drop(share.id)
            raise
        self.book.sent.put(share.id, share)
        return ocm_api_pb.CreateOCMShareResponse(share=self.sent_message(share))

    async def _offer(self, share: SentShare, url: str, sender_name: str, *, is_folder: bool) -> str:
        """Tell the other site; returns the share's id there. Raises: Refusal."""
        owner = f"{share.owner}@{self.config.site_name}"
        permissions = ["read"] + (["write"] if "initiate_file_upload" in share.permissions else [])
        webdav: dict[str, Any] = {
            "sharedSecret": share.token,
            "permissions": permissions,
            "uri": f"{self.services.base_url}{DAV}/{share.id}",
        }
        if share.requirements:
            webdav["requirements"] = share.requirements
        values = {
            "shareWith": f"{share.grantee}@{share.site}",
            "name": share.name,
            "providerId": share.id,
            "owner": owner,
            "sender": owner,
            "senderDisplayName": sender_name,
            "shareType": "user",
            "resourceType": "folder" if is_folder else "file",
            "expiration": int(share.expires_s),
            "protocol": {"name": "multi", "options": {}, "webdav": webdav},
        }
        try:
            status, answer = await self.peers.notify(share.site, f"{url}/ocm/shares", values)
        except PeerError as error:
            raise Refusal(proto.INTERNAL, str(error)) from error
        if status == 403:
            raise Refusal(proto.INVALID_ARGUMENT, "service is not trusted to accept invitations")
        if status != 201:
            raise Refusal(proto.INTERNAL, f"internal error: {json.dumps(answer, indent=2)}")
        return str(answer.get("id", ""))

    def _mine(self, call: Call, reference: Any, text: str) -> SentShare:
        share = self.book.sent.get(reference.id.opaque_id)
        if share is None or share.owner != call.user.opaque_id:
            raise Refusal(proto.INTERNAL, text)
        return share

    def remove_ocm_share(self, call: Call, request: Any) -> Any:
        """RemoveOCMShare: the other site is not told."""
        share = self._mine(call, request.ref, "error removing share")
        self.book.sent.drop(share.id)
        return ocm_api_pb.RemoveOCMShareResponse()

    def update_ocm_share(self, call: Call, request: Any) -> Any:
        """UpdateOCMShare: permissions and expiration; the other site is not told."""
        share = self._mine(call, request.ref, "error updating share")
        for field in request.field:
            if field.HasField("expiration"):
                share.expires_s = proto.timestamp_s(field.expiration)
            elif field.access_methods.HasField("webdav_options"):
                share.permissions = _names(field.access_methods.webdav_options.permissions)
        self.book.sent.put(share.id, share)
        return ocm_api_pb.UpdateOCMShareResponse()

    def get_ocm_share(self, call: Call, request: Any) -> Any:
        """GetOCMShare: the caller's own."""
        return ocm_api_pb.GetOCMShareResponse(share=self.sent_message(self._mine(call, request.ref, "error getting share")))

    def _sent_by(self, call: Call) -> list[SentShare]:
        return self._shuffled(share for share in self.book.sent.all() if share.owner == call.user.opaque_id)

    def list_ocm_shares(self, call: Call, request: Any) -> Any:
        """ListOCMShares: what the caller gave, in random order."""
        found = self._sent_by(call)
        for wanted in request.filters:
            if wanted.HasField("resource_id"):
                found = [share for share in found if share.resource[2] == wanted.resource_id.opaque_id]
        return ocm_api_pb.ListOCMSharesResponse(shares=[self.sent_message(share) for share in found])

    async def list_existing_ocm_shares(self, call: Call, request: Any) -> Any:
        """ListExistingOCMShares: those whose resource is still there."""
        response = gateway_pb.ListExistingOCMSharesResponse()
        for share in self._sent_by(call):
            try:
                info = await Inside(self, call.user).stat(storage_pb.Reference(resource_id=resource_id(share)))
            except Refusal:
                continue
            response.share_infos.add(ocm_share=self.sent_message(share), resource_info=info)
        return response

    def sent_message(self, share: SentShare) -> Any:
        """The Share message."""
        owner = self.directory.identified(share.owner)
        assert owner is not None
        message = ocm_pb.Share(name=share.name, token=share.token, recipient_type=ocm_pb.RECIPIENT_TYPE_USER)
        message.id.opaque_id = share.id
        message.resource_id.CopyFrom(resource_id(share))
        message.grantee.type = _TYPE_USER
        grantee = user_pb.UserId(idp=share.site, opaque_id=share.grantee, type=share.grantee_type)
        message.grantee.user_id.CopyFrom(grantee)
        message.owner.CopyFrom(owner.identifier())
        message.creator.CopyFrom(owner.identifier())
        _stamp(message, share)
        way = ocm_pb.WebDAVAccessMethod(permissions=proto.permissions(*share.permissions), requirements=share.requirements)
        message.access_methods.append(ocm_pb.AccessMethod(webdav_options=way))
        return message

    # -- received

    def take_offer(self, values: Any) -> GotShare:
        """A share that another site offers, from its JSON.

        Raises: Refusal: NOT_FOUND for an unknown receiver, PERMISSION_DENIED for a sender whom the receiver has not accepted;
        KeyError, TypeError and AttributeError for JSON of another shape.
        """
        receiver_id, _, _ = values["shareWith"].rpartition("@")
        owner, _, site = values["owner"].rpartition("@")
        receiver = self.directory.identified(receiver_id)
        if receiver is None:
            raise Refusal(proto.NOT_FOUND, "user not found")
        if self.book.friend(receiver.opaque_id, owner, site) is None:
            raise Refusal(proto.PERMISSION_DENIED, "the sender has not been accepted")
        way = values["protocol"]["webdav"]
        share = GotShare(
            id=str(uuid.uuid4()),
            remote_id=values["providerId"],
            name=values["name"],
            owner=owner,
            site=site,
            grantee=receiver.opaque_id,
            secret=way["sharedSecret"],
            permissions=list(way["permissions"]),
            uri=way["uri"],
            is_folder=values["resourceType"] == "folder",
            created_ns=self.clock.now_ns(),
            expires_s=float(values.get("expiration") or 0),
            requirements=list(way.get("requirements", [])),
        )
        self.book.got.put(share.id, share)
        return share

    def got_by(self, opaque_id: str, share_id: str) -> GotShare | None:
        """A share received by a user."""
        share = self.book.got.get(share_id)
        return share if share is not None and share.grantee == opaque_id else None

    def list_received_ocm_shares(self, call: Call, request: Any) -> Any:
        """ListReceivedOCMShares: in every state, revoked ones too, in random order."""
        found = self._shuffled(share for share in self.book.got.all() if share.grantee == call.user.opaque_id)
        return ocm_api_pb.ListReceivedOCMSharesResponse(shares=[self.got_message(share) for share in found])

    def get_received_ocm_share(self, call: Call, request: Any) -> Any:
        """GetReceivedOCMShare."""
        share = self.got_by(call.user.opaque_id, request.ref.id.opaque_id)
        if share is None:
            raise Refusal(proto.INTERNAL, "error getting received share")
        return ocm_api_pb.GetReceivedOCMShareResponse(share=self.got_message(share))

    def update_received_ocm_share(self, call: Call, request: Any) -> Any:
        """UpdateReceivedOCMShare: the state only; it changes nothing else."""
        share = self.got_by(call.user.opaque_id, request.share.id.opaque_id)
        if share is None:
            raise Refusal(proto.INTERNAL, "")
        for field in request.update_mask.paths:
            match field:
                case "state":
                    share.state = int(request.share.state)
                case "hidden":
                    raise Refusal(proto.INTERNAL, "error updating received share")
                case "mount_point":
                    raise Refusal(proto.UNIMPLEMENTED, "error updating received share")
                case _:
                    raise GrpcAbort(grpc.StatusCode.UNKNOWN, f"error: not supported: updating {field} is not supported")
        self.book.got.put(share.id, share)
        return ocm_api_pb.UpdateReceivedOCMShareResponse()

    def got_message(self, share: GotShare) -> Any:
        """The ReceivedShare message."""
        receiver = self.directory.identified(share.grantee)
        assert receiver is not None
        kind = ocm_pb.SHARE_RESOURCE_TYPE_CONTAINER if share.is_folder else ocm_pb.SHARE_RESOURCE_TYPE_FILE
        message = ocm_pb.ReceivedShare(
            name=share.name,
            remote_share_id=share.remote_id,
            state=share.state,
            recipient_type=ocm_pb.RECIPIENT_TYPE_USER,
            shared_resource_type=kind,
        )
        message.id.opaque_id = share.id
        message.grantee.type = _TYPE_USER
        message.grantee.user_id.CopyFrom(receiver.identifier())
        message.owner.CopyFrom(federated(share.owner, share.site))
        message.creator.CopyFrom(federated(share.owner, share.site))
        _stamp(message, share)
        way = ocm_pb.WebDAVProtocol(
            shared_secret=share.secret, uri=share.uri, requirements=share.requirements, access_types=[ocm_pb.ACCESS_TYPE_REMOTE]
        )
        way.permissions.permissions.CopyFrom(got_permissions(share))
        message.protocols.append(ocm_pb.Protocol(webdav_options=way))
        return message

    def _shuffled(self, shares: Iterable[Any]) -> list[Any]:
        """Shares in the random order of Go's maps."""
        found = list(shares)
        self.services.random.shuffle(found)
        return found


def resource_id(share: SentShare) -> Any:
    """The ResourceId of what is shared."""
    storage_id, space_id, opaque_id = share.resource
    return storage_pb.ResourceId(storage_id=storage_id, space_id=space_id, opaque_id=opaque_id)


def _names(permissions: Any) -> list[str]:
    return [field.name for field, _ in permissions.ListFields()]


def _stamp(message: Any, share: SentShare | GotShare) -> None:
    for stamp in (message.ctime, message.mtime):
        proto.set_timestamp(stamp, share.created_ns)
    if share.expires_s:
        message.expiration.seconds = int(share.expires_s)
