"""Tests of starting and stopping."""

import ssl
import urllib.request
from pathlib import Path

import grpc
import pytest
import trustme

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.proto import gateway_grpc, gateway_pb
from cs3fuse.emulator.server import EmulatorThread


def test_with_a_certificate_everything_is_tls(tmp_path: Path) -> None:
    """gRPC and the data server, with the same certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    config = EmulatorConfig(root=tmp_path / "root", tls_cert=cert, tls_key=key, control=True)
    with EmulatorThread(config) as gateway:
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with grpc.secure_channel(f"127.0.0.1:{gateway.grpc_port}", credentials) as channel:
            request = gateway_pb.AuthenticateRequest(type="basic", client_id="einstein", client_secret="relativity")
            assert gateway_grpc.GatewayAPIStub(channel).Authenticate(request, timeout=20).token
        context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        with urllib.request.urlopen(f"https://127.0.0.1:{gateway.http_port}/_control/log", context=context) as answer:
            assert answer.status == 200


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """Not hidden in a thread."""
    with EmulatorThread(EmulatorConfig(root=tmp_path / "one")) as first:
        taken = EmulatorConfig(root=tmp_path / "two", http_port=first.http_port)
        with pytest.raises(RuntimeError, match="did not start"), EmulatorThread(taken):
            pass


@pytest.mark.parametrize("name", ["", "a/b", ".emulator"])
def test_impossible_settings_are_refused(tmp_path: Path, name: str) -> None:
    """With a sentence, before anything is created."""
    with pytest.raises(ValueError, match="user name"):
        EmulatorConfig(root=tmp_path, users={name: "x"})
    with pytest.raises(ValueError, match="profile"):
        EmulatorConfig(root=tmp_path, profile="nextcloud")
    with pytest.raises(ValueError, match="TLS"):
        EmulatorConfig(root=tmp_path, tls_cert=tmp_path)
