"""What a site serves to the other sites of the mesh: notices and the WebDAV of what it shares.

Owns the HTTP paths below `/ocm` and `/remote.php/dav/ocm`. `datagateway` asks it for an answer, after the faults that fit; what
is shared is reached through the profile's own handlers as its owner. Runs on the server's loop only.

Source: reva internal/http/services/{ocmd,owncloud/ocdav}, as measured: 401 without a share in force, 403 for a viewer who writes,
400 for a PUT without a length, 416 for any range, 501 for MOVE.
"""

import json
import posixpath
import urllib.parse
from typing import Any

from aiohttp import web

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import GrpcAbort, HttpRefusal, Refusal
from cs3fuse.emulator.faults import FaultRule
from cs3fuse.emulator.inside import Inside
from cs3fuse.emulator.ocm_book import Friend, SentShare
from cs3fuse.emulator.ocm_shares import DAV, OcmShareHandlers, resource_id
from cs3fuse.emulator.ocm_webdav import Entry, href_of, write_multistatus
from cs3fuse.emulator.profiles import Download, UploadSink
from cs3fuse.emulator.proto import provider_pb, storage_pb

_EXCHANGED = "exchanged-"
_STATUS = {proto.NOT_FOUND: 404, proto.PERMISSION_DENIED: 403, proto.INSUFFICIENT_STORAGE: 507, proto.LOCKED: 423}
Answer = web.StreamResponse | Download | UploadSink


class _Place:
    """What one request is about: a share, a path in it, and the owner to act as."""

    def __init__(self, profile: OcmShareHandlers, share: SentShare, relative: str, *, is_file: bool) -> None:
        owner = profile.directory.identified(share.owner)
        assert owner is not None
        self.share = share
        self.inside = Inside(profile, owner)
        if is_file:
            # Whatever stands below a shared file is that file, one level deep.
            if "/" in relative:
                raise Refusal(proto.NOT_FOUND, "not found")
            relative = ""
        self.relative = relative
        self.is_file = is_file

    def reference(self, relative: str | None = None, *, dotted: bool = False) -> Any:
        """The Reference of the place, or of another path in the share; `dotted` names the share's root by "." too."""
        wanted = self.relative if relative is None else relative
        path = f"./{wanted}" if wanted else ("." if dotted else "")
        return storage_pb.Reference(resource_id=resource_id(self.share), path=path)

    async def kind(self, relative: str) -> int | None:
        """The type of a path in the share; None if nothing is there."""
        try:
            return int((await self.inside.stat(self.reference(relative))).type)
        except Refusal:
            return None

    async def has_parent(self) -> bool:
        """Whether the place is in a folder of the share."""
        return bool(self.relative) and await self.kind(posixpath.dirname(self.relative)) == proto.CONTAINER

    def need(self, permission: str) -> None:
        """Raises: HttpRefusal when the share does not allow this."""
        if permission not in self.share.permissions:
            raise HttpRefusal(403)


