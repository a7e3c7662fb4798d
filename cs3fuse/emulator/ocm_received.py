"""The mount of received OCM shares: every call goes to the other site and waits for it.

Owns the answers of the storage RPCs below the mount. `ocm` hands it the calls whose reference leads here. Runs on the server's loop.

Source: reva pkg/ocm/storage/received with studio-b12/gowebdav, as measured: only 404 is kept, everything else is INTERNAL or 500.
"""

import base64
import posixpath
from collections.abc import Callable, Coroutine
from typing import Any

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.localfs import clean
from cs3fuse.emulator.ocm_absent import Spot
from cs3fuse.emulator.ocm_book import GotShare
from cs3fuse.emulator.ocm_invites import federated
from cs3fuse.emulator.ocm_remote import RemoteError
from cs3fuse.emulator.ocm_shares import OcmShareHandlers, got_permissions
from cs3fuse.emulator.ocm_transfers import OcmTransfers
from cs3fuse.emulator.ocm_webdav import Entry
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb, storage_pb


class ReceivedStorage(OcmTransfers):
    """The storage provider of received shares. Methods named like an RPC in snake case answer it."""

    def __init__(self, profile: OcmShareHandlers) -> None:
        super().__init__(profile)
        self._mount = profile.config.ocm_mount
        self._storage_id = profile.config.ocm_storage_id

    async def stop(self) -> None:
        """End what is still under way at other sites."""
        await self._remote.stop()

    # -- references

    def spot(self, reference: Any) -> Spot | None:
        """Where a reference leads; None for another storage."""
        if not reference.HasField("resource_id"):
            return self._spot_of_path(reference.path) if reference.path.startswith("/") else None
        rid = reference.resource_id
        if rid.storage_id != self._storage_id:
            return None
        share_id, _, rel = rid.opaque_id.partition(":")
        joined = posixpath.join(rel, reference.path) if reference.path else rel
        rel = posixpath.normpath(joined) if joined else ""
        rel = "" if rel == "." else rel
        return Spot(share_id, "/" + rel.lstrip("/") if rel.startswith("/") else rel, "relative" if reference.path else "id")

    def _spot_of_path(self, path: str) -> Spot | None:
        cleaned = clean(path)
        if cleaned != self._mount and not cleaned.startswith(f"{self._mount}/"):
            return None
        share_id, _, rel = cleaned[len(self._mount) :].lstrip("/").partition("/")
        return Spot(share_id, f"/{rel}")

    # -- reading

    def _info(self, share: GotShare, rel: str, entry: Entry, kind: str) -> Any:
        info = storage_pb.ResourceInfo(
            type=proto.CONTAINER if entry.is_folder else proto.FILE,
            size=0 if entry.is_folder else entry.size & 0xFFFFFFFFFFFFFFFF,
            mime_type=mime.FOLDER if entry.is_folder else kind,
            path=self._mount + Spot(share.id, rel).inner,
            name=entry.name,
            owner=federated(share.owner, share.site),
            permission_set=got_permissions(share),
        )
        space_id = base64.b32encode(f"{self._mount}/{share.id}".encode()).decode()
        info.id.storage_id, info.id.opaque_id, info.id.space_id = self._storage_id, f"{share.id}:{rel}", space_id
        info.parent_id.space_id = info.space.id.opaque_id = space_id
        info.checksum.SetInParent()
        info.mtime.seconds = max(0, entry.mtime_s)
        return info

    async def stat(self, call: Call, request: Any, spot: Spot) -> Any:
        """Stat: no etag, whole seconds; `name` is what the other site calls it, often nothing."""
        try:
            share = self.share(call, spot)
            entry = await self._remote.carry_out(self._remote.entry(share, spot.rel))
        except RemoteError as error:
            raise _refusal(error, "path not found when statting", f"error statting: {proto.go_text(request.ref)}") from error
        return provider_pb.StatResponse(info=self._info(share, spot.rel, entry, mime.UNKNOWN))

    async def list_container(self, call: Call, request: Any, spot: Spot) -> Any:
        """ListContainer: sorted by name; whatever goes wrong is INTERNAL."""
        try:
            share = self.share(call, spot)
            (_, itself), *children = await self._remote.carry_out(self._remote.entries(share, spot.rel, "1"))
            if not itself.is_folder:
                raise RemoteError(405)
        except RemoteError as error:
            raise Refusal(proto.INTERNAL, f"error listing container: {proto.go_text(request.ref)}") from error
        response = provider_pb.ListContainerResponse()
        for name, entry in children:
            rel = posixpath.normpath(posixpath.join("/" + spot.rel.strip("/"), name))
            named = Entry(name, entry.is_folder, entry.size, entry.mtime_s)
            info = self._info(share, rel, named, mime.of_name(name))
            if spot.form == "relative":
                info.path = Spot(share.id, rel).inner
            response.infos.append(info)
        return response

    async def get_path(self, call: Call, request: Any, spot: Spot) -> Any:
        """GetPath: a Stat by id."""
        wanted = provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=request.resource_id))
        return provider_pb.GetPathResponse(path=(await self.stat(call, wanted, spot)).info.path)

    # -- changing

    async def _change(
        self, call: Call, spot: Spot, work: Callable[[GotShare, str], Coroutine[Any, Any, None]], internal: str
    ) -> None:
        try:
            await self._remote.carry_out(work(self.share(call, spot), spot.rel))
        except RemoteError as error:
            raise Refusal(proto.INTERNAL, internal) from error

    async def create_container(self, call: Call, request: Any, spot: Spot) -> Any:
        """CreateContainer: makes parents; OK for whatever exists."""
        await self._change(call, spot, self._remote.make_folder, f"error creating container: {proto.go_text(request.ref)}")
        return provider_pb.CreateContainerResponse()

    async def delete(self, call: Call, request: Any, spot: Spot) -> Any:
        """Delete: folders too, with everything in them; the root of a share is the owner's own folder."""
        await self._change(call, spot, self._remote.delete, f"error deleting file: {proto.go_text(request.ref)}")
        return provider_pb.DeleteResponse()

    async def touch_file(self, call: Call, request: Any, spot: Spot) -> Any:
        """TouchFile: never works; the text says why."""
        try:
            await self._remote.carry_out(self._remote.touch(self.share(call, spot), spot.rel))
        except RemoteError as error:
            raise Refusal(proto.INTERNAL, f"error touching file {proto.go_text(request.ref)}: {error.text}") from error
        return provider_pb.TouchFileResponse()

    async def move(self, call: Call, request: Any, spot: Spot) -> Any:
        """Move: never works; between shares the other site is not even asked."""
        target = self.spot(request.destination)
        if target is None:
            raise Refusal(proto.UNIMPLEMENTED, "gateway: cross storage copy not yet implemented")
        internal = f"error moving: {proto.go_text(storage_pb.Reference(path=spot.inner))}"
        if target.share_id == spot.share_id:
            await self._change(call, spot, self._remote.rename, internal)
        raise Refusal(proto.INTERNAL, internal)


def _refusal(error: RemoteError, not_found: str, internal: str) -> Refusal:
    return Refusal(proto.NOT_FOUND, not_found) if error.status == 404 else Refusal(proto.INTERNAL, internal)
