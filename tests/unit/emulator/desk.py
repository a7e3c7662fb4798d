"""A profile without sockets: what a client would call, as plain methods that answer codes and messages."""

import asyncio
import inspect
import random
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.changes import Changes
from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.profiles import QUIRKS, Call, DataCall, Download, Services
from cs3fuse.emulator.proto import code_pb2, gateway_pb, provider_pb, storage_pb
from cs3fuse.emulator.server import make_profile
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tokens import Access, TokenMaker
from cs3fuse.emulator.users import Directory


class Desk:
    """One profile over a folder. Paths are below the root folder: `/einstein/a`."""

    def __init__(self, profile: str, root: Path, user: str = "einstein", **settings: Any) -> None:
        self.root = root
        self.user = user
        config = EmulatorConfig(root=root, profile=profile, **settings)
        config.state_path.mkdir(parents=True, exist_ok=True)
        self.clock = Clock()
        self.state = State(config.state_path / "state.sqlite")
        directory = Directory(config.users, "http://idp", uuid_ids=profile == "opencloud")
        tokens = TokenMaker(self.state, self.clock, directory, config.token_life_s, config.transfer_life_s)
        self.quirks = {name: default for name, (default, _) in QUIRKS.items()} | dict(config.quirks)
        services = Services(config, self.clock, self.state, directory, tokens, random.Random(1), self.quirks, "http://gateway")
        self.profile: Any = make_profile(services)
        for name in config.users:
            asyncio.run(Changes(self.profile).home(name))

    def close(self) -> None:
        self.profile.close()
        self.state.close()

    def access(self, user: str | None = None) -> Access:
        known = self.profile.directory.named(user or self.user)
        return Access(known, float("inf"), 0, None)

    def ref(self, path: str) -> Any:
        return self.profile.reference_for(path)

    def call(self, rpc: str, request: Any, user: str | None = None) -> tuple[str, Any]:
        """The code of the answer, and the response or the refusal's message."""
        try:
            response = self.profile.handler(rpc)(Call(rpc, self.access(user)), request)
            if inspect.isawaitable(response):
                response = asyncio.run(_awaited(response))
        except Refusal as refusal:
            return code_pb2.Code.Name(refusal.code).removeprefix("CODE_"), refusal.message
        return "OK", response

    def stat(self, path: str, user: str | None = None) -> Any:
        """The ResourceInfo, None if there is nothing."""
        code, response = self.call("Stat", provider_pb.StatRequest(ref=self.ref(path)), user)
        assert code in {"OK", "NOT_FOUND"}, response
        return response.info if code == "OK" else None

    def list(self, path: str, user: str | None = None) -> list[str]:
        """The last names of a listing, sorted."""
        code, response = self.call("ListContainer", provider_pb.ListContainerRequest(ref=self.ref(path)), user)
        assert code == "OK", response
        return sorted(info.path.rpartition("/")[2] for info in response.infos)

    def mkdir(self, path: str, user: str | None = None) -> str:
        return self.call("CreateContainer", provider_pb.CreateContainerRequest(ref=self.ref(path)), user)[0]

    def touch(self, path: str, user: str | None = None) -> str:
        return self.call("TouchFile", provider_pb.TouchFileRequest(ref=self.ref(path)), user)[0]

    def delete(self, path: str, user: str | None = None, lock_id: str = "") -> str:
        return self.call("Delete", provider_pb.DeleteRequest(ref=self.ref(path), lock_id=lock_id), user)[0]

    def move(self, source: str, target: str, user: str | None = None) -> str:
        request = provider_pb.MoveRequest(source=self.ref(source), destination=self.ref(target))
        return self.call("Move", request, user)[0]

    def set_metadata(self, path: str, **values: str) -> str:
        metadata = storage_pb.ArbitraryMetadata(metadata=values)
        request = provider_pb.SetArbitraryMetadataRequest(ref=self.ref(path), arbitrary_metadata=metadata)
        return self.call("SetArbitraryMetadata", request)[0]

    def lock(self, rpc: str, path: str, lock_id: str, app: str = "app", user: str | None = None, **more: Any) -> tuple[str, Any]:
        """SetLock, RefreshLock or Unlock."""
        lock = storage_pb.Lock(lock_id=lock_id, app_name=app, type=more.pop("type", 2))
        if more.pop("expires", True):
            lock.expiration.seconds = int(self.clock.now_s()) + more.pop("life_s", 60)
        request_class = getattr(provider_pb, f"{rpc}Request")
        return self.call(rpc, request_class(ref=self.ref(path), lock=lock, **more), user)

    def get_lock(self, path: str) -> tuple[str, Any]:
        return self.call("GetLock", provider_pb.GetLockRequest(ref=self.ref(path)))

    def initiate(self, path: str, length: int | None, user: str | None = None, **more: Any) -> tuple[str, Any]:
        """InitiateFileUpload; `opaque` and fields of the request may be given."""
        opaque = more.pop("opaque", {})
        request = provider_pb.InitiateFileUploadRequest(ref=self.ref(path), **more)
        if length is not None:
            proto.set_opaque(request.opaque, "Upload-Length", str(length))
        for key, value in opaque.items():
            proto.set_opaque(request.opaque, key, value)
        return self.call("InitiateFileUpload", request, user)

    def target(self, response: Any, protocol: str = "simple") -> tuple[str, str, str]:
        """Where the transfer of an initiation goes: base, protocol, tail."""
        entry = next(item for item in response.protocols if item.protocol == protocol)
        endpoint = entry.upload_endpoint if hasattr(entry, "upload_endpoint") else entry.download_endpoint
        url = self.profile.tokens.check_transfer(entry.token)[0] if entry.token else endpoint
        base, _, rest = urllib.parse.urlsplit(url).path.lstrip("/").partition("/")
        kind, _, tail = rest.partition("/")
        return base, kind, urllib.parse.unquote(tail)

    def put(self, response: Any, data: bytes, *, protocol: str = "simple", broken: bool = False, **more: Any) -> Any:
        """PUT to an initiated upload; the status, or None for a connection that broke after these bytes."""
        base, kind, tail = self.target(response, protocol)
        headers: Mapping[str, str] = {"Upload-Length": str(len(data)), **more.pop("headers", {})}
        length = more.pop("length", len(data))
        call = DataCall("PUT", self.access(more.pop("user", None)), base, kind, tail, headers, length, forwarded=True)
        return asyncio.run(_put(self.profile, call, data, broken=broken))

    def upload(self, path: str, data: bytes, user: str | None = None, **more: Any) -> Any:
        """Initiation and PUT; the status of the PUT or the code of the initiation."""
        headers = more.pop("headers", {})
        code, response = self.initiate(path, len(data), user, **more)
        return self.put(response, data, headers=headers, user=user) if code == "OK" else code

    def open_download(self, path: str, user: str | None = None, version: str = "") -> Download:
        """What a GET would send. Raises: HttpRefusal."""
        request = provider_pb.InitiateFileDownloadRequest(ref=self.ref(path))
        code, response = self.call("InitiateFileDownload", request, user)
        assert code == "OK", response
        return self.get(response, user, version)

    def get(self, response: Any, user: str | None = None, version: str = "") -> Download:
        """What a GET of an initiated download would send. Raises: HttpRefusal."""
        base, kind, tail = self.target(response, response.protocols[0].protocol)
        return self.profile.download(DataCall("GET", self.access(user), base, kind, tail, {}, None, version))

    def content(self, path: str, user: str | None = None) -> Any:
        """The bytes of a file, or the HTTP status of the refusal."""
        try:
            download = self.open_download(path, user)
        except HttpRefusal as refusal:
            return refusal.status
        return read(download)

    def versions(self, path: str) -> Any:
        code, response = self.call("ListFileVersions", provider_pb.ListFileVersionsRequest(ref=self.ref(path)))
        assert code == "OK", response
        return list(response.versions)

    def recycled(self, path: str = "/einstein") -> Any:
        code, response = self.call("ListRecycle", provider_pb.ListRecycleRequest(ref=self.ref(path)))
        assert code == "OK", response
        return list(response.recycle_items)

    def share(self, path: str, receiver: str, role: str = "editor") -> str:
        """Share as this desk's user."""
        return asyncio.run(Changes(self.profile).share(path, self.user, receiver, role))

    def quota(self) -> Any:
        return self.call("GetQuota", gateway_pb.GetQuotaRequest(ref=self.ref("/einstein")))


def read(download: Download) -> bytes:
    """The bytes of an open download; closes it."""
    assert download.file is not None
    with download.file as file:
        file.seek(0)
        return file.read()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _put(profile: Any, call: DataCall, data: bytes, *, broken: bool) -> Any:
    try:
        sink = profile.upload(call)
        sink.write(data)
        if broken:
            await sink.broken()
            return None
        answer = await sink.finish()
    except HttpRefusal as refusal:
        return refusal.status
    return answer.status