class Door:
    """Answers requests of other sites."""

    def __init__(self, profile: OcmShareHandlers) -> None:
        self._profile = profile

    def serves(self, path: str) -> bool:
        """Whether a request for this path comes from another site."""
        return path.startswith(("/ocm/", f"{DAV}/"))

    def describe(self, request: web.Request) -> tuple[str, str]:
        """The path below the root and `user@site`, for the log and for the matching of faults; as far as known."""
        share, relative = self._named(request)
        if share is None:
            return request.path, ""
        path = self._profile.describe_reference(storage_pb.Reference(resource_id=resource_id(share)))
        return posixpath.join(path, relative).rstrip("/"), f"{share.grantee}@{share.site}"

    def _named(self, request: web.Request) -> tuple[SentShare | None, str]:
        path = urllib.parse.unquote(urllib.parse.urlsplit(request.raw_path).path)
        if not path.startswith(f"{DAV}/"):
            return None, ""
        share_id, _, relative = path.removeprefix(f"{DAV}/").partition("/")
        return self._profile.book.sent.get(share_id), relative.strip("/")

    async def answer(self, request: web.Request, effects: tuple[FaultRule, ...]) -> Answer:
        """A finished answer, a file to send, or where the body goes. Raises: HttpRefusal."""
        try:
            if request.path.startswith("/ocm/"):
                return await self._notice(request)
            return await self._dav(request, effects)
        except Refusal as refusal:
            raise HttpRefusal(_STATUS.get(refusal.code, 500)) from refusal
        except GrpcAbort as abort:
            raise HttpRefusal(500) from abort

    # -- notices

    async def _notice(self, request: web.Request) -> web.StreamResponse:
        try:
            values = json.loads(await request.read())
            match (request.method, request.path):
                case ("POST", "/ocm/invite-accepted"):
                    return self._invite_accepted(values)
                case ("POST", "/ocm/shares"):
                    return self._share(values)
                case ("POST", "/ocm/token"):
                    return web.json_response({"access_token": f"{_EXCHANGED}{values['code']}", "token_type": "Bearer"})
        except (ValueError, KeyError, TypeError, AttributeError):
            return web.json_response({"code": "INVALID_PARAMETER", "message": "the request cannot be understood"}, status=400)
        raise HttpRefusal(404)

    def _invite_accepted(self, values: Any) -> web.StreamResponse:
        friend = Friend("", values["userID"], values["recipientProvider"], values["email"], values["name"])
        try:
            user = self._profile.accepted(values["token"], friend)
        except Refusal as refusal:
            return web.json_response({"message": refusal.message}, status=409 if refusal.code == proto.ALREADY_EXISTS else 400)
        return web.json_response({"userID": user.opaque_id, "email": user.mail, "name": user.display_name})

    def _share(self, values: Any) -> web.StreamResponse:
        try:
            share = self._profile.take_offer(values)
        except Refusal as refusal:
            if refusal.code == proto.PERMISSION_DENIED:
                raise
            return web.json_response({"code": "RESOURCE_NOT_FOUND", "message": refusal.message}, status=404)
        # `id` is ours: a real site tells only the receiver's name.
        return web.json_response({"recipientDisplayName": values["shareWith"], "id": share.id}, status=201)

    # -- WebDAV

    async def _dav(self, request: web.Request, effects: tuple[FaultRule, ...]) -> Answer:
        share, relative = self._named(request)
        if share is None or not self._authorized(share, request.headers.get("Authorization", "")):
            raise HttpRefusal(401)
        root = _Place(self._profile, share, "", is_file=False)
        place = _Place(self._profile, share, relative, is_file=await root.kind("") == proto.FILE)
        match request.method:
            case "PROPFIND":
                return await self._propfind(request, place, effects)
            case "GET" | "HEAD":
                if "Range" in request.headers:
                    raise HttpRefusal(416)
                return await place.inside.download(place.reference(dotted=True))
            case "PUT":
                return await self._put(request, place)
            case "MKCOL":
                return await self._mkcol(place)
            case "DELETE":
                return await self._delete(place)
        raise HttpRefusal(501)

    @staticmethod
    def _authorized(share: SentShare, header: str) -> bool:
        wanted = f"{_EXCHANGED}{share.token}" if share.requirements else share.token
        return header == f"Bearer {wanted}"

    async def _propfind(self, request: web.Request, place: _Place, effects: tuple[FaultRule, ...]) -> web.StreamResponse:
        info = await place.inside.stat(place.reference())
        top = href_of(urllib.parse.unquote(urllib.parse.urlsplit(request.raw_path).path).rstrip("/"))
        entries = [(top, _entry(info, place.share.name if place.is_file else ""))]
        if request.headers.get("Depth") == "1" and info.type == proto.CONTAINER:
            response = await place.inside.run("ListContainer", provider_pb.ListContainerRequest(ref=place.reference()))
            for child in response.infos:
                name = child.name or posixpath.basename(child.path)
                entries.append((f"{top}/{href_of(name)}", _entry(child, "")))
            entries += [_extra(top, text) for rule in effects for text in rule.extra_entries]
        return web.Response(status=207, body=write_multistatus(entries), content_type="application/xml", charset="utf-8")

    async def _put(self, request: web.Request, place: _Place) -> UploadSink | web.StreamResponse:
        if request.content_length is None:
            raise HttpRefusal(400)
        place.need("initiate_file_upload")
        if not place.is_file and (not await place.has_parent() or await place.kind(place.relative) == proto.CONTAINER):
            raise HttpRefusal(409)
        sink = await place.inside.upload(place.reference(), request.content_length)
        return sink if sink is not None else web.Response(status=201)

    async def _mkcol(self, place: _Place) -> web.StreamResponse:
        place.need("create_container")
        if await place.kind(place.relative) is not None:
            raise HttpRefusal(405)
        if not await place.has_parent():
            raise HttpRefusal(409)
        await place.inside.run("CreateContainer", provider_pb.CreateContainerRequest(ref=place.reference()))
        return web.Response(status=201)

    async def _delete(self, place: _Place) -> web.StreamResponse:
        place.need("delete")
        try:
            await place.inside.run("Delete", provider_pb.DeleteRequest(ref=place.reference()))
        except Refusal as refusal:
            # Not even what is missing is 404 here: the receiver saw an error.
            raise HttpRefusal(500) from refusal
        return web.Response(status=204)


def _entry(info: Any, name: str) -> Entry:
    return Entry(name, info.type == proto.CONTAINER, int(info.size), int(info.mtime.seconds))


def _extra(top: str, text: str) -> tuple[str, Entry]:
    """An entry that a fault asks for: what the href shall end with, as it is, and `#size` if not 1000 bytes."""
    name, _, size = text.partition("#")
    return f"{top}/{name}", Entry("", name.endswith("/"), int(size or 1000), 1_600_000_000)
