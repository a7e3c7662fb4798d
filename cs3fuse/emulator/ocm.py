"""A site of the mesh: any profile, with OCM added.

Owns the choice between the profile's own storage and the mount of received shares. `server` asks `in_mesh` for the class when the
configuration names the site; without a name a profile answers about OCM as its server does without it. Runs on the server's loop only.
"""

from collections.abc import Awaitable
from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.ocm_book import MeshBook
from cs3fuse.emulator.ocm_door import Door
from cs3fuse.emulator.ocm_peers import Peers
from cs3fuse.emulator.ocm_received import ReceivedStorage
from cs3fuse.emulator.ocm_shares import OcmShareHandlers
from cs3fuse.emulator.ocm_transfers import OCM_BASE
from cs3fuse.emulator.profiles import Call, DataCall, Download, Profile, Services, UploadSink, snake_case
from cs3fuse.emulator.proto import storage_pb


class MeshHandlers(OcmShareHandlers):
    """Sends calls about received shares to where they belong. To be mixed in front of a profile."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        config = services.config
        self.book = MeshBook(services.state)
        self.peers = Peers({**config.peers, config.site_name: services.base_url}, services.state, services.quirks)
        self.received = ReceivedStorage(self)
        self.door = Door(self)
        self.data_bases = (*type(self).data_bases, OCM_BASE)

    async def stop(self) -> None:
        """End the calls to other sites that nobody waits for."""
        await self.received.stop()
        await self.peers.close()
        await super().stop()

    def handler(self, rpc: str) -> Any:
        """The profile's own handler, or the received storage's when the reference leads there."""
        plain, remote = super().handler(rpc), getattr(self.received, snake_case(rpc), None)
        if remote is None:
            return plain

        def choose(call: Call, request: Any) -> Any:
            reference = _reference(request)
            spot = None if reference is None else self.received.spot(reference)
            if spot is not None:
                return remote(call, request, spot)
            if rpc == "Move" and self.received.spot(request.destination) is not None:
                raise Refusal(proto.UNIMPLEMENTED, "gateway: cross storage copy not yet implemented")
            if plain is None:
                raise self.not_served(rpc)
            return plain(call, request)

        return choose

    def describe_reference(self, reference: Any) -> str:
        """Received shares by their path below the gateway's root."""
        spot = self.received.spot(reference)
        return super().describe_reference(reference) if spot is None else f"{self.config.ocm_mount}{spot.inner}"

    def describe_data(self, base: str, protocol: str, tail: str) -> str:
        """The path an inner data URL is about."""
        if base != OCM_BASE:
            return super().describe_data(base, protocol, tail)
        return f"{self.config.ocm_mount}{self.received.data_spot(protocol, tail).inner}"

    def download(self, call: DataCall) -> Download | Awaitable[Download]:
        """Open what a GET or HEAD asks for. Raises: HttpRefusal."""
        return self.received.download(call) if call.base == OCM_BASE else super().download(call)

    def upload(self, call: DataCall) -> UploadSink:
        """Prepare for the body of a PUT. Raises: HttpRefusal."""
        return self.received.upload(call) if call.base == OCM_BASE else super().upload(call)


def in_mesh(profile: type[Profile]) -> type[Profile]:
    """A profile as a site of the mesh."""
    return type(f"Mesh{profile.__name__}", (MeshHandlers, profile), {})


def _reference(request: Any) -> Any:
    """The reference a request is about; None when it has none."""
    for name in ("ref", "source"):
        if proto.has_reference(request, name) and request.HasField(name):
            return getattr(request, name)
    if "resource_id" in request.DESCRIPTOR.fields_by_name:
        return storage_pb.Reference(resource_id=request.resource_id)
    return None
