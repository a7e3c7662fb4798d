"""Bare calls: what the work costs without any file system, one call after the other. The limit that a client can reach.

Owns one gRPC channel and one HTTP pool of a signed-in user. It shares no code with the client under test but the reading of
its options. Blocking; one instance per thread.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import urllib3
from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.gateway.v1beta1 import gateway_api_pb2_grpc as gateway_grpc
from cs3.rpc.v1beta1 import code_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb
from cs3.types.v1beta1 import types_pb2

from bench.content import MIB

_LARGEST_MESSAGE = 1 << 28
_CALL_S = 120.0
_READY_S = 60.0
_POLL_S = 0.02


class BareCallError(Exception):
    """A bare call failed: the gateway is not fit for the benchmark."""


@dataclass(frozen=True)
class Access:
    """Where a gateway is and who signs in. ``ca_file`` None: the system's authorities; ``is_insecure`` checks no certificate."""

    target: str
    user: str
    secret: str = field(repr=False)
    auth: str = "basic"
    path: str = ""
    is_tls: bool = False
    ca_file: Path | None = None
    is_insecure: bool = False


@dataclass(frozen=True)
class Ticket:
    """Where to GET or PUT, with all headers that it takes."""

    url: str
    headers: dict[str, str] = field(repr=False)


class Bare:
    """A signed-in caller. Paths are relative to the root that a mount of the same user shows, without a slash before them.

    ``channel``, ``stub`` and ``metadata`` are what its calls are made with.
    """

    def __init__(self, access: Access) -> None:
        """Sign in. Raises: BareCallError."""
        self._access = access
        options = [("grpc.max_receive_message_length", _LARGEST_MESSAGE)]
        if access.is_tls:
            roots = access.ca_file.read_bytes() if access.ca_file else None
            self.channel = grpc.secure_channel(access.target, grpc.ssl_channel_credentials(roots), options)
        else:
            self.channel = grpc.insecure_channel(access.target, options)
        self.stub = gateway_grpc.GatewayAPIStub(self.channel)
        verification: dict[str, Any] = {"ca_certs": str(access.ca_file)} if access.ca_file else {}
        if access.is_insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            verification = {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        self._pool = urllib3.PoolManager(retries=False, timeout=_CALL_S, blocksize=MIB, maxsize=32, **verification)
        request = gateway_pb.AuthenticateRequest(type=access.auth, client_id=access.user, client_secret=access.secret)
        self.metadata: list[tuple[str, str]] = []
        self.metadata = [("x-access-token", self._call("Authenticate", request).token)]
        self._base, self._root_id = self._find_root()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- names -------------------------------------------------------------------------------------------------------

    def size(self, path: str) -> int | None:
        """Size of a file [bytes] that is ready to be read; None while it is not."""
        try:
            info = self._call("Stat", provider_pb.StatRequest(ref=self.reference(path))).info
        except BareCallError:
            return None
        status = info.opaque.map.get("status")
        return None if status is not None and status.value == b"processing" else int(info.size)

    def names(self, path: str) -> list[tuple[str, bool]]:
        """One ListContainer: names, and whether they are folders."""
        answer = self._call("ListContainer", provider_pb.ListContainerRequest(ref=self.reference(path)))
        return [
            (info.path.rsplit("/", 1)[-1] or info.name, info.type == storage_pb.RESOURCE_TYPE_CONTAINER) for info in answer.infos
        ]

    def mkdir(self, path: str) -> None:
        """CreateContainer."""
        self._call("CreateContainer", provider_pb.CreateContainerRequest(ref=self.reference(path)))

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all that it holds; waits while the server still processes it."""
        until = time.monotonic() + _READY_S
        while True:
            try:
                self._call("Delete", provider_pb.DeleteRequest(ref=self.reference(path)))
            except BareCallError:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def wait_for(self, path: str, size_bytes: int) -> None:
        """Until the server has a file of that size ready. Raises: BareCallError after a minute."""
        until = time.monotonic() + _READY_S
        while self.size(path) != size_bytes:
            if time.monotonic() > until:
                raise BareCallError(f"{path} did not reach {size_bytes} bytes on the server.")
            time.sleep(_POLL_S)

    # --- bytes -------------------------------------------------------------------------------------------------------

    def download_ticket(self, path: str) -> Ticket:
        """InitiateFileDownload."""
        request = provider_pb.InitiateFileDownloadRequest(ref=self.reference(path))
        return self.ticket(self._call("InitiateFileDownload", request).protocols, "download_endpoint")

    def upload_ticket(self, path: str, size_bytes: int) -> Ticket:
        """InitiateFileUpload."""
        answer = self._call("InitiateFileUpload", self.upload_request(path, size_bytes))
        return self.ticket(answer.protocols, "upload_endpoint", size_bytes)

    def upload_request(self, path: str, size_bytes: int) -> provider_pb.InitiateFileUploadRequest:
        """What InitiateFileUpload takes."""
        request = provider_pb.InitiateFileUploadRequest(ref=self.reference(path))
        request.opaque.map["Upload-Length"].CopyFrom(types_pb2.OpaqueEntry(decoder="plain", value=str(size_bytes).encode()))
        return request

    def get(self, path: str, first: int | None = None, stop: int | None = None) -> bytes:
        """InitiateFileDownload and one GET, of the range if there is one. Raises: BareCallError, also where ranges are refused."""
        ticket = self.download_ticket(path)
        headers = dict(ticket.headers)
        if first is not None and stop is not None:
            headers["Range"] = f"bytes={first}-{stop - 1}"
        response = self._pool.request("GET", ticket.url, headers=headers, decode_content=False)
        if response.status != (200 if first is None else 206):
            raise BareCallError(f"GET of {path} gave {response.status}.")
        return response.data

    def put(self, path: str, size_bytes: int, body: bytes | Iterable[bytes]) -> None:
        """InitiateFileUpload and one PUT."""
        ticket = self.upload_ticket(path, size_bytes)
        headers = {**ticket.headers, "Content-Length": str(size_bytes)}
        response = self._pool.request("PUT", ticket.url, body=body, headers=headers)
        if response.status not in {200, 201, 204}:
            raise BareCallError(f"PUT of {path} gave {response.status}.")

    def get_file(self, path: str, target: Path) -> None:
        """InitiateFileDownload, then curl (or urllib3 where there is none) writing to a file."""
        self.get_files([(path, target)])

    def get_files(self, wanted: list[tuple[str, Path]]) -> None:
        """The same for several files, whose transfers run at once: a curl or a thread for each."""
        tickets = [(self.download_ticket(path), target) for path, target in wanted]
        if shutil.which("curl") is not None:
            _finish([self._curl(ticket, "--output", str(target)) for ticket, target in tickets])
            return
        with ThreadPoolExecutor(len(tickets)) as threads:
            list(threads.map(lambda pair: self._fetch(*pair), tickets))

    def _fetch(self, ticket: Ticket, target: Path) -> None:
        with (
            self._pool.request("GET", ticket.url, headers=ticket.headers, preload_content=False, decode_content=False) as response,
            target.open("wb", buffering=0) as file,
        ):
            if response.status != 200:
                raise BareCallError(f"GET gave {response.status}.")
            while piece := response.read1(MIB):
                file.write(piece)

    def put_file(self, path: str, source: Path) -> None:
        """InitiateFileUpload, then curl (or urllib3) sending a file."""
        size_bytes = source.stat().st_size
        if shutil.which("curl") is None:
            with source.open("rb", buffering=0) as file:
                self.put(path, size_bytes, iter(lambda: file.read(MIB), b""))
            return
        ticket = self.upload_ticket(path, size_bytes)
        _finish([self._curl(ticket, "--upload-file", str(source), "--header", "Expect:")])

    def _curl(self, ticket: Ticket, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--config", "-", *arguments]
        if self._access.is_insecure:
            command.append("--insecure")
        if self._access.ca_file is not None:
            command += ["--cacert", str(self._access.ca_file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        # Tokens are not for the list of processes.
        lines = [f'url = "{ticket.url}"', *(f'header = "{name}: {value}"' for name, value in ticket.headers.items())]
        assert process.stdin is not None
        process.stdin.write("\n".join(lines).encode())
        process.stdin.close()
        return process

    # --- calls -------------------------------------------------------------------------------------------------------

    def _call(self, name: str, request: Any) -> Any:
        try:
            answer = getattr(self.stub, name)(request, metadata=self.metadata, timeout=_CALL_S)
        except grpc.RpcError as error:
            raise BareCallError(f"{name}: {error.code().name} {error.details()}") from error
        if answer.status.code != code_pb2.CODE_OK:
            raise BareCallError(f"{name}: {code_pb2.Code.Name(answer.status.code)} {answer.status.message}")
        return answer

    def _find_root(self) -> tuple[str, Any]:
        """The root of the user's files: (path before names, None) or ("", id of the personal space)."""
        if self._access.path:
            return self._access.path, None
        for _ in range(2):
            root = self._personal_space()
            if root is not None:
                return "", root
            home = self._home()
            if home:
                return home, None
            self._call("CreateHome", provider_pb.CreateHomeRequest())
        raise BareCallError("The user has no home.")

    def _personal_space(self) -> Any:
        try:
            answer = self._call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())
        except BareCallError:
            return None
        for space in answer.storage_spaces:
            if space.space_type == "personal" and space.root.opaque_id:
                return space.root
        return None

    def _home(self) -> str:
        try:
            home = self._call("GetHome", provider_pb.GetHomeRequest()).path
            self._call("Stat", provider_pb.StatRequest(ref=storage_pb.Reference(path=home)))
        except BareCallError:
            return ""
        return str(home)

    def reference(self, path: str) -> Any:
        """The CS3 reference of a path."""
        if self._root_id is not None:
            return storage_pb.Reference(resource_id=self._root_id, path=f"./{path}")
        return storage_pb.Reference(path=f"{self._base}/{path}")

    def ticket(self, offers: Iterable[Any], endpoint: str, upload_bytes: int | None = None) -> Ticket:
        """The usable one of what an initiation offered. Raises: BareCallError."""
        by_name = {offer.protocol: offer for offer in offers}
        offer = by_name.get("simple") or by_name.get("spaces")
        if offer is None:
            raise BareCallError(f"The gateway offers only {', '.join(by_name)}.")
        headers = {"x-access-token": self.metadata[0][1]}
        if offer.token:
            headers["X-Reva-Transfer"] = offer.token
        if upload_bytes is not None:
            headers["Upload-Length"] = str(upload_bytes)
        return Ticket(getattr(offer, endpoint), headers)


def _finish(running: list[subprocess.Popen[bytes]]) -> None:
    """Wait for all. Raises: BareCallError with the complaint of the first that failed."""
    complaints = []
    for process in running:
        assert process.stderr is not None
        complaint = process.stderr.read().decode(errors="replace").strip()
        process.stderr.close()
        if process.wait():
            complaints.append(complaint or f"curl ended with {process.returncode}")
    if complaints:
        raise BareCallError(complaints[0])


def tree_of(bare: Bare, folder: str) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """All folders from ``folder`` down with their names, one ListContainer after the other."""
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        names = bare.names(at)
        yield at, names
        waiting += [f"{at}/{name}" for name, is_folder in names if is_folder]
