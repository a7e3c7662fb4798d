"""Sharing calls whose answers need care; what they look like end to end is tested with real mounts."""

from __future__ import annotations

from cs3.identity.group.v1beta1 import group_api_pb2
from cs3.ocm.invite.v1beta1 import invite_api_pb2
from cs3.rpc.v1beta1 import code_pb2, status_pb2
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2

from cs3fuse.client.calls import Calls
from cs3fuse.client.sharing import Role, Sharing
from cs3fuse.model import Location, PathRoot
from tests.unit.client.fakes import FakeStub

OK = status_pb2.Status(code=code_pb2.CODE_OK)
AT = Location(PathRoot("/home"), "f")


def group(opaque_id: str, name: str):
    answer = group_api_pb2.GetGroupByClaimResponse(status=OK)
    answer.group.group_name = name
    answer.group.id.opaque_id, answer.group.id.idp = opaque_id, "idp"
    return answer


async def test_group_share_goes_to_the_id_and_not_to_the_name(calls: Calls, stub: FakeStub) -> None:
    """OpenCloud's groups have UUIDs: a share with the name would be with nobody."""
    info = resources_pb2.ResourceInfo(type=resources_pb2.RESOURCE_TYPE_FILE)
    stub.on("GetGroupByClaim", group("7a4f", "physicists"))
    stub.on("Stat", provider_api_pb2.StatResponse(status=OK, info=info))
    stub.on("CreateShare", collaboration_api_pb2.CreateShareResponse(status=OK))
    sharing = Sharing(calls)
    found = await sharing.group_named("physicists")
    assert found is not None and (found.opaque_id, found.name) == ("7a4f", "physicists")
    await sharing.share_with_group(AT, found, Role.VIEWER, None)
    (request,) = stub.requests("CreateShare")
    assert request.grant.grantee.type == resources_pb2.GRANTEE_TYPE_GROUP
    assert (request.grant.grantee.group_id.opaque_id, request.grant.grantee.group_id.idp) == ("7a4f", "idp")


async def test_server_without_groups_has_none(calls: Calls, stub: FakeStub) -> None:
    """Not found, not supported, or an answer without an id: nobody of this name."""
    for code in (code_pb2.CODE_NOT_FOUND, code_pb2.CODE_UNIMPLEMENTED, code_pb2.CODE_INTERNAL, code_pb2.CODE_OK):
        stub.on("GetGroupByClaim", group_api_pb2.GetGroupByClaimResponse(status=status_pb2.Status(code=code)))
        assert await Sharing(calls).group_named("physicists") is None


async def test_person_of_another_site_is_called_as_people_do(calls: Calls, stub: FakeStub) -> None:
    """By the user name; where none comes along by what stands before the @ of the mail address, else by the id."""
    answer = invite_api_pb2.FindAcceptedUsersResponse(status=OK)
    for opaque_id, username, mail in (("1", "marie", "x@b"), ("2", "", "pierre@b.example.org"), ("3", "", "")):
        user = answer.accepted_users.add(username=username, mail=mail)
        user.id.opaque_id, user.id.idp = opaque_id, "b.example.org"
    stub.on("FindAcceptedUsers", answer)
    assert [person.username for person in await Sharing(calls).known_people()] == ["marie", "pierre", "3"]
