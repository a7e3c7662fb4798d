"""Bytes over HTTP: one GET into a sink, one PUT from a descriptor, in worker threads.

Owns what happens on the wire of one request and nothing of why it is made. ``download`` and ``upload`` block and run in a worker thread;
``TransferThreads`` starts them from the trio thread and ends them when their caller is cancelled. Nothing here repeats a request.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import trio
import urllib3

from cs3fuse.client.connections import BLOCK_BYTES, PROGRESS_S, ConnectionPool, FilePart, StoppedError, Transfer, answer_of
from cs3fuse.client.errors import printable
from cs3fuse.errors import (
    BadDataError,
    Cs3FuseError,
    DeadlineError,
    OutcomeUnknownError,
    RangesUnsupportedError,
    StaleError,
    UnavailableError,
)
from cs3fuse.model import ByteRange
from cs3fuse.ports import Fetched, Sink

T = TypeVar("T")

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
# What is left of an answer is read to keep the connection, if it is this little; else a new connection is cheaper.
_DRAIN_BYTES = 64 * 1024
# How fast a server must at least put away what it received before it answers: EOS and OCM answer only after that.
_SETTLE_BYTES_PER_S = 10_000_000
_LONGEST_ANSWER_S = 600.0


class HttpStatusError(Exception):
    """The data server answered with a status that is no success; nothing reached the sink."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class OtherSizeError(Exception):
    """The answer belongs to a file of another size than expected; nothing reached the sink."""

    def __init__(self, total: int) -> None:
        super().__init__(f"{total} bytes")
        self.total = total


class NoAnswerError(Exception):
    """The connection failed before the answer to a GET began; nothing reached the sink, so it may be tried again."""


@dataclass(frozen=True, slots=True)
class Download:
    """One GET. ``etag`` "" means that the version is not known by etag; ``path`` is for sentences."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    wanted: ByteRange | None
    size: int
    etag: str
    path: str


@dataclass(frozen=True, slots=True)
class Upload:
    """One PUT of bytes 0 to ``size`` of ``fd``; ``path`` is for sentences."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    fd: int
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """How a PUT was answered; ``etag`` None where the answer had none."""

    status: int
    etag: str | None


class TransferThreads:
    """Runs blocking transfers in a bounded number of threads."""

    def __init__(self, *, limit: int) -> None:
        self._limiter = trio.CapacityLimiter(limit)
        self._running: set[Transfer] = set()
        self._ended_bytes = 0

    @property
    def sent_bytes(self) -> int:
        """Bytes of bodies that were sent since the start, failed attempts included; it only grows."""
        return self._ended_bytes + sum(transfer.sent_bytes for transfer in self._running)

    async def run(self, work: Callable[[Transfer], T]) -> T:
        """Run ``work`` in a thread.

        Cancellation: at once. The thread is told to stop and its socket is shut down; it ends by itself, at the latest after the time-out
        for connecting, and holds its place in the limit until then.
        """
        transfer = Transfer()

        def work_and_finish() -> T:
            try:
                return work(transfer)
            finally:
                transfer.finish()

        self._running.add(transfer)
        try:
            return await trio.to_thread.run_sync(work_and_finish, abandon_on_cancel=True, limiter=self._limiter)
        except StoppedError as exc:
            raise UnavailableError("The transfer was given up because the mount is ending.") from exc
        finally:
            transfer.stop()
            self._running.discard(transfer)
            self._ended_bytes += transfer.sent_bytes

    def close(self) -> None:
        """Stop every running transfer."""
        for transfer in tuple(self._running):
            transfer.stop()


def download(pool: ConnectionPool, transfer: Transfer, order: Download, sink: Sink) -> Fetched:
    """GET into the sink, in this thread. Every check of the version comes before the first byte.

    Raises: HttpStatusError, OtherSizeError, NoAnswerError: nothing was written; StaleError, RangesUnsupportedError, BadDataError,
    DeadlineError; StoppedError; whatever ``sink.write`` raises.
    """
    try:
        response = pool.request(transfer, "GET", order.url, get_headers(order))
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        transfer.check()
        raise NoAnswerError(describe(exc)) from exc
    try:
        offset, skip, length, total = placement(response, order)
        _stream(response, transfer, sink, offset=offset, skip=skip, length=length, path=order.path)
        return Fetched(etag=response.headers.get("ETag"), total=total)
    finally:
        _give_back(response)


