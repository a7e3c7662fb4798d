"""The HTTP side: the data gateway, the data servers behind it, and the control endpoints.

Owns the way of one transfer: transfer token, access token, faults, then bytes between a socket and an open file.
What the bytes mean is the profile's. Runs on the server's loop; bodies are streamed, never held: a PUT is written
as it arrives, a GET goes out by sendfile where the connection is plain TCP.

Source: reva internal/http/services/{datagateway,dataprovider}, internal/http/interceptors/auth.
"""

import contextlib
import email.utils
import inspect
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable

from aiohttp import web

from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.faults import CallLog, FaultBook, FaultRule, Served
from cs3fuse.emulator.ocm_door import Door
from cs3fuse.emulator.profiles import DataCall, Download, HttpAnswer, Profile, UploadSink
from cs3fuse.emulator.ranges import RangePlan, multipart, plan_ranges
from cs3fuse.emulator.sending import (
    BrokenConnectionError,
    break_connection,
    breaker_of,
    early_answer,
    pace,
    paced,
    relay,
    send_piece,
)
from cs3fuse.emulator.tokens import Access, BadTokenError

ControlHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DataGateway:
    """Answers every HTTP request of the emulator."""

    def __init__(
        self, profile: Profile, faults: FaultBook, log: CallLog, control: ControlHandler | None, door: Door | None = None
    ) -> None:
        self._profile = profile
        self._faults = faults
        self._log = log
        self._control = control
        self._door = door

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
                break_connection(request)
            entry.code = str(refusal.status or "dropped")
            response = self._empty(HttpAnswer(refusal.status or 500, refusal.headers))
        except (BrokenConnectionError, ConnectionError):
            break_connection(request)
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
        if self._door is not None and self._door.serves(request.path):
            return await self._answer_site(request, self._door, entry)
        base, protocol, tail, version, expires_s = self._target(request)
        entry.path = self._profile.describe_data(base, protocol, tail)
        effects: tuple[FaultRule, ...] = ()
        if self._faults.rules:
            effects = self._faults.effects("http", request.method, entry.path, self._user_name(request))
            if any(rule.expire_tokens for rule in effects):
                self._profile.tokens.expire_all()
            spoiled = await self._spoil(effects)
            if spoiled is not None:
                return spoiled
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
            found = self._profile.download(call)
            download = await found if inspect.isawaitable(found) else found
            return await self._send(request, download, effects, entry, expires_s)
        raise HttpRefusal(501)

    async def _spoil(self, effects: tuple[FaultRule, ...]) -> web.Response | None:
        """Wait as the effects say; an answer if one of them gives it instead of the work."""
        await self._faults.hold(effects)
        for rule in effects:
            if rule.http_status is not None and rule.after_bytes is None:
                return web.Response(status=rule.http_status, headers=dict(rule.headers), body=rule.body.encode())
        return None

    async def _answer_site(self, request: web.Request, door: Door, entry: Served) -> web.StreamResponse:
        """Answer another site of the mesh."""
        entry.path, entry.user = door.describe(request)
        effects = self._faults.effects("http", request.method, entry.path, entry.user)
        spoiled = await self._spoil(effects)
        if spoiled is not None:
            return spoiled
        answer = await door.answer(request, effects)
        if isinstance(answer, Download):
            return await self._send(request, answer, effects, entry, 0.0)
        if not isinstance(answer, web.StreamResponse):
            return await self._receive(request, answer, effects, entry)
        await self._faults.hold_answer(effects)
        if any(rule.drop_answer for rule in effects):
            raise HttpRefusal(0)
        return answer

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
        breaker = breaker_of(effects, "request")
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
            break_connection(request, reset=breaker is not None and breaker.how == "reset")
            raise BrokenConnectionError
        await self._faults.hold_answer(effects)
        if any(rule.drop_answer for rule in effects):
            raise HttpRefusal(0)
        return self._empty(answer)

    async def _take(
        self, request: web.Request, sink: UploadSink, effects: tuple[FaultRule, ...], entry: Served
    ) -> web.StreamResponse | None:
        """Take the body; an answer in the middle of it if a fault asks for one. A broken body is noted as the entry's code."""
        breaker, early = breaker_of(effects, "request"), early_answer(effects)
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
                await pace(len(chunk), effects)
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
            if download.fetch is not None and request.method == "GET":
                return await relay(request, answer, await download.fetch(), effects, entry)
            if request.method == "HEAD":
                self._head_headers(answer, expires_s)
            await answer.prepare(request)
            if request.method == "HEAD":
                return answer
            if download.abort or download.file is None:
                raise BrokenConnectionError
            breaker = breaker_of(effects, "response")
            for piece in pieces:
                for part in paced(piece, effects):
                    await send_piece(request, answer, download, part, entry, breaker)
                    await pace(len(part) if isinstance(part, bytes) else part[1], effects)
            if entry.sent < (answer.content_length or 0):
                # Announced more than there is: the client must see a short body, not a wait.
                raise BrokenConnectionError
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
