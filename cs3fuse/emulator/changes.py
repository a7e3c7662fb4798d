"""Changes of "another client", made from inside the gateway.

Owns the translation of simple wishes (write, delete, rename, lock, share) into the calls a client would make, as a
given user and through the profile's own handlers, so that etags, versions and locks behave as for a real client.
Nothing of it is logged or spoiled by faults. Used by the control endpoints and by tests in the same process, on the
server's loop only.
"""

from collections.abc import Sequence
from typing import Any

from cs3.ocm.invite.v1beta1 import invite_api_pb2 as invite_api_pb
from cs3.ocm.invite.v1beta1 import resources_pb2 as invite_pb
from cs3.ocm.provider.v1beta1 import provider_api_pb2 as site_api_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.inside import Inside
from cs3fuse.emulator.ocm_shares import OcmShareHandlers
from cs3fuse.emulator.profiles import Profile
from cs3fuse.emulator.proto import provider_pb, storage_pb, user_pb
from cs3fuse.emulator.shares import GRANTEE_GROUP, GRANTEE_USER
from cs3fuse.emulator.spaces import ROLES

_WRITE_LOCK = 2


class Changes:
    """Makes changes as a user. Paths are below the root folder: `/einstein/dir/a.txt`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def _inside(self, user: str) -> Inside:
        known = self._profile.directory.named(user)
        if known is None:
            raise ValueError(f"There is no user {user!r}.")
        return Inside(self._profile, known)

    async def _run(self, rpc: str, user: str, request: Any) -> Any:
        return await self._inside(user).run(rpc, request)

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
        reference, headers = self._profile.reference_for(path), {"X-Lock-Holder": app_name}
        sink = await self._inside(user).upload(reference, len(data), lock_id=lock_id, headers=headers)
        if sink is not None:
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
        """Share a file or folder with another user, or with a group; returns the share's id. Raises: Refusal, ValueError."""
        info = (await self._run("Stat", user, provider_pb.StatRequest(ref=self._profile.reference_for(path)))).info
        grantee = self._profile.directory.named(receiver)
        request = share_api_pb.CreateShareRequest(resource_info=info)
        if grantee is not None:
            request.grant.grantee.type = GRANTEE_USER
            request.grant.grantee.user_id.CopyFrom(grantee.identifier())
        elif any(receiver in user.groups for user in self._profile.directory):
            request.grant.grantee.type = GRANTEE_GROUP
            request.grant.grantee.group_id.opaque_id = receiver
        else:
            raise ValueError(f"There is no user and no group {receiver!r}.")
        names = ROLES[role] - set(proto.GRANTING) - {"purge_recycle", "list_grants", "deny_grant"}
        request.grant.permissions.permissions.CopyFrom(proto.permissions(*names))
        response = await self._run("CreateShare", user, request)
        return str(response.share.id.opaque_id)

    # -- the mesh

    async def invite(self, user: str) -> str:
        """An invitation of this user; returns its token. Raises: ValueError."""
        response = await self._run("GenerateInviteToken", user, invite_api_pb.GenerateInviteTokenRequest())
        return str(response.invite_token.token)

    async def accept_invite(self, user: str, token: str, site: str) -> None:
        """Accept the invitation of a user of another site. Raises: Refusal, ValueError."""
        request = invite_api_pb.ForwardInviteRequest(invite_token=invite_pb.InviteToken(token=token))
        request.origin_system_provider.CopyFrom(await self._site(user, site))
        await self._run("ForwardInvite", user, request)

    async def _site(self, user: str, site: str) -> Any:
        return (await self._run("GetInfoByDomain", user, site_api_pb.GetInfoByDomainRequest(domain=site))).provider_info

    async def mesh_share(
        self,
        path: str,
        user: str,
        receiver: str,
        site: str,
        role: str = "editor",
        expires_s: float = 0.0,
        requirements: Sequence[str] = (),
    ) -> dict[str, str]:
        """Share with a user of another site; returns `share`, its id here, and `received`, its id there.

        Raises: Refusal, ValueError.
        """
        if not isinstance(self._profile, OcmShareHandlers):
            raise ValueError("This gateway has no site name, so it takes part in no mesh.")  # noqa: TRY004 - a wrong wish
        inside = self._inside(user)
        info = await inside.stat(self._profile.reference_for(path))
        friends = [friend for friend in self._profile.book.friends(inside.user.opaque_id) if friend.site == site]
        # A user of profile opencloud is known elsewhere by a UUID; the mail address still has the name.
        receiver = next((item.opaque_id for item in friends if item.mail.partition("@")[0] == receiver), receiver)
        request = ocm_api_pb.CreateOCMShareRequest(
            resource_id=info.id,
            grantee=storage_pb.Grantee(
                type=GRANTEE_USER, user_id=user_pb.UserId(idp=site, opaque_id=receiver, type=user_pb.USER_TYPE_FEDERATED)
            ),
            recipient_mesh_provider=await self._site(user, site),
        )
        names = ["stat", "get_path", "list_container", "initiate_file_download"]
        if role == "editor":
            names += ["initiate_file_upload", "create_container", "delete", "move"]
        way = ocm_pb.WebDAVAccessMethod(permissions=proto.permissions(*names), requirements=requirements)
        request.access_methods.append(ocm_pb.AccessMethod(webdav_options=way))
        if expires_s:
            request.expiration.seconds = int(expires_s)
        response = await self._run("CreateOCMShare", user, request)
        share = self._profile.book.sent.get(response.share.id.opaque_id)
        assert share is not None
        return {"share": share.id, "received": share.received_id}

    async def mesh_unshare(self, share: str, user: str) -> None:
        """Revoke an OCM share by its id here. Raises: Refusal."""
        reference = ocm_pb.ShareReference(id=ocm_pb.ShareId(opaque_id=share))
        await self._run("RemoveOCMShare", user, ocm_api_pb.RemoveOCMShareRequest(ref=reference))
