"""Looks at what was just uploaded: many files of one folder with one call.

Owns the looks that wait. ``protocol`` asks for one after each upload that nobody waits for, ``sender`` says how many commits are under
way, ``engine`` whether somebody waits for all of them, ``session`` whether somebody waits for one; trio thread only.

A look waits for others of its folder: until there are ``MANY``, or somebody waits and every commit under way has come as far, at most
``PATIENCE_S``. Then one ListContainer, which begins after the last of their uploads was acknowledged, answers all of them. It is good
news or none: a name that it does not have is looked at by itself, and so is (by ``protocol``) one that is not shown as what was sent.
Listings leave out what they cannot describe, and Reva's show a link where a Stat shows what it leads to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import cachetools
import structlog
import trio

from cs3fuse.errors import Cs3FuseError
from cs3fuse.model import Entry, Location
from cs3fuse.ports import RemoteTree

_LOG = structlog.get_logger(__name__)

PATIENCE_S = 0.1
"""How long the first look of a folder waits for others."""

MANY = 32
"""This many are answered without waiting for more."""

LISTED_FROM = 4
"""Fewer are Stats."""

NAMES_PER_LOOK = 16
"""A folder with more names than this for each look is not listed: a name costs 20 us in a listing, a Stat 1 ms (embedded gateways)."""

_FOLDERS_KEPT = 256


@dataclass(slots=True, eq=False)
class _Look:
    name: str
    done: trio.Event = field(default_factory=trio.Event)
    entry: Entry | None = None


@dataclass(slots=True, eq=False)
class _Group:
    """The looks that wait for the next listing of one folder."""

    looks: list[_Look] = field(default_factory=list)
    is_due: trio.Event = field(default_factory=trio.Event)


class Looks:
    """See the module."""

    def __init__(
        self,
        tree: RemoteTree,
        *,
        start: Callable[[Callable[[], Awaitable[None]]], None],
        names_in: Callable[[Location], int | None],
    ) -> None:
        """``start`` runs a job beside the caller's; ``names_in`` tells how many names a folder had lately, None if nobody knows."""
        self._tree = tree
        self._start = start
        self._names_in = names_in
        self._groups: dict[Location, _Group] = {}
        self._counted: cachetools.LRUCache[Location, int] = cachetools.LRUCache(_FOLDERS_KEPT)
        self._under_way = 0
        self._waiting = 0
        self._awaited = 0

    @contextmanager
    def commit_under_way(self) -> Iterator[None]:
        """A commit that will ask for a look, or end."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._hurry()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Somebody waits until all commits under way have ended: the last of them need not be patient."""
        self._awaited += 1
        self._hurry()
        try:
            yield
        finally:
            self._awaited -= 1

    async def stat(self, at: Location) -> Entry:
        """Describe a file that was just uploaded, as ``RemoteTree.stat`` does, some time within ``PATIENCE_S`` and a call.

        Raises: what ``RemoteTree.stat`` raises. Cancellation: at once; others get their answer.
        """
        names = self._names(at.parent) if at.rel else None
        if names is None or names > NAMES_PER_LOOK * MANY:
            return await self._tree.stat(at)
        look = _Look(at.name)
        group = self._groups.get(at.parent)
        if group is None:
            group = _Group()
            self._start(partial(self._answer, at.parent, group))
            self._groups[at.parent] = group
        group.looks.append(look)
        if len(group.looks) >= MANY:
            group.is_due.set()
        self._waiting += 1
        try:
            self._hurry()
            await look.done.wait()
        finally:
            self._waiting -= 1
        return look.entry if look.entry is not None else await self._tree.stat(at)

    def hurry(self, at: Location) -> None:
        """Somebody waits for this file now: its look need not be patient."""
        group = self._groups.get(at.parent)
        if group is not None:
            group.is_due.set()

    def _names(self, folder: Location) -> int | None:
        """How many names a folder has, as far as anybody knows: others may have filled it since the caller's listing."""
        names = self._names_in(folder)
        return None if names is None else max(names, self._counted.get(folder, 0))

    def _hurry(self) -> None:
        if self._awaited and self._waiting >= self._under_way:
            for group in self._groups.values():
                group.is_due.set()

    async def _answer(self, folder: Location, group: _Group) -> None:
        """Answer all looks of a group. Cancellation: those who wait are cancelled with it."""
        with trio.move_on_after(PATIENCE_S):
            await group.is_due.wait()
        del self._groups[folder]  # whoever comes now was uploaded too late for this listing
        looks, found = group.looks, {}
        names = self._names(folder)
        if len(looks) >= LISTED_FROM and names is not None and names <= NAMES_PER_LOOK * len(looks):
            try:
                found = {entry.name: entry for entry in await self._tree.list(folder)}
                self._counted[folder] = len(found)
            except Cs3FuseError as exc:  # each asks for itself, and is told what is the matter
                _LOG.debug("uploads are looked at one by one", path=str(folder), reason=str(exc))
        for look in looks:
            look.entry = found.get(look.name)
            look.done.set()
