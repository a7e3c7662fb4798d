"""Where the gateway is and how it is spoken to: the SOURCE address, TLS, the gRPC channel.

Owns endpoint parsing and the trust settings that the gRPC channel and the data connections share. Called by ``client.session``;
everything here is immutable or used once at the start.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import structlog
import trio

from cs3fuse.errors import BadRequestError, UnavailableError

_log = structlog.get_logger(__name__)

# Reva's own clients accept 10 240 000 bytes; a larger answer cannot be had at all (pkg/rgrpc/todo/pool).
MAX_RECEIVE_BYTES = 10_500_000
_FETCH_CERTIFICATE_S = 10.0

# Where distributions keep the bundle of authorities; gRPC brings its own list, which knows nothing of a site's authority.
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One gateway and how far it is trusted. ``ca_file`` None means the system's authorities; ``is_insecure`` checks nothing."""

    host: str
    port: int
    is_tls: bool = True
    ca_file: Path | None = None
    is_insecure: bool = False

    @property
    def target(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """As a person writes it, without a path."""
        return f"{'cs3' if self.is_tls else 'cs3+plain'}://{self.target}"


def parse_source(source: str, *, ca_file: Path | None = None, is_insecure: bool = False) -> tuple[Endpoint, str]:
    """Take ``cs3://HOST:PORT[/path]`` apart into the endpoint and the absolute CS3 path ("" where none was given).

    The path is taken as it stands: "%20" is not a blank, "#" and "?" are ordinary characters. ``cs3+plain://`` is gRPC without TLS.

    Raises: BadRequestError: another scheme, no port, a user or secret in the address.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or scheme not in {"cs3", "cs3+plain"}:
        raise BadRequestError(
            f"{source!r} is not an address: it looks like cs3://HOST:PORT/path, or cs3+plain://HOST:PORT/path without TLS."
        )
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise BadRequestError("The address must not contain a user or a secret; name the user with --user.")
    try:
        split = urlsplit(f"//{authority}")
        host, port = split.hostname, split.port
    except ValueError as exc:
        raise BadRequestError(f"{authority!r} is not HOST:PORT: {exc}.") from exc
    if not host or port is None:
        raise BadRequestError(f"{source!r} does not name a host and a port: it looks like {scheme}://HOST:PORT/path.")
    endpoint = Endpoint(host, port, is_tls=scheme == "cs3", ca_file=ca_file, is_insecure=is_insecure)
    parts = [part for part in path.split("/") if part]
    if "\0" in path or any(part in {".", ".."} for part in parts):
        raise BadRequestError(f'{path!r} is not a path on the server: it contains ".", ".." or NUL.')
    return endpoint, "".join(f"/{part}" for part in parts)


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The TLS settings for data connections: the same trust as the gRPC channel.

    Raises: BadRequestError: the CA file is missing or holds no certificate.
    """
    if endpoint.is_insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=str(endpoint.ca_file) if endpoint.ca_file else None)
    except (OSError, ssl.SSLError) as exc:
        raise BadRequestError(f"The certificate file {endpoint.ca_file} cannot be used: {exc}.") from exc


async def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """A gRPC channel to the gateway; connects at the first call (with --tls-insecure the certificate is fetched now).

    Raises: BadRequestError: an unusable CA file; UnavailableError: the certificate could not be fetched.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        # grpc-go closes connections that ping more often than every five minutes (keepalive.EnforcementPolicy.MinTime).
        ("grpc.keepalive_time_ms", 330_000),
        # Also bounds how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT).
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Retries are decided in client.calls, by what each call means; a server's service config must not change that.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.primary_user_agent", "cs3fuse"),
    ]
    if endpoint.is_insecure:
        _log.warning("tls_not_verified", server=str(endpoint), consequence="anybody on the way can read and change everything")
    if not endpoint.is_tls:
        return grpc.insecure_channel(endpoint.target, options=options)
    if endpoint.is_insecure:
        roots: bytes | None
        roots, override = await trio.to_thread.run_sync(_presented_certificate, endpoint)
        if override:
            options.append(("grpc.ssl_target_name_override", override))
    else:
        tls_context(endpoint)  # says what is wrong with the CA file
        roots = _root_certificates(endpoint)
    return grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(root_certificates=roots), options=options)


def _root_certificates(endpoint: Endpoint) -> bytes | None:
    """PEM bytes of the authorities to trust; None leaves gRPC its own list."""
    if endpoint.ca_file:
        return endpoint.ca_file.read_bytes()
    if "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in os.environ:
        return None
    for candidate in (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_CA_BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    return None


def _presented_certificate(endpoint: Endpoint) -> tuple[bytes, str]:
    """The certificate that the server shows, as an authority, and the name to expect in it ("" if the host fits).

    gRPC cannot be told to skip verification; trusting whatever is presented now comes closest.
    """
    address = (endpoint.host, endpoint.port)
    try:
        pem = ssl.get_server_certificate(address, timeout=_FETCH_CERTIFICATE_S)
        context = ssl.create_default_context(cadata=pem)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with (
            socket.create_connection(address, timeout=_FETCH_CERTIFICATE_S) as plain,
            context.wrap_socket(plain, server_hostname=endpoint.host) as wrapped,
        ):
            certificate = wrapped.getpeercert() or {}
    except ssl.SSLError as exc:
        raise UnavailableError(f"{endpoint} does not speak TLS properly, or its certificate has expired: {exc}.") from exc
    except OSError as exc:
        raise UnavailableError(f"{endpoint} cannot be reached: {exc}.") from exc
    return pem.encode("ascii"), _name_override(endpoint.host, _certificate_names(certificate))


def _certificate_names(certificate: object) -> list[str]:
    """DNS names and addresses of a certificate as ``getpeercert`` gives it; the common name where it has none."""
    assert isinstance(certificate, dict)
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    return names or [str(value) for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]


def _name_override(host: str, names: list[str]) -> str:
    """The name that makes the check of the host pass; "" where none is needed or known."""
    if not names or host in names:
        return ""
    for name in names:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.replace("*", "any")
    return names[0]
