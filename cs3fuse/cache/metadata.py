"""Attributes and listings: what the server said lately about names, and what we did to them since.

Owns the knowledge of entries (also of absent ones), the listings of directories, and the calls on their way. ``vfs`` asks;
``vfs`` and ``commit`` tell it of their own mutations. Used from the trio thread only; state changes are synchronous, the
only awaits are the remote calls.

How an old answer never overwrites newer knowledge: everything known carries the number of the moment its call *began*, and
knowledge with a smaller number gives way. A mutation of ours (``put``, ``removed``, ``moved``, ``forget``) additionally leaves
a patch with every call that is on its way over that name; the answer is patched when it arrives (sshfs solves it with a write
counter; patches keep the other 4999 names of a listing).

Time-outs count from the arrival of an answer: a listing that took 3 s must serve the 5000 lookups that follow it.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import cachetools
import trio

from cs3fuse.cache.flights import SingleFlight
from cs3fuse.cache.storms import StatStorms
from cs3fuse.cache.walking import Folders, WalkAhead
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import Cs3FuseError, NotFoundError
from cs3fuse.model import Entry, Kind, Location
from cs3fuse.ports import RemoteTree

_ATTEMPTS: Final = 4
"""How often a call is made anew because something was forgotten while it was on its way; the last answer is given uncached."""


_SLOW_TTL_S: Final = 5.0
_AHEAD_WORKERS: Final = 4
_AHEAD_QUEUE: Final = 16


class _Unknown(enum.Enum):
    """A patch that says: whatever the answer claims about this name, it is not known."""

    TOKEN = 0


_UNKNOWN: Final = _Unknown.TOKEN
_Patch = Entry | None | _Unknown
"""An entry, None for "is gone", or unknown."""


@dataclass(slots=True)
class _Known:
    """What is known of one location. ``entry`` None: there is nothing."""

    entry: Entry | None
    number: int
    arrived: float


@dataclass(slots=True)
class _Listing:
    """What is known of a directory's names. ``etag`` is the directory's from before the listing, "" if not comparable."""

    names: dict[str, Entry]
    number: int
    arrived: float
    etag: str
    took_s: float
    unknown: set[str] = field(default_factory=set)
    folders: Folders | None = None
    """For guesses alone: mutations do not renew it."""


@dataclass(slots=True, eq=False)
class _Call:
    """A remote call on its way; ``patches`` are by name for a listing, under "" for a Stat."""

    at: Location
    is_listing: bool
    number: int
    patches: dict[str, _Patch] = field(default_factory=dict)
    is_void: bool = False


class MetadataCache:
    """Attributes, absences and listings with time-outs, single-flight and protection against late answers."""

    def __init__(
        self,
        tree: RemoteTree,
        *,
        attr_ttl_s: float = 1.0,
        negative_ttl_s: float = 1.0,
        listing_ttl_s: float = 1.0,
        max_entries: int = 200_000,
        now: Callable[[], float] = trio.current_time,
        book: CapabilityBook | None = None,
    ) -> None:
        """Make an empty cache over ``tree``.

        Args: the time-outs are seconds; ``max_entries`` bounds single entries and, apart from them, listed entries;
        ``book`` tells where a directory's etag covers its whole subtree, there an outdated listing is revalidated by one Stat.
        """
        self._tree = tree
        self._attr_ttl_s = attr_ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._listing_ttl_s = listing_ttl_s
        self._max_entries = max_entries
        self._now = now
        self._book = book
        self._numbers = itertools.count(1)
        self._known: cachetools.TLRUCache[Location, _Known] = cachetools.TLRUCache(max_entries, self._known_until, timer=now)
        self._listings: cachetools.LRUCache[Location, _Listing] = cachetools.LRUCache(
            max_entries, lambda listing: len(listing.names) + 1
        )
        self._calls: set[_Call] = set()
        self._stats: SingleFlight[Location, Entry] = SingleFlight()
        self._lists: SingleFlight[Location, Sequence[Entry]] = SingleFlight()
        self._storms = StatStorms()
        self._walk = WalkAhead()
        self._ahead: trio.MemorySendChannel[Location] | None = None
        self._counts = dict.fromkeys(
            (
                "stat_storms",
                "listed_ahead",
                "stat_hits",
                "stat_misses",
                "list_hits",
                "list_misses",
                "list_revalidated",
                "late_answers",
            ),
            0,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """List ahead of programs that walk a tree, until cancelled. Without it everything works, only not ahead."""
        send, receive = trio.open_memory_channel[Location](_AHEAD_QUEUE)
        self._ahead = send
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(_AHEAD_WORKERS):
                    nursery.start_soon(self._work_ahead, receive)
                task_status.started()
        finally:
            self._ahead = None

    async def _work_ahead(self, receive: trio.MemoryReceiveChannel[Location]) -> None:
        async for at in receive:
            listing = self._listings.get(at)
            if listing is None or not self._is_valid(listing):
                self._counts["listed_ahead"] += 1
                # The program that comes there asks again and is told.
                with suppress(Cs3FuseError):
                    await self._listed(at, fresh=False)

    def _list_ahead(self, at: Location) -> None:
        if self._ahead is not None:
            for directory in self._walk.stepped(at, self._now(), self._peek_folders):
                # Full: the server is slower than the walker, nothing would be gained.
                with suppress(trio.WouldBlock):
                    self._ahead.send_nowait(directory)

    # -- questions ---------------------------------------------------------------------------------------------------

    async def stat(self, at: Location, *, fresh: bool = False) -> Entry:
        """Describe one location, from the cache if that is recent enough.

        Args: ``fresh`` asks the server by a call that begins now.

        Raises: NotFoundError (remembered too); what RemoteTree.stat raises.

        Cancellation: others who wait for the same call get their answer.
        """
        if not fresh and (known := self._find(at)) is not None:
            self._counts["stat_hits"] += 1
            if known.entry is None:
                raise _absent(at)
            return known.entry
        self._counts["stat_misses"] += 1
        if not fresh and at.rel and (known := await self._listed_for_many(at)) is not None:
            if known.entry is None:
                raise _absent(at)
            return known.entry
        return await self._stats.share(at, lambda: self._ask_stat(at), is_joining=not fresh)

    async def list(self, at: Location, *, fresh: bool = False) -> Sequence[Entry]:
        """All entries of a directory; one call fills the attributes of all its names and makes all others absent.

        Args: ``fresh`` asks the server by a call that begins now.

        Raises: NotFoundError; NotDirectoryError; what RemoteTree.list raises.

        Cancellation: others who wait for the same call get their answer.
        """
        entries = await self._listed(at, fresh=fresh)
        self._list_ahead(at)
        return entries

    async def _listed(self, at: Location, *, fresh: bool) -> Sequence[Entry]:
        if not fresh:
            listing = self._listings.get(at)
            is_whole = listing is not None and not listing.unknown
            if listing is not None and is_whole and (self._is_valid(listing) or await self._is_revalidated(at, listing)):
                self._counts["list_hits"] += 1
                return list(listing.names.values())
        self._counts["list_misses"] += 1
        # Each caller gets a list of its own.
        return list(await self._lists.share(at, lambda: self._ask_list(at), is_joining=not fresh))

    def peek(self, at: Location) -> Entry | None:
        """The entry if it is known and recent enough; no I/O."""
        known = self._find(at)
        return known.entry if known is not None else None

    def peek_list(self, at: Location) -> Sequence[Entry] | None:
        """The entries of a directory as they were last listed, however long ago; no I/O."""
        listing = self._listings.get(at)
        return list(listing.names.values()) if listing is not None else None

    def names_in(self, at: Location) -> int | None:
        """How many names a directory had when it was last listed, with what we did since; None where it was not. No I/O."""
        listing = self._listings.get(at)
        return len(listing.names) if listing is not None else None

    def _peek_folders(self, at: Location) -> Folders | None:
        """The directories in a directory, for guesses; no I/O."""
        listing = self._listings.get(at)
        if listing is None:
            return None
        if listing.folders is None:
            listing.folders = Folders(list(listing.names.values()))
        return listing.folders

    def statistics(self) -> dict[str, int]:
        """Counters since the start, hits and misses in pairs, and present sizes."""
        return {**self._counts, "entries": len(self._known), "listings": len(self._listings), "in_flight": len(self._calls)}

    # -- what we did ourselves ---------------------------------------------------------------------------------------

    def put(self, at: Location, entry: Entry) -> None:
        """We know this now, after our own mutation: it is in the parent's listing too, and older answers give way."""
        self._patch(at, entry)
        self._learn(at, entry, next(self._numbers))
        if at.rel and (listing := self._listings.get(at.parent)) is not None:
            # The server changed the directory's etag with our mutation: nothing to compare with any more.
            listing.etag = ""

    def removed(self, at: Location) -> None:
        """It is gone now, with everything below it; the absence is remembered."""
        known = self._find(at)
        if known is None or known.entry is None or known.entry.kind is Kind.DIRECTORY:
            self._drop_below(at)
        if known is not None and known.entry is not None and known.entry.anchor is not None:
            self.forget(Location(known.entry.anchor), subtree=True)
        self._patch(at, None)
        self._learn(at, None, next(self._numbers))
        if at.rel and (listing := self._listings.get(at.parent)) is not None:
            listing.etag = ""

    def moved(self, source: Location, destination: Location, entry: Entry | None) -> None:
        """It is at ``destination`` now and nothing is at ``source``. ``entry`` None: it must be asked for."""
        self.removed(source)
        self._drop_below(destination)
        if entry is None:
            self.forget(destination)
        else:
            self.put(destination, entry)

    def forget(self, at: Location, *, subtree: bool = False) -> None:
        """It is unknown now: attributes and its own listing; ``subtree`` adds everything below. Late answers are dropped."""
        self._known.pop(at, None)
        self._listings.pop(at, None)
        self._patch(at, _UNKNOWN)
        for call in self._calls:
            if call.is_listing and call.at == at:
                call.is_void = True
        if at.rel and (listing := self._listings.get(at.parent)) is not None:
            listing.names.pop(at.name, None)
            listing.unknown.add(at.name)
        if subtree:
            self._drop_below(at)

    async def _listed_for_many(self, at: Location) -> _Known | None:
        """List the directory when many of its names are asked for one by one. Returns: None if the name must be asked for."""
        parent = at.parent
        listing = self._listings.get(parent)
        if not self._storms.is_storm(parent, len(listing.names) if listing is not None else None, self._now()):
            return None
        self._counts["stat_storms"] += 1
        try:
            await self.list(parent)
        except Cs3FuseError:
            self._storms.refused(parent, self._now())
            return None
        return self._find(at)

    # -- remote calls ------------------------------------------------------------------------------------------------

    async def _ask_stat(self, at: Location) -> Entry:
        for attempt in range(_ATTEMPTS):
            with self._call(at, is_listing=False) as call:
                answer: Entry | None
                try:
                    answer = await self._tree.stat(at)
                except NotFoundError as error:
                    answer, refusal = None, error
            if not call.is_void and "" not in call.patches:
                self._learn(at, answer, call.number)
            else:
                self._counts["late_answers"] += 1
                patch = _UNKNOWN if call.is_void else call.patches[""]
                if not isinstance(patch, _Unknown):
                    if patch is None:
                        raise _absent(at)
                    return patch
                if attempt < _ATTEMPTS - 1:
                    continue
            if answer is None:
                raise refusal
            return answer
        raise AssertionError("the last attempt returns")

    async def _ask_list(self, at: Location) -> Sequence[Entry]:
        for attempt in range(_ATTEMPTS):
            directory = self._find(at)
            etag = directory.entry.etag if directory is not None and directory.entry is not None else ""
            began = self._now()
            with self._call(at, is_listing=True) as call:
                try:
                    answer = await self._tree.list(at)
                except NotFoundError:
                    if not call.is_void:
                        self._listings.pop(at, None)
                        self._learn(at, None, call.number)
                    raise
            names = {entry.name: entry for entry in answer}
            unknown = _patched(names, call.patches)
            if call.is_void or unknown:
                self._counts["late_answers"] += 1
                if attempt < _ATTEMPTS - 1:
                    continue
                return list(answer)
            took_s = self._now() - began
            self._store(at, _Listing(names, call.number, self._now(), etag if not call.patches else "", took_s))
            return list(names.values())
        raise AssertionError("the last attempt returns")

    async def _is_revalidated(self, at: Location, listing: _Listing) -> bool:
        """Whether one Stat showed that nothing below the directory changed since the listing."""
        if self._book is None or not listing.etag:
            return False
        entry = await self.stat(at)
        if entry.etag != listing.etag or not self._book.of(entry.storage_id).etag_propagation:
            return False
        # After the await: the listing may have been replaced, dropped or patched by a mutation of ours.
        if self._listings.get(at) is not listing or listing.unknown or listing.etag != entry.etag:
            return False
        known = self._find(at)
        if known is None:
            return False
        listing.arrived, listing.number = known.arrived, max(known.number, listing.number)
        self._counts["list_revalidated"] += 1
        return True

    # -- state -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _call(self, at: Location, *, is_listing: bool) -> Iterator[_Call]:
        call = _Call(at, is_listing, next(self._numbers))
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    def _known_until(self, _at: Location, known: _Known, _now: float) -> float:
        return known.arrived + (self._attr_ttl_s if known.entry is not None else self._negative_ttl_s)

    def _is_valid(self, listing: _Listing) -> bool:
        return self._now() < listing.arrived + _at_least(self._listing_ttl_s, listing)

    def _find(self, at: Location) -> _Known | None:
        """The newest valid knowledge of a location."""
        known: _Known | None = self._known.get(at)
        if not at.rel or (listing := self._listings.get(at.parent)) is None:
            return known
        name = at.name
        if (known is not None and known.number >= listing.number) or name in listing.unknown:
            return known
        entry = listing.names.get(name)
        ttl_s = self._listing_ttl_s if entry is None else min(self._attr_ttl_s, self._listing_ttl_s)
        if self._now() >= listing.arrived + _at_least(ttl_s, listing):
            return known
        return _Known(entry, listing.number, listing.arrived)

    def _learn(self, at: Location, entry: Entry | None, number: int) -> None:
        """Take over what a call that began at ``number`` told, unless something newer is known."""
        listing = self._listings.get(at.parent) if at.rel else None
        older: _Known | None = self._known.get(at)
        if (older is not None and older.number > number) or (listing is not None and listing.number > number):
            return
        self._remember(at, _Known(entry, number, self._now()))
        if entry is not None and entry.anchor is not None:
            self._remember(Location(entry.anchor), _Known(entry, number, self._now()))
        if listing is not None:
            _patched(listing.names, {at.name: entry})
            listing.unknown.discard(at.name)
            self._resize(at.parent, listing)
        for call in self._calls:
            # A listing that began before this call did may bring what was true before it.
            if call.is_listing and call.number < number and at.rel and call.at == at.parent:
                call.patches[at.name] = entry

    def _remember(self, at: Location, known: _Known) -> None:
        # TLRUCache ignores what is outdated on arrival (a time-out of 0) but keeps an older value then.
        self._known.pop(at, None)
        self._known[at] = known

    def _store(self, at: Location, listing: _Listing) -> None:
        older = self._listings.get(at)
        if older is not None and older.number > listing.number:
            return
        self._resize(at, listing)
        for name in listing.names:
            entry = listing.names[name]
            if entry.anchor is not None and not entry.is_vague:
                self._remember(Location(entry.anchor), _Known(entry, listing.number, listing.arrived))

    def _resize(self, at: Location, listing: _Listing) -> None:
        """Put a listing (back) so that its size counts; one that is larger than the whole cache is not kept."""
        if len(listing.names) + 1 > self._max_entries:
            self._listings.pop(at, None)
        else:
            self._listings[at] = listing

    def _patch(self, at: Location, patch: _Patch) -> None:
        """Leave a mutation with the calls on their way that may answer what was true before it."""
        for call in self._calls:
            if call.is_listing and at.rel and call.at == at.parent:
                call.patches[at.name] = patch
            elif not call.is_listing and call.at == at:
                call.patches[""] = patch

    def _drop_below(self, at: Location) -> None:
        """Forget everything under a directory and its listing, not the directory itself."""
        root, prefix = at.root, f"{at.rel}/" if at.rel else ""

        def is_under(other: Location) -> bool:
            return other.rel.startswith(prefix) and other.root == root and other != at

        for location in [other for other in self._known if is_under(other)]:
            self._known.pop(location, None)
        for location in [other for other in self._listings if other == at or is_under(other)]:
            self._listings.pop(location, None)
        for call in self._calls:
            if is_under(call.at) or (call.is_listing and call.at == at):
                call.is_void = True


def _patched(names: dict[str, Entry], patches: dict[str, _Patch]) -> set[str]:
    """Apply patches to a listing in place. Returns: the names that are unknown."""
    unknown = set()
    for name, patch in patches.items():
        if isinstance(patch, _Unknown):
            unknown.add(name)
            names.pop(name, None)
        elif patch is None:
            names.pop(name, None)
        else:
            names[name] = patch
    return unknown


def _at_least(ttl_s: float, listing: _Listing) -> float:
    """A listing serves at least twice as long as it took: else a slow or large directory is listed all the time."""
    return max(ttl_s, min(2 * listing.took_s, _SLOW_TTL_S)) if ttl_s else 0.0


def _absent(at: Location) -> NotFoundError:
    return NotFoundError(f"There is no {at} on the server.", call="Stat", path=str(at))
