"""Signing in, the home, the spaces: what each kind of server answers."""

from __future__ import annotations

import ssl
from typing import Any

import grpc
import pytest
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb2
from cs3.storage.provider.v1beta1 import resources_pb2

from cs3fuse.client.channel import Endpoint
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.session import Cs3Client, Gateway, Space
from cs3fuse.errors import Cs3FuseError, DeadlineError, NotDirectoryError, NotFoundError, SignInError, UnavailableError
from cs3fuse.model import Identity, IdRoot, PathRoot, ResourceId
from tests.unit.client.fakes import REFUSED, FakeStub, FakeTokens, answer, broken, folder, info, plain

PERSONAL = ResourceId("users", "me", "me")


@pytest.fixture
def gateway(stub: FakeStub) -> Any:
    channel = grpc.insecure_channel("127.0.0.1:1")
    gateway = Gateway(
        Endpoint("cloud.example.org", 9142),
        channel,
        ConnectionPool(tls=ssl.create_default_context(), is_plain_allowed=False, size=1),
    )
    gateway.stub = stub
    yield gateway
    channel.close()


@pytest.fixture
def client(gateway: Gateway, tokens: FakeTokens) -> Cs3Client:
    return Cs3Client(gateway, tokens)


def space(kind: str, **fields: Any) -> resources_pb2.StorageSpace:
    return resources_pb2.StorageSpace(space_type=kind, id=resources_pb2.StorageSpaceId(opaque_id=f"id-{kind}"), **fields)


def spaces(*found: resources_pb2.StorageSpace) -> Any:
    return answer("ListStorageSpaces", storage_spaces=found)


def proto_id(value: ResourceId) -> resources_pb2.ResourceId:
    return resources_pb2.ResourceId(storage_id=value.storage_id, space_id=value.space_id, opaque_id=value.opaque_id)


OPENCLOUD_SPACES = spaces(space("personal", root=proto_id(PERSONAL), name="Me", opaque=plain({"path": "/users/me"})))
REVA_SPACES = spaces(space("personal", root_info=folder("/home/me")))


async def test_authenticate(gateway: Gateway, stub: FakeStub) -> None:
    """Type, client id and secret go out, the token comes back; no token is sent along."""
    stub.on("Authenticate", answer("Authenticate", token="fresh"))
    assert await gateway.authenticate("basic", "einstein", "relativity") == "fresh"
    request = stub.made[0].request
    assert (request.type, request.client_id, request.client_secret) == ("basic", "einstein", "relativity")
    assert stub.made[0].token == ""


@pytest.mark.parametrize(
    ("refusal", "kind", "part"),
    [
        (answer("Authenticate", "PERMISSION_DENIED", "wrong password"), SignInError, "the secret is wrong"),
        (answer("Authenticate", "UNAUTHENTICATED", "error authenticating user"), SignInError, "expired"),
        (answer("Authenticate", "NOT_FOUND", "unknown client id"), SignInError, "not known"),
        (answer("Authenticate", "INTERNAL", "error creating user home"), SignInError, "no home"),
        (answer("Authenticate", "ABORTED", "linked"), SignInError, "another one"),
        (answer("Authenticate"), SignInError, "without a token"),
        (answer("Authenticate", token="bad\ntoken"), SignInError, "cannot be used"),
        (broken("UNKNOWN", "gateway: error statting home"), SignInError, "home"),
        (broken("UNAVAILABLE", REFUSED), UnavailableError, "cannot be reached"),
        (broken("DEADLINE_EXCEEDED"), DeadlineError, "in time"),
    ],
)
async def test_refused_sign_ins_say_why(
    gateway: Gateway, stub: FakeStub, refusal: Any, kind: type[Cs3FuseError], part: str
) -> None:
    """Wrong password, unknown user, no home and no server are different sentences, and none holds the secret."""
    stub.on("Authenticate", refusal)
    with pytest.raises(kind, match=part) as caught:
        await gateway.authenticate("basic", "einstein", "relativity")
    assert "relativity" not in str(caught.value)


@pytest.mark.parametrize(
    ("providers", "part"),
    [
        (answer("ListAuthProviders", types=["", "", "basic", "bearer"]), "it offers basic, bearer"),
        (broken("UNIMPLEMENTED"), "has no sign-in"),
    ],
)
async def test_an_unknown_type_names_the_known_ones(gateway: Gateway, stub: FakeStub, providers: Any, part: str) -> None:
    """Reva says INTERNAL and lists as many empty names as real ones."""
    stub.on("Authenticate", answer("Authenticate", "INTERNAL", "error getting auth provider client")).on(
        "ListAuthProviders", providers
    )
    with pytest.raises(SignInError, match=part):
        await gateway.authenticate("basci", "einstein", "x")


async def test_identity(client: Cs3Client, stub: FakeStub) -> None:
    """Who the token belongs to; WhoAmI wants it in the body and in the metadata."""
    user = user_pb2.User(id=user_pb2.UserId(idp="idp", opaque_id="uuid"), username="einstein", display_name="Albert")
    stub.on("WhoAmI", answer("WhoAmI", user=user))
    assert await client.identity() == Identity("einstein", "uuid", "idp", "Albert")
    assert stub.made[0].request.token == stub.made[0].token == "token-1"