def get_headers(order: Download) -> dict[str, str]:
    """All headers of a GET."""
    headers = dict(order.headers)
    # Bodies must come as they are: a compressed one has no length to compare.
    headers["Accept-Encoding"] = "identity"
    if order.wanted is not None:
        headers["Range"] = f"bytes={order.wanted.start}-{order.wanted.stop - 1}"
    return headers


class Answered(Protocol):
    """An answer whose head came: ``length_remaining`` is what its body still has [bytes], None where that is not told."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, by any spelling of their names."""
        ...


def placement(response: Answered, order: Download) -> tuple[int, int, int, int]:
    """Where the body belongs: (offset of its first wanted byte in the file, bytes to skip before it, bytes wanted, total size)."""
    status = response.status
    if status == 416 and order.wanted is not None and "Content-Range" not in response.headers:
        # Reva's local, ceph and OCM drivers: with "Accept-Ranges: bytes", which says the opposite of the truth.
        raise RangesUnsupportedError(f"The storage of {order.path} does not serve ranges.", call="GET", path=order.path)
    if status not in {200, 206}:
        raise HttpStatusError(status)
    etag = response.headers.get("ETag")
    if etag and order.etag and bare_etag(etag) != bare_etag(order.etag):
        raise StaleError(
            f"{order.path} was changed meanwhile: the server sent version {printable(etag)}.", call="GET", path=order.path
        )
    body = _remaining(response)
    if status == 206:
        if order.wanted is None:
            raise BadDataError(
                f"The server sent a piece of {order.path} although the whole was asked for.", call="GET", path=order.path
            )
        total = _check_content_range(response, order.wanted, order.path)
        if total != order.size:
            raise OtherSizeError(total)
        if body is not None and body != len(order.wanted):
            raise BadDataError(
                f"The server sent {body} bytes of {order.path} instead of {len(order.wanted)}.", call="GET", path=order.path
            )
        return order.wanted.start, 0, len(order.wanted), total
    if body is None:
        raise BadDataError(
            f"The server did not say how long {order.path} is ({_content_type(response)}): it may be an error page.",
            call="GET",
            path=order.path,
        )
    if body != order.size:
        raise OtherSizeError(body)
    if order.wanted is None:
        return 0, 0, body, body
    return order.wanted.start, order.wanted.start, len(order.wanted), body


def _check_content_range(response: Answered, wanted: ByteRange, path: str) -> int:
    told = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(told.strip())
    if match is None or match[3] == "*" or (int(match[1]), int(match[2]) + 1) != (wanted.start, wanted.stop):
        if (
            match is not None
            and match[3] != "*"
            and int(match[1]) == wanted.start
            and int(match[2]) + 1 == int(match[3]) < wanted.stop
        ):
            # Clipped at the end of a shorter file.
            raise OtherSizeError(int(match[3]))
        raise BadDataError(
            f"The server sent another range of {path} than {wanted.start}-{wanted.stop - 1}: {printable(told) or _content_type(response)!r}.",
            call="GET",
            path=path,
        )
    return int(match[3])


def _stream(
    response: urllib3.BaseHTTPResponse, transfer: Transfer, sink: Sink, *, offset: int, skip: int, length: int, path: str
) -> None:
    """Hand ``length`` bytes after the first ``skip`` of the body to the sink."""
    position, end = offset, offset + length
    with contextlib.closing(_pieces(response)) as pieces:
        while position < end:
            try:
                piece = next(pieces, None)
            except (urllib3.exceptions.HTTPError, OSError) as exc:
                transfer.check()
                raise body_failure(exc, path, f"{position} of {end}") from exc
            transfer.check()
            if not piece:
                raise BadDataError(f"{path} ended at byte {position} of {end}.", call="GET", path=path)
            view = piece
            if skip:
                dropped = min(skip, len(view))
                skip -= dropped
                view = view[dropped:]
            if position + len(view) > end:
                view = view[: end - position]
            if view:
                sink.write(position, view)
                position += len(view)


def body_failure(exc: Exception, path: str, where: str) -> Cs3FuseError:
    """What to raise when the body of a download broke off at a byte, "3 of 10"."""
    if isinstance(exc, (urllib3.exceptions.ReadTimeoutError, TimeoutError)):
        return DeadlineError(f"No byte of {path} arrived for {PROGRESS_S:.0f} s.", call="GET", path=path)
    return BadDataError(f"{path} ended at byte {where} ({describe(exc)}).", call="GET", path=path)


