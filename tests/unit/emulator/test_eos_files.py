"""Tests of profile `eos`: files, folders, permissions, versions, recycle bin."""

import json
from collections.abc import Callable

import pytest

from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.proto import provider_pb, spaces_pb, storage_pb
from tests.unit.emulator.desk import Desk, read


def test_a_file_looks_as_eos_shows_it(eos: Desk) -> None:
    """Inode ids that stay, etag of inode and checksum, nanoseconds, a name, the real owner."""
    eos.upload("/einstein/a", b"hello")
    info = eos.stat("/einstein/a")
    assert info.path == "/eos/user/e/einstein/a"
    assert (info.name, info.checksum.type, info.checksum.sum) == ("a", 2, "062c0215")
    assert info.etag == f'"{info.id.opaque_id}:062c0215"'
    assert info.id.opaque_id.isdecimal()
    assert json.loads(info.opaque.map["eos"].value)["file"] == info.path
    eos.move("/einstein/a", "/einstein/b")
    eos.upload("/einstein/b", b"other")
    assert eos.stat("/einstein/b").id == info.id
    assert eos.stat("/einstein/b").etag != info.etag


def test_etags_of_folders_are_recursive(eos: Desk) -> None:
    """Up to the home."""
    eos.mkdir("/einstein/d/e")
    before = [eos.stat(path).etag for path in ("/einstein", "/einstein/d", "/einstein/d/e")]
    eos.upload("/einstein/d/e/x", b"x")
    assert all(old != eos.stat(path).etag for old, path in zip(before, ("/einstein", "/einstein/d", "/einstein/d/e"), strict=True))
    assert eos.stat("/einstein").size == 1


def test_lenient_creating_and_strict_moving(eos: Desk) -> None:
    """mkdir makes parents and accepts what exists; touch leaves a file alone; Move never replaces."""
    assert eos.mkdir("/einstein/d/e/f") == "OK"
    assert eos.mkdir("/einstein/d") == "OK"
    eos.upload("/einstein/x", b"data")
    assert eos.mkdir("/einstein/x") == "INTERNAL"
    assert eos.touch("/einstein/x") == "OK"
    assert eos.content("/einstein/x") == b"data"
    assert eos.touch("/einstein/no/x") == "INTERNAL"
    assert eos.touch("/einstein/y") == "OK"
    assert eos.move("/einstein/x", "/einstein/y") == "INTERNAL"
    assert eos.move("/einstein/d", "/einstein/d/e/g") == "INTERNAL"
    assert eos.move("/einstein/none", "/einstein/n") == "INTERNAL"
    assert eos.delete("/einstein/none") == "NOT_FOUND"


def test_the_folders_above_the_homes(eos: Desk) -> None:
    """They can be listed down to the homes; nobody may enter another's home."""

    def names(path: str):
        request = provider_pb.ListContainerRequest(ref=storage_pb.Reference(path=path))
        code, response = eos.call("ListContainer", request)
        return [info.path for info in response.infos] if code == "OK" else code

    assert names("/") == ["/eos"]
    assert names("/eos/user") == ["/eos/user/e", "/eos/user/m", "/eos/user/r"]
    assert names("/eos/user/m") == ["/eos/user/m/marie"]
    assert names("/eos/user/m/marie") == "PERMISSION_DENIED"
    assert names("/nowhere") == "NOT_FOUND"


def test_references_by_inode(eos: Desk) -> None:
    """Relative listings lack the mount; an unknown inode is NOT_FOUND, an unknown storage INTERNAL."""
    eos.mkdir("/einstein/d")
    eos.touch("/einstein/d/x")
    rid = eos.stat("/einstein/d").id
    listing = provider_pb.ListContainerRequest(ref=storage_pb.Reference(resource_id=rid, path="."))
    assert [info.path for info in eos.call("ListContainer", listing)[1].infos] == ["/e/einstein/d/x"]
    rid.opaque_id = "12345"
    assert eos.call("Stat", provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=rid)))[0] == "NOT_FOUND"
    rid.storage_id = "other"
    assert eos.call("Stat", provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=rid)))[0] == "INTERNAL"


def test_a_share_opens_one_folder(eos: Desk) -> None:
    """By the owner's path; the rest of the home stays closed, and names in it are not told."""
    eos.mkdir("/einstein/d")
    eos.upload("/einstein/d/x", b"x")
    eos.touch("/einstein/private")
    eos.share("/einstein/d", "marie", "viewer")
    assert eos.content("/einstein/d/x", "marie") == b"x"
    assert eos.upload("/einstein/d/x", b"y", user="marie") == 403
    assert eos.content("/einstein/private", "marie") == 403
    for name in ("private", "none"):
        assert eos.call("Stat", provider_pb.StatRequest(ref=eos.ref(f"/einstein/{name}")), "marie")[0] == "PERMISSION_DENIED"


