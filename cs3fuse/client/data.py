"""Bytes on the server: the client's ``RemoteData``.

Owns uploads (one initiation, one PUT, what the answers mean) and hands downloads to ``client.fetching``. A PUT is never repeated, but
for one new initiation after 401 and 403. Called by ``cache`` and ``commit`` through the port, from the trio thread; transfers run in
worker threads, downloads and uploads with separate limits, so that paced readers cannot hold up a commit.
"""

from __future__ import annotations

from cs3.storage.provider.v1beta1 import provider_api_pb2

from cs3fuse.client.calls import Calls, Effect
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.errors import error_for
from cs3fuse.client.exchange import Exchanges
from cs3fuse.client.fetching import Downloading, Fetch
from cs3fuse.client.references import check_new_name, reference, shown
from cs3fuse.client.small import is_small, upload_small
from cs3fuse.client.tickets import DownloadTickets, Ticket, choose_download, choose_upload, data_headers
from cs3fuse.client.transfers import TransferThreads, Upload, Uploaded, bare_etag, upload
from cs3fuse.client.tree import Cs3Tree, plain_opaque
from cs3fuse.errors import (
    ConflictError,
    Cs3FuseError,
    IsDirectoryError,
    LockedError,
    NotDirectoryError,
    NotFoundError,
    OutcomeUnknownError,
)
from cs3fuse.model import ByteRange, Entry, Kind, Location, Lock
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag, Fetched, Sink, UploadSource

DOWNLOAD_THREADS = 32
UPLOAD_THREADS = 16