def _pieces(response: urllib3.BaseHTTPResponse) -> Generator[memoryview]:
    """The body, each piece valid until the next one is asked for."""
    answer = answer_of(response)
    if answer is not None and answer.can_be_received:
        try:
            yield from answer.receive()
        finally:
            # urllib3 did not see these bytes, and would take the connection for broken.
            response.length_remaining = answer.length
        return
    while piece := response.read1(BLOCK_BYTES):
        yield memoryview(piece)


def _give_back(response: urllib3.BaseHTTPResponse) -> None:
    """Return the connection to the pool if its answer was read, or is nearly; else close it."""
    remaining = _remaining(response)
    if remaining is not None and remaining <= _DRAIN_BYTES:
        response.drain_conn()
        response.release_conn()
    else:
        response.close()


def _remaining(response: Answered) -> int | None:
    remaining = getattr(response, "length_remaining", None)
    return remaining if isinstance(remaining, int) else None


def _parts(order: Upload, fd: int) -> Iterator[FilePart]:
    """The body of a PUT as urllib3 takes it."""
    for offset in range(0, order.size, BLOCK_BYTES):
        yield FilePart(fd, offset, min(BLOCK_BYTES, order.size - offset), order.path)


def upload(pool: ConnectionPool, transfer: Transfer, order: Upload) -> Uploaded:
    """PUT, in this thread. The descriptor is duplicated, so the caller may close its own as soon as ``Transfer.stop`` was called.

    Returns the answer, whatever its status. Raises: UnavailableError: no connection, nothing was sent; OutcomeUnknownError: it broke
    later; LocalStorageError: the local file failed (what was sent of it may have been stored); StoppedError.
    """
    fd = transfer.run_unless_stopped(lambda: os.dup(order.fd))
    try:
        if os.fstat(fd).st_size < order.size:
            raise FilePart(fd, 0, order.size, order.path).too_short()
        answer_s = min(PROGRESS_S + order.size / _SETTLE_BYTES_PER_S, _LONGEST_ANSWER_S)
        try:
            response = pool.request(transfer, "PUT", order.url, put_headers(order), body=_parts(order, fd), answer_s=answer_s)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            transfer.check()
            raise put_failure(order, describe(exc), has_sent=transfer.has_sent) from exc
        try:
            return uploaded(order, response, is_sent=transfer.sent_bytes >= order.size)
        finally:
            _give_back(response)
    finally:
        os.close(fd)


def put_headers(order: Upload) -> dict[str, str]:
    """All headers of a PUT. With the length given nothing falls back to chunked encoding (OpenCloud: 206 and nothing stored)."""
    return {**order.headers, "Content-Length": str(order.size)}


def uploaded(order: Upload, response: Answered, *, is_sent: bool) -> Uploaded:
    """What a PUT was answered. Raises: OutcomeUnknownError: success, although not all was sent."""
    if response.status < 400 and not is_sent:
        raise OutcomeUnknownError(
            f"The server answered HTTP {response.status} before it had all of {order.path}.", call="PUT", path=order.path
        )
    return Uploaded(response.status, response.headers.get("ETag") or response.headers.get("OC-ETag"))


def put_failure(order: Upload, reason: str, *, has_sent: bool) -> Cs3FuseError:
    """What to raise where no answer came. ``has_sent``: something may have reached the server."""
    if not has_sent:
        return UnavailableError(f"No connection to the data server for {order.path}: {reason}.", call="PUT", path=order.path)
    return OutcomeUnknownError(
        f"The connection failed while {order.path} was sent ({reason}); whether it was stored is not known.",
        call="PUT",
        path=order.path,
    )


def bare_etag(etag: str) -> str:
    """An etag without quotes and weakness mark, for comparison: cephfs tells them without quotes."""
    return etag.strip().removeprefix("W/").strip('"')


def describe(exc: BaseException) -> str:
    """The innermost reason of a urllib3 error, for a sentence."""
    reason: BaseException = exc
    while True:
        candidates = (getattr(reason, "reason", None), reason.args[-1] if reason.args else None, reason.__cause__)
        inner = next((found for found in candidates if isinstance(found, BaseException)), None)
        if inner is None:
            break
        reason = inner
    if isinstance(reason, OSError) and reason.strerror:
        return printable(reason.strerror)
    return printable(re.sub(r"<[^>]*>:? ?|HTTPS?ConnectionPool\([^)]*\): ", "", str(reason)) or type(reason).__name__)


def _content_type(response: Answered) -> str:
    return printable(response.headers.get("Content-Type", "no type"))
