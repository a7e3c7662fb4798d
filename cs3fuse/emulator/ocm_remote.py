"""The other site of a received share, as the receiving site's WebDAV client meets it.

Owns the requests and how long they live: a call that its client gave up goes on in a task of its own and may be carried out much later,
as in Reva, which tells its WebDAV client nothing of deadlines. Used by `ocm_received` and `ocm_transfers` on the server's loop only.

Source: studio-b12/gowebdav in reva pkg/ocm/storage/received, as measured.
"""

import asyncio
import posixpath
import urllib.parse
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import aiohttp

from cs3fuse.emulator.ocm_book import GotShare
from cs3fuse.emulator.ocm_peers import PeerError
from cs3fuse.emulator.ocm_shares import DAV, OcmShareHandlers
from cs3fuse.emulator.ocm_webdav import BrokenAnswerError, Entry, read_multistatus

_EXCHANGE = "must-exchange-token"
Result = TypeVar("Result")


class RemoteError(Exception):
    """The other site's answer is not what was wanted; `status` 0: there was none."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text or str(status)


class Remote:
    """All other sites, as one profile meets them."""

    def __init__(self, profile: OcmShareHandlers) -> None:
        self._profile = profile
        self._running: set[asyncio.Task[Any]] = set()
        self._warm: set[str] = set()

    async def carry_out(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something at the other site to its end, even if the client waits no longer.

        Raises: what the work raises.
        Cancellation: the work goes on, for ever if need be.
        """
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # What became of a call that nobody waits for concerns nobody.
            task.exception()

    async def stop(self) -> None:
        """End what is still under way."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def address(self, share: GotShare, rel: str) -> tuple[str, dict[str, str]]:
        """URL and headers for a path in a share. Raises: PeerError, RemoteError."""
        url, link = share.uri, self._profile.peers.find(share.site)
        parts = urllib.parse.urlsplit(share.uri)
        if link is not None and parts.path.startswith(f"{DAV}/"):
            url = f"{link.url}{parts.path}"  # a site may have come back at another port
        await self._first_contact(share)
        secret = share.secret
        if _EXCHANGE in share.requirements:
            place = url.removesuffix(parts.path)
            status, answer = await self._profile.peers.notify(share.site, f"{place}/ocm/token", {"code": share.secret})
            if status != 200:
                raise RemoteError(status)
            secret = answer["access_token"]
        quoted = urllib.parse.quote("/" + rel.strip("/")) if rel.strip("/") else ""
        return url + quoted, {"Authorization": f"Bearer {secret}"}

    async def _first_contact(self, share: GotShare) -> None:
        """The first call to a share tries twice to reach its site."""
        if share.id not in self._warm:
            try:
                await self._profile.peers.gate(share.site, share.uri)
            except PeerError:
                await self._profile.peers.gate(share.site, share.uri)
            self._warm.add(share.id)

    async def ask(
        self, share: GotShare, method: str, rel: str, body: bytes | AsyncIterator[bytes] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer to one request about a path. Raises: RemoteError."""
        try:
            url, ours = await self.address(share, rel)
            return await self._profile.peers.request(share.site, method, url, ours | headers, body)
        except PeerError as error:
            raise RemoteError(0, str(error)) from error

    async def entries(self, share: GotShare, rel: str, depth: str) -> list[tuple[str, Entry]]:
        """What PROPFIND says, the resource itself first. Raises: RemoteError."""
        status, body = await self.ask(share, "PROPFIND", rel, Depth=depth)
        if status != 207:
            raise RemoteError(status)
        try:
            entries = read_multistatus(body)
        except BrokenAnswerError as error:
            raise RemoteError(0, str(error)) from error
        if not entries:
            raise RemoteError(0, "empty answer")
        return entries

    async def entry(self, share: GotShare, rel: str) -> Entry:
        """What PROPFIND says of one path. Raises: RemoteError."""
        return (await self.entries(share, rel, "0"))[0][1]

    async def make_folder(self, share: GotShare, rel: str) -> None:
        """MKCOL, parents too. An existing file is as good as a folder. Raises: RemoteError."""
        status, _ = await self.ask(share, "MKCOL", rel)
        if status == 409:
            segments = rel.strip("/").split("/")
            for count in range(1, len(segments) + 1):
                status, _ = await self.ask(share, "MKCOL", "/".join(segments[:count]))
                if status not in {201, 405}:
                    break
        if status not in {201, 405}:
            raise RemoteError(status)

    async def put(self, share: GotShare, rel: str, body: bytes) -> None:
        """PUT, parents too. Raises: RemoteError."""
        status, _ = await self.ask(share, "PUT", rel, body)
        if status == 409:
            parent = posixpath.dirname(rel.strip("/"))
            if parent:
                await self.make_folder(share, parent)
            status, _ = await self.ask(share, "PUT", rel, body)
        if status not in {200, 201, 204}:
            raise RemoteError(status)

    async def delete(self, share: GotShare, rel: str) -> None:
        """DELETE; what is missing counts as deleted if the other site says so. Raises: RemoteError."""
        status, _ = await self.ask(share, "DELETE", rel)
        if status not in {200, 204, 404}:
            raise RemoteError(status)

    async def touch(self, share: GotShare, rel: str) -> None:
        """PUT of nothing without a length, which no site takes. Raises: RemoteError."""
        try:
            url, _ = await self.address(share, rel)
        except PeerError as error:
            raise RemoteError(0, str(error)) from error
        try:
            status, _ = await self.ask(share, "PUT", rel, _no_bytes())
        except RemoteError as error:
            raise RemoteError(0, f'Put "{url}": {error.text}') from error
        if status not in {200, 201, 204}:
            raise RemoteError(status, f"Write /{rel.strip('/')}: {status}")

    async def rename(self, share: GotShare, rel: str) -> None:
        """MOVE, which no site carries out. Raises: RemoteError, always."""
        status, _ = await self.ask(share, "MOVE", rel)
        raise RemoteError(status)

    async def open(self, share: GotShare, rel: str) -> aiohttp.ClientResponse:
        """The answer to a GET, its body still to be read. Raises: RemoteError."""
        try:
            url, headers = await self.address(share, rel)
            response = await self._profile.peers.open(share.site, "GET", url, headers)
        except PeerError as error:
            raise RemoteError(0, str(error)) from error
        if response.status != 200:
            response.close()
            raise RemoteError(response.status)
        return response


async def _no_bytes() -> AsyncIterator[bytes]:
    """A body of unknown length, which turns out to be empty."""
    for chunk in list[bytes]():
        yield chunk
