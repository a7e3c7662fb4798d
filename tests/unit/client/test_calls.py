"""How a call is carried: token, deadline, cancellation, and what is made again."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from cs3.storage.provider.v1beta1 import provider_api_pb2

from cs3fuse import errors
from cs3fuse.client.calls import CALL_LIMIT_S, Calls, Effect, await_future, code_name
from tests.unit.client.fakes import NEVER, REFUSED, FakeFuture, FakeStub, FakeTokens, answer, broken

STAT = provider_api_pb2.StatRequest()
DELETE = provider_api_pb2.DeleteRequest()
KNOWN = answer("WhoAmI")
UNKNOWN = answer("WhoAmI", "UNAUTHENTICATED", "error dismantling token")


async def stat(calls: Calls) -> Any:
    return await calls.invoke("Stat", STAT, path="/home/a")


async def delete(calls: Calls) -> Any:
    return await calls.invoke("Delete", DELETE, path="/home/a", effect=Effect.MUTATION)


async def test_the_token_goes_along(calls: Calls, stub: FakeStub) -> None:
    """Every call carries the token as x-access-token."""
    stub.on("Stat", answer("Stat"))
    await stat(calls)
    assert stub.made[0].token == "token-1"


async def test_the_deadline_is_the_callers(calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """gRPC is told what is left of the scope, and a limit where there is no scope."""
    stub.on("Stat", answer("Stat"))
    with trio.fail_after(5):
        await stat(calls)
    await stat(calls)
    assert 5 <= stub.made[0].timeout < 6
    assert stub.made[1].timeout == CALL_LIMIT_S


async def test_cancelled_at_once_and_the_call_too(calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """A call that never answers holds nobody, and does not go on behind his back."""
    stub.on("Stat", NEVER)
    with trio.move_on_after(1) as scope:
        await stat(calls)
    assert scope.cancelled_caught
    assert stub.made[0].future.is_cancelled


async def test_an_answer_from_another_thread_is_awaited() -> None:
    """gRPC reports from a thread of its own."""
    future = FakeFuture(NEVER)
    callbacks: list[Any] = []
    future.add_done_callback = callbacks.append  # type: ignore[method-assign]

    async def finish() -> None:
        future._outcome = "done"
        await trio.to_thread.run_sync(callbacks[0], future)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_finish_when_waited_for, callbacks, finish)
        assert await await_future(future) == "done"


async def _finish_when_waited_for(callbacks: list[Any], finish: Any) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert callbacks
    await finish()


async def test_a_report_after_the_end_of_the_loop_is_dropped() -> None:
    """gRPC's thread may be late; it must not be killed by an exception."""
    callbacks: list[Any] = []

    async def main() -> None:
        future = FakeFuture(NEVER)
        future.add_done_callback = callbacks.append  # type: ignore[method-assign]
        with trio.move_on_after(0):
            await await_future(future)

    await trio.to_thread.run_sync(trio.run, main)
    callbacks[0](None)


@pytest.mark.parametrize(
    "refusal",
    [
        broken("PERMISSION_DENIED", "auth: core access token is invalid"),
        broken("UNAUTHENTICATED", "auth: core access token not found"),
        broken("UNKNOWN", "user not found in context"),
        answer("Stat", "PERMISSION_DENIED", ""),
        answer("Stat", "PERMISSION_DENIED", "auth: core access token is invalid"),
        answer("Stat", "UNAUTHENTICATED", "x"),
        answer("Stat", "NOT_FOUND", "gateway could not find space for ref=x"),
        answer("Stat", "INTERNAL", "user not found in context"),
    ],
)
async def test_an_expired_token_is_renewed_and_the_call_made_again(
    calls: Calls, stub: FakeStub, tokens: FakeTokens, refusal: object
) -> None:
    """All the ways in which servers say that a token is over, none of which is a plain "unauthenticated"."""
    stub.on("Stat", refusal, answer("Stat")).on("WhoAmI", UNKNOWN)
    await stat(calls)
    assert stub.methods() == ["Stat", "WhoAmI", "Stat"]
    assert stub.made[-1].token == "token-2"
    assert tokens.refused == ["token-1"]


async def test_a_refused_mutation_is_made_again_after_renewal(calls: Calls, stub: FakeStub) -> None:
    """A call refused for its token was not carried out."""
    stub.on("Delete", broken("PERMISSION_DENIED"), answer("Delete")).on("WhoAmI", broken("PERMISSION_DENIED"))
    await delete(calls)
    assert stub.methods() == ["Delete", "WhoAmI", "Delete"]


async def test_a_good_token_is_not_renewed(calls: Calls, stub: FakeStub, tokens: FakeTokens) -> None:
    """A refusal of the call itself costs a WhoAmI, not a sign-in."""
    stub.on("Stat", answer("Stat", "NOT_FOUND", "gateway could not find space for ref=x")).on("WhoAmI", KNOWN)
    for _ in range(5):
        with pytest.raises(errors.NotFoundError):
            await stat(calls)
    assert stub.methods() == ["Stat", "WhoAmI"] * 5
    assert tokens.refused == []


