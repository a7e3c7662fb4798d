"""Tests of profile `opencloud`: files and folders by space id."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.proto import provider_pb, storage_pb
from tests.unit.emulator.desk import Desk


def test_a_home_exists_only_after_create_home(open_desk: Callable[..., Desk]) -> None:
    """GetHome answers before; Stat does not find it."""
    desk = open_desk("opencloud", users={"einstein": "x"})
    desk.profile.spaces.remove(next(iter(desk.profile.spaces)))
    path = desk.call("GetHome", provider_pb.GetHomeRequest())[1].path
    reference = storage_pb.Reference(path=path)
    assert desk.call("Stat", provider_pb.StatRequest(ref=reference))[0] == "NOT_FOUND"
    for _ in range(2):
        assert desk.call("CreateHome", provider_pb.CreateHomeRequest())[0] == "OK"
    info = desk.call("Stat", provider_pb.StatRequest(ref=reference))[1].info
    assert (info.path, info.name, info.id.opaque_id) == (".", "Albert Einstein", desk.access().user.opaque_id)


def test_forms_of_references(opencloud: Desk) -> None:
    """Relative with a dot and by path give base names, bare ids and undotted paths the path in the space."""
    opencloud.mkdir("/einstein/d")
    opencloud.touch("/einstein/d/x")
    root, folder, home = opencloud.stat("/einstein").id, opencloud.stat("/einstein/d").id, opencloud.access().user.opaque_id

    def path(reference):
        code, response = opencloud.call("Stat", provider_pb.StatRequest(ref=reference))
        return response.info.path if code == "OK" else code

    assert path(storage_pb.Reference(resource_id=root, path="./d/x")) == "x"
    assert path(storage_pb.Reference(resource_id=root, path="d/x")) == "/d/x"
    assert path(storage_pb.Reference(resource_id=folder)) == "/d"
    assert path(storage_pb.Reference(resource_id=folder, path=".")) == "d"
    assert path(storage_pb.Reference(resource_id=folder, path="./../d")) == "INTERNAL"
    assert path(storage_pb.Reference(path=f"/users/{home}/d/x")) == "x"
    assert path(storage_pb.Reference(path="/")) == "NOT_FOUND"
    assert path(storage_pb.Reference(path="/users")) == "NOT_FOUND"
    without_space = storage_pb.ResourceId(storage_id=root.storage_id, opaque_id=root.opaque_id)
    assert path(storage_pb.Reference(resource_id=without_space, path="./d")) == "NOT_FOUND"
    without_storage = storage_pb.ResourceId(space_id=root.space_id, opaque_id=root.opaque_id)
    assert path(storage_pb.Reference(resource_id=without_storage, path="./d")) == "d"


def test_etags_change_up_to_the_root_and_ids_stay(opencloud: Desk) -> None:
    """An overwrite keeps the id; a rename keeps id and etag of the file; the folders above change each time."""
    opencloud.mkdir("/einstein/d")
    opencloud.upload("/einstein/d/x", b"one")
    before = {path: opencloud.stat(path) for path in ("/einstein", "/einstein/d", "/einstein/d/x")}
    opencloud.upload("/einstein/d/x", b"two")
    after = {path: opencloud.stat(path) for path in before}
    assert all(before[path].etag != after[path].etag for path in before)
    assert all(before[path].id == after[path].id for path in before)
    assert opencloud.move("/einstein/d/x", "/einstein/d/y") == "OK"
    moved = opencloud.stat("/einstein/d/y")
    assert (moved.id, moved.etag) == (after["/einstein/d/x"].id, after["/einstein/d/x"].etag)
    assert opencloud.stat("/einstein").etag != after["/einstein"].etag


def test_sizes_of_folders_are_the_bytes_below(opencloud: Desk) -> None:
    """Through upload, overwrite, rename and delete."""
    opencloud.mkdir("/einstein/a")
    opencloud.mkdir("/einstein/b")
    opencloud.upload("/einstein/a/x", b"12345")
    opencloud.upload("/einstein/a/x", b"123")
    opencloud.move("/einstein/a/x", "/einstein/b/x")
    sizes = {path: opencloud.stat(path).size for path in ("/einstein", "/einstein/a", "/einstein/b")}
    assert sizes == {"/einstein": 3, "/einstein/a": 0, "/einstein/b": 3}
    opencloud.delete("/einstein/b")
    assert opencloud.stat("/einstein").size == 0


def test_codes_of_creating(opencloud: Desk) -> None:
    """A missing parent is FAILED_PRECONDITION for a folder; names too long or with NUL are INTERNAL."""
    assert opencloud.mkdir("/einstein/d") == "OK"
    assert opencloud.mkdir("/einstein/d") == "ALREADY_EXISTS"
    assert opencloud.mkdir("/einstein/no/d") == "FAILED_PRECONDITION"
    assert opencloud.touch("/einstein/x") == "OK"
    assert opencloud.touch("/einstein/x") == "ALREADY_EXISTS"
    assert opencloud.mkdir("/einstein/x/below") == "INTERNAL"
    assert opencloud.mkdir("/einstein/" + "a" * 255) == "OK"
    assert opencloud.mkdir("/einstein/" + "a" * 256) == "INTERNAL"
    assert opencloud.mkdir("/einstein/nul\0") == "INTERNAL"


def test_move_never_replaces(opencloud: Desk) -> None:
    """Neither files nor empty folders; a missing source or parent is NOT_FOUND; across spaces too."""
    opencloud.touch("/einstein/a")
    opencloud.touch("/einstein/b")
    opencloud.mkdir("/einstein/d")
    assert opencloud.move("/einstein/a", "/einstein/b") == "ALREADY_EXISTS"
    assert opencloud.move("/einstein/a", "/einstein/d") == "ALREADY_EXISTS"
    assert opencloud.move("/einstein/none", "/einstein/c") == "NOT_FOUND"
    assert opencloud.move("/einstein/a", "/einstein/no/c") == "NOT_FOUND"
    assert opencloud.move("/einstein/a", "/marie/c") == "NOT_FOUND"


def test_a_folder_moved_into_itself_is_lost_and_nobody_answers(opencloud: Desk) -> None:
    """Clients must refuse this themselves."""
    opencloud.mkdir("/einstein/d")
    opencloud.upload("/einstein/d/x", b"x")
    request = provider_pb.MoveRequest(source=opencloud.ref("/einstein/d"), destination=opencloud.ref("/einstein/d/sub"))

    async def move() -> None:
        from cs3fuse.emulator.profiles import Call

        await asyncio.wait_for(opencloud.profile.move(Call("Move", opencloud.access()), request), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(move())
    assert opencloud.list("/einstein") == []
    assert opencloud.recycled() == []


def test_mtime_is_kept_to_the_nanosecond(opencloud: Desk) -> None:
    """For the file alone; the fraction is a whole number of nanoseconds."""
    opencloud.touch("/einstein/x")
    assert opencloud.set_metadata("/einstein/x", mtime="1600000000.123456789", colour="red") == "OK"
    info = opencloud.stat("/einstein/x")
    assert (info.mtime.seconds, info.mtime.nanos) == (1_600_000_000, 123_456_789)
    assert info.arbitrary_metadata.metadata["colour"] == "red"
    assert "mtime" not in info.arbitrary_metadata.metadata
    assert opencloud.stat("/einstein").mtime.seconds > 1_600_000_000


def test_files_put_there_by_hand_are_found(opencloud: Desk) -> None:
    """They get ids and checksums, change the etags above, and vanish when removed by hand."""
    before = opencloud.stat("/einstein").etag
    folder = Path(opencloud.root, "einstein", "deep")
    folder.mkdir()
    (folder / "by-hand.txt").write_bytes(b"hello")
    info = opencloud.stat("/einstein/deep/by-hand.txt")
    assert info.checksum.sum == "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
    assert opencloud.stat("/einstein").etag != before
    assert opencloud.stat("/einstein").size == 5
    (folder / "by-hand.txt").write_bytes(b"hello there")
    changed = opencloud.stat("/einstein/deep/by-hand.txt")
    assert (changed.id, changed.size) == (info.id, 11)
    assert changed.etag != info.etag
    (folder / "by-hand.txt").unlink()
    assert opencloud.stat("/einstein/deep/by-hand.txt") is None
    assert opencloud.stat("/einstein").size == 0


def test_a_restart_keeps_ids_etags_and_what_is_being_uploaded(open_desk: Callable[..., Desk]) -> None:
    """A client that sleeps through a restart notices nothing."""
    desk = open_desk("opencloud")
    desk.mkdir("/einstein/d")
    desk.upload("/einstein/d/x", b"x")
    desk.lock("SetLock", "/einstein/d/x", "L")
    before = [desk.stat(path) for path in ("/einstein", "/einstein/d", "/einstein/d/x")]
    response = desk.initiate("/einstein/d/late", 3)[1]
    again = open_desk("opencloud")
    after = [again.stat(path) for path in ("/einstein", "/einstein/d", "/einstein/d/x")]
    assert [(info.id, info.etag, info.size) for info in before] == [(info.id, info.etag, info.size) for info in after]
    assert after[2].lock.lock_id == "L"
    assert again.put(response, b"abc") == 200


def test_quota_is_checked_at_the_initiation(open_desk: Callable[..., Desk]) -> None:
    """Unlimited is told as 0; with a quota the third kilobyte does not fit."""
    desk = open_desk("opencloud", quirks={"processing_s": 0.0})
    assert desk.quota()[1].total_bytes == 0
    desk.profile.spaces.get(desk.access().user.opaque_id).quota = 2048
    assert desk.upload("/einstein/a", b"x" * 1500) == 200
    assert desk.upload("/einstein/b", b"x" * 1500) == "INSUFFICIENT_STORAGE"
    assert desk.quota()[1].used_bytes == 1500


def test_a_stranger_sees_nothing(opencloud: Desk) -> None:
    """Looking is NOT_FOUND, writing PERMISSION_DENIED."""
    opencloud.touch("/einstein/x")
    assert opencloud.stat("/einstein/x", "marie") is None
    assert opencloud.mkdir("/einstein/d", "marie") == "PERMISSION_DENIED"
    assert opencloud.upload("/einstein/x", b"hers", user="marie") == "PERMISSION_DENIED"
    with pytest.raises(Refusal):
        opencloud.profile.reference_for("/nobody/x")
