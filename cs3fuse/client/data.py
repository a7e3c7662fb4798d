"""Bytes on the server: the client's ``RemoteData``.

Owns which initiation and which request are made, what their answers mean and what may be tried again: a GET while nothing reached the
sink, a PUT never, but for one new initiation after 401 and 403. Called by ``cache`` and ``commit`` through the port, from the trio
thread; transfers run in worker threads, downloads and uploads with separate limits.
"""

from __future__ import annotations

from functools import partial

import structlog
import trio
from cs3.storage.provider.v1beta1 import provider_api_pb2

from cs3fuse.client.calls import Calls, Effect
from cs3fuse.client.connections import ConnectionPool, Transfer
from cs3fuse.client.errors import error_for
from cs3fuse.client.references import check_new_name, reference
from cs3fuse.client.tickets import DownloadTickets, Ticket, choose_download, choose_upload
from cs3fuse.client.transfers import (
    Download,
    HttpStatusError,
    NoAnswerError,
    OtherSizeError,
    TransferThreads,
    Upload,
    Uploaded,
    bare_etag,
    download,
    upload,
)
from cs3fuse.client.tree import Cs3Tree, plain_opaque
from cs3fuse.errors import (
    BadDataError,
    BusyError,
    ConflictError,
    Cs3FuseError,
    IsDirectoryError,
    NotDirectoryError,
    NotFoundError,
    StaleError,
    UnavailableError,
)
from cs3fuse.model import ByteRange, Entry, Kind, Location, Lock
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag, Fetched, Sink, UploadSource

_log = structlog.get_logger(__name__)

DOWNLOAD_THREADS = 32
UPLOAD_THREADS = 16
_RETRY_PAUSES_S = (0.1, 0.4, 1.6)
# OpenCloud answers GET 500 while it processes a file: milliseconds when idle, up to 18 s under load (measured).
_BUSY_FIRST_S = 0.02
_BUSY_LONGEST_S = 2.0
_BUSY_TOTAL_S = 120.0


