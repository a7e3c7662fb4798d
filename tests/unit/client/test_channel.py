"""Addresses, and whom the channel trusts: real TLS on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import structlog.testing
import trio
import trustme
from cs3.gateway.v1beta1 import gateway_api_pb2, gateway_api_pb2_grpc

from cs3fuse.client.channel import Endpoint, parse_source
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.client.tickets import Ticket
from cs3fuse.errors import BadRequestError, Cs3FuseError, SignInError, UnavailableError
from cs3fuse.model import Entry, Kind, Location, PathRoot
from tests.unit.client.fakes import FakeDataServer, FakeTokens, MemorySink, answer, download_at, serving


@pytest.mark.parametrize(
    ("source", "endpoint", "path"),
    [
        ("cs3://host:9142", Endpoint("host", 9142), ""),
        ("cs3://host:9142/", Endpoint("host", 9142), ""),
        ("cs3://host:9142/home/a b/", Endpoint("host", 9142), "/home/a b"),
        ("cs3://host:9142//home//x", Endpoint("host", 9142), "/home/x"),
        ("cs3://host:9142/100%25#1?", Endpoint("host", 9142), "/100%25#1?"),
        ("cs3+plain://127.0.0.1:19000/local", Endpoint("127.0.0.1", 19000, is_tls=False), "/local"),
        ("cs3://[::1]:9142/a", Endpoint("::1", 9142), "/a"),
    ],
)
def test_addresses(source: str, endpoint: Endpoint, path: str) -> None:
    """Scheme, host, port and the path as it stands."""
    assert parse_source(source) == (endpoint, path)


@pytest.mark.parametrize(
    "source",
    [
        "host:9142",
        "https://host:9142",
        "cs3://host",
        "cs3://:9142",
        "cs3://host:port",
        "cs3://host:99999",
        "cs3://user:secret@host:1",
        "cs3://host:1/a/../b",
        "cs3://host:1/a\0",
        "cs3://[::1",
        "",
    ],
)
def test_bad_addresses(source: str) -> None:
    """Each is a sentence, none shows a secret."""
    with pytest.raises(BadRequestError) as caught:
        parse_source(source)
    assert "secret@" not in str(caught.value)


def test_tls_settings_hold_for_data_where_grpc_is_plain(tmp_path: Path) -> None:
    """OpenCloud's gRPC listener has no TLS while its data server has: the authority is needed all the same."""
    endpoint, _ = parse_source("cs3+plain://host:1", ca_file=tmp_path)
    assert (endpoint.is_tls, endpoint.ca_file) == (False, tmp_path)


@pytest.mark.parametrize(("host", "target"), [("host", "host:1"), ("::1", "[::1]:1")])
def test_target(host: str, target: str) -> None:
    """IPv6 needs brackets."""
    assert Endpoint(host, 1).target == target


@dataclass
class TlsServers:
    """A gateway and a data server with certificates of one authority."""

    port: int
    ca_file: Path
    authority: trustme.CA
    data: FakeDataServer


class _Servicer(gateway_api_pb2_grpc.GatewayAPIServicer):
    """Signs everybody in and hands out one download address."""

    def __init__(self) -> None:
        self.download = gateway_api_pb2.InitiateFileDownloadResponse()

    def Authenticate(self, request: object, context: object) -> object:  # noqa: N802
        return answer("Authenticate", token="token")

    def InitiateFileDownload(self, request: object, context: object) -> object:  # noqa: N802
        return self.download


def _servers(tmp_path: Path, names: tuple[str, ...]) -> Iterator[TlsServers]:
    authority = trustme.CA()
    certificate = authority.issue_cert(*names)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    servicer = _Servicer()
    server = grpc.server(ThreadPoolExecutor(2))
    gateway_api_pb2_grpc.add_GatewayAPIServicer_to_server(servicer, server)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    server.start()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    data = FakeDataServer().on(serving(b"secret data"))
    data.wrap_tls(context)
    with data:
        servicer.download = download_at(data.url.replace("http://", "https://"))
        yield TlsServers(port, ca_file, authority, data)
    server.stop(None).wait()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[TlsServers]:
    yield from _servers(tmp_path, ("127.0.0.1",))


@pytest.fixture
def misnamed(tmp_path: Path) -> Iterator[TlsServers]:
    yield from _servers(tmp_path, ("gateway.example.org", "*.example.org"))


