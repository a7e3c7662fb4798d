"""The other sites of the mesh: where they are, and the way there, which tests may spoil.

Owns the links (site name to URL, kept in the state, and the way's condition) and the HTTP client. Every request opens a connection of
its own to the other site, so that a stopped, killed or frozen site fails as a real one does. Used by `ocm_invites`, `ocm_shares` and
`ocm_remote` on the server's loop only.

| condition | what a request meets |
|---|---|
| ok | the other site as it is |
| refused | an error at once |
| frozen | no answer until the condition changes, then as if nothing had been |
| dropped | an error after `ocm_dropped_s` seconds |
"""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import yarl

from cs3fuse.emulator.state import State

CONDITIONS = ("ok", "refused", "frozen", "dropped")
_BUCKET = "ocm.peers"


class PeerError(Exception):
    """The other site cannot be reached, or broke off; the text is what Go's HTTP client says."""


@dataclass
class Link:
    """The way to one site."""

    site: str
    url: str
    state: str = "ok"
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Peers:
    """All links by site name."""

    def __init__(self, urls: Mapping[str, str], state: State, quirks: Mapping[str, float]) -> None:
        self._state = state
        self._quirks = quirks
        self._links = {site: Link(site, url) for site, url in (state.load(_BUCKET) | dict(urls)).items()}
        self._session: aiohttp.ClientSession | None = None

    def put(self, site: str, url: str = "", state: str = "") -> None:
        """Name a site, or change where or how it is reached; empty values stay as they are.

        Raises: ValueError for an unknown condition, and for a new site without a URL.
        """
        if state and state not in CONDITIONS:
            raise ValueError(f"The way to a site cannot be {state!r}, only {', '.join(CONDITIONS)}.")
        link = self._links.get(site)
        if link is None:
            if not url:
                raise ValueError(f"There is no site {site!r}; give its URL to name it.")
            link = self._links[site] = Link(site, url.rstrip("/"))
        link.url = url.rstrip("/") or link.url
        link.state = state or link.state
        link.changed.set()
        link.changed = asyncio.Event()
        self._state.put(_BUCKET, site, link.url)

    def find(self, site: str) -> Link | None:
        """The link to a site."""
        return self._links.get(site)

    def sites(self) -> list[str]:
        """The names of all sites known, in order."""
        return sorted(self._links)

    def describe(self) -> dict[str, dict[str, str]]:
        """All links as JSON."""
        return {site: {"url": link.url, "state": link.state} for site, link in self._links.items()}

    async def gate(self, site: str, url: str = "") -> None:
        """Pass when the way to a site is good.

        Raises: PeerError.
        Cancellation: waits no longer.
        """
        link = self._links.get(site)
        while link is not None and link.state != "ok":
            place = urllib.parse.urlsplit(url or link.url).netloc
            if link.state == "refused":
                raise PeerError(f"dial tcp {place}: connect: connection refused")
            if link.state == "dropped":
                await asyncio.sleep(self._quirks["ocm_dropped_s"])
                raise PeerError(f"dial tcp {place}: i/o timeout")
            await link.changed.wait()

    async def open(
        self,
        site: str,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer to one request, its body still to be read. Waits for ever, as the imitated servers do. Raises: PeerError."""
        await self.gate(site, url)
        data: Any = BytesIO(body) if isinstance(body, bytes) else body
        try:
            return await self._client().request(
                method, yarl.URL(url, encoded=True), headers=dict(headers or {}), data=data, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as error:
            place = urllib.parse.urlsplit(url).netloc
            raise PeerError(f"dial tcp {place}: connect: connection refused") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PeerError(f"EOF: {type(error).__name__}") from error

    async def request(
        self,
        site: str,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of the answer to one request. Raises: PeerError."""
        response = await self.open(site, method, url, headers, body)
        try:
            return response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise PeerError(f"EOF: {type(error).__name__}") from error
        finally:
            response.close()

    async def notify(self, site: str, url: str, values: Any) -> tuple[int, Any]:
        """POST JSON and return status and JSON; waits `ocm_timeout_s` at most. Raises: PeerError with Go's words."""
        headers = {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(self._quirks["ocm_timeout_s"]):
                status, body = await self.request(site, "POST", url, headers, json.dumps(values).encode())
            return status, json.loads(body or b"{}")
        except TimeoutError as error:
            text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise PeerError(f'error sending request: Post "{url}": {text}') from error
        except PeerError as error:
            raise PeerError(f'error sending request: Post "{url}": {error}') from error
        except ValueError as error:
            raise PeerError(f'error reading the answer of "{url}"') from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No pool: a connection kept open would make the first request after a restart of the other site fail.
            connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=False)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._quirks["ocm_dropped_s"])
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
