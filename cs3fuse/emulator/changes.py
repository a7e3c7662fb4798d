"""Changes of "another client", made from inside the gateway.

Owns the translation of simple wishes (write, delete, rename, lock, share) into the calls a client would make, as a
given user and through the profile's own handlers, so that etags, versions and locks behave as for a real client.
Nothing of it is logged or spoiled by faults. Used by the control endpoints and by tests in the same process, on the
server's loop only.
"""

import inspect
import urllib.parse
from typing import Any

from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.profiles import Call, DataCall, Profile
from cs3fuse.emulator.proto import provider_pb, storage_pb
from cs3fuse.emulator.spaces import ROLES
from cs3fuse.emulator.tokens import Access

_WRITE_LOCK = 2


class Changes:
    """Makes changes as a user. Paths are below the root folder: `/einstein/dir/a.txt`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def _call(self, rpc: str, user: str) -> Call:
        known = self._profile.directory.named(user)
        if known is None:
            raise ValueError(f"There is no user {user!r}.")
        return Call(rpc, Access(known, float("inf"), 0, None))

    async def _run(self, rpc: str, user: str, request: Any) -> Any:
        handler = self._profile.handler(rpc)
        if handler is None:
            raise ValueError(f"This profile has no {rpc}.")
        response = handler(self._call(rpc, user), request)
        return await response if inspect.isawaitable(response) else response

    async def home(self, user: str) -> None:
        """Make sure the user's home exists."""
        if self._profile.handler("CreateHome") is not None:
            try:
                await self._run("CreateHome", user, provider_pb.CreateHomeRequest())
            except Refusal:
                # Driver local of Reva has homes and no CreateHome.
                return

    async def write(self, path: str, data: bytes, user: str, *, lock_id: str = "", app_name: str = "") -> None:
        """Upload a whole file. Raises: Refusal, HttpRefusal as a client would be refused."""
        profile = self._profile
        request = provider_pb.InitiateFileUploadRequest(ref=profile.reference_for(path), lock_id=lock_id)
        proto.set_opaque(request.opaque, "Upload-Length", str(len(data)))
        response = await self._run("InitiateFileUpload", user, request)
        entry = next(item for item in response.protocols if item.protocol == "simple")
        target = profile.tokens.check_transfer(entry.token)[0] if entry.token else entry.upload_endpoint
        base, protocol, tail = urllib.parse.urlsplit(target).path.lstrip("/").split("/", 2)
        headers = {"Upload-Length": str(len(data)), "X-Lock-Holder": app_name}
        access = self._call("PUT", user).access
        assert access is not None
        call = DataCall("PUT", access, base, protocol, urllib.parse.unquote(tail), headers, len(data))
        try:
            sink = profile.upload(call)
        except HttpRefusal as refusal:
            # A length of 0 was carried out at the initiation: there is nothing left to send.
            if data or refusal.status != 400:
                raise
            return
        sink.write(data)
        await sink.finish()

    async def mkdir(self, path: str, user: str) -> None:
        """Create a folder. Raises: Refusal."""
        await self._run("CreateContainer", user, provider_pb.CreateContainerRequest(ref=self._profile.reference_for(path)))

    async def delete(self, path: str, user: str) -> None:
        """Delete a file or folder. Raises: Refusal."""
        await self._run("Delete", user, provider_pb.DeleteRequest(ref=self._profile.reference_for(path)))

    async def rename(self, path: str, target: str, user: str) -> None:
        """Rename. Raises: Refusal."""
        source, destination = self._profile.reference_for(path), self._profile.reference_for(target)
        await self._run("Move", user, provider_pb.MoveRequest(source=source, destination=destination))

    async def lock(self, path: str, user: str, lock_id: str, app_name: str, life_s: float) -> None:
        """Lock a file. Raises: Refusal."""
        lock = storage_pb.Lock(lock_id=lock_id, app_name=app_name, type=_WRITE_LOCK)
        lock.expiration.seconds = int(self._profile.clock.now_s() + life_s)
        await self._run("SetLock", user, provider_pb.SetLockRequest(ref=self._profile.reference_for(path), lock=lock))

    async def unlock(self, path: str, user: str, lock_id: str, app_name: str) -> None:
        """Unlock a file. Raises: Refusal."""
        lock = storage_pb.Lock(lock_id=lock_id, app_name=app_name, type=_WRITE_LOCK)
        await self._run("Unlock", user, provider_pb.UnlockRequest(ref=self._profile.reference_for(path), lock=lock))

    async def share(self, path: str, user: str, receiver: str, role: str = "editor") -> str:
        """Share a file or folder with another user; returns the share's id. Raises: Refusal, ValueError."""
        info = (await self._run("Stat", user, provider_pb.StatRequest(ref=self._profile.reference_for(path)))).info
        grantee = self._profile.directory.named(receiver)
        if grantee is None:
            raise ValueError(f"There is no user {receiver!r}.")
        request = share_api_pb.CreateShareRequest(resource_info=info)
        request.grant.grantee.type = 1
        request.grant.grantee.user_id.CopyFrom(grantee.identifier())
        names = ROLES[role] - set(proto.GRANTING) - {"purge_recycle", "list_grants", "deny_grant"}
        request.grant.permissions.permissions.CopyFrom(proto.permissions(*names))
        response = await self._run("CreateShare", user, request)
        return str(response.share.id.opaque_id)
