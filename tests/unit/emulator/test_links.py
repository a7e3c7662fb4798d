"""Tests of public links: sign-in, and what a token got through one may do."""

import grpc
import pytest
from cs3.sharing.link.v1beta1 import link_api_pb2 as link_api_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.proto import gateway_pb, provider_pb, storage_pb
from tests.unit.emulator.running import RawClient

VIEWER = proto.permissions(*proto.READING)
EDITOR = proto.permissions(*proto.READING, *proto.WRITING)


def make_link(client: RawClient, path: str, permissions, password: str = "Secret-1234"):
    request = link_api_pb.CreatePublicShareRequest(resource_info=client.stat(path).info)
    request.grant.password = password
    request.grant.permissions.permissions.CopyFrom(permissions)
    return client.call("CreatePublicShare", request)


def sign_in(client: RawClient, link: str, secret: str):
    request = gateway_pb.AuthenticateRequest(type="publicshares", client_id=link, client_secret=secret)
    return client.call("Authenticate", request)


@pytest.fixture
def home(request, run_gateway):
    """A gateway of each profile with /d/x in einstein's home, and the path of that home."""
    gateway, client = run_gateway(request.param, quirks={"processing_s": 0.0})
    gateway.change("home", "einstein")
    gateway.change("mkdir", "/einstein/d", "einstein")
    gateway.change("write", "/einstein/d/x", b"text", "einstein")
    gateway.change("write", "/einstein/private", b"text", "einstein")
    path = client.call("GetHome", provider_pb.GetHomeRequest()).path
    return client, path


@pytest.mark.parametrize("home", ["reva", "opencloud", "eos"], indirect=True)
def test_sign_in_needs_the_password_and_gives_the_owner(home) -> None:
    """With "password|" in front; an unknown link is NOT_FOUND, a removed one too."""
    client, path = home
    link = make_link(client, f"{path}/d", VIEWER).share
    answer = sign_in(client, link.token, "password|Secret-1234")
    assert (answer.status.code, answer.user.username) == (proto.OK, "einstein")
    assert sign_in(client, link.token, "Secret-1234").status.code == proto.PERMISSION_DENIED
    assert sign_in(client, link.token, "password|wrong").status.code == proto.PERMISSION_DENIED
    assert sign_in(client, "none", "password|").status.code == proto.NOT_FOUND
    by_token = link_api_pb.GetPublicShareByTokenRequest(token=link.token)
    assert client.call("GetPublicShareByToken", by_token).status.code == proto.PERMISSION_DENIED
    by_token.authentication.password = "Secret-1234"
    assert client.call("GetPublicShareByToken", by_token).share.resource_id == link.resource_id
    listed = client.call("ListPublicShares", link_api_pb.ListPublicSharesRequest()).share
    assert [item.token for item in listed] == [link.token]
    remove = link_api_pb.RemovePublicShareRequest()
    remove.ref.token = link.token
    assert client.call("RemovePublicShare", remove).status.code == proto.OK
    assert sign_in(client, link.token, "password|Secret-1234").status.code == proto.NOT_FOUND


def code(client: RawClient, rpc: str, request):
    try:
        return client.call(rpc, request).status.code
    except grpc.RpcError as error:
        return error.code().name


@pytest.mark.parametrize("home", ["reva", "opencloud", "eos"], indirect=True)
def test_a_link_covers_what_it_shares_and_allows_what_it_says(home) -> None:
    """By the resource id; reading inside, nothing outside, no writing through a viewer's link."""
    client, path = home
    rid = client.stat(f"{path}/d").info.id
    outside = storage_pb.Reference(path=f"{path}/private")
    inside, new = (storage_pb.Reference(resource_id=rid, path=f"./{name}") for name in ("x", "new"))
    for permissions, may_write in ((VIEWER, False), (EDITOR, True)):
        link = make_link(client, f"{path}/d", permissions).share
        client_token, client.token = client.token, sign_in(client, link.token, "password|Secret-1234").token
        assert code(client, "Stat", provider_pb.StatRequest(ref=inside)) == proto.OK
        assert code(client, "Stat", provider_pb.StatRequest(ref=outside)) in {proto.NOT_FOUND, "PERMISSION_DENIED"}
        assert code(client, "GetQuota", gateway_pb.GetQuotaRequest(ref=inside)) in {proto.PERMISSION_DENIED, "PERMISSION_DENIED"}
        made = code(client, "CreateContainer", provider_pb.CreateContainerRequest(ref=new))
        assert (made == proto.OK) is may_write
        assert may_write or made in {proto.PERMISSION_DENIED, "PERMISSION_DENIED"}
        client.token = client_token


@pytest.mark.parametrize("home", ["opencloud"], indirect=True)
def test_opencloud_insists_on_a_password(home) -> None:
    """Other servers do not."""
    client, path = home
    assert make_link(client, f"{path}/d", VIEWER, password="").status.code == proto.INVALID_ARGUMENT


@pytest.mark.parametrize("home", ["reva"], indirect=True)
def test_reva_mounts_links_below_public(home) -> None:
    """Transfer answers start with a useless entry, then the token stands in the URL; locks do not exist there."""
    client, path = home
    link = make_link(client, f"{path}/d", EDITOR, password="").share
    client.token = sign_in(client, link.token, "password|").token
    root = f"/public/{link.token}"
    listing = provider_pb.ListContainerRequest(ref=storage_pb.Reference(path=root))
    assert [info.path for info in client.call("ListContainer", listing).infos] == [f"{root}/x"]
    request = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(path=f"{root}/x"))
    first, second = client.call("InitiateFileDownload", request).protocols
    assert (first.protocol, bool(first.token)) == ("", True)
    assert (second.protocol, second.token) == ("simple", "")
    assert client.send("GET", second.download_endpoint, "")[2] == b"text"
    assert client.put(f"{root}/new", b"through the link") == 200
    assert client.get(f"{root}/new")[2] == b"through the link"
    lock = provider_pb.GetLockRequest(ref=storage_pb.Reference(path=f"{root}/x"))
    assert code(client, "GetLock", lock) == "UNIMPLEMENTED"


@pytest.mark.parametrize("home", ["reva"], indirect=True)
def test_a_link_to_one_file(home) -> None:
    """Its mount is the file."""
    client, path = home
    link = make_link(client, f"{path}/d/x", VIEWER).share
    client.token = sign_in(client, link.token, "password|Secret-1234").token
    assert client.stat(f"/public/{link.token}").info.size == 4
