"""What we share: the lists of shares, links and shares of the mesh that we gave, for a few seconds.

Owns the last lists. ``vfs`` asks for ``user.cs3.shares``, ``control`` for the commands. Trio thread only.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import trio

from cs3fuse.client.sharing import GivenShare, Role, Sharing
from cs3fuse.errors import Cs3FuseError, UnsupportedError
from cs3fuse.model import Entry

T = TypeVar("T")

_VALID_S = 10.0


class GivenBook:
    """See the module."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._shares: list[GivenShare] = []
        self._until = 0.0
        self._asking = trio.Lock()
        self._receivers: dict[tuple[str, str], str] = {}

    async def all(self) -> list[GivenShare]:
        """Everything that we gave, asked anew; a kind that the server does not have is left out."""
        found: list[GivenShare] = []
        for ask in (self._sharing.given_shares, self._sharing.given_ocm, self._sharing.given_links):
            found += [await self._named(share) for share in await if_any(ask)]
        self._shares, self._until = found, trio.current_time() + _VALID_S
        return found

    async def _named(self, share: GivenShare) -> GivenShare:
        """With the user's or group's name instead of an id, which means nothing to anybody."""
        if share.kind == "link":
            return share
        key = (share.kind, share.receiver)
        if key not in self._receivers:
            self._receivers[key] = await self._name_of(share) or share.receiver
        return replace(share, receiver=self._receivers[key])

    async def _name_of(self, share: GivenShare) -> str:
        if share.kind == "group":
            group = await self._sharing.group_with_id(share.receiver)
            return group.name if group is not None else ""
        if share.kind == "mesh":
            opaque_id, _, site = share.receiver.rpartition("@")
            people = await if_any(self._sharing.known_people)
            return next((f"{each.username}@{site}" for each in people if (each.opaque_id, each.site) == (opaque_id, site)), "")
        person = await self._sharing.user_with_id(share.receiver)
        return person.username if person is not None else ""

    def forget(self) -> None:
        """Something was shared or taken back."""
        self._until = 0.0

    async def text_of(self, entry: Entry) -> str:
        """With whom an entry is shared, as JSON; "" if with nobody. Links are told without their tokens."""
        async with self._asking:
            if trio.current_time() >= self._until:
                try:
                    await self.all()
                except Cs3FuseError:
                    self._until = trio.current_time() + _VALID_S
        found = [
            {
                "kind": share.kind,
                "with": "" if share.kind == "link" else share.receiver,
                "role": role_of(share.permissions).value,
                "until": share.expires_s,
            }
            for share in self._shares
            if is_of(share, entry)
        ]
        return json.dumps(found) if found else ""


async def if_any(ask: Callable[[], Awaitable[list[T]]]) -> list[T]:
    """The answer, [] where the server has no such thing."""
    try:
        return await ask()
    except UnsupportedError:
        return []


def role_of(permissions: frozenset[str]) -> Role:
    """The role that comes closest to a set of permissions."""
    return Role.EDITOR if "initiate_file_upload" in permissions else Role.VIEWER


def is_of(share: GivenShare, entry: Entry) -> bool:
    """Whether a share is one of this resource; the lists of some servers lack the space id."""
    mine = entry.id
    return mine is not None and (share.resource.storage_id, share.resource.opaque_id) == (mine.storage_id, mine.opaque_id)


def domain(idp: str) -> str:
    """A site's name as people write it: without ``https://``."""
    return idp.rpartition("://")[2].strip("/")
