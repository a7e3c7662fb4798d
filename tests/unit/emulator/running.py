"""A running gateway and a client of a few lines: raw stubs for gRPC, http.client for data."""

import http.client
import socket
import urllib.parse
from typing import Any

import grpc

from cs3fuse.emulator import proto
from cs3fuse.emulator.proto import gateway_grpc, gateway_pb, provider_pb, storage_pb

TIMEOUT_S = 20.0


class RawClient:
    """Calls of one user; paths are global ones."""

    def __init__(self, grpc_port: int, user: str = "einstein", secret: str = "relativity") -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options=[("grpc.max_receive_message_length", 1 << 28)])
        self.stub = gateway_grpc.GatewayAPIStub(self.channel)
        self.token = ""
        request = gateway_pb.AuthenticateRequest(type="basic", client_id=user, client_secret=secret)
        self.token = self.call("Authenticate", request).token

    def call(self, rpc: str, request: Any, token: str | None = None) -> Any:
        metadata = [("x-access-token", self.token if token is None else token)] if (token or self.token) else []
        return getattr(self.stub, rpc)(request, metadata=metadata, timeout=TIMEOUT_S)

    def stat(self, path: str) -> Any:
        return self.call("Stat", provider_pb.StatRequest(ref=storage_pb.Reference(path=path)))

    def initiate_upload(self, path: str, length: int) -> Any:
        request = provider_pb.InitiateFileUploadRequest(ref=storage_pb.Reference(path=path))
        proto.set_opaque(request.opaque, "Upload-Length", str(length))
        response = self.call("InitiateFileUpload", request)
        assert response.status.code == proto.OK, response.status
        return next(item for item in response.protocols if item.protocol == "simple")

    def initiate_download(self, path: str) -> Any:
        request = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(path=path))
        return next(item for item in self.call("InitiateFileDownload", request).protocols if item.protocol)

    def send(
        self, method: str, url: str, token: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request: status, headers in lower case, body. Raises: what http.client raises."""
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        sent = {"x-access-token": self.token, **({"X-Reva-Transfer": token} if token else {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body, {k: v for k, v in sent.items() if v})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def put(self, path: str, data: bytes, **headers: str) -> int:
        entry = self.initiate_upload(path, len(data))
        return self.send("PUT", entry.upload_endpoint, entry.token, data, Upload_Length=str(len(data)), **headers)[0]

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        entry = self.initiate_download(path)
        return self.send("GET", entry.download_endpoint, entry.token, **headers)

    def put_part(self, path: str, length: int, data: bytes) -> None:
        """Announce a length, send less, hang up."""
        entry = self.initiate_upload(path, length)
        parts = urllib.parse.urlsplit(entry.upload_endpoint)
        head = [f"PUT {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {length}", f"Upload-Length: {length}"]
        head += [f"x-access-token: {self.token}", f"X-Reva-Transfer: {entry.token}", "", ""]
        with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S) as raw:
            raw.sendall("\r\n".join(head).encode() + data)

    def close(self) -> None:
        self.channel.close()
