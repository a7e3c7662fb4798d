"""What a folder of the view holds, and where it is found out: the sources.

Owns no state but the names of people it looked up. Each source makes one folder of the view; ``mesh.folders`` asks it for its members
when the folder is read. Trio thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
import trio

from cs3fuse.client.session import Cs3Client
from cs3fuse.client.sharing import ReceivedShare, ShareState, is_over
from cs3fuse.errors import Cs3FuseError, NotFoundError, UnsupportedError
from cs3fuse.mesh.namespace import Wish
from cs3fuse.mesh.roots import Grant, united
from cs3fuse.model import Entry, IdRoot, Kind, Location, PathRoot, Root

_log = structlog.get_logger(__name__)

_STATS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Member:
    """One name of a folder: what it is called, where it leads, and what may be done there.

    ``grant``: which client serves it, and with which rights.
    ``problem``: why it cannot be reached, "" if it can. ``entry`` describes it as far as that is known.
    """

    wish: Wish
    root: Root
    entry: Entry
    grant: Grant
    problem: str = ""
    share_ids: frozenset[str] = frozenset()


class Source(Protocol):
    """Where the members of one folder come from."""

    name: str
    """The folder's name in the view."""

    async def members(self) -> Sequence[Member]:
        """All of them, as they are now.

        Raises: UnsupportedError: this server has no such thing, the folder is not shown; other Cs3FuseErrors.
        """
        ...

    async def member(self, known: Member) -> Member:
        """One that was listed before, described anew by a call of its own. Raises: NotFoundError: it is gone."""
        ...


class SpacesSource:
    """``spaces/``: project spaces. Trashed ones stay in OpenCloud's list and are left out."""

    name = "spaces"

    def __init__(self, client: Cs3Client) -> None:
        self._client = client

    async def members(self) -> Sequence[Member]:
        """See the protocol."""
        found: list[Member] = []
        for space in await self._client.list_spaces("project"):
            root: Root | None = space.root or (PathRoot(space.path) if space.path else None)
            if space.kind != "project" or space.is_trashed or root is None:
                continue
            entry = Entry(space.name, Kind.DIRECTORY, id=root.id if isinstance(root, IdRoot) else None)
            found.append(Member(Wish(f"space:{space.id}", space.name), root, entry, Grant(self._client)))
        return await all_described(self._client, found)

    async def member(self, known: Member) -> Member:
        """See the protocol."""
        return await described(self._client, known)


class SharesSource:
    """``shares/``: user and group shares that were accepted and are not over.

    The owner's path or id leads to the content; what it shows of permissions is wrong on some servers (Reva's driver local gives
    everybody everything), so the share's own count.
    """

    name = "shares"

    def __init__(self, client: Cs3Client, *, wall_clock_s: Callable[[], float] = time.time) -> None:
        self._client = client
        self._wall_clock_s = wall_clock_s
        self._people: dict[str, str] = {}

    async def members(self) -> Sequence[Member]:
        """See the protocol: one list call, and one Stat for each share."""
        now_s = self._wall_clock_s()
        shares = [share for share in await self._client.sharing.received() if is_shown(share, now_s)]
        found: list[Member | None] = [None] * len(shares)
        limiter = trio.CapacityLimiter(_STATS_AT_ONCE)

        async def look(position: int, share: ReceivedShare) -> None:
            async with limiter:
                found[position] = await self._look(share)

        async with trio.open_nursery() as nursery:
            for position, share in enumerate(shares):
                nursery.start_soon(look, position, share)
        return await self._with_owners(merged([member for member in found if member is not None]))

    async def member(self, known: Member) -> Member:
        """See the protocol."""
        return await described(self._client, known)

    async def _look(self, share: ReceivedShare) -> Member | None:
        """What a share leads to; None where its owner deleted it (such shares stay in the list)."""
        by_id = IdRoot(share.resource)
        wish = Wish(f"share:{share.id}", share.mount_name or share.resource.opaque_id, share.owner, share.created_s)
        grant = Grant(self._client, share.permissions)
        try:
            entry, path = await self._client.sharing.shared_entry(share.resource)
        except NotFoundError:
            return None
        except Cs3FuseError as error:
            entry = Entry(share.mount_name, Kind.DIRECTORY, id=share.resource)
            return Member(wish, by_id, entry, grant, problem=str(error), share_ids=frozenset({share.id}))
        # Where resources have spaces (OpenCloud) their ids are fast and complete; elsewhere the path is.
        root = PathRoot(path) if path and not share.resource.space_id else by_id
        name = _own_name(share.mount_name, entry.name) or share.resource.opaque_id
        return Member(replace(wish, name=name), root, entry, grant, share_ids=frozenset({share.id}))

    async def _with_owners(self, members: Sequence[Member]) -> Sequence[Member]:
        """Owners as people know them, where two want one name: an id means nothing to anybody."""
        wanted = [member.wish.name for member in members]
        return [
            replace(member, wish=replace(member.wish, owner=await self._username(member.wish.owner)))
            if wanted.count(member.wish.name) > 1
            else member
            for member in members
        ]

    async def _username(self, opaque_id: str) -> str:
        if opaque_id and opaque_id not in self._people:
            person = await self._client.sharing.user_with_id(opaque_id)
            self._people[opaque_id] = person.username if person is not None and person.username else opaque_id
        return self._people.get(opaque_id, "")


def is_shown(share: ReceivedShare, now_s: float) -> bool:
    """Whether a share belongs into the folder: servers go on listing what was declined, hidden, or is over."""
    return share.state is ShareState.ACCEPTED and not share.is_hidden and not is_over(share.expires_s, now_s)


def merged(members: Sequence[Member]) -> list[Member]:
    """One member per root: what is shared with us twice (as a person and as a group) is there once, with the rights of both."""
    by_root: dict[Root, Member] = {}
    for member in members:
        other = by_root.get(member.root)
        by_root[member.root] = member if other is None else together(other, member)
    return list(by_root.values())


def together(one: Member, other: Member) -> Member:
    """Two shares of one thing as one."""
    return replace(one, grant=united([one.grant, other.grant]), share_ids=one.share_ids | other.share_ids)


async def described(client: Cs3Client, member: Member) -> Member:
    """The member with what one Stat of its root says now. Raises: NotFoundError; never another Cs3FuseError."""
    try:
        entry = await client.tree.stat(Location(member.root))
    except (NotFoundError, UnsupportedError):
        raise
    except Cs3FuseError as error:
        return replace(member, problem=str(error))
    return replace(member, entry=entry, problem="")


async def all_described(client: Cs3Client, members: Sequence[Member]) -> list[Member]:
    """As ``described`` for each, at once; those that are not found are left out."""
    found: list[Member | None] = [None] * len(members)
    limiter = trio.CapacityLimiter(_STATS_AT_ONCE)

    async def look(position: int, member: Member) -> None:
        async with limiter:
            try:
                found[position] = await described(client, member)
            except NotFoundError:
                _log.debug("member_left_out", name=member.wish.name)

    async with trio.open_nursery() as nursery:
        for position, member in enumerate(members):
            nursery.start_soon(look, position, member)
    return [member for member in found if member is not None]


def _own_name(mount_name: str, name: str) -> str:
    """The receiver's name of a share; OpenCloud's own numbering of equal names (``Docs (1)``) gives way to ours."""
    if not mount_name or not name:
        return mount_name or name
    stem, opening, number = mount_name.rpartition(" (")
    is_numbered = bool(opening) and number.endswith(")") and number[:-1].isdigit()
    return name if is_numbered and stem == name else mount_name
