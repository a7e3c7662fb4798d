"""Another site behind a share: how long it may take, how much it may take, and what is known of it while it is away.

Owns, for each OCM root, a breaker, limits on what runs at once, the uploads under way, and the last entries. ``mesh.tree`` and
``mesh.remote`` make every call to such a root through it; ``look_after`` runs as a service. A gateway asks the other site during the call and has no limit of its own
(measured: 30 to 60 s when packets are dropped, none at all when it is frozen), so here is where waiting ends. Trio thread only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import cachetools
import structlog
import trio

from cs3fuse.errors import (
    Cs3FuseError,
    DeadlineError,
    ServerError,
    SiteAwayError,
    SiteSilentError,
    UnavailableError,
)
from cs3fuse.limits import promptly
from cs3fuse.mesh.breaker import Breaker
from cs3fuse.model import Entry, Location, Root
from cs3fuse.ports import RemoteTree

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_CALLS_AT_ONCE = 8
_TRANSFERS_AT_ONCE = 4
_REMEMBERED = 20_000
LONGEST_PROBE_WAIT_S = 10.0
"""With the longest pause between probes this keeps the promise that a site is seen to be back within 30 s."""
_TICK_S = 1.0
_CALM_TICK_S = 5.0
"""While no site is away and nothing is being uploaded: each look wakes an idle machine."""
_SLOW_BYTES_PER_S = 1_000_000
"""An upload that takes longer than this explains is asked about: our gateway answers only when the other site has everything."""
READING = frozenset({"get_path", "initiate_file_download", "list_container", "stat"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call to another site may take, in seconds; a transfer ends by lack of progress instead."""

    call_s: float = 10.0
    probe_s: float = LONGEST_PROBE_WAIT_S


