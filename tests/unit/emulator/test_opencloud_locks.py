"""Tests of profile `opencloud`: locks."""

from tests.unit.emulator.desk import Desk


def test_a_lock_excludes_everybody_who_does_not_know_its_id(opencloud: Desk) -> None:
    """LOCKED without an id, INTERNAL with a wrong one, at the initiation; Delete, Move and metadata too."""
    opencloud.upload("/einstein/x", b"old")
    assert opencloud.lock("SetLock", "/einstein/x", "L")[0] == "OK"
    assert opencloud.upload("/einstein/x", b"new") == "LOCKED"
    code, message = opencloud.initiate("/einstein/x", 3, lock_id="wrong")
    assert (code, message) == ("INTERNAL", "error getting upload id: error: aborted: mismatching lock")
    assert opencloud.upload("/einstein/x", b"new", lock_id="L") == 200
    assert opencloud.delete("/einstein/x") == "LOCKED"
    assert opencloud.move("/einstein/x", "/einstein/y") == "LOCKED"
    assert opencloud.set_metadata("/einstein/x", colour="red") == "LOCKED"
    assert opencloud.content("/einstein/x") == b"new"
    assert opencloud.delete("/einstein/x", lock_id="L") == "OK"


def test_codes_of_the_lock_calls(opencloud: Desk) -> None:
    """As recorded, for the holder as for others."""
    opencloud.touch("/einstein/x")
    assert opencloud.get_lock("/einstein/x")[0] == "NOT_FOUND"
    assert opencloud.lock("RefreshLock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert opencloud.lock("Unlock", "/einstein/x", "L")[0] == "ABORTED"
    assert opencloud.lock("SetLock", "/einstein/x", "L")[0] == "OK"
    assert opencloud.lock("SetLock", "/einstein/x", "L")[0] == "FAILED_PRECONDITION"
    assert opencloud.lock("SetLock", "/einstein/x", "M", type=1)[0] == "FAILED_PRECONDITION"
    assert opencloud.lock("RefreshLock", "/einstein/x", "M")[0] == "ABORTED"
    assert opencloud.lock("Unlock", "/einstein/x", "M")[0] == "LOCKED"
    assert opencloud.lock("Unlock", "/einstein/x", "L", "other app")[0] == "PERMISSION_DENIED"
    assert opencloud.lock("RefreshLock", "/einstein/x", "L", life_s=500)[0] == "OK"
    assert opencloud.lock("Unlock", "/einstein/x", "L")[0] == "OK"


def test_a_lock_ends_with_its_time(opencloud: Desk) -> None:
    """An expired lock is no lock; one without expiration stays."""
    opencloud.touch("/einstein/x")
    opencloud.lock("SetLock", "/einstein/x", "L", life_s=60)
    opencloud.clock.skew_s = 61.0
    assert opencloud.get_lock("/einstein/x")[0] == "NOT_FOUND"
    assert not opencloud.stat("/einstein/x").HasField("lock")
    assert opencloud.lock("SetLock", "/einstein/x", "M", expires=False)[0] == "OK"
    opencloud.clock.skew_s = 10.0**7
    assert opencloud.get_lock("/einstein/x")[1].lock.lock_id == "M"


def test_a_lock_that_names_a_user_belongs_to_that_user(opencloud: Desk) -> None:
    """Only that user may release it, and must say so."""
    opencloud.mkdir("/einstein/d")
    opencloud.touch("/einstein/d/x")
    opencloud.share("/einstein/d", "marie")
    user = opencloud.access().user.identifier()
    from cs3fuse.emulator.proto import provider_pb, storage_pb

    def call(rpc: str, caller: str, *, named: bool) -> str:
        lock = storage_pb.Lock(lock_id="L", type=2, user=user if named else None)
        request = getattr(provider_pb, f"{rpc}Request")(ref=opencloud.ref("/einstein/d/x"), lock=lock)
        return opencloud.call(rpc, request, caller)[0]

    assert call("SetLock", "einstein", named=True) == "OK"
    assert call("Unlock", "einstein", named=False) == "PERMISSION_DENIED"
    assert call("Unlock", "marie", named=True) == "PERMISSION_DENIED"
    assert opencloud.upload("/einstein/d/x", b"knows the id", user="marie", lock_id="L") == 200
    assert call("Unlock", "einstein", named=True) == "OK"


def test_a_folder_lock_protects_nothing_inside(opencloud: Desk) -> None:
    """It is accepted, and that is all."""
    opencloud.mkdir("/einstein/d")
    assert opencloud.lock("SetLock", "/einstein/d", "L")[0] == "OK"
    assert opencloud.upload("/einstein/d/x", b"x") == 200
