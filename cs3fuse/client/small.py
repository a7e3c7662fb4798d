"""Downloads and uploads of at most one block, on the trio thread.

Owns what the answers to one small GET or PUT mean, which is what they mean in ``client.transfers``, whose orders, checks and errors
these are. ``client.fetching`` and ``client.data`` come here first where ``is_small`` says so. Nothing here repeats a request.
"""

from __future__ import annotations

import os

from cs3fuse.client.connections import FilePart
from cs3fuse.client.exchange import SMALL_BYTES, BrokenExchangeError, ClosedExchangeError, Exchanges
from cs3fuse.client.transfers import (
    Download,
    NoAnswerError,
    Upload,
    Uploaded,
    body_failure,
    get_headers,
    placement,
    put_failure,
    put_headers,
    uploaded,
)
from cs3fuse.errors import UnavailableError
from cs3fuse.ports import Fetched, Sink


class NotSmallError(Exception):
    """The answer is no plain small one. Nothing reached the sink, so a worker thread can make the same GET."""


def is_small(order: Download | Upload) -> bool:
    """Whether an order is carried out here."""
    size = order.size if isinstance(order, Upload) or order.wanted is None else len(order.wanted)
    return size <= SMALL_BYTES and Exchanges.can_carry(order.url, order.headers)


async def download_small(exchanges: Exchanges, order: Download, sink: Sink) -> Fetched:
    """GET into the sink, as the bytes come: a slow transfer must be seen to move. Every check of the version comes before the first.

    Raises: HttpStatusError, OtherSizeError, NoAnswerError, NotSmallError: nothing was written; StaleError, RangesUnsupportedError,
    BadDataError, DeadlineError, UnavailableError; whatever ``sink.write`` raises.

    Cancellation: the sink has what came.
    """
    try:
        answer = await exchanges.request("GET", order.url, get_headers(order))
    except BrokenExchangeError as exc:
        raise NoAnswerError(str(exc)) from exc
    except ClosedExchangeError as exc:
        raise _given_up() from exc
    try:
        offset, skip, length, total = placement(answer, order)
        if answer.length_remaining is None or answer.length_remaining > SMALL_BYTES:
            raise NotSmallError
        position, end = offset, offset + length
        while position < end:
            try:
                piece = memoryview(await answer.piece())
            except (OSError, EOFError) as exc:
                raise body_failure(exc, order.path, f"{position} of {end}") from exc
            except ClosedExchangeError as exc:
                raise _given_up() from exc
            wanted = piece[skip:][: end - position]
            skip = max(0, skip - len(piece))
            if wanted:
                sink.write(position, wanted)
                position += len(wanted)
        return Fetched(etag=answer.headers.get("ETag"), total=total)
    finally:
        answer.close()


async def upload_small(exchanges: Exchanges, order: Upload) -> Uploaded:
    """PUT. The descriptor is read before the first await.

    Returns the answer, whatever its status. Raises: UnavailableError: no connection, nothing was sent, or the mount is ending;
    OutcomeUnknownError: it broke later; LocalStorageError: the local file failed, nothing was sent.

    Cancellation: the server may store the file all the same.
    """
    part = FilePart(order.fd, 0, order.size, order.path)
    try:
        body = os.pread(order.fd, order.size, 0)
    except OSError as exc:
        raise part.unreadable(exc) from exc
    if len(body) < order.size:
        raise part.too_short()
    try:
        answer = await exchanges.request("PUT", order.url, put_headers(order), body)
    except BrokenExchangeError as exc:
        raise put_failure(order, str(exc), has_sent=exc.has_sent) from exc
    except ClosedExchangeError as exc:
        raise _given_up() from exc
    try:
        return uploaded(order, answer, is_sent=answer.is_request_taken)
    finally:
        answer.close()


def _given_up() -> UnavailableError:
    return UnavailableError("The transfer was given up because the mount is ending.")
