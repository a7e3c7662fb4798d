"""CS3 locks: the client's ``RemoteLocks``.

Owns how a lock is spelled and what the answers mean. Called by ``locks`` through the port, from the trio thread; holds no state.
Source: provider_api.proto SetLock, GetLock, RefreshLock, Unlock; resources.proto Lock.
"""

from __future__ import annotations

import math
from typing import Any

import structlog
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from cs3.types.v1beta1 import types_pb2

from cs3fuse.client import decode
from cs3fuse.client.calls import Calls, Effect
from cs3fuse.client.references import reference, shown
from cs3fuse.client.tree import Cs3Tree, locked_error
from cs3fuse.errors import (
    BadRequestError,
    Cs3FuseError,
    LockedError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    UnsupportedError,
)
from cs3fuse.model import Location, Lock, LockInfo

_log = structlog.get_logger(__name__)


class Cs3Locks:
    """``ports.RemoteLocks`` over CS3 calls."""

    def __init__(self, calls: Calls, tree: Cs3Tree) -> None:
        self._calls = calls
        self._tree = tree

    async def set_lock(self, at: Location, lock: Lock) -> None:
        """See the port. LockedError carries the holder where the server tells it; a lost answer counts as done when the lock is ours."""
        request = provider_api_pb2.SetLockRequest(ref=reference(at), lock=_message(lock))
        failure = await self._try("SetLock", request, at)
        if failure is None:
            return
        if isinstance(failure, LockedError):
            raise await self._with_holder(at, failure)
        if isinstance(failure, OutcomeUnknownError) and await self._is_held(at, lock, failure):
            return
        raise await self._explained(at, failure)

    async def get_lock(self, at: Location) -> LockInfo | None:
        """See the port."""
        request = provider_api_pb2.GetLockRequest(ref=reference(at))
        failure: Cs3FuseError
        try:
            response = await self._calls.invoke("GetLock", request, path=shown(at))
        except NotFoundError:
            return None
        except ServerError as exc:
            failure = exc
        else:
            return decode.lock_info(response.lock) if response.lock.lock_id else None
        raise await self._explained(at, failure)

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        """See the port. ``existing_lock_id`` is sent: a lock of the same program but another id is not ours."""
        request = provider_api_pb2.RefreshLockRequest(ref=reference(at), lock=_message(lock), existing_lock_id=lock.lock_id)
        await self._calls.invoke("RefreshLock", request, path=shown(at), effect=Effect.MUTATION)

    async def unlock(self, at: Location, lock: Lock) -> None:
        """See the port. A lost answer counts as done when the lock is not ours any more."""
        request = provider_api_pb2.UnlockRequest(ref=reference(at), lock=_message(lock))
        failure = await self._try("Unlock", request, at)
        if failure is None:
            return
        if not isinstance(failure, OutcomeUnknownError) or await self._is_held(at, lock, failure):
            raise failure

    async def _try(self, method: str, request: Any, at: Location) -> Cs3FuseError | None:
        """Make a call that changes something; its failure, or None."""
        try:
            await self._calls.invoke(method, request, path=shown(at), effect=Effect.MUTATION)
        except Cs3FuseError as exc:
            return exc
        return None

    async def _is_held(self, at: Location, lock: Lock, failure: OutcomeUnknownError) -> bool:
        """Whether the lock is ours after an answer was lost; the failure itself where that cannot be learnt either."""
        try:
            holder = await self.get_lock(at)
        except Cs3FuseError:
            raise failure from failure.__cause__
        return holder is not None and holder.lock_id == lock.lock_id

    async def _with_holder(self, at: Location, refused: LockedError) -> LockedError:
        """The refusal with the name of the holder, as far as it can be learnt."""
        try:
            holder = await self.get_lock(at)
        except Cs3FuseError as exc:
            _log.debug("lock_holder_unknown", path=shown(at), reason=str(exc))
            holder = None
        return refused if holder is None else locked_error(at, holder, refused)

    async def _explained(self, at: Location, failure: Cs3FuseError) -> Cs3FuseError:
        """What INTERNAL means at a lock call: no such file, or no locks on this storage (Reva never says UNIMPLEMENTED)."""
        if not isinstance(failure, ServerError):
            return failure
        await self._tree.stat(at)
        explained = UnsupportedError(
            f"The storage of {shown(at)} has no locks.", call=failure.call, path=failure.path, trace=failure.trace
        )
        explained.__cause__ = failure
        return explained


def _message(lock: Lock) -> resources_pb2.Lock:
    """A WRITE lock with everything that servers need: without an expiration GetLock crashes on some.

    ``user`` stays empty: with it, Unlock would have to repeat it exactly (OpenCloud).
    """
    if lock.expires_at <= 0:
        raise BadRequestError("A lock without an expiration is never sent.")
    return resources_pb2.Lock(
        lock_id=lock.lock_id,
        type=resources_pb2.LOCK_TYPE_WRITE,
        app_name=lock.app_name,
        expiration=types_pb2.Timestamp(seconds=math.ceil(lock.expires_at)),
    )
