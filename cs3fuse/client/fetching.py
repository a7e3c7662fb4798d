"""One download: ticket, GET, and what its refusal means.

Owns what was tried so far in one fetch. Created and run by ``client.data``, on the trio thread; everything is tried again only while
nothing has reached the sink.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import trio

from cs3fuse.client.calls import Calls, pause
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.errors import error_for
from cs3fuse.client.exchange import Exchanges
from cs3fuse.client.small import NotSmallError, download_small, is_small
from cs3fuse.client.tickets import DownloadTickets, Ticket, data_headers
from cs3fuse.client.transfers import Download, HttpStatusError, NoAnswerError, OtherSizeError, TransferThreads, bare_etag, download
from cs3fuse.errors import BadDataError, BusyError, Cs3FuseError, StaleError, UnavailableError
from cs3fuse.model import ByteRange, Entry, Kind, Location
from cs3fuse.ports import Fetched, Sink

_RETRY_PAUSES_S = (0.1, 0.4, 1.6)
# OpenCloud answers GET 500 while it processes a file: milliseconds when idle, up to 18 s under load (measured).
_BUSY_FIRST_S = 0.02
_BUSY_LONGEST_S = 2.0
_BUSY_TOTAL_S = 120.0


class Describing(Protocol):
    """Who says what is to be fetched, as it is now."""

    async def stat(self, at: Location) -> Entry:
        """Describe it. Raises: NotFoundError."""
        ...


@dataclass(frozen=True, slots=True)
class Downloading:
    """What every fetch needs."""

    calls: Calls
    tree: Describing
    pool: ConnectionPool
    tickets: DownloadTickets
    threads: TransferThreads
    exchanges: Exchanges


@dataclass(slots=True)
class Fetch:
    """One fetch of a range, or of the whole file (``wanted`` None)."""

    by: Downloading
    at: Location
    wanted: ByteRange | None
    sink: Sink
    expected: Entry
    path: str
    """For sentences."""
    _pauses: list[float] = field(default_factory=lambda: list(reversed(_RETRY_PAUSES_S)))
    _tried: set[str] = field(default_factory=set)
    _busy_pause_s: float = _BUSY_FIRST_S
    _busy_since: float | None = None

    async def run(self) -> Fetched:
        """Until it succeeds or a failure is final. Raises: what ``ports.RemoteData.fetch`` does."""
        while True:
            ticket, is_reused = await self.by.tickets.get(self.at)
            token = await self.by.calls.tokens.token()
            order = Download(
                ticket.url, data_headers(token, ticket), self.wanted, self.expected.size, self.expected.etag, self.path
            )
            try:
                return await self._get(order)
            except HttpStatusError as exc:
                status, cause = exc.status, exc
            except OtherSizeError as exc:
                await self._judge_size(exc)
                continue
            except NoAnswerError as exc:
                failure = UnavailableError(f"The data server does not answer for {self.path}: {exc}.", call="GET", path=self.path)
                await self._pause_or_raise(failure, exc)
                continue
            await self._judge_status(status, cause, ticket, token, is_reused=is_reused)

    async def _get(self, order: Download) -> Fetched:
        """One GET; what is small needs no thread. Raises: as ``transfers.download``."""
        if is_small(order):
            with suppress(NotSmallError):
                return await download_small(self.by.exchanges, order, self.sink)
        return await self.by.threads.run(lambda transfer: download(self.by.pool, transfer, order, self.sink))

    async def _judge_status(self, status: int, cause: Exception, ticket: Ticket, token: str, *, is_reused: bool) -> None:
        """Return if the GET is to be made again, else raise."""
        failure = error_for("GET", f"HTTP {status}", self.path)
        if status == 401 and await self._renewed(token):
            return
        if status in {401, 403, 404, 409}:
            self.by.tickets.drop(self.at, ticket)
            if is_reused and self._is_first("ticket"):
                return
        if status == 404:
            # While a file is replaced, Reva's local driver has none for a moment.
            await self.by.tree.stat(self.at)
            if self._is_first("missing"):
                return
        elif status == 416:
            self._judge_version(await self.by.tree.stat(self.at), cause)
            raise BadDataError(
                f"The server refuses bytes of {self.path} that its own size promises.", call="GET", path=self.path
            ) from cause
        elif status in {425, 500}:
            await self._judge_processing(failure, cause)
            return
        elif status in {429, 502, 503, 504}:
            await self._pause_or_raise(failure, cause)
            return
        raise failure from cause

    async def _renewed(self, token: str) -> bool:
        """Whether a refused token was bad and there is another one now; a second refusal is believed."""
        if not self._is_first("token"):
            await self.by.calls.refused_again(token)
            return False
        return await self.by.calls.renewed_if_bad(token) is not None

    async def _judge_processing(self, failure: Cs3FuseError, cause: Exception) -> None:
        """GET 500: still processed (wait), gone, another version, or broken (tried once more: it may have been finished since)."""
        entry = await self.by.tree.stat(self.at)
        if not entry.is_processing and not isinstance(failure, BusyError):
            self._judge_version(entry, cause)
            if not self._is_first("settled"):
                raise failure from cause
            return
        now = trio.current_time()
        if self._busy_since is None:
            self._busy_since = now
        if now - self._busy_since > _BUSY_TOTAL_S or not await pause(self._busy_pause_s):
            raise BusyError(
                f"The server is still processing {self.path}; try again in a moment.", call="GET", path=self.path
            ) from cause
        self._busy_pause_s = min(self._busy_pause_s * 2, _BUSY_LONGEST_S)
        self._tried.discard("settled")

    async def _judge_size(self, cause: OtherSizeError) -> None:
        """Another size than expected: another version if Stat says so too, else (the second time) something that is not the file."""
        self._judge_version(await self.by.tree.stat(self.at), cause)
        if not self._is_first("size"):
            raise BadDataError(
                f"The server sent {cause.total} bytes for {self.path}, which has {self.expected.size}: it may be an error page.",
                call="GET",
                path=self.path,
            ) from cause

    def _judge_version(self, entry: Entry, cause: Exception) -> None:
        """Raise StaleError if the file is not the expected version any more."""
        if entry.etag and self.expected.etag:
            is_same = bare_etag(entry.etag) == bare_etag(self.expected.etag)
        else:
            is_same = entry.mtime_ns == self.expected.mtime_ns
        if entry.kind is not Kind.FILE or entry.size != self.expected.size or not is_same:
            raise StaleError(f"{self.path} was changed meanwhile.", call="GET", path=self.path) from cause

    async def _pause_or_raise(self, failure: Cs3FuseError, cause: Exception) -> None:
        if not self._pauses or not await pause(self._pauses.pop()):
            raise failure from cause

    def _is_first(self, remedy: str) -> bool:
        """Whether a remedy was not tried yet; each is tried once."""
        if remedy in self._tried:
            return False
        self._tried.add(remedy)
        return True
