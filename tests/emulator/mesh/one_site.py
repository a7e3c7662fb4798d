"""The mesh: a share by OCM between two users of one site. Called by `round`."""

from cs3.ocm.invite.v1beta1 import invite_api_pb2 as invite_api_pb
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb

from tests.emulator.mesh.desk import BASE, EDIT, MOUNT_A, SITE_A, MeshDesk, get, names, put


def one_site(desk: MeshDesk) -> None:
    """einstein invites richard and shares with him."""
    einstein, richard = desk.einstein, desk.richard
    token = einstein.call("GenerateInviteToken", invite_api_pb.GenerateInviteTokenRequest()).message.invite_token
    site = desk.site_info(einstein, SITE_A)
    request = invite_api_pb.ForwardInviteRequest(invite_token=token, origin_system_provider=site)
    desk.note("same_site:forward_invite", richard.call("ForwardInvite", request).status)
    einstein.on("CreateContainer", f"{BASE}/inhouse")
    put(einstein, einstein.reference(f"{BASE}/inhouse/f"), b"f")
    answer = desk.offer(f"{BASE}/inhouse", EDIT, grantee=desk.ids["richard"], site=site)
    desk.note("same_site:ocm_create", answer.status)
    received = richard.call("ListReceivedOCMShares", ocm_api_pb.ListReceivedOCMSharesRequest())
    remote_id = answer.message.share.id.opaque_id
    share = next(share for share in received.get("shares") if share.remote_share_id == remote_id)
    desk.note("same_site:received", received.status, found=True)
    path = f"{MOUNT_A}/{share.id.opaque_id}"
    desk.note(
        "same_site:access",
        stat=richard.stat(path).status,
        ls=names(richard.on("ListContainer", path)),
        get=get(richard, richard.reference(f"{path}/f"), data=True),
        put=put(richard, richard.reference(f"{path}/g"), b"g").get("status"),
        owner=einstein.info(f"{BASE}/inhouse/g").get("size"),
    )