def test_metadata_rejects_empty_and_reserved(eos: Desk) -> None:
    """Nothing is stored of a refused call; mtime is an attribute like others."""
    eos.touch("/einstein/x")
    before = eos.stat("/einstein/x").mtime
    assert eos.set_metadata("/einstein/x", good="v", empty="") == "INTERNAL"
    assert eos.set_metadata("/einstein/x", **{"sys.acl": "v"}) == "INTERNAL"
    assert eos.set_metadata("/einstein/x", good="v", mtime="1600000000") == "OK"
    info = eos.stat("/einstein/x")
    assert dict(info.arbitrary_metadata.metadata) == {"good": "v", "mtime": "1600000000"}
    assert info.mtime == before


def test_versions_can_be_read_and_restored(eos: Desk) -> None:
    """Through version_key; X-Disable-Versioning makes none."""
    eos.upload("/einstein/x", b"one")
    eos.upload("/einstein/x", b"three")
    eos.upload("/einstein/x", b"loud", headers={"X-Disable-Versioning": "true"})
    assert [item.size for item in eos.versions("/einstein/x")] == [3]
    key = eos.versions("/einstein/x")[0].key
    assert read(eos.open_download("/einstein/x", version=key)) == b"one"
    with pytest.raises(HttpRefusal):
        eos.open_download("/einstein/x", version="nonsense")
    request = provider_pb.RestoreFileVersionRequest(ref=eos.ref("/einstein/x"), key=key)
    assert eos.call("RestoreFileVersion", request)[0] == "OK"
    assert eos.content("/einstein/x") == b"one"
    assert eos.call("RestoreFileVersion", request)[0] == "NOT_FOUND"


def test_the_recycle_bin_is_the_owners(eos: Desk) -> None:
    """A folder comes back whole, with its ids; seconds, not milliseconds."""
    eos.mkdir("/einstein/d")
    eos.upload("/einstein/d/x", b"x")
    inode = eos.stat("/einstein/d/x").id
    eos.delete("/einstein/d")
    item = eos.recycled()[0]
    assert item.ref.path == "/eos/user/e/einstein/d"
    assert item.deletion_time.seconds < 10**11
    assert eos.call("ListRecycle", provider_pb.ListRecycleRequest(ref=eos.ref("/einstein")), "marie")[0] == "PERMISSION_DENIED"
    request = provider_pb.RestoreRecycleItemRequest(ref=eos.ref("/einstein"), key=item.key)
    assert eos.call("RestoreRecycleItem", request)[0] == "OK"
    assert eos.stat("/einstein/d/x").id == inode
    eos.delete("/einstein/d")
    request.key = eos.recycled()[0].key
    request.restore_ref.path = "/e/einstein/elsewhere"
    assert eos.call("RestoreRecycleItem", request)[0] == "OK"
    assert eos.list("/einstein") == ["elsewhere"]
    eos.delete("/einstein/elsewhere")
    assert eos.call("PurgeRecycle", provider_pb.PurgeRecycleRequest(ref=eos.ref("/einstein")))[0] == "OK"
    assert eos.recycled() == []


def test_inodes_are_never_given_twice(open_desk: Callable[..., Desk]) -> None:
    """Not even after a restart."""
    desk = open_desk("eos")
    desk.touch("/einstein/a")
    first = int(desk.stat("/einstein/a").id.opaque_id)
    again = open_desk("eos")
    again.touch("/einstein/b")
    assert int(again.stat("/einstein/a").id.opaque_id) == first < int(again.stat("/einstein/b").id.opaque_id)


def test_the_home_is_the_only_space(eos: Desk) -> None:
    """With its quota; without a root."""
    spaces = eos.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())[1].storage_spaces
    assert [(space.space_type, space.root_info.path) for space in spaces] == [("personal", "/eos/user/e/einstein")]
    assert not spaces[0].HasField("root")
    assert eos.quota()[1].total_bytes == 2_000_000_000_000


def test_internal_folders_are_hidden(eos: Desk) -> None:
    """Names of version folders do not show in listings."""
    eos.mkdir("/einstein/.sys.v#.x")
    eos.touch("/einstein/x")
    assert eos.list("/einstein") == ["x"]