class Cs3Data:
    """``ports.RemoteData`` over CS3 calls and HTTP."""

    def __init__(self, calls: Calls, tree: Cs3Tree, pool: ConnectionPool) -> None:
        self._calls = calls
        self._tree = tree
        self._pool = pool
        self._tickets = DownloadTickets(self._initiate_download)
        self._downloads = TransferThreads(limit=DOWNLOAD_THREADS)
        self._uploads = TransferThreads(limit=UPLOAD_THREADS)

    def close(self) -> None:
        """Stop every running transfer."""
        self._downloads.close()
        self._uploads.close()

    # -- download --------------------------------------------------------------------------------------------------------------

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        """See the port. Also raises UnavailableError and DeadlineError; a range beyond the expected size is clipped to it."""
        if expected.kind is not Kind.FILE:
            raise IsDirectoryError(f"{at} is not a file.", call="GET", path=str(at))
        if wanted is not None:
            wanted = ByteRange(min(wanted.start, expected.size), min(wanted.stop, expected.size))
            if not wanted:
                return Fetched(etag=None, total=expected.size)
        return await _Fetch(self, at, wanted, sink, expected).run()

    async def _initiate_download(self, at: Location) -> Ticket:
        response = await self._calls.invoke(
            "InitiateFileDownload", provider_api_pb2.InitiateFileDownloadRequest(ref=reference(at)), path=str(at)
        )
        ticket = choose_download(response.protocols, str(at))
        self._pool.check_url(ticket.url)
        return ticket

    # -- upload ----------------------------------------------------------------------------------------------------------------

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        """See the port. Also raises LockLostError: our lock is gone; BadDataError: the server took it for something else."""
        check_new_name(at)
        token = await self._calls.tokens.token()
        ticket = await self._initiate_upload(at, source, expect, lock)
        if source.size == 0 and (etag := await self._settled_empty(at)) is not None:
            return etag or None
        answer = await self._put(at, ticket, token, source, lock)
        if answer.status in {401, 403}:
            # Refused before the body counted. Always with a new initiation: the old token may have bytes by now.
            renewed = await self._calls.renewed_if_bad(token) if answer.status == 401 else token
            if renewed is not None:
                ticket = await self._initiate_upload(at, source, expect, lock)
                answer = await self._put(at, ticket, await self._calls.tokens.token(), source, lock)
        return await self._judge(at, answer, source)

    async def _initiate_upload(self, at: Location, source: UploadSource, expect: Expectation, lock: Lock | None) -> Ticket:
        request = provider_api_pb2.InitiateFileUploadRequest(
            ref=reference(at),
            opaque=plain_opaque(
                {
                    # Always: without it, or with 0, OpenCloud empties an existing file at once.
                    "Upload-Length": str(source.size),
                    "Upload-Checksum": f"sha1 {source.sha1}",
                    "X-OC-Mtime": mtime_text(source.mtime_ns),
                }
            ),
            lock_id=lock.lock_id if lock else "",
        )
        if isinstance(expect, ExpectAbsent):
            request.if_not_exist = True
        elif expect.etag:
            request.if_match = expect.etag
        # Until the PUT nothing is stored, except for an empty file.
        effect = Effect.MUTATION if source.size == 0 else Effect.READ
        try:
            response = await self._calls.invoke("InitiateFileUpload", request, path=str(at), effect=effect)
        except (ConflictError, NotFoundError) as exc:
            raise await self._refused_initiation(at, expect, exc) from exc
        ticket = choose_upload(response.protocols, str(at))
        self._pool.check_url(ticket.url)
        return ticket

    async def _refused_initiation(self, at: Location, expect: Expectation, refused: Cs3FuseError) -> Cs3FuseError:
        """What a failed precondition was: OpenCloud uses one code for a wrong etag, a directory as target and a missing parent."""
        try:
            found: Entry | None = await self._tree.stat(at)
        except NotFoundError:
            found = None
        if found is not None:
            return (
                IsDirectoryError(f"{at} is a folder.", call=refused.call, path=str(at)) if found.kind is Kind.DIRECTORY else refused
            )
        try:
            parent = await self._tree.stat(at.parent)
        except NotFoundError:
            return NotFoundError(f"There is no {at.parent} to put {at.name} into.", call=refused.call, path=str(at.parent))
        if parent.kind is not Kind.DIRECTORY:
            return NotDirectoryError(f"{at.parent} is not a folder.", call=refused.call, path=str(at))
        if isinstance(expect, ExpectEtag) and isinstance(refused, (ConflictError, NotFoundError)):
            return ConflictError(f"{at} was deleted by somebody else meanwhile.", call=refused.call, path=str(at))
        return refused

    async def _settled_empty(self, at: Location) -> str | None:
        """The etag of an empty file that is there already, None if a PUT is needed.

        OpenCloud creates or empties the file at the initiation and answers 400 to the PUT; Reva waits for the PUT.
        """
        try:
            found = await self._tree.stat(at)
        except NotFoundError:
            return None
        return found.etag if found.kind is Kind.FILE and found.size == 0 else None

    async def _put(self, at: Location, ticket: Ticket, token: str, source: UploadSource, lock: Lock | None) -> Uploaded:
        headers = {**_data_headers(token, ticket), "Content-Type": "application/octet-stream", "Upload-Length": str(source.size)}
        if lock is not None:
            headers["X-Lock-Id"] = lock.lock_id
            headers["X-Lock-Holder"] = lock.app_name
        order = Upload(ticket.url, headers, source.fd, source.size, str(at))
        return await self._uploads.run(lambda transfer: upload(self._pool, transfer, order))

    async def _judge(self, at: Location, answer: Uploaded, source: UploadSource) -> str | None:
        if answer.status in {200, 201, 204}:
            return answer.etag
        if answer.status == 400 and source.size == 0 and (etag := await self._settled_empty(at)) is not None:
            return etag or None
        raise error_for("PUT", f"HTTP {answer.status}", str(at))


