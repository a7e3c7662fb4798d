"""The HTTP side: the data gateway, the data servers behind it, and the control endpoints.

Owns the way of one transfer: transfer token, access token, faults, then bytes between a socket and an open file.
What the bytes mean is the profile's. Runs on the server's loop; bodies are streamed, never held: a PUT is written
as it arrives, a GET goes out by sendfile where the connection is plain TCP.

Source: reva internal/http/services/{datagateway,dataprovider}, internal/http/interceptors/auth.
"""

import asyncio
import contextlib
import email.utils
import secrets
import socket
import struct
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.faults import CallLog, FaultBook, FaultRule, Served
from cs3fuse.emulator.profiles import DataCall, Download, HttpAnswer, Profile, UploadSink
from cs3fuse.emulator.ranges import RangePlan, multipart, plan_ranges
from cs3fuse.emulator.tokens import Access, BadTokenError

_CHUNK = 1 << 20
_PACED_CHUNK = 1 << 16
ControlHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _BrokenError(Exception):
    """The connection is to be broken now, or is broken already."""


class DataGateway:
    """Answers every HTTP request of the emulator."""

    def __init__(self, profile: Profile, faults: FaultBook, log: CallLog, control: ControlHandler | None) -> None:
        self._profile = profile
        self._faults = faults
        self._log = log
        self._control = control

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if self._control is not None and request.path.startswith("/_control"):
            return await self._control(request)
        entry = self._log.begin("http", request.method)
        try:
            response = await self._answer(request, entry)
            entry.code = entry.code or str(response.status)
        except HttpRefusal as refusal:
            if not refusal.status:
                _break(request)
            entry.code = str(refusal.status or "dropped")
            response = self._empty(HttpAnswer(refusal.status or 500, refusal.headers))
        except (_BrokenError, ConnectionError):
            _break(request)
            entry.code = "dropped"
            response = web.Response(status=500)
        finally:
            self._log.finish(entry)
        return response

    def _empty(self, answer: HttpAnswer) -> web.Response:
        response = web.Response(status=answer.status, headers=dict(answer.headers))
        self._common_headers(response)
        return response

    def _common_headers(self, response: web.StreamResponse) -> None:
        number = secrets.token_hex(8)
        response.headers["X-Request-Id"] = f"{number}, {number}" if self._profile.answers_have_request_id else f"gateway/{number}"
        for name, value in self._profile.http_headers.items():
            response.headers[name] = value
        if self._profile.clock.skew_s:
            response.headers["Date"] = email.utils.formatdate(self._profile.clock.now_s(), usegmt=True)

    async def _answer(self, request: web.Request, entry: Served) -> web.StreamResponse:
        base, protocol, tail, version, expires_s = self._target(request)
        entry.path = self._profile.describe_data(base, protocol, tail)
        effects: tuple[FaultRule, ...] = ()
        if self._faults.rules:
            user = self._user_name(request)
            effects = self._faults.effects("http", request.method, entry.path, user)
            if any(rule.expire_tokens for rule in effects):
                self._profile.tokens.expire_all()
            await self._faults.hold(effects)
            for rule in effects:
                if rule.http_status is not None and rule.after_bytes is None:
                    return web.Response(status=rule.http_status, headers=dict(rule.headers), body=rule.body.encode())
        access = self._access(request, protocol)
        if access is not None:
            entry.user = access.user.name
        length = request.content_length if "Content-Length" in request.headers else None
        call = DataCall(request.method, access, base, protocol, tail, request.headers, length, version, forwarded=bool(expires_s))
        if request.method == "PUT" and protocol != "tus":
            return await self._receive(request, self._profile.upload(call), effects, entry)
        if request.method == "PATCH" and protocol == "tus":
            return await self._receive(request, self._profile.tus_patch(call), effects, entry)
        if request.method == "HEAD" and protocol == "tus":
            return self._empty(self._profile.tus_status(call))
        if request.method in {"GET", "HEAD"} and protocol != "tus":
            return await self._send(request, self._profile.download(call), effects, entry, expires_s)
        raise HttpRefusal(501)

    # -- tokens

    def _target(self, request: web.Request) -> tuple[str, str, str, str, float]:
        """The inner URL as (base, protocol, tail), version key, and expiry of the transfer token (0: none was needed)."""
        url = urllib.parse.urlsplit(request.raw_path)
        gateway, expires_s, version = self._profile.data_path, 0.0, request.query.get("version_key", "")
        if url.path == gateway or url.path.startswith(gateway + "/"):
            token = request.headers.get("X-Reva-Transfer") or url.path[len(gateway) + 1 :].rpartition("/")[2]
            is_gateway = url.path == gateway or gateway.strip("/") not in self._profile.data_bases
            if token or is_gateway or "X-Reva-Transfer" in request.headers:
                try:
                    target, version, expires_s = self._profile.tokens.check_transfer(token)
                except BadTokenError:
                    raise HttpRefusal(403) from None
                url = urllib.parse.urlsplit(target)
        base, _, rest = url.path.lstrip("/").partition("/")
        if base not in self._profile.data_bases:
            raise HttpRefusal(404)
        protocol, _, tail = rest.partition("/")
        return base, protocol, urllib.parse.unquote(tail), version, expires_s

    def _access(self, request: web.Request, protocol: str) -> Access:
        token = request.headers.get("x-access-token", "")
        try:
            return self._profile.tokens.check_access(token, self._profile.token_leeway_s)
        except BadTokenError:
            raise HttpRefusal(401, {"WWW-Authenticate": 'Basic realm="reva"'}) from None

    def _user_name(self, request: web.Request) -> str:
        try:
            return self._profile.tokens.check_access(request.headers.get("x-access-token", "")).user.name
        except BadTokenError:
            return ""

    # -- from the client

    async def _receive(
        self, request: web.Request, sink: UploadSink, effects: tuple[FaultRule, ...], entry: Served
    ) -> web.StreamResponse:
        """Stream a body into a sink and answer as the sink says.

        Cancellation: the sink keeps the bytes so far and carries nothing out.
        """
        breaker = _breaker(effects, "request")
        try:
            early = await self._take(request, sink, effects, entry)
            if early is not None:
                return early
            answer = None if entry.code == "broken" else await sink.finish()
            if answer is None:
                await sink.broken()
        finally:
            sink.abandon()
        if answer is None:
            _break(request, reset=breaker is not None and breaker.how == "reset")
            raise _BrokenError
        await self._faults.hold_answer(effects)
        if any(rule.drop_answer for rule in effects):
            raise HttpRefusal(0)
        return self._empty(answer)

    async def _take(
        self, request: web.Request, sink: UploadSink, effects: tuple[FaultRule, ...], entry: Served
    ) -> web.StreamResponse | None:
        """Take the body; an answer in the middle of it if a fault asks for one. A broken body is noted as the entry's code."""
        breaker, early = _breaker(effects, "request"), _early_answer(effects)
        stop = early.after_bytes if early is not None else (breaker.reset_after_bytes if breaker is not None else None)
        try:
            while chunk := await request.content.readany():
                if stop is not None and entry.received + len(chunk) >= stop:
                    sink.write(chunk[: stop - entry.received])
                    entry.received = stop
                    if early is not None:
                        return web.Response(status=early.http_status or 500, headers=dict(early.headers), body=early.body.encode())
                    entry.code = "broken"
                    return None
                sink.write(chunk)
                entry.received += len(chunk)
                await _pace(len(chunk), effects)
        except (ConnectionError, web.RequestPayloadError):
            entry.code = "broken"
        except OSError as error:
            # The disk below the emulator is full.
            raise HttpRefusal(500) from error
        if "Content-Length" in request.headers and entry.received != request.content_length:
            entry.code = "broken"
        return None

    # -- to the client

    async def _send(
        self, request: web.Request, download: Download, effects: tuple[FaultRule, ...], entry: Served, expires_s: float
    ) -> web.StreamResponse:
        """Stream an open file to the client; closes it."""
        with download.file if download.file is not None else contextlib.nullcontext():
            if any(rule.drop_answer for rule in effects):
                raise HttpRefusal(0)
            if download.etag and request.headers.get("If-None-Match") == download.etag and "Range" not in request.headers:
                return self._empty(HttpAnswer(304, {"Etag": download.etag}))
            download.size = min([download.size, *(rule.shorten_to for rule in effects if rule.shorten_to is not None)])
            plan = RangePlan(200)
            if request.method == "GET" and not download.abort:
                plan = plan_ranges(request.headers.get("Range"), download.size, download.ranges)
            if plan.status == 416:
                return self._empty(HttpAnswer(416, plan.headers))
            answer = web.StreamResponse(status=plan.status, headers={**download.headers, **plan.headers})
            self._common_headers(answer)
            answer.headers["Content-Type"] = download.content_type
            pieces = self._layout(answer, download, plan)
            if request.method == "HEAD":
                self._head_headers(answer, expires_s)
            await answer.prepare(request)
            if request.method == "HEAD":
                return answer
            if download.abort or download.file is None:
                raise _BrokenError
            breaker = _breaker(effects, "response")
            for piece in pieces:
                for part in _paced(piece, effects):
                    await _send_piece(request, answer, download, part, entry, breaker)
                    await _pace(len(part) if isinstance(part, bytes) else part[1], effects)
            if entry.sent < (answer.content_length or 0):
                # Announced more than there is: the client must see a short body, not a wait.
                raise _BrokenError
            await answer.write_eof()
            return answer

    def _layout(self, response: web.StreamResponse, download: Download, plan: RangePlan) -> list[bytes | tuple[int, int]]:
        """Set the length headers and cut the body into pieces: bytes, or (offset, length) of the file."""
        if plan.status == 200:
            response.content_length = download.size
            return [(0, download.size)]
        if len(plan.slices) == 1:
            only = plan.slices[0]
            response.content_length = only.length
            response.headers["Content-Range"] = only.content_range(download.size)
            return [(only.start, only.length)]
        boundary = secrets.token_hex(30)
        parts = multipart(plan, download.size, download.content_type, boundary, download.ranges)
        response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        response.content_length = parts.announced
        pieces: list[bytes | tuple[int, int]] = []
        for head, item in zip(parts.heads, plan.slices, strict=True):
            pieces += [head, (item.start, item.length)]
        return [*pieces, parts.tail]

    def _head_headers(self, response: web.StreamResponse, expires_s: float) -> None:
        if expires_s and self._profile.answers_have_request_id:
            response.headers["Upload-Expires"] = email.utils.formatdate(expires_s, usegmt=True).replace("GMT", "UTC")
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS, HEAD"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Origin, Authorization"


