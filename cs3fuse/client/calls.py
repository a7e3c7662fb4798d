"""One remote call: awaiting gRPC on trio, the token, the one retry after renewing it, the small retries of reads.

Owns how a call is carried and what its failure means for the caller; which call is made and why is ``client.tree``'s. Used from the
trio thread only; any number of calls may run at once over one channel.
"""

from __future__ import annotations

import contextlib
import enum
import math
import re
from typing import Any

import grpc
import structlog
import trio
from cs3.gateway.v1beta1 import gateway_api_pb2
from cs3.rpc.v1beta1 import code_pb2

from cs3fuse.client.errors import error_for, printable
from cs3fuse.errors import Cs3FuseError, OutcomeUnknownError, UnavailableError
from cs3fuse.ports import TokenSource

_log = structlog.get_logger(__name__)

# No server limits its own calls; a frozen OCM remote answers never (measured), so every call has an end.
CALL_LIMIT_S = 60.0
# gRPC's own deadline comes a moment after the caller's scope, so that a scope that ends looks the same everywhere.
_GRACE_S = 0.5
_BACKOFF_S = (0.1, 0.3, 0.9)
# A renewed token that even WhoAmI does not know is not renewed again for this long: the refusals mean the calls.
_BELIEVE_REFUSAL_S = 60.0

# Texts with which servers say that the call never reached the service: gRPC core's own and grpc-go's behind a gateway.
_NOT_EXECUTED = re.compile(
    r"failed to connect to all addresses|connection refused|error while dialing|dns resolution failed|errors resolving|name resolution|handshake",
    re.IGNORECASE,
)
# A gRPC INTERNAL or UNKNOWN of the transport, not of the service: the answer was lost.
_BROKEN_STREAM = re.compile(
    r"rst_stream|stream removed|stream terminated|goaway|connection (reset|closed|dropped)|socket closed|eof", re.IGNORECASE
)
_TOKEN_REFUSED = re.compile(r"core access token|user not found in context|dismantling token", re.IGNORECASE)


class Effect(enum.Enum):
    """What a call may leave behind, which decides about repeating it."""

    READ = "read"
    MUTATION = "mutation"


class Calls:
    """Calls of one signed-in user to one gateway."""

    def __init__(self, stub: Any, tokens: TokenSource) -> None:
        self._stub = stub
        self.tokens = tokens
        self._unknown_token = ""
        self._unknown_until = -math.inf

    async def invoke(self, method: str, request: Any, *, path: str, effect: Effect = Effect.READ) -> Any:
        """Make a call and return its response, whose status is OK.

        Reads are repeated a few times while the server cannot be reached; mutations only where they were certainly not carried out.
        A refused token is renewed once and the call made again.

        Raises: the failures of the table; OutcomeUnknownError: a mutation whose answer was lost (also at the call's own limit).
        Cancellation: at once; a mutation may still be carried out.
        """
        token = await self.tokens.token()
        response, failure = await self._attempt(method, request, token, path, effect)
        if failure is not None and _may_be_the_token(failure):
            renewed = await self.renewed_if_bad(token)
            if renewed is not None:
                response, failure = await self._attempt(method, request, renewed, path, effect)
                if failure is not None and _may_be_the_token(failure):
                    await self.refused_again(renewed)
        if failure is not None:
            raise failure.error(effect)
        return response

    async def who_am_i(self) -> Any:
        """WhoAmI for the current token; the token stands in the request as well, so a renewal has to change both."""
        token = await self.tokens.token()
        response, failure = await self._who_is(token)
        if failure is not None and _may_be_the_token(failure):
            response, failure = await self._who_is(await self.tokens.renew(token))
        if failure is not None:
            raise failure.error(Effect.READ)
        return response

    async def renewed_if_bad(self, token: str) -> str | None:
        """A new token if the server does not know this one any more, None if it does: then the refusal means the call itself.

        "Permission denied" and OpenCloud's "not found" look alike for an expired token and for a real refusal; WhoAmI tells. Its answer is
        not remembered: a token that expires a moment later must not make the folders look empty.

        Raises: SignInError, UnavailableError.
        """
        if token == self._unknown_token and trio.current_time() < self._unknown_until:
            return None
        _, failure = await self._who_is(token)
        if failure is None:
            return None
        if failure.is_transient:
            raise failure.error(Effect.READ)
        return await self.tokens.renew(token)

    async def refused_again(self, token: str) -> None:
        """A renewed token was refused as well: where WhoAmI does not know it either, as with restricted tokens, do not sign in for a while."""
        _, failure = await self._who_is(token)
        if failure is not None and not failure.is_transient:
            self._unknown_token, self._unknown_until = token, trio.current_time() + _BELIEVE_REFUSAL_S

    async def _who_is(self, token: str) -> tuple[Any, Failure | None]:
        return await self._attempt("WhoAmI", gateway_api_pb2.WhoAmIRequest(token=token), token, "the own account", Effect.READ)

    async def _attempt(self, method: str, request: Any, token: str, path: str, effect: Effect) -> tuple[Any, Failure | None]:
        """The call with one token, repeated while nothing can have happened; the response, or why there is none."""
        call = getattr(self._stub, method)
        metadata = (("x-access-token", token),) if token else None
        for seconds in (*_BACKOFF_S, None):
            try:
                response = await await_future(start_call(call, request, metadata))
            except grpc.RpcError as exc:
                failure = Failure(method, f"gRPC {exc.code().name}", exc.details() or "", path, cause=exc)
            else:
                if response.status.code == code_pb2.CODE_OK:
                    return response, None
                failure = Failure(
                    method, code_name(response.status.code), response.status.message, path, trace=response.status.trace
                )
            is_repeatable = failure.is_connection_lost if effect is Effect.READ else failure.is_not_executed
            if seconds is None or not is_repeatable or not await pause(seconds):
                return None, failure
            _log.debug("call_repeated", call=method, after_s=seconds, said=printable(failure.text))
        raise AssertionError("the last pause is None")


