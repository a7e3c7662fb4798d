"""The guard around every kernel request: context, deadline, errors.

Owns the only ``FUSEError`` and the only ``except Exception`` of the project: pyfuse3 ends the mount on any exception that is not
a FUSEError, so nothing else may leave a handler. ENOSYS is never returned: the kernel would stop asking for ever.
Called by ``kernel.operations`` around each handler; safe for any number of concurrent requests.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import structlog
import trio

from cs3fuse.errors import (
    BadHandleError,
    Cs3FuseError,
    DeadlineError,
    ExistsError,
    NoAttributeError,
    NoNamespaceError,
    NotEmptyError,
    NotFoundError,
    StaleError,
    errno_for,
)
from cs3fuse.limits import promptly

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# What programs cause by themselves all day long; everything else is worth a line that an operator sees.
_ORDINARY = (NotFoundError, ExistsError, NoAttributeError, NoNamespaceError, NotEmptyError, StaleError, BadHandleError)

# Answers rather than failures: nobody asks later why there is no such file.
_UNREMARKABLE = (NotFoundError, NoAttributeError, NoNamespaceError, ExistsError, NotEmptyError, BadHandleError)


class Guarded(Protocol):
    """What the guard needs of the object whose handlers it wraps."""

    request_deadline_s: float
    data_limiter: trio.CapacityLimiter

    def count_request(self, op: str, error: int | None) -> None:
        """Count a finished request and its errno."""
        ...

    def note_failure(self, op: str, number: int, error: Cs3FuseError) -> None:
        """Remember a failure that is worth a question later."""
        ...


G = TypeVar("G", bound=Guarded)
_numbers = count(1)


def guarded(
    op: str, *, moves_data: bool = False, deadline_factor: float = 1.0
) -> Callable[[Callable[Concatenate[G, P], Coroutine[Any, Any, R]]], Callable[Concatenate[G, P], Coroutine[Any, Any, R]]]:
    """Make a handler safe: it answers within the deadline, and it raises FUSEError or nothing.

    Args: ``moves_data``: take a slot of the data limiter, which is smaller than the number of handlers that pyfuse3 runs, so
    that slow reads never keep ``stat`` from being served. ``deadline_factor`` multiplies the request deadline (inf: the
    operation bounds itself by progress).

    Cancellation: interrupts never reach handlers (pyfuse3 does not pass them on); only the deadline cancels.
    """

    def wrap(handler: Callable[Concatenate[G, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[G, P], Coroutine[Any, Any, R]]:
        @functools.wraps(handler)
        async def run(self: G, *args: P.args, **kwargs: P.kwargs) -> R:
            bound = structlog.contextvars.bind_contextvars(req=next(_numbers), op=op)
            try:
                with trio.CancelScope(deadline=trio.current_time() + self.request_deadline_s * deadline_factor):
                    if moves_data:
                        async with promptly(self.data_limiter):
                            result = await handler(self, *args, **kwargs)
                    else:
                        result = await handler(self, *args, **kwargs)
                    self.count_request(op, None)
                    return result
                raise _too_slow(self.request_deadline_s * deadline_factor)  # noqa: TRY301 - answered as any error of ours
            except pyfuse3.FUSEError as error:
                self.count_request(op, error.errno)
                raise
            except Cs3FuseError as error:
                number = errno_for(error)
                self.count_request(op, number)
                if not isinstance(error, _UNREMARKABLE):
                    self.note_failure(op, number, error)
                _report(error, number)
                raise pyfuse3.FUSEError(number) from error
            except KeyError as error:  # an inode number that the table does not know
                self.count_request(op, errno.ESTALE)
                log.warning("unknown_inode", ino=str(error))
                raise pyfuse3.FUSEError(errno.ESTALE) from error
            except Exception as error:
                self.count_request(op, errno.EIO)
                log.exception("internal_error", reason="This is a fault of cs3fuse; the mount goes on. Please report it.")
                raise pyfuse3.FUSEError(errno.EIO) from error
            finally:
                structlog.contextvars.reset_contextvars(**bound)

        return cast("Callable[Concatenate[G, P], Coroutine[Any, Any, R]]", run)

    return wrap


def _too_slow(scope_s: float) -> DeadlineError:
    return DeadlineError(f"The request did not end within {scope_s:.0f} s; the server or the network is too slow.")


def _report(error: Cs3FuseError, number: int) -> None:
    level = log.debug if isinstance(error, _ORDINARY) else log.warning
    level(
        "request_failed",
        errno=errno.errorcode.get(number, number),
        reason=str(error),
        path=error.path,
        call=error.call,
        trace=error.trace,
    )
