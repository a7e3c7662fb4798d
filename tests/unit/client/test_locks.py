"""Lock calls: what the answers of the different storages mean."""

from __future__ import annotations

import pytest
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb2
from cs3.storage.provider.v1beta1 import resources_pb2

from cs3fuse import errors
from cs3fuse.client.locks import Cs3Locks
from cs3fuse.model import Location, Lock, PathRoot
from tests.unit.client.fakes import FakeStub, answer, broken, info

A = Location(PathRoot("/home"), "a")
OURS = Lock("ours", "cs3fuse-1", 2000.5)
LOST = broken("UNAVAILABLE", "Socket closed")
NONE = answer("GetLock", "NOT_FOUND", "reference or lock not found")
HELD = answer("GetLock", lock=resources_pb2.Lock(lock_id="ours", app_name="cs3fuse-1"))
FOREIGN = answer("GetLock", lock=resources_pb2.Lock(lock_id="theirs", app_name="app", user=user_pb2.UserId(opaque_id="marie")))


async def test_everything_that_servers_need_is_sent(locks: Cs3Locks, stub: FakeStub) -> None:
    """A lock without expiration makes GetLock crash; a user would have to be repeated exactly at Unlock."""
    stub.on("SetLock", answer("SetLock"))
    await locks.set_lock(A, OURS)
    lock = stub.made[0].request.lock
    assert (lock.lock_id, lock.app_name, lock.type) == ("ours", "cs3fuse-1", resources_pb2.LOCK_TYPE_WRITE)
    assert lock.expiration.seconds == 2001
    assert not lock.HasField("user")


async def test_a_lock_without_expiration_is_refused(locks: Cs3Locks, stub: FakeStub) -> None:
    """Not even by mistake."""
    with pytest.raises(errors.BadRequestError):
        await locks.set_lock(A, Lock("l", "a", 0))
    assert not stub.made


async def test_a_held_lock_names_its_holder(locks: Cs3Locks, stub: FakeStub) -> None:
    """FAILED_PRECONDITION says only "already locked"."""
    stub.on("SetLock", answer("SetLock", "FAILED_PRECONDITION", "already locked")).on("GetLock", FOREIGN)
    with pytest.raises(errors.LockedError, match="marie") as caught:
        await locks.set_lock(A, OURS)
    assert caught.value.lock is not None
    stub.on("GetLock", answer("GetLock", "PERMISSION_DENIED", "no"))
    with pytest.raises(errors.LockedError):
        await locks.set_lock(A, OURS)


async def test_no_locks_here(locks: Cs3Locks, stub: FakeStub) -> None:
    """Reva's local driver says INTERNAL, OpenCloud's jail gRPC UNIMPLEMENTED; a missing file is something else."""
    stub.on("SetLock", answer("SetLock", "INTERNAL")).on("GetLock", broken("UNIMPLEMENTED")).on("Stat", answer("Stat", info=info()))
    with pytest.raises(errors.UnsupportedError):
        await locks.set_lock(A, OURS)
    with pytest.raises(errors.UnsupportedError):
        await locks.get_lock(A)
    stub.on("GetLock", answer("GetLock", "INTERNAL"))
    with pytest.raises(errors.UnsupportedError):
        await locks.get_lock(A)
    stub.on("Stat", answer("Stat", "NOT_FOUND"))
    with pytest.raises(errors.NotFoundError):
        await locks.set_lock(A, OURS)


async def test_get_lock(locks: Cs3Locks, stub: FakeStub) -> None:
    """None where there is none, also where a server answers OK with an empty lock."""
    stub.on("GetLock", NONE, FOREIGN, answer("GetLock"))
    assert await locks.get_lock(A) is None
    found = await locks.get_lock(A)
    assert found is not None
    assert (found.lock_id, found.user, found.expires_at) == ("theirs", "marie", None)
    assert await locks.get_lock(A) is None


@pytest.mark.parametrize(
    ("held", "is_done"), [(HELD, True), (NONE, False), (FOREIGN, False), (answer("GetLock", "INTERNAL"), False)]
)
async def test_a_lost_lock_answer_is_settled(locks: Cs3Locks, stub: FakeStub, held: object, is_done: bool) -> None:
    """Ours now: done; anything else is unknown, not "unavailable"."""
    stub.on("SetLock", LOST).on("GetLock", held).on("Stat", answer("Stat", info=info()))
    if is_done:
        await locks.set_lock(A, OURS)
    else:
        with pytest.raises(errors.OutcomeUnknownError):
            await locks.set_lock(A, OURS)


@pytest.mark.parametrize(("held", "is_done"), [(HELD, False), (NONE, True), (FOREIGN, True)])
async def test_a_lost_unlock_answer_is_settled(locks: Cs3Locks, stub: FakeStub, held: object, is_done: bool) -> None:
    """Not ours any more: done."""
    stub.on("Unlock", LOST).on("GetLock", held)
    if is_done:
        await locks.unlock(A, OURS)
    else:
        with pytest.raises(errors.OutcomeUnknownError):
            await locks.unlock(A, OURS)


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "ABORTED", "LOCKED", "NOT_FOUND", "PERMISSION_DENIED"])
async def test_a_lock_that_is_not_ours_any_more(locks: Cs3Locks, stub: FakeStub, code: str) -> None:
    """Each server has its own code for it."""
    stub.on("RefreshLock", answer("RefreshLock", code, "said")).on("Unlock", answer("Unlock", code, "said"))
    with pytest.raises(errors.LockLostError):
        await locks.refresh_lock(A, OURS)
    with pytest.raises(errors.LockLostError):
        await locks.unlock(A, OURS)


async def test_refresh_names_the_lock_that_it_extends(locks: Cs3Locks, stub: FakeStub) -> None:
    """Same program but another id is not our lock."""
    stub.on("RefreshLock", answer("RefreshLock"))
    await locks.refresh_lock(A, OURS)
    assert stub.made[0].request.existing_lock_id == "ours"