async def use(endpoint: Endpoint) -> bytes:
    """Sign in over gRPC and fetch a file over HTTP."""
    gateway = await Gateway.connect(endpoint)
    try:
        await gateway.authenticate("basic", "einstein", "relativity")
        sink = MemorySink()
        client = Cs3Client(gateway, FakeTokens())
        await client.data.fetch(Location(PathRoot("/home"), "a"), None, sink, expected=Entry("a", Kind.FILE, size=11))
        client.data.close()
        return bytes(sink.data)
    finally:
        await gateway.aclose()


async def test_a_given_authority_is_trusted_on_both_ways(servers: TlsServers) -> None:
    """gRPC and data server, by the same file."""
    assert await use(Endpoint("127.0.0.1", servers.port, ca_file=servers.ca_file)) == b"secret data"


async def test_an_unknown_authority_is_refused(servers: TlsServers) -> None:
    """The system does not know it: no password leaves this machine, and the sentence names the remedy."""
    with pytest.raises(UnavailableError, match="--tls-ca"):
        await use(Endpoint("127.0.0.1", servers.port))


async def test_the_name_is_checked(misnamed: TlsServers) -> None:
    """A certificate of the right authority for another host is refused."""
    with pytest.raises(UnavailableError):
        await use(Endpoint("127.0.0.1", misnamed.port, ca_file=misnamed.ca_file))


async def test_the_data_server_is_checked_too(servers: TlsServers, tmp_path: Path) -> None:
    """A good gateway does not vouch for a data server with a certificate of somebody else."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    gateway = await Gateway.connect(Endpoint("127.0.0.1", servers.port, ca_file=other))
    try:
        client = Cs3Client(gateway, FakeTokens())
        client.data._downloading.tickets._kept[Location(PathRoot("/home"), "a")] = (
            Ticket(servers.data.url.replace("http://", "https://"), "", "simple"),
            trio.current_time(),
        )
        with pytest.raises(UnavailableError, match="certificate"):
            await client.data.fetch(Location(PathRoot("/home"), "a"), None, MemorySink(), expected=Entry("a", Kind.FILE, size=11))
    finally:
        await gateway.aclose()


@pytest.mark.parametrize("fixture", ["servers", "misnamed"])
async def test_insecure_trusts_anybody(fixture: str, request: pytest.FixtureRequest) -> None:
    """Whatever the certificate says, also the host's name; and it is said loudly."""
    found: TlsServers = request.getfixturevalue(fixture)
    with structlog.testing.capture_logs() as logged:
        assert await use(Endpoint("127.0.0.1", found.port, is_insecure=True)) == b"secret data"
    assert {"event": "tls_not_verified", "log_level": "warning"}.items() <= logged[0].items()


async def test_nobody_listens() -> None:
    """Also with --tls-insecure, where the certificate is fetched first."""
    for endpoint in (Endpoint("127.0.0.1", 1, is_tls=False), Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 1, is_insecure=True)):
        with pytest.raises(UnavailableError):
            await use(endpoint)


async def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    """A sentence, not a stack trace."""
    junk = tmp_path / "junk.pem"
    junk.write_text("hello")
    for ca_file in (tmp_path / "missing.pem", junk):
        with pytest.raises(BadRequestError, match=r"\.pem"):
            await Gateway.connect(Endpoint("127.0.0.1", 1, ca_file=ca_file))


async def test_plain_against_tls_and_the_reverse(servers: TlsServers) -> None:
    """A wrong scheme is an error within the deadline, not a hang."""
    plain = grpc.server(ThreadPoolExecutor(1))
    port = plain.add_insecure_port("127.0.0.1:0")
    plain.start()
    for endpoint in (Endpoint("127.0.0.1", servers.port, is_tls=False), Endpoint("127.0.0.1", port)):
        with trio.fail_after(20), pytest.raises((UnavailableError, SignInError)):
            await use(endpoint)
    plain.stop(None)


async def test_calls_after_the_end(servers: TlsServers) -> None:
    """A late task gets an error of ours."""
    gateway = await Gateway.connect(Endpoint("127.0.0.1", servers.port, ca_file=servers.ca_file))
    await gateway.aclose()
    with pytest.raises(Cs3FuseError):
        await gateway.authenticate("basic", "a", "b")
    with pytest.raises(UnavailableError):
        await Cs3Client(gateway, FakeTokens()).tree.stat(Location(PathRoot("/home")))
