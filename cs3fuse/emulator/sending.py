"""How bytes go out: pieces of an open file, or the body of another server, paced and broken off as the faults ask.

Called by `datagateway` for each transfer, on the server's loop.
"""

import asyncio
import socket
import struct
from typing import Any

from aiohttp import web

from cs3fuse.emulator.faults import FaultRule, Served
from cs3fuse.emulator.profiles import Download, RemoteBody

_CHUNK = 1 << 20
_PACED_CHUNK = 1 << 16


class BrokenConnectionError(Exception):
    """The connection is to be broken now, or is broken already."""


async def relay(
    request: web.Request, response: web.StreamResponse, body: RemoteBody, effects: tuple[FaultRule, ...], entry: Served
) -> web.StreamResponse:
    """Send what another server sends; closes its body. Raises: BrokenConnectionError when it was shorter than announced."""
    breaker = breaker_of(effects, "response")
    limit = None if breaker is None else breaker.reset_after_bytes
    try:
        # on_response_prepare takes the type out again when there is none.
        response.headers["Content-Type"] = body.content_type
        await response.prepare(request)
        while data := await body.read():
            data = data if limit is None else data[: limit - entry.sent]
            await response.write(data)
            entry.sent += len(data)
            await pace(len(data), effects)
            if breaker is not None and entry.sent == limit:
                await _flush(request)
                break_connection(request, reset=breaker.how == "reset")
                raise BrokenConnectionError
    finally:
        body.close()
    if entry.sent < (response.content_length or 0):
        raise BrokenConnectionError
    await response.write_eof()
    return response


async def send_piece(
    request: web.Request,
    response: web.StreamResponse,
    download: Download,
    piece: bytes | tuple[int, int],
    entry: Served,
    breaker: FaultRule | None,
) -> None:
    """Send bytes or a part of the file, never more than announced or than the fault allows."""
    allowed = (response.content_length or 0) - entry.sent
    limit = breaker.reset_after_bytes if breaker is not None else None
    if limit is not None:
        allowed = min(allowed, limit - entry.sent)
    file = download.file
    assert file is not None
    if isinstance(piece, bytes):
        data = piece[:allowed]
        await response.write(data)
        entry.sent += len(data)
    else:
        offset, length = piece
        length = min(length, allowed)
        entry.sent += await _send_file(request, response, file, offset, length)
    if breaker is not None and limit is not None and entry.sent >= limit:
        await _flush(request)
        break_connection(request, reset=breaker.how == "reset")
        raise BrokenConnectionError


async def _send_file(request: web.Request, response: web.StreamResponse, file: Any, offset: int, length: int) -> int:
    """Send a part of a file; returns how many bytes there were [bytes]."""
    transport = request.transport
    if transport is None:
        raise BrokenConnectionError
    loop = asyncio.get_running_loop()
    if length > _CHUNK // 8 and transport.get_extra_info("sslcontext") is None:
        return int(await loop.sendfile(transport, file, offset, length))
    file.seek(offset)
    sent = 0
    while sent < length:
        data = file.read(min(_CHUNK, length - sent))
        if not data:
            break
        await response.write(data)
        sent += len(data)
    return sent


def _rate(effects: tuple[FaultRule, ...]) -> float | None:
    """The slowest rate any effect asks for [bytes/s]."""
    return min((rule.bytes_per_s for rule in effects if rule.bytes_per_s), default=None)


def paced(piece: bytes | tuple[int, int], effects: tuple[FaultRule, ...]) -> list[bytes | tuple[int, int]]:
    """A piece cut so that a slow answer flows instead of jumping."""
    if _rate(effects) is None or isinstance(piece, bytes):
        return [piece]
    offset, length = piece
    return [(start, min(_PACED_CHUNK, offset + length - start)) for start in range(offset, offset + length, _PACED_CHUNK)]


async def pace(sent: int, effects: tuple[FaultRule, ...]) -> None:
    """Wait as long as so many bytes take at the rate of the effects."""
    rate = _rate(effects)
    if rate is not None:
        await asyncio.sleep(sent / rate)


async def _flush(request: web.Request) -> None:
    """Wait until the kernel has taken everything written so far."""
    transport = request.transport
    while transport is not None and not transport.is_closing() and transport.get_write_buffer_size():
        await asyncio.sleep(0.001)


def break_connection(request: web.Request, *, reset: bool = False) -> None:
    """Close the connection at once, with a TCP reset if asked for."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def breaker_of(effects: tuple[FaultRule, ...], direction: str) -> FaultRule | None:
    """The rule that breaks the connection first in this direction."""
    rules = [rule for rule in effects if rule.reset_after_bytes is not None and rule.direction == direction]
    return min(rules, key=lambda rule: rule.reset_after_bytes or 0, default=None)


def early_answer(effects: tuple[FaultRule, ...]) -> FaultRule | None:
    """The rule that answers in the middle of the request's body."""
    return next((rule for rule in effects if rule.http_status is not None and rule.after_bytes is not None), None)