async def test_a_token_that_was_good_a_moment_ago_is_not_trusted(calls: Calls, stub: FakeStub, tokens: FakeTokens) -> None:
    """Expiry must never look like an empty folder, not even for seconds."""
    stub.on("Stat", answer("Stat", "NOT_FOUND", "gateway could not find space for ref=x")).on("WhoAmI", KNOWN, UNKNOWN)
    for _ in range(2):
        with pytest.raises(errors.NotFoundError):
            await stat(calls)
    assert tokens.refused == ["token-1"]


async def test_no_login_loop_where_new_tokens_are_refused_too(
    calls: Calls, stub: FakeStub, tokens: FakeTokens, autojump_clock: trio.testing.MockClock
) -> None:
    """A restricted scope answers exactly like an expired token: one renewal, then it is believed for a while."""
    stub.on("Stat", broken("PERMISSION_DENIED", "auth: core access token is invalid")).on("WhoAmI", broken("PERMISSION_DENIED"))
    for _ in range(5):
        with pytest.raises(errors.AccessDeniedError):
            await stat(calls)
    assert len(tokens.refused) == 1
    await trio.sleep(61)
    with pytest.raises(errors.AccessDeniedError):
        await stat(calls)
    assert len(tokens.refused) == 2


async def test_an_unreachable_whoami_does_not_renew(
    calls: Calls, stub: FakeStub, tokens: FakeTokens, autojump_clock: trio.testing.MockClock
) -> None:
    """Nothing is known of the token then."""
    stub.on("Stat", broken("PERMISSION_DENIED")).on("WhoAmI", broken("UNAVAILABLE", REFUSED))
    with pytest.raises(errors.UnavailableError):
        await stat(calls)
    assert tokens.refused == []


@pytest.mark.parametrize("text", [REFUSED, "Socket closed", "recvmsg:Connection reset by peer"])
async def test_reads_are_made_again_while_nobody_answers(
    calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock, text: str
) -> None:
    """A server that restarts is not worth an error."""
    stub.on("Stat", broken("UNAVAILABLE", text), broken("INTERNAL", "Received RST_STREAM with error code 2"), answer("Stat"))
    await stat(calls)
    assert stub.methods() == ["Stat"] * 3


async def test_reads_give_up_after_a_few_times(calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """The caller learns in little more than a second that the server is away."""
    stub.on("Stat", broken("UNAVAILABLE", REFUSED))
    started = trio.current_time()
    with pytest.raises(errors.UnavailableError):
        await stat(calls)
    assert len(stub.made) == 4
    assert trio.current_time() - started < 2


async def test_no_pause_outlasts_the_scope(calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """Where the scope would end first, the reason is told rather than a time-out."""
    stub.on("Stat", broken("UNAVAILABLE", REFUSED))
    with trio.fail_after(0.05), pytest.raises(errors.UnavailableError):
        await stat(calls)
    assert len(stub.made) == 1


async def test_a_mutation_that_never_left_is_made_again(
    calls: Calls, stub: FakeStub, autojump_clock: trio.testing.MockClock
) -> None:
    """A connection that failed is proof that nothing was carried out."""
    stub.on("Delete", broken("UNAVAILABLE", REFUSED), answer("Delete"))
    await delete(calls)
    assert len(stub.made) == 2


@pytest.mark.parametrize(
    "lost",
    [
        broken("UNAVAILABLE", "Socket closed"),
        broken("UNAVAILABLE", "Received http2 header with status: 503"),
        broken("DEADLINE_EXCEEDED", "Deadline Exceeded"),
        broken("CANCELLED", "Received RST_STREAM"),
        broken("INTERNAL", "Received RST_STREAM with error code 2"),
        broken("UNKNOWN", "Stream removed"),
        answer("Delete", "UNAVAILABLE", "provider away"),
        answer("Delete", "DEADLINE_EXCEEDED"),
    ],
)
async def test_a_mutation_with_a_lost_answer_is_never_made_again(calls: Calls, stub: FakeStub, lost: object) -> None:
    """It may have been carried out: a second time could delete what was made since."""
    stub.on("Delete", lost)
    with pytest.raises(errors.OutcomeUnknownError):
        await delete(calls)
    assert len(stub.made) == 1


async def test_a_panic_is_a_server_error(calls: Calls, stub: FakeStub) -> None:
    """gRPC INTERNAL with a text of the service is an answer, not a broken stream."""
    stub.on("Delete", broken("INTERNAL", "runtime error: invalid memory address"))
    with pytest.raises(errors.ServerError):
        await delete(calls)


async def test_status_zero_is_a_failure(calls: Calls, stub: FakeStub) -> None:
    """A response whose status was never set must not pass for success."""
    stub.on("Stat", provider_api_pb2.StatResponse())
    with pytest.raises(errors.ServerError):
        await stat(calls)


async def test_a_closed_channel_is_an_unavailable_server(calls: Calls, stub: FakeStub) -> None:
    """A task that is late at the end of the mount gets an error of ours."""
    stub.is_closed = True
    with pytest.raises(errors.UnavailableError):
        await stat(calls)


def test_unknown_codes_have_a_name() -> None:
    """A newer server's code is shown as its number."""
    assert code_name(6) == "NOT_FOUND"
    assert code_name(99) == "99"