async def _send_piece(
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
        _break(request, reset=breaker.how == "reset")
        raise _BrokenError


async def _send_file(request: web.Request, response: web.StreamResponse, file: Any, offset: int, length: int) -> int:
    """Send a part of a file; returns how many bytes there were [bytes]."""
    transport = request.transport
    if transport is None:
        raise _BrokenError
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


def _paced(piece: bytes | tuple[int, int], effects: tuple[FaultRule, ...]) -> list[bytes | tuple[int, int]]:
    """A piece cut so that a slow answer flows instead of jumping."""
    if _rate(effects) is None or isinstance(piece, bytes):
        return [piece]
    offset, length = piece
    return [(start, min(_PACED_CHUNK, offset + length - start)) for start in range(offset, offset + length, _PACED_CHUNK)]


async def _pace(sent: int, effects: tuple[FaultRule, ...]) -> None:
    """Wait as long as so many bytes take at the rate of the effects."""
    rate = _rate(effects)
    if rate is not None:
        await asyncio.sleep(sent / rate)


async def _flush(request: web.Request) -> None:
    """Wait until the kernel has taken everything written so far."""
    transport = request.transport
    while transport is not None and not transport.is_closing() and transport.get_write_buffer_size():
        await asyncio.sleep(0.001)


def _break(request: web.Request, *, reset: bool = False) -> None:
    """Close the connection at once, with a TCP reset if asked for."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _breaker(effects: tuple[FaultRule, ...], direction: str) -> FaultRule | None:
    """The rule that breaks the connection first in this direction."""
    rules = [rule for rule in effects if rule.reset_after_bytes is not None and rule.direction == direction]
    return min(rules, key=lambda rule: rule.reset_after_bytes or 0, default=None)


def _early_answer(effects: tuple[FaultRule, ...]) -> FaultRule | None:
    """The rule that answers in the middle of the request's body."""
    return next((rule for rule in effects if rule.http_status is not None and rule.after_bytes is not None), None)
