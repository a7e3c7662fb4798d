"""A user's calls from inside the gateway: through the profile's own handlers, as a client's would be.

Owns the way from an initiation to the open file or the sink. Used by `changes` (another client) and by `ocm_door` (a user of another
site, who acts as the owner of what is shared). Nothing of it is logged or spoiled by faults. On the server's loop only.
"""

import inspect
import urllib.parse
from collections.abc import Mapping
from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.profiles import Call, DataCall, Download, Profile, UploadSink
from cs3fuse.emulator.proto import provider_pb
from cs3fuse.emulator.tokens import Access
from cs3fuse.emulator.users import User

_SIMPLE = ("simple", "spaces")


class Inside:
    """One user of one profile."""

    def __init__(self, profile: Profile, user: User) -> None:
        self._profile = profile
        self.user = user
        self._access = Access(user, float("inf"), 0, None)

    async def run(self, rpc: str, request: Any) -> Any:
        """The response of an RPC. Raises: Refusal, GrpcAbort; ValueError for an RPC that the profile does not have."""
        handler = self._profile.handler(rpc)
        if handler is None:
            raise ValueError(f"This profile has no {rpc}.")
        response = handler(Call(rpc, self._access), request)
        return await response if inspect.isawaitable(response) else response

    async def stat(self, reference: Any) -> Any:
        """The ResourceInfo. Raises: Refusal, GrpcAbort."""
        return (await self.run("Stat", provider_pb.StatRequest(ref=reference))).info

    async def download(self, reference: Any) -> Download:
        """The open file. Raises: Refusal, GrpcAbort, HttpRefusal."""
        response = await self.run("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=reference))
        ways = [(way.protocol, way.download_endpoint, way.token) for way in response.protocols]
        found = self._profile.download(self._data_call("GET", ways, None, {}))
        return await found if inspect.isawaitable(found) else found

    async def upload(
        self, reference: Any, length: int, *, lock_id: str = "", headers: Mapping[str, str] | None = None
    ) -> UploadSink | None:
        """Where the body of a new content of `length` bytes goes; None if there is nothing left to send.

        Raises: Refusal, GrpcAbort, HttpRefusal.
        """
        request = provider_pb.InitiateFileUploadRequest(ref=reference, lock_id=lock_id)
        proto.set_opaque(request.opaque, "Upload-Length", str(length))
        response = await self.run("InitiateFileUpload", request)
        ways = [(way.protocol, way.upload_endpoint, way.token) for way in response.protocols]
        try:
            return self._profile.upload(self._data_call("PUT", ways, length, {"Upload-Length": str(length), **(headers or {})}))
        except HttpRefusal as refusal:
            # OpenCloud carries out a length of 0 at the initiation.
            if length or refusal.status != 400:
                raise
            return None

    def _data_call(self, method: str, ways: list[tuple[str, str, str]], length: int | None, headers: Mapping[str, str]) -> DataCall:
        endpoint, token = next((way[1:] for name in _SIMPLE for way in ways if way[0] == name), ways[0][1:])
        target = self._profile.tokens.check_transfer(token)[0] if token else endpoint
        base, protocol, tail = urllib.parse.urlsplit(target).path.lstrip("/").split("/", 2)
        return DataCall(method, self._access, base, protocol, urllib.parse.unquote(tail), headers, length)
