"""``links/``: public links that the configuration names, each used by a sign-in of its own.

Owns one client per link, over the gateway's connections; ``close`` ends their transfers. Trio thread only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from cs3fuse.auth.secrets import FixedSecret
from cs3fuse.auth.tokens import Login, RenewingTokens
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.config.options import LinkOptions
from cs3fuse.errors import AccessDeniedError, Cs3FuseError, NotFoundError, ServerError
from cs3fuse.mesh.members import Member
from cs3fuse.mesh.namespace import Wish
from cs3fuse.mesh.roots import Grant
from cs3fuse.model import Entry, IdRoot, Kind, Location, Root, VirtualRoot


@dataclass(slots=True)
class _Link:
    name: str
    token: str
    password: str
    client: Cs3Client
    root: Root | None = None


class LinksSource:
    """See the module."""

    name = "links"

    def __init__(self, gateway: Gateway, links: Mapping[str, LinkOptions]) -> None:
        self._links = [
            _Link(name, link.token, link.password.get_secret_value(), _client(gateway, link)) for name, link in links.items()
        ]

    @property
    def sent_bytes(self) -> int:
        """Bytes that uploads through links sent since the start."""
        return sum(link.client.data.sent_bytes for link in self._links)

    def close(self) -> None:
        """Stop every running transfer."""
        for link in self._links:
            link.client.data.close()

    async def members(self) -> Sequence[Member]:
        """See the protocol: each link is described at once; one that cannot be used says why."""
        found: list[Member | None] = [None] * len(self._links)

        async def look(position: int, link: _Link) -> None:
            found[position] = await self._look(link)

        async with trio.open_nursery() as nursery:
            for position, link in enumerate(self._links):
                nursery.start_soon(look, position, link)
        return [member for member in found if member is not None]

    async def member(self, known: Member) -> Member:
        """See the protocol."""
        link = next(each for each in self._links if known.wish.key == f"link:{each.name}")
        return await self._look(link)

    async def _look(self, link: _Link) -> Member:
        wish = Wish(f"link:{link.name}", link.name)
        try:
            told = await link.client.sharing.link(link.token, link.password)
            root = link.root or await self._root(link, IdRoot(told.resource))
            entry = await link.client.tree.stat(Location(root))
        except Cs3FuseError as error:
            placeholder = Entry(link.name, Kind.DIRECTORY)
            root = link.root or VirtualRoot(f"{self.name}/{link.name}")
            return Member(wish, root, placeholder, Grant(link.client, frozenset()), problem=f"The link cannot be used: {error}")
        link.root = root
        return Member(wish, root, entry, Grant(link.client, told.permissions))

    @staticmethod
    async def _root(link: _Link, resource: IdRoot) -> Root:
        """By the link's own space or path where the server has one: what is shown there are the link's rights; else by the resource."""
        try:
            return await link.client.link_root(link.token)
        except (NotFoundError, AccessDeniedError, ServerError):
            return resource


def _client(gateway: Gateway, link: LinkOptions) -> Cs3Client:
    secret = FixedSecret(link.password.get_secret_value())
    return Cs3Client(gateway, RenewingTokens(gateway.authenticate, Login("publicshares", link.token, secret)))