class Site:
    """One received OCM share."""

    def __init__(self, root: Root, name: str, tree: RemoteTree, limits: Limits) -> None:
        """``name``: the site, for people."""
        self.root = root
        self.name = name
        self.breaker = Breaker()
        self._tree = tree
        self._limits = limits
        self._calls = trio.CapacityLimiter(_CALLS_AT_ONCE)
        self.transfers = trio.CapacityLimiter(_TRANSFERS_AT_ONCE)
        self._uploads: set[_Upload] = set()
        self._entries: cachetools.LRUCache[Location, Entry] = cachetools.LRUCache(_REMEMBERED)

    @property
    def call_s(self) -> float:
        """How long a call may take, in seconds."""
        return self._limits.call_s

    # -- calls -------------------------------------------------------------------------------------------------------

    async def call(self, question: Callable[[], Awaitable[T]], at: Location) -> T:
        """Ask, within the limits.

        Raises: DeadlineError: no answer in time, the call may still be carried out; SiteAwayError: it failed lately and was not seen
        since, nothing was asked. What the call raises; a failure without a reason is looked into: a root that cannot be
        described either is away.
        """
        self.check(at)
        failure: ServerError | None = None
        try:
            with trio.fail_after(self._limits.call_s):
                async with promptly(self._calls):
                    self.check(at)  # it may have gone while others waited for it
                    answer = await question()
        except trio.TooSlowError as error:
            raise self.timed_out(at) from error
        except ServerError as error:
            failure = error
        if failure is not None:
            await self._look_into(failure, at)
            raise failure
        self._seen()
        return answer

    def check(self, at: Location) -> None:
        """Refuse at once while the site is away. Raises: SiteAwayError, SiteSilentError."""
        if not self.breaker.is_open:
            return
        sentence = f"{at}: {self.breaker.reason} It is asked again in the background."
        raise (SiteSilentError if self.breaker.is_timeout else SiteAwayError)(sentence, path=str(at))

    def timed_out(self, at: Location) -> DeadlineError:
        """The site did not answer in time."""
        self._opened(f"The site {self.name} did not answer within {self._limits.call_s:.0f} s.", is_timeout=True)
        return DeadlineError(
            f"{at}: the site {self.name} did not answer within {self._limits.call_s:.0f} s; what was asked for may still happen.",
            path=str(at),
        )

    async def upload(self, send: Callable[[], Awaitable[T]], at: Location, size: int) -> T:
        """Upload ``size`` bytes; given up when it takes long and the root does not answer either.

        Raises: SiteAwayError: nothing was sent; DeadlineError: it may still be carried out. What ``send`` raises.
        """
        self.check(at)
        upload = _Upload(trio.current_time() + self._limits.call_s + size / _SLOW_BYTES_PER_S)
        self._uploads.add(upload)
        try:
            with upload.scope:
                async with promptly(self.transfers):
                    self.check(at)
                    return await send()
        finally:
            self._uploads.discard(upload)
            self.forget(at)
        raise self.timed_out(at)

    @property
    def has_uploads(self) -> bool:
        """Whether anything is being uploaded."""
        return bool(self._uploads)

    def has_slow_upload(self, now: float) -> bool:
        """Whether an upload takes so long that the site should be looked at."""
        return not self.breaker.is_open and any(now >= upload.is_slow_at for upload in self._uploads)

    async def look_for_uploads(self) -> None:
        """See whether the site is there at all while an upload takes long; if not, give up those that do. Bounded."""
        try:
            with trio.fail_after(self._limits.call_s):
                await self._tree.stat(Location(self.root))
        except trio.TooSlowError:
            self.timed_out(Location(self.root))
            for upload in self._uploads:
                upload.scope.cancel()
        except Cs3FuseError:
            return  # an upload that fails says so itself

    async def _look_into(self, failure: ServerError, at: Location) -> None:
        """Whether a failure without a reason means that the site is away, or the share revoked: then its root fails, too."""
        try:
            with trio.fail_after(self._limits.call_s):
                await self._tree.stat(Location(self.root))
        except trio.TooSlowError as timeout:
            raise self.timed_out(at) from timeout
        except ServerError as second:
            self._opened(f"The site {self.name} cannot be reached, or took the share back ({second})", is_timeout=False)
            raise SiteAwayError(f"{at}: {self.breaker.reason}", path=str(at)) from failure
        except Cs3FuseError:
            return

    def _opened(self, reason: str, *, is_timeout: bool) -> None:
        if not self.breaker.is_open:
            _log.warning("site_away", site=self.name, share=str(self.root), reason=reason)
        self.breaker.open(reason, trio.current_time(), is_timeout=is_timeout)

    def _seen(self) -> None:
        if self.breaker.is_open:
            _log.info("site_back", site=self.name, share=str(self.root))
            self.breaker.close()

    async def probe(self) -> None:
        """Ask for the root; closes the breaker if it answers. Bounded."""
        try:
            with trio.fail_after(self._limits.probe_s):
                await self._tree.stat(Location(self.root))
        except (trio.TooSlowError, ServerError, UnavailableError):
            self.breaker.probe_failed(trio.current_time())
        except Cs3FuseError:
            self._seen()  # it answered, whatever it said
        else:
            self._seen()

    # -- what is known while it is away ------------------------------------------------------------------------------

    def remember(self, at: Location, entry: Entry) -> None:
        """What a Stat said."""
        self._entries[at] = entry

    def remember_listing(self, at: Location, entries: Sequence[Entry]) -> None:
        """What a listing said of each name."""
        for entry in entries:
            self._entries[at.child(entry.name)] = entry

    def forget(self, at: Location) -> None:
        """We changed it: what was known is not true any more."""
        for location in [other for other in self._entries if other.is_below(at)]:
            del self._entries[location]

    def remembered(self, at: Location) -> Entry | None:
        """The last entry, for reading only; None if there is none."""
        entry = self._entries.get(at)
        return None if entry is None else read_only(entry)

    @property
    def is_known(self) -> bool:
        """Whether anything below it is remembered, so that its cached content may be read."""
        return bool(self._entries)


def read_only(entry: Entry) -> Entry:
    """The entry without any right to change it."""
    return replace(entry, permissions=READING if entry.permissions is None else entry.permissions & READING)


@dataclass(eq=False, slots=True)
class _Upload:
    """One upload under way: from when on it counts as slow (trio's clock), and what gives it up."""

    is_slow_at: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


async def look_after(sites: Callable[[], set[Site]], tell_back: Callable[[Root], None]) -> None:
    """Ask every site that is away or takes long over an upload, each at its own times, until cancelled; at most one question per site at
    once. ``tell_back`` is told of each root that was away and is not any more.
    """
    running: set[Site] = set()
    away: set[Site] = set()

    async def ask(site: Site, question: Callable[[], Awaitable[None]]) -> None:
        try:
            await question()
        finally:
            running.discard(site)

    async with trio.open_nursery() as nursery:
        while True:
            now, known = trio.current_time(), sites()
            for site in known - running:
                question = (
                    site.probe if site.breaker.probe_due(now) else site.look_for_uploads if site.has_slow_upload(now) else None
                )
                if question is not None:
                    running.add(site)
                    nursery.start_soon(ask, site, question)
            for site in away - {site for site in known if site.breaker.is_open}:
                tell_back(site.root)
            away = {site for site in known if site.breaker.is_open}
            await trio.sleep(_TICK_S if away or any(site.has_uploads for site in known) else _CALM_TICK_S)