class _Fetch:
    """One fetch with what was tried so far. Everything is tried again only while nothing has reached the sink."""

    def __init__(self, data: Cs3Data, at: Location, wanted: ByteRange | None, sink: Sink, expected: Entry) -> None:
        self._data = data
        self._at = at
        self._wanted = wanted
        self._sink = sink
        self._expected = expected
        self._pauses = list(reversed(_RETRY_PAUSES_S))
        self._tried: set[str] = set()
        self._busy_pause = _BUSY_FIRST_S
        self._busy_since: float | None = None

    async def run(self) -> Fetched:
        """Until it succeeds or a failure is final."""
        while True:
            ticket, is_reused = await self._data._tickets.get(self._at)
            token = await self._data._calls.tokens.token()
            order = Download(
                ticket.url, _data_headers(token, ticket), self._wanted, self._expected.size, self._expected.etag, str(self._at)
            )
            work = partial(_download, self._data._pool, order, self._sink)
            try:
                return await self._data._downloads.run(work)
            except HttpStatusError as exc:
                status, cause = exc.status, exc
            except OtherSizeError as exc:
                await self._judge_size(exc)
                continue
            except NoAnswerError as exc:
                await self._pause_or_raise(
                    UnavailableError(f"The data server does not answer for {self._at}: {exc}.", call="GET", path=str(self._at)), exc
                )
                continue
            await self._judge_status(status, cause, ticket, token, is_reused=is_reused)

    async def _judge_status(self, status: int, cause: Exception, ticket: Ticket, token: str, *, is_reused: bool) -> None:
        """Return if the GET is to be made again, else raise."""
        failure = error_for("GET", f"HTTP {status}", str(self._at))
        if status == 401 and await self._data._calls.renewed_if_bad(token) is not None and self._is_first("token"):
            return
        if status in {401, 403, 404, 409}:
            self._data._tickets.drop(self._at, ticket)
            if is_reused and self._is_first("ticket"):
                return
        if status == 404:
            # While a file is replaced, Reva's local driver has none for a moment.
            await self._data._tree.stat(self._at)
            if self._is_first("missing"):
                return
        elif status == 416:
            self._judge_version(await self._data._tree.stat(self._at), cause)
            raise BadDataError(
                f"The server refuses bytes of {self._at} that its own size promises.", call="GET", path=str(self._at)
            ) from cause
        elif status in {425, 500}:
            await self._judge_processing(failure, cause)
            return
        elif status in {429, 502, 503, 504}:
            await self._pause_or_raise(failure, cause)
            return
        raise failure from cause

    async def _judge_processing(self, failure: Cs3FuseError, cause: Exception) -> None:
        """GET 500: still processed (wait), gone, another version, or broken (tried once more: it may have been finished since)."""
        entry = await self._data._tree.stat(self._at)
        if entry.is_processing or isinstance(failure, BusyError):
            now = trio.current_time()
            self._busy_since = self._busy_since if self._busy_since is not None else now
            if now - self._busy_since > _BUSY_TOTAL_S:
                raise BusyError(
                    f"The server is still processing {self._at} after {_BUSY_TOTAL_S:.0f} s.", call="GET", path=str(self._at)
                ) from cause
            await trio.sleep(self._busy_pause)
            self._busy_pause = min(self._busy_pause * 2, _BUSY_LONGEST_S)
            self._tried.discard("settled")
            return
        self._judge_version(entry, cause)
        if not self._is_first("settled"):
            raise failure from cause

    async def _judge_size(self, cause: OtherSizeError) -> None:
        """Another size than expected: another version if Stat says so too, else something that is not the file."""
        self._judge_version(await self._data._tree.stat(self._at), cause)
        if not self._is_first("size"):
            raise BadDataError(
                f"The server sent {cause.total} bytes for {self._at}, which has {self._expected.size}: it may be an error page.",
                call="GET",
                path=str(self._at),
            ) from cause

    def _judge_version(self, entry: Entry, cause: Exception) -> None:
        known_by_etag = bool(entry.etag and self._expected.etag)
        same = (
            bare_etag(entry.etag) == bare_etag(self._expected.etag) if known_by_etag else entry.mtime_ns == self._expected.mtime_ns
        )
        if entry.kind is not Kind.FILE or entry.size != self._expected.size or not same:
            raise StaleError(f"{self._at} was changed meanwhile.", call="GET", path=str(self._at)) from cause

    async def _pause_or_raise(self, failure: Cs3FuseError, cause: Exception) -> None:
        if not self._pauses:
            raise failure from cause
        await trio.sleep(self._pauses.pop())

    def _is_first(self, remedy: str) -> bool:
        """Whether a remedy was not tried yet; each is tried once."""
        if remedy in self._tried:
            return False
        self._tried.add(remedy)
        return True


def _download(pool: ConnectionPool, order: Download, sink: Sink, transfer: Transfer) -> Fetched:
    return download(pool, transfer, order, sink)


def _data_headers(token: str, ticket: Ticket) -> dict[str, str]:
    """The two tokens: the data provider checks the one, the datagateway the other (Reva)."""
    headers = {"x-access-token": token, "User-Agent": "cs3fuse"}
    if ticket.token:
        headers["X-Reva-Transfer"] = ticket.token
    return headers


def mtime_text(mtime_ns: int) -> str:
    """A time as servers read it: "sec.nsec" with nine digits; times before 1970 cannot be told."""
    seconds, nanos = divmod(max(mtime_ns, 0), 1_000_000_000)
    return f"{seconds}.{nanos:09d}"
