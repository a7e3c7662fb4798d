"""The mesh: sites and invitations. Called by `round`, first."""

from cs3.ocm.invite.v1beta1 import invite_api_pb2 as invite_api_pb
from cs3.ocm.invite.v1beta1 import resources_pb2 as invite_pb
from cs3.ocm.provider.v1beta1 import provider_api_pb2 as site_api_pb

from tests.emulator.caller import Answer
from tests.emulator.mesh.desk import BASE, SITE_A, VIEW, MeshDesk, home_of, messages, plain, put


def signing_in(desk: MeshDesk) -> None:
    """Three users, two homes."""
    desk.sign_in(desk.einstein, "einstein", "relativity")
    desk.sign_in(desk.richard, "richard", "superfluidity")
    desk.sign_in(desk.marie, "marie", "radioactivity")
    desk.note("homes", a=home_of(desk.einstein), b=home_of(desk.marie), base=BASE, mount="/ocm")


def inviting(desk: MeshDesk) -> None:
    """What the sites know of each other, and an invitation from A to B, with everything that can be wrong about it."""
    einstein, marie = desk.einstein, desk.marie
    answer = einstein.call("ListAllProviders", site_api_pb.ListAllProvidersRequest())
    desk.note("providers", answer.status, providers=messages(answer, "providers"))
    unknown = site_api_pb.GetInfoByDomainRequest(domain="nowhere.example.org")
    desk.note("provider_unknown", einstein.call("GetInfoByDomain", unknown).status)
    answer = einstein.call("FindAcceptedUsers", invite_api_pb.FindAcceptedUsersRequest(filter="marie"))
    desk.note("accepted_users_before", answer.status, users=messages(answer, "accepted_users"))
    einstein.on("CreateContainer", BASE)
    put(einstein, einstein.reference(f"{BASE}/early.txt"), b"early")
    desk.note("ocm_share_before_invite", desk.offer(f"{BASE}/early.txt", VIEW).status)

    answer = einstein.call("GenerateInviteToken", invite_api_pb.GenerateInviteTokenRequest(description="probe"))
    token = answer.message.invite_token
    desk.note("invite_token", answer.status, token=plain(token))
    answer = einstein.call("ListInviteTokens", invite_api_pb.ListInviteTokensRequest())
    desk.note("invite_tokens", answer.status, n=len(answer.get("invite_tokens")))
    bad = invite_pb.InviteToken(token="nonesuch")
    desk.note("forward_invite_badtoken", forward(desk, bad).status)
    desk.note(
        "forward_invite_noprovider", marie.call("ForwardInvite", invite_api_pb.ForwardInviteRequest(invite_token=token)).status
    )
    answer = forward(desk, token)
    desk.note("forward_invite", answer.status, answer=plain(answer.message))
    desk.note("forward_invite_again", forward(desk, token).status)
    for name, caller in (("einstein", einstein), ("marie", marie), ("richard", desk.richard)):
        answer = caller.call("FindAcceptedUsers", invite_api_pb.FindAcceptedUsersRequest(filter=""))
        desk.note(f"accepted_users:{name}", answer.status, users=messages(answer, "accepted_users"))
    request = invite_api_pb.AcceptInviteRequest(invite_token=bad)
    request.remote_user.id.CopyFrom(desk.ids["einstein"])
    desk.note("accept_invite_badtoken", marie.call("AcceptInvite", request).status)


def forward(desk: MeshDesk, token: object, timeout_s: float = 20.0) -> Answer:
    """ForwardInvite by marie to site A."""
    request = invite_api_pb.ForwardInviteRequest(invite_token=token, origin_system_provider=desk.site_info(desk.marie, SITE_A))
    return desk.marie.call("ForwardInvite", request, timeout_s=timeout_s)