async def test_home_is_the_personal_space_by_id(client: Cs3Client, stub: FakeStub) -> None:
    """By path everything is ten times slower on OpenCloud."""
    stub.on("ListStorageSpaces", OPENCLOUD_SPACES).on("Stat", answer("Stat", info=folder(".")))
    assert await client.home() == IdRoot(PERSONAL)
    [request] = stub.requests("ListStorageSpaces")
    assert [item.space_type for item in request.filters] == ["personal"]


async def test_home_is_a_path_where_spaces_have_no_root(client: Cs3Client, stub: FakeStub) -> None:
    """Reva lists personal spaces without a root id."""
    stub.on("ListStorageSpaces", REVA_SPACES).on("GetHome", answer("GetHome", path="/home/me/")).on(
        "Stat", answer("Stat", info=folder())
    )
    assert await client.home() == PathRoot("/home/me")
    assert "CreateHome" not in stub.methods()


@pytest.mark.parametrize(
    "no_spaces",
    [broken("UNIMPLEMENTED"), answer("ListStorageSpaces", "INTERNAL"), answer("ListStorageSpaces", "PERMISSION_DENIED", "no")],
)
async def test_home_without_a_spaces_service(client: Cs3Client, stub: FakeStub, no_spaces: Any) -> None:
    """A gateway without it, or a restricted token, still has a home."""
    stub.on("ListStorageSpaces", no_spaces).on("GetHome", answer("GetHome", path="/home")).on("Stat", answer("Stat", info=folder()))
    assert await client.home() == PathRoot("/home")


async def test_a_missing_home_is_created(client: Cs3Client, stub: FakeStub) -> None:
    """OpenCloud has none before the first CreateHome; afterwards the space is listed."""
    stub.on("ListStorageSpaces", spaces(), OPENCLOUD_SPACES).on("GetHome", answer("GetHome", path="/users/me"))
    stub.on("Stat", answer("Stat", "NOT_FOUND"), answer("Stat", info=folder("."))).on("CreateHome", answer("CreateHome"))
    assert await client.home() == IdRoot(PERSONAL)


async def test_a_home_that_cannot_be_made(client: Cs3Client, stub: FakeStub) -> None:
    """Driver local cannot: the sentence says which folder is missing."""
    stub.on("ListStorageSpaces", spaces()).on("GetHome", answer("GetHome", path="/home/me")).on("Stat", answer("Stat", "NOT_FOUND"))
    stub.on("CreateHome", answer("CreateHome", "INTERNAL", "error creating home"))
    with pytest.raises(NotFoundError, match="/home/me"):
        await client.home()


async def test_spaces(client: Cs3Client, stub: FakeStub) -> None:
    """Root ids from ``root`` (``root_info`` lacks the storage id), trashed ones marked, doubles once."""
    project = space(
        "project", name="P", root=proto_id(ResourceId("s", "p", "p")), opaque=plain({"path": "/projects/P", "trashed": "x"})
    )
    rootless = space("virtual", name="Shares", root=resources_pb2.ResourceId(opaque_id="x"), root_info=folder("relative"))
    stub.on("ListStorageSpaces", spaces(project, project, rootless))
    assert await client.spaces() == [
        Space("id-project", "project", "P", IdRoot(ResourceId("s", "p", "p")), "/projects/P", is_trashed=True),
        Space("id-virtual", "virtual", "Shares", None, "", is_trashed=False),
    ]


async def test_a_path_on_a_server_with_spaces_becomes_an_id(client: Cs3Client, stub: FakeStub) -> None:
    """Except where ids are functions of the path (Reva)."""
    stub.on("Stat", answer("Stat", info=folder("/projects/P"))).on("ListStorageSpaces", OPENCLOUD_SPACES)
    assert await client.root_at("/projects/P") == IdRoot(ResourceId("s", "p", "/projects/P"))
    stub.on("ListStorageSpaces", REVA_SPACES)
    assert await client.root_at("/projects/P/") == PathRoot("/projects/P")


async def test_a_path_that_is_no_folder(client: Cs3Client, stub: FakeStub) -> None:
    """A file cannot be mounted, a missing path neither."""
    stub.on("Stat", answer("Stat", info=info()))
    with pytest.raises(NotDirectoryError):
        await client.root_at("/home/f")
    stub.on("Stat", answer("Stat", "NOT_FOUND"))
    with pytest.raises(NotFoundError):
        await client.root_at("/home/f")


async def test_public_links(client: Cs3Client, stub: FakeStub) -> None:
    """By the link's space on OpenCloud, where permissions are the link's; by path on Reva."""
    stub.on("Stat", answer("Stat", info=folder()))
    root = await client.link_root("tOkEn")
    assert isinstance(root, IdRoot)
    assert root.id.opaque_id == "tOkEn"
    stub.on("Stat", answer("Stat", "INTERNAL"), answer("Stat", info=folder()))
    assert await client.link_root("tOkEn") == PathRoot("/public/tOkEn")


async def test_identity_after_an_expired_token(client: Cs3Client, stub: FakeStub, tokens: FakeTokens) -> None:
    """The token stands in the request too, which is then the old one."""
    known = answer("WhoAmI", user=user_pb2.User(username="einstein"))

    def by_token(request: Any) -> Any:
        return known if request.token == "token-2" else answer("WhoAmI", "UNAUTHENTICATED", "error dismantling token")

    stub.on("WhoAmI", by_token)
    assert (await client.identity()).username == "einstein"
    assert tokens.refused == ["token-1"]
