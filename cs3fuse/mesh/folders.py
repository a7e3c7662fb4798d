"""One folder of the view: its members, under their names, as the last list showed them.

Owns the snapshot of one source and the names that were given. ``mesh.tree`` reads it; trio thread only. Reading the folder asks the
source anew, bounded in time; a source that does not answer leaves what was known. A name on a path is found in a snapshot that is a few
seconds old, so that a program that works in a share costs no list calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import structlog
import trio

from cs3fuse.errors import Cs3FuseError, DeadlineError, NotFoundError, UnsupportedError
from cs3fuse.mesh.members import Member, Source
from cs3fuse.mesh.names import NameBook
from cs3fuse.mesh.namespace import assign
from cs3fuse.mesh.roots import RootTable, placeholder
from cs3fuse.mesh.sites import read_only
from cs3fuse.model import Entry, Kind, VirtualRoot

_log = structlog.get_logger(__name__)

NAMES_VALID_S = 10.0
"""How old a snapshot may be that leads a name on a path."""
ABSENT_VALID_S = 1.0
"""How old a snapshot may be that says that there is no such name."""


class Folder:
    """See the module."""

    def __init__(self, source: Source, table: RootTable, names: NameBook, *, limit_s: float) -> None:
        """``names``: names that were given, by key; kept up to date. ``limit_s``: how long a list call and its Stats may take."""
        self.name = source.name
        self.root = VirtualRoot(source.name)
        self.is_absent = False
        """The server has no such thing: the folder is not shown."""
        self._source = source
        self._table = table
        self._names = names
        self._limit_s = limit_s
        self._members: dict[str, Member] = {}
        self._taken_at: float | None = None
        self._changed_ns = time.time_ns()
        self._refreshing: trio.Event | None = None

    @property
    def entry(self) -> Entry:
        """The folder itself."""
        return virtual_folder(self.root, self._changed_ns)

    async def known(self) -> None:
        """Make sure that it was read once. Never raises: a server that does not answer says nothing about what it has."""
        if self._taken_at is None and not self.is_absent:
            try:
                await self.refresh()
            except Cs3FuseError as error:
                _log.warning("folder_not_read", folder=self.name, reason=str(error))

    async def list(self) -> list[Entry]:
        """Everything in it, now. Raises: NotFoundError: it is absent; what the list call raises, where nothing was known before."""
        try:
            await self.refresh()
        except UnsupportedError as error:
            raise NotFoundError(f"This server has no {self.name}.", path=f"/{self.name}") from error
        except Cs3FuseError as error:
            if self._taken_at is None:
                raise
            _log.warning("folder_not_refreshed", folder=self.name, reason=str(error))
        return [entry_of(name, member) for name, member in self._members.items()]

    async def find(self, name: str) -> Entry:
        """One name, described now. Raises: NotFoundError; what the list call raises, where nothing was known before."""
        member = self._lookup(name, NAMES_VALID_S)
        if member is None and self._lookup_age() > ABSENT_VALID_S:
            try:
                await self.refresh()
            except Cs3FuseError:
                if self._taken_at is None:
                    raise
            member = self._members.get(name)
        if member is None:
            raise NotFoundError(f"There is no {name} in {self.name}.", path=f"/{self.name}/{name}")
        with trio.move_on_after(self._limit_s):
            member = await self._source.member(member)
            if name in self._members:
                self._members[name] = member
        return entry_of(name, member)

    async def refresh(self) -> None:
        """Ask the source; one list at a time, whoever comes meanwhile shares it.

        Raises: UnsupportedError; DeadlineError; what the source raises.
        """
        if self._refreshing is not None:
            before = self._taken_at
            await self._refreshing.wait()
            if self._taken_at != before or self.is_absent:
                return
        self._refreshing = done = trio.Event()
        try:
            with trio.fail_after(self._limit_s):
                members = await self._source.members()
        except trio.TooSlowError as error:
            raise DeadlineError(f"The list of {self.name} did not come within {self._limit_s:.0f} s.") from error
        except UnsupportedError:
            self.is_absent = True
            raise
        finally:
            if self._refreshing is done:
                self._refreshing = None
            done.set()
        self._take(members)

    def path_of(self, root: object) -> str | None:
        """Where a root is in the view, None if not here."""
        return next((f"{self.name}/{name}" for name, member in self._members.items() if member.root == root), None)

    def members(self) -> Iterable[tuple[str, Member]]:
        """Names and members of the last list."""
        return self._members.items()

    def _take(self, members: Iterable[Member]) -> None:
        by_key = {member.wish.key: member for member in members}
        given = assign((member.wish for member in by_key.values()), self._names)
        self._names.learn(given)
        found = {given[key]: member for key, member in by_key.items()}
        if found.keys() != self._members.keys():
            self._changed_ns = time.time_ns()
        self._members = found
        self._taken_at = trio.current_time()
        self._table.enter(self.name, {member.root: member.grant for member in found.values()})

    def _lookup(self, name: str, valid_s: float) -> Member | None:
        return self._members.get(name) if self._lookup_age() <= valid_s else None

    def _lookup_age(self) -> float:
        return trio.current_time() - self._taken_at if self._taken_at is not None else float("inf")


def virtual_folder(root: VirtualRoot, mtime_ns: int) -> Entry:
    """A folder that only the view has: it can be listed, and nothing can be made in it."""
    return Entry(
        root.name.rpartition("/")[2],
        Kind.DIRECTORY,
        mtime_ns=mtime_ns,
        permissions=frozenset({"stat", "list_container"}),
        anchor=root,
    )


def entry_of(name: str, member: Member) -> Entry:
    """A member as an entry of its folder; what cannot be reached says why."""
    entry = replace(member.entry, name=name, anchor=member.root)
    if member.problem:
        return placeholder(entry, member.problem)
    entry = member.grant.restricted(entry)
    site = member.grant.site
    if site is None or not site.breaker.is_open:
        return entry
    if not site.is_known:
        return placeholder(entry, site.breaker.reason)
    return replace(read_only(entry), metadata={"cs3.error": site.breaker.reason})
