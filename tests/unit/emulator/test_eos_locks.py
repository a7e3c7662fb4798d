"""Tests of profile `eos`: locks by application name."""

import grpc
import pytest

from cs3fuse.emulator.failures import GrpcAbort
from tests.unit.emulator.desk import Desk


def test_the_put_of_another_application_is_refused(eos: Desk) -> None:
    """409 at the PUT unless X-Lock-Holder is the lock's application; ids in requests count for nothing."""
    eos.upload("/einstein/x", b"old")
    assert eos.lock("SetLock", "/einstein/x", "L", "mine")[0] == "OK"
    assert eos.upload("/einstein/x", b"new", lock_id="L") == 409
    assert eos.upload("/einstein/x", b"new", headers={"X-Lock-Holder": "other"}) == 409
    assert eos.content("/einstein/x") == b"old"
    assert eos.upload("/einstein/x", b"new", headers={"X-Lock-Holder": "mine"}) == 200
    assert eos.delete("/einstein/x", lock_id="L") == "INTERNAL"
    assert eos.move("/einstein/x", "/einstein/y") == "INTERNAL"
    assert eos.set_metadata("/einstein/x", colour="red") == "INTERNAL"


def test_a_lock_taken_while_the_body_arrives_stops_the_commit(eos: Desk) -> None:
    """The holder is checked at the start and before the commit."""
    eos.upload("/einstein/x", b"old")
    base, kind, tail = eos.target(eos.initiate("/einstein/x", 3)[1])
    import asyncio

    from cs3fuse.emulator.failures import HttpRefusal
    from cs3fuse.emulator.profiles import DataCall

    call = DataCall("PUT", eos.access(), base, kind, tail, {"Upload-Length": "3"}, 3, forwarded=True)
    sink = eos.profile.upload(call)
    sink.write(b"new")
    eos.lock("SetLock", "/einstein/x", "L", "mine")
    with pytest.raises(HttpRefusal) as refusal:
        asyncio.run(sink.finish())
    assert refusal.value.status == 409
    assert eos.content("/einstein/x") == b"old"


def test_codes_of_the_lock_calls(eos: Desk) -> None:
    """Held and not held are FAILED_PRECONDITION, shared locks and folders INTERNAL."""
    eos.touch("/einstein/x")
    assert eos.get_lock("/einstein/x")[0] == "NOT_FOUND"
    assert eos.lock("RefreshLock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert eos.lock("Unlock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert eos.lock("SetLock", "/einstein/x", "L", type=1)[0] == "INTERNAL"
    assert eos.lock("SetLock", "/einstein/none", "L")[0] == "INTERNAL"
    assert eos.lock("SetLock", "/einstein", "L")[0] == "INTERNAL"
    assert eos.lock("SetLock", "/einstein/x", "L")[0] == "OK"
    assert eos.lock("SetLock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert eos.lock("RefreshLock", "/einstein/x", "M", "other")[0] == "FAILED_PRECONDITION"
    assert eos.lock("RefreshLock", "/einstein/x", "M", existing_lock_id="wrong")[0] == "FAILED_PRECONDITION"
    assert eos.lock("RefreshLock", "/einstein/x", "M", existing_lock_id="L")[0] == "OK"
    assert eos.get_lock("/einstein/x")[1].lock.lock_id == "M"
    assert eos.lock("Unlock", "/einstein/x", "M", "other")[0] == "FAILED_PRECONDITION"
    assert eos.lock("Unlock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert eos.lock("Unlock", "/einstein/x", "M")[0] == "OK"


def test_a_lock_ends_and_its_creation_is_kept(eos: Desk) -> None:
    """A refresh moves the end only; an expired lock may be taken by another."""
    eos.touch("/einstein/x")
    eos.lock("SetLock", "/einstein/x", "L", life_s=60)
    created = eos.stat("/einstein/x").lock.creation_time.seconds
    eos.clock.skew_s = 50.0
    eos.lock("RefreshLock", "/einstein/x", "L", life_s=60)
    eos.clock.skew_s = 100.0
    assert eos.get_lock("/einstein/x")[1].lock.creation_time.seconds == created
    eos.clock.skew_s = 200.0
    assert eos.lock("SetLock", "/einstein/x", "M", "other")[0] == "OK"


def test_a_lock_without_expiration_makes_the_server_stumble(eos: Desk) -> None:
    """GetLock ends with a gRPC error until the lock is replaced."""
    eos.touch("/einstein/x")
    assert eos.lock("SetLock", "/einstein/x", "L", expires=False)[0] == "OK"
    with pytest.raises(GrpcAbort) as stumble:
        eos.get_lock("/einstein/x")
    assert stumble.value.code is grpc.StatusCode.INTERNAL


def test_a_viewer_cannot_lock(eos: Desk) -> None:
    """Locking needs the right to write."""
    eos.mkdir("/einstein/d")
    eos.touch("/einstein/d/x")
    eos.share("/einstein/d", "marie", "viewer")
    assert eos.lock("SetLock", "/einstein/d/x", "L", user="marie")[0] == "PERMISSION_DENIED"
    assert eos.get_lock("/einstein/d/x")[0] == "NOT_FOUND"