class Cs3Data:
    """``ports.RemoteData`` over CS3 calls and HTTP."""

    def __init__(self, calls: Calls, tree: Cs3Tree, pool: ConnectionPool) -> None:
        self._calls = calls
        self._tree = tree
        self._pool = pool
        self._exchanges = Exchanges(pool.tls)
        self._uploads = TransferThreads(limit=UPLOAD_THREADS)
        self._downloading = Downloading(
            calls,
            tree,
            pool,
            DownloadTickets(self._initiate_download),
            TransferThreads(limit=DOWNLOAD_THREADS),
            self._exchanges,
        )

    @property
    def downloading(self) -> Downloading:
        """What downloads are made with: old versions come the same way."""
        return self._downloading

    @property
    def sent_bytes(self) -> int:
        """Bytes that uploads sent since the start, failed ones included: how a wait for them sees that they move."""
        return self._uploads.sent_bytes + self._exchanges.sent_bytes

    def close(self) -> None:
        """Stop every running transfer, for good."""
        self._exchanges.close()
        self._downloading.threads.close()
        self._uploads.close()

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        """See the port. Also raises UnavailableError and DeadlineError; a range beyond the expected size is clipped to it."""
        if expected.kind is not Kind.FILE:
            raise IsDirectoryError(f"{shown(at)} is not a file.", call="GET", path=shown(at))
        if wanted is not None:
            wanted = ByteRange(min(wanted.start, expected.size), min(wanted.stop, expected.size))
            if not wanted:
                return Fetched(etag=None, total=expected.size)
        return await Fetch(self._downloading, at, wanted, sink, expected, shown(at)).run()

    async def prepare_fetch(self, at: Location) -> None:
        """See the port."""
        await self._downloading.tickets.get(at)

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        """See the port. Also raises LockLostError: our lock is gone; BadDataError: the server took it for something else."""
        if at.rel or isinstance(expect, ExpectAbsent):  # a file addressed by nothing but its id is there and keeps its name
            check_new_name(at)
        token = await self._calls.tokens.token()
        ticket = await self._initiate_upload(at, source, expect, lock)
        if source.size == 0 and (done := await self._settled_empty(at, expect)) is not None:
            return done.etag or None
        answer = await self._put(at, ticket, token, source, lock)
        if answer.status in {401, 403}:
            answer = await self._put_once_more(at, answer, token, source, expect, lock)
        return await self._judge(at, answer, source, expect)

    async def checks_versions(self, at: Location, source: UploadSource, *, lock: Lock | None = None) -> bool:
        """See the port."""
        assert source.size, "an initiation of an empty file empties the one that is there"
        try:
            await self._initiate_upload(at, source, ExpectAbsent(), lock)
        except ConflictError:
            return True
        return False

    async def _put_once_more(
        self, at: Location, refused: Uploaded, token: str, source: UploadSource, expect: Expectation, lock: Lock | None
    ) -> Uploaded:
        """After 401 or 403, which refuse before the body counts: a PUT with a new initiation, because the old one may hold bytes.

        A 401 although the token is good (a revoked OCM share) is final.
        """
        if refused.status == 401:
            renewed = await self._calls.renewed_if_bad(token)
            if renewed is None:
                return refused
            token = renewed
        ticket = await self._initiate_upload(at, source, expect, lock)
        answer = await self._put(at, ticket, token, source, lock)
        if answer.status == 401:
            await self._calls.refused_again(token)
        return answer

    async def _initiate_download(self, at: Location) -> Ticket:
        request = provider_api_pb2.InitiateFileDownloadRequest(ref=reference(at))
        response = await self._calls.invoke("InitiateFileDownload", request, path=shown(at))
        ticket = choose_download(response.protocols, shown(at))
        self._pool.check_url(ticket.url)
        return ticket

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
        refused: Cs3FuseError
        try:
            response = await self._calls.invoke("InitiateFileUpload", request, path=shown(at), effect=effect)
        except (LockedError, ConflictError, NotFoundError) as exc:
            refused = exc
        else:
            ticket = choose_upload(response.protocols, shown(at))
            self._pool.check_url(ticket.url)
            return ticket
        if isinstance(refused, LockedError):
            raise await self._tree.with_holder(at, refused)
        await self._explain_refused_initiation(at, expect, refused)
        raise refused

    async def _explain_refused_initiation(self, at: Location, expect: Expectation, refused: Cs3FuseError) -> None:
        """Raise what a failed precondition was: OpenCloud has one code for a wrong etag, a directory as target and a missing parent."""
        found = await self._found_after(at, refused)
        if found is not None:
            if found.kind is Kind.DIRECTORY:
                raise IsDirectoryError(f"{shown(at)} is a folder.", call=refused.call, path=shown(at)) from refused
            return
        parent = await self._found_after(at.parent, refused)
        if parent is None:
            raise NotFoundError(
                f"There is no {shown(at.parent)} to put {shown(at)} into.", call=refused.call, path=shown(at.parent)
            ) from refused
        if parent.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{shown(at.parent)} is not a folder.", call=refused.call, path=shown(at)) from refused
        if isinstance(expect, ExpectEtag):
            raise ConflictError(
                f"{shown(at)} was deleted by somebody else meanwhile.", call=refused.call, path=shown(at)
            ) from refused

    async def _found_after(self, at: Location, failure: Cs3FuseError) -> Entry | None:
        """What is there, None for nothing; the failure where that cannot be learnt."""
        try:
            return await self._tree.stat(at)
        except NotFoundError:
            return None
        except Cs3FuseError:
            raise failure from failure.__cause__

    async def _settled_empty(self, at: Location, expect: Expectation) -> Entry | None:
        """The empty file that is there already, None if a PUT is needed.

        OpenCloud creates or empties the file at the initiation and answers 400 to the PUT; Reva waits for the PUT, and would put it over
        whatever is there: what this Stat shows is checked on the way.
        """
        unknown = OutcomeUnknownError(f"Whether {shown(at)} is empty now is not known.", call="InitiateFileUpload", path=shown(at))
        found = await self._found_after(at, unknown)
        if found is None:
            return None
        if found.kind is not Kind.FILE:
            raise IsDirectoryError(f"{shown(at)} is a folder.", call="PUT", path=shown(at))
        if found.size == 0:
            return found
        is_expected = isinstance(expect, ExpectEtag) and (not expect.etag or bare_etag(expect.etag) == bare_etag(found.etag))
        if not is_expected:
            raise ConflictError(f"{shown(at)} was changed or created by somebody else meanwhile.", call="PUT", path=shown(at))
        return None

    async def _put(self, at: Location, ticket: Ticket, token: str, source: UploadSource, lock: Lock | None) -> Uploaded:
        headers = {**data_headers(token, ticket), "Content-Type": "application/octet-stream", "Upload-Length": str(source.size)}
        if lock is not None:
            # EOS compares the holder; others look at neither.
            headers["X-Lock-Id"] = lock.lock_id
            headers["X-Lock-Holder"] = lock.app_name
        order = Upload(ticket.url, headers, source.fd, source.size, shown(at))
        if is_small(order):
            return await upload_small(self._exchanges, order)
        return await self._uploads.run(lambda transfer: upload(self._pool, transfer, order))

    async def _judge(self, at: Location, answer: Uploaded, source: UploadSource, expect: Expectation) -> str | None:
        if answer.status in {200, 201, 204}:
            return answer.etag
        if answer.status == 400 and source.size == 0 and (done := await self._settled_empty(at, expect)) is not None:
            return done.etag or None
        failure = error_for("PUT", f"HTTP {answer.status}", shown(at))
        raise await self._tree.with_holder(at, failure) if isinstance(failure, LockedError) else failure


def mtime_text(mtime_ns: int) -> str:
    """A time as servers read it: "sec.nsec" with nine digits; times before 1970 cannot be told."""
    seconds, nanos = divmod(max(mtime_ns, 0), 1_000_000_000)
    return f"{seconds}.{nanos:09d}"
