"""The guard: a handler answers in time, with an errno, whatever happens inside."""

import errno

import pyfuse3
import pytest
import trio
import trio.testing

from cs3fuse.errors import ConflictError, Cs3FuseError, LockedError, NotFoundError, errno_for
from cs3fuse.kernel.guard import guarded


class Handlers:
    """The smallest object that the guard can wrap."""

    request_deadline_s = 10.0

    def __init__(self) -> None:
        self.data_limiter = trio.CapacityLimiter(1)
        self.counted: list[tuple[str, int | None]] = []
        self.noted: list[tuple[str, int, str]] = []

    def count_request(self, op: str, error: int | None) -> None:
        self.counted.append((op, error))

    def note_failure(self, op: str, number: int, error: Cs3FuseError) -> None:
        self.noted.append((op, number, str(error)))

    @guarded("fail")
    async def fail(self, error: Exception) -> None:
        raise error

    @guarded("hang")
    async def hang(self) -> None:
        await trio.sleep_forever()

    @guarded("slow", moves_data=True, deadline_factor=float("inf"))
    async def slow(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "done"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (NotFoundError("x"), errno.ENOENT),
        (ConflictError("x"), errno.ESTALE),
        (LockedError("x"), errno.EBUSY),
        (KeyError(7), errno.ESTALE),
        (ZeroDivisionError(), errno.EIO),
        (ExceptionGroup("g", [ValueError()]), errno.EIO),
        (pyfuse3.FUSEError(errno.ENOTTY), errno.ENOTTY),
    ],
)
async def test_every_failure_becomes_an_errno(error: Exception, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """pyfuse3 would end the mount on anything that is not FUSEError."""
    handlers = Handlers()
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await handlers.fail(error)
    assert caught.value.errno == number
    assert handlers.counted == [("fail", number)]


async def test_a_handler_that_hangs_answers_etimedout(autojump_clock: trio.testing.MockClock) -> None:
    """A dead server must not freeze the program for ever."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Handlers().hang()
    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() == pytest.approx(10.0)


async def test_an_operation_bounded_by_progress_may_take_longer(autojump_clock: trio.testing.MockClock) -> None:
    """A commit of a large file takes longer than a request may."""
    assert await Handlers().slow(1000) == "done"


async def test_data_requests_wait_for_a_slot(autojump_clock: trio.testing.MockClock) -> None:
    """One slot: the second starts when the first is done, and other requests are not held up."""
    handlers = Handlers()
    ended = []

    async def one() -> None:
        await handlers.slow(5)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(pyfuse3.FUSEError):
            await handlers.fail(NotFoundError("x"))
        assert trio.current_time() == 0
    assert ended == [5, 10]


async def test_an_outer_cancellation_is_not_swallowed() -> None:
    """The end of the mount must reach the handlers."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await Handlers().hang()
    assert scope.cancelled_caught


def test_every_error_kind_has_an_errno_of_its_own_choice() -> None:
    """A new error class without a row in the table would silently be EIO."""
    from cs3fuse import errors

    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Cs3FuseError) and k is not Cs3FuseError]
    assert all(kind in errors._ERRNO for kind in kinds)
    assert errno.ENOSYS not in errors._ERRNO.values()
    assert errno_for(Cs3FuseError("x")) == errno.EIO


async def test_failures_worth_a_question_are_remembered() -> None:
    """Who asks later why a save failed gets the sentence; a missing file is no failure."""
    handlers = Handlers()
    for error in (NotFoundError("no such file"), LockedError("locked by marie")):
        with pytest.raises(pyfuse3.FUSEError):
            await handlers.fail(error)
    assert handlers.noted == [("fail", errno.EBUSY, "locked by marie")]
