"""Tests of the gRPC side: tokens, the two channels of failure, faults, the log."""

import os
import time

import grpc
import pytest

from cs3fuse.emulator import proto
from cs3fuse.emulator.proto import gateway_pb, provider_pb, storage_pb


def test_authentication_and_its_refusals(run_gateway) -> None:
    """A wrong password is PERMISSION_DENIED, an unknown type INTERNAL; every kind of secret signs in."""
    _, client = run_gateway()

    def sign_in(kind: str, name: str, secret: str):
        return client.call("Authenticate", gateway_pb.AuthenticateRequest(type=kind, client_id=name, client_secret=secret))

    assert sign_in("basic", "einstein", "wrong").status.code == proto.PERMISSION_DENIED
    assert sign_in("nonesuch", "einstein", "x").status.code == proto.INTERNAL
    assert sign_in("bearer", "", "junk").status.code == proto.UNAUTHENTICATED
    for kind, name, secret in (
        ("bearer", "", "marie-oidc-token"),
        ("appauth", "marie", "marie-app-password"),
        ("machine", "mail:marie@example.org", "machine-secret"),
    ):
        answer = sign_in(kind, name, secret)
        assert (answer.status.code, answer.user.username) == (proto.OK, "marie")
    whoami = client.call("WhoAmI", gateway_pb.WhoAmIRequest(token=client.token))
    assert whoami.user.username == "einstein"


def test_a_call_without_a_good_token_is_a_grpc_error(run_gateway) -> None:
    """Missing and bad are told apart; the knob makes a good one bad."""
    gateway, client = run_gateway()
    request = provider_pb.StatRequest(ref=storage_pb.Reference(path="/local/einstein"))
    with pytest.raises(grpc.RpcError) as missing:
        client.stub.Stat(request)
    assert (missing.value.code(), missing.value.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "auth: core access token not found",
    )
    gateway.emulator.tokens.expire_all()
    with pytest.raises(grpc.RpcError) as expired:
        client.call("Stat", request)
    assert (expired.value.code(), expired.value.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "auth: core access token is invalid",
    )


def test_streams_and_unknown_services_fail_as_grpc_errors(run_gateway) -> None:
    """UNKNOWN for the stream methods, UNIMPLEMENTED for what is not there."""
    _, client = run_gateway()
    metadata = [("x-access-token", client.token)]
    request = provider_pb.ListContainerStreamRequest(ref=storage_pb.Reference(path="/local/einstein"))
    with pytest.raises(grpc.RpcError) as stream:
        list(client.stub.ListContainerStream(request, metadata=metadata))
    assert stream.value.code() is grpc.StatusCode.UNKNOWN
    from cs3.sharing.ocm.v1beta1 import ocm_api_pb2

    with pytest.raises(grpc.RpcError) as absent:
        client.call("ListReceivedOCMShares", ocm_api_pb2.ListReceivedOCMSharesRequest())
    assert absent.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert absent.value.details().endswith("unknown service cs3.sharing.ocm.v1beta1.OcmAPI")


def test_faults_spoil_calls_before_and_after_the_work(run_gateway) -> None:
    """A gRPC code and a status come instead of the work, a dropped answer after it."""
    gateway, client = run_gateway()
    gateway.faults.add(call="Stat", grpc="UNAVAILABLE", times=1)
    with pytest.raises(grpc.RpcError) as unavailable:
        client.stat("/local/einstein")
    assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
    gateway.faults.add(call="Stat", status="INSUFFICIENT_STORAGE", message="full", nth=1)
    answer = client.stat("/local/einstein")
    assert (answer.status.code, answer.status.message) == (proto.INSUFFICIENT_STORAGE, "full")
    gateway.faults.add(call="CreateContainer", drop_answer=True, path="^/einstein/d$")
    request = provider_pb.CreateContainerRequest(ref=storage_pb.Reference(path="/local/einstein/d"))
    with pytest.raises(grpc.RpcError):
        client.call("CreateContainer", request)
    assert client.stat("/local/einstein/d").status.code == proto.OK


def test_delays_and_frozen_calls(run_gateway) -> None:
    """A frozen call is not answered while the rule stands, and goes on afterwards; others wait for nothing."""
    gateway, client = run_gateway()
    rule = gateway.faults.add(call="CreateContainer", freeze=True)
    request = provider_pb.CreateContainerRequest(ref=storage_pb.Reference(path="/local/einstein/d"))
    pending = client.stub.CreateContainer.future(request, metadata=[("x-access-token", client.token)])
    assert client.stat("/local/einstein").status.code == proto.OK
    assert not pending.done()
    gateway.faults.remove(rule)
    assert pending.result(timeout=20).status.code == proto.OK
    gateway.faults.add(call="Stat", delay_s=0.2)
    begun = time.monotonic()
    client.stat("/local/einstein")
    assert time.monotonic() - begun >= 0.2


def test_tokens_expire_in_front_of_a_call(run_gateway) -> None:
    """As if time had run out between two calls."""
    gateway, client = run_gateway()
    gateway.faults.add(call="Stat", expire_tokens=True, nth=1)
    with pytest.raises(grpc.RpcError) as expired:
        client.stat("/local/einstein")
    assert expired.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_every_call_is_in_the_log(run_gateway) -> None:
    """With its path below the root, its user and its code."""
    gateway, client = run_gateway()
    client.stat("/local/einstein/none")
    client.put("/local/einstein/x", b"abc")
    client.get("/local/einstein/x")
    gateway.call(lambda: None)  # the GET's entry is completed by the loop before it runs this
    seen = [(entry.name, entry.path, entry.user, entry.code, entry.received, entry.sent) for entry in gateway.log.entries()]
    assert seen == [
        ("Authenticate", "", "", "OK", 0, 0),
        ("Stat", "/einstein/none", "einstein", "NOT_FOUND", 0, 0),
        ("InitiateFileUpload", "/einstein/x", "einstein", "OK", 0, 0),
        ("PUT", "/einstein/x", "einstein", "200", 3, 0),
        ("InitiateFileDownload", "/einstein/x", "einstein", "OK", 0, 0),
        ("GET", "/einstein/x", "einstein", "200", 0, 3),
    ]


def test_broken_listings(run_gateway) -> None:
    """Names no folder can have, a name that is not UTF-8, and more than the inner connections carry."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", b"x")
    request = provider_pb.ListContainerRequest(ref=storage_pb.Reference(path="/local/einstein"))
    rule = gateway.faults.add(call="ListContainer", extra_entries=["a/b", "..", "ghost"])
    listed = client.call("ListContainer", request)
    assert [info.path for info in listed.infos] == ["/local/einstein/x", "/a/b", "/..", "/ghost"]
    gateway.faults.remove(rule)
    bad = os.fsencode(gateway.config.root / "einstein") + b"/bad-\xff"
    with open(bad, "wb"):
        pass
    with pytest.raises(grpc.RpcError) as not_utf8:
        client.call("ListContainer", request)
    assert not_utf8.value.code() is grpc.StatusCode.INTERNAL
    os.unlink(bad)
    gateway.storage.largest_message = 100
    with pytest.raises(grpc.RpcError) as too_large:
        client.call("ListContainer", request)
    assert too_large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