class Failure:
    """An answer that is not OK, before it is judged. ``answer`` as in ``client.errors``."""

    __slots__ = ("answer", "cause", "method", "path", "text", "trace")

    def __init__(
        self, method: str, answer: str, text: str, path: str, *, trace: str = "", cause: BaseException | None = None
    ) -> None:
        self.method = method
        self.answer = answer
        self.text = text
        self.path = path
        self.trace = trace
        self.cause = cause

    @property
    def is_unavailable(self) -> bool:
        """Whether the server, or one behind it, could not be reached."""
        return self.answer in {"gRPC UNAVAILABLE", "UNAVAILABLE"}

    @property
    def is_transient(self) -> bool:
        """Whether the answer says nothing about the question."""
        return self.is_unavailable or self.answer in {"gRPC DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "gRPC CANCELLED", "CANCELLED"}

    @property
    def is_not_executed(self) -> bool:
        """Whether the call certainly did not reach the service."""
        return self.is_unavailable and _NOT_EXECUTED.search(self.text) is not None

    @property
    def is_connection_lost(self) -> bool:
        """Whether there was no connection, or it broke."""
        return self.is_unavailable or self._is_broken_stream

    @property
    def _is_broken_stream(self) -> bool:
        return self.answer in {"gRPC INTERNAL", "gRPC UNKNOWN"} and _BROKEN_STREAM.search(self.text) is not None

    @property
    def is_answer_lost(self) -> bool:
        """Whether the call may have been carried out without our learning of it."""
        if self.is_transient:
            return not self.is_not_executed
        return self._is_broken_stream

    def error(self, effect: Effect) -> Cs3FuseError:
        """The failure for the core."""
        if effect is Effect.MUTATION and self.is_answer_lost:
            error: Cs3FuseError = OutcomeUnknownError(
                f"The answer to {self.method} of {printable(self.path, limit=400)} was lost ({printable(self.text) or self.answer}); "
                "whether it was carried out is not known.",
                call=self.method,
                path=self.path,
                trace=self.trace,
            )
        elif self._is_broken_stream:
            error = UnavailableError(
                f"The connection broke at {self.method} of {printable(self.path, limit=400)}.", call=self.method, path=self.path
            )
        else:
            error = error_for(self.method, self.answer, self.path, text=self.text, trace=self.trace)
        error.__cause__ = self.cause
        return error


def _may_be_the_token(failure: Failure) -> bool:
    """Whether an expired or unknown token would be answered like this.

    Source: Reva internal/grpc/interceptors/auth (gRPC PERMISSION_DENIED, UNAUTHENTICATED; a status with an empty message where the
    token expires between gateway and storage); OpenCloud measured: NOT_FOUND "could not find space", texts with the token's name.
    """
    if failure.answer in {"gRPC PERMISSION_DENIED", "gRPC UNAUTHENTICATED", "UNAUTHENTICATED"}:
        return True
    if failure.answer == "PERMISSION_DENIED":
        return not failure.text or _TOKEN_REFUSED.search(failure.text) is not None
    if failure.answer == "NOT_FOUND":
        return "could not find space" in failure.text.lower()
    if failure.answer in {"INTERNAL", "gRPC UNKNOWN", "gRPC INTERNAL"}:
        return _TOKEN_REFUSED.search(failure.text) is not None
    return False


def start_call(call: Any, request: Any, metadata: tuple[tuple[str, str], ...] | None = None) -> Any:
    """Send a call with what is left of the caller's scope as its deadline. Raises: UnavailableError: the channel was closed."""
    try:
        return call.future(request, timeout=_call_timeout_s(), metadata=metadata)
    except ValueError as exc:
        raise UnavailableError("The connection to the server is closed.") from exc


async def await_future(future: Any) -> Any:
    """Wait on trio for a ``grpc.Future``; its result, or its ``grpc.RpcError``.

    Cancellation: at once; the call is cancelled, though the server may carry it out all the same.
    """
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def report(_future: Any) -> None:
        # Called from gRPC's thread, perhaps after the loop has ended.
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(report)
    try:
        await done.wait()
    finally:
        if not done.is_set():
            future.cancel()
    return future.result()


async def pause(seconds: float) -> bool:
    """Sleep before trying again; False, without sleeping, where the caller's scope would end first: then the reason is told instead."""
    if trio.current_effective_deadline() - trio.current_time() <= seconds:
        return False
    await trio.sleep(seconds)
    return True


def code_name(code: int) -> str:
    """The name of a CS3 code without "CODE_"; the number where a newer server has more. 0 is INVALID, an error like any other."""
    try:
        return str(code_pb2.Code.Name(code)).removeprefix("CODE_")
    except ValueError:
        return str(code)


def _call_timeout_s() -> float:
    """What is left of the caller's scope, bounded."""
    remaining = trio.current_effective_deadline() - trio.current_time()
    return min(max(remaining, 0.0) + _GRACE_S, CALL_LIMIT_S)
