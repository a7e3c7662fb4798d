"""Tests of profile `opencloud`: spaces, shares, trash, versions."""

from typing import Any

import pytest
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

from cs3fuse.emulator.proto import provider_pb, spaces_pb, storage_pb
from tests.unit.emulator.desk import Desk, read


def spaces(desk: Desk, user: str = "einstein", *kinds: str) -> list[Any]:
    request = spaces_pb.ListStorageSpacesRequest()
    for kind in kinds:
        request.filters.add(type=spaces_pb.ListStorageSpacesRequest.Filter.TYPE_SPACE_TYPE, space_type=kind)
    return list(desk.call("ListStorageSpaces", request, user)[1].storage_spaces)


def received(desk: Desk, user: str = "marie") -> list[Any]:
    return list(desk.call("ListReceivedShares", share_api_pb.ListReceivedSharesRequest(), user)[1].shares)


def test_spaces_of_a_user(opencloud: Desk) -> None:
    """The home with a root whose info lacks the storage id, and the virtual "Shares"; the last type filter counts."""
    found = spaces(opencloud)
    assert [space.space_type for space in found] == ["personal", "virtual"]
    assert found[0].root.storage_id
    assert found[0].root_info.id.storage_id == ""
    assert found[0].opaque.map["quota.total"].value == b"0"
    assert [space.space_type for space in spaces(opencloud, "einstein", "personal", "virtual")] == ["virtual"]


def test_a_share_accepts_itself_and_gives_what_its_role_says(opencloud: Desk) -> None:
    """Reached by its resource id; a second one of the same name gets another mount point."""
    opencloud.mkdir("/einstein/Docs")
    opencloud.mkdir("/einstein/other")
    opencloud.mkdir("/einstein/other/Docs")
    opencloud.upload("/einstein/Docs/f", b"text")
    opencloud.share("/einstein/Docs", "marie", "viewer")
    opencloud.share("/einstein/other/Docs", "marie", "editor")
    shares = received(opencloud)
    assert [(item.state, item.mount_point.path) for item in shares] == [(2, "Docs"), (2, "Docs (1)")]
    assert [space.name for space in spaces(opencloud, "marie", "mountpoint")] == ["Docs", "Docs (1)"]
    assert opencloud.content("/einstein/Docs/f", "marie") == b"text"
    assert opencloud.upload("/einstein/Docs/f", b"hers", user="marie") == "PERMISSION_DENIED"
    assert opencloud.upload("/einstein/other/Docs/g", b"hers", user="marie") == 200
    assert opencloud.stat("/einstein/other/Docs/g").owner.opaque_id == opencloud.access().user.opaque_id
    assert opencloud.stat("/einstein", "marie") is None
    assert opencloud.stat("/einstein/Docs", "richard") is None


def test_a_declined_share_is_hidden_and_still_works_a_revoked_one_does_not(opencloud: Desk) -> None:
    """As measured; unknown fields of the mask are INTERNAL."""
    opencloud.mkdir("/einstein/d")
    share_id = opencloud.share("/einstein/d", "marie")
    update = share_api_pb.UpdateReceivedShareRequest()
    update.share.share.id.opaque_id = share_id
    update.share.state = 3
    update.update_mask.paths.append("state")
    assert opencloud.call("UpdateReceivedShare", update, "marie")[0] == "OK"
    assert [item.state for item in received(opencloud)] == [3]
    assert spaces(opencloud, "marie", "mountpoint") == []
    assert opencloud.stat("/einstein/d", "marie") is not None
    update.update_mask.paths.append("nonsense")
    assert opencloud.call("UpdateReceivedShare", update, "marie")[0] == "INTERNAL"
    remove = share_api_pb.RemoveShareRequest()
    remove.ref.id.opaque_id = share_id
    assert opencloud.call("RemoveShare", remove, "marie")[0] == "NOT_FOUND"
    assert opencloud.call("RemoveShare", remove)[0] == "OK"
    assert opencloud.stat("/einstein/d", "marie") is None


def test_a_share_is_pending_for_an_instant(opencloud: Desk) -> None:
    """Auto-accept is asynchronous."""
    opencloud.quirks["share_accept_s"] = 30.0
    opencloud.mkdir("/einstein/d")
    opencloud.share("/einstein/d", "marie")
    assert [item.state for item in received(opencloud)] == [1]
    opencloud.clock.skew_s = 31.0
    assert [item.state for item in received(opencloud)] == [2]


def test_a_project_space_has_members_with_roles(opencloud: Desk) -> None:
    """Made over CS3; a share of its root makes a member; in the trash it stays listed but cannot be entered."""
    create = spaces_pb.CreateStorageSpaceRequest(type="project", name="Lab Project")
    create.quota.quota_max_bytes = 1000
    space = opencloud.call("CreateStorageSpace", create)[1].storage_space
    path = "/projects/Lab Project"
    assert opencloud.upload(f"{path}/f", b"x" * 1001) == "INSUFFICIENT_STORAGE"
    assert opencloud.upload(f"{path}/f", b"x") == 200
    assert spaces(opencloud, "marie", "project") == []
    opencloud.share(path, "marie", "viewer")
    assert [item.name for item in spaces(opencloud, "marie", "project")] == ["Lab Project"]
    assert opencloud.content(f"{path}/f", "marie") == b"x"
    assert opencloud.upload(f"{path}/f", b"y", user="marie") == "PERMISSION_DENIED"
    delete = spaces_pb.DeleteStorageSpaceRequest(id=space.id)
    assert opencloud.call("DeleteStorageSpace", delete, "marie")[0] == "NOT_FOUND"
    assert opencloud.call("DeleteStorageSpace", delete)[0] == "OK"
    assert "trashed" in spaces(opencloud, "einstein", "project")[0].opaque.map
    reference = storage_pb.Reference(resource_id=space.root, path="./f")
    assert opencloud.call("Stat", provider_pb.StatRequest(ref=reference))[0] == "NOT_FOUND"


def restore(desk: Desk, key: str, path: str | None) -> str:
    request = provider_pb.RestoreRecycleItemRequest(ref=desk.ref("/einstein"), key=key)
    if path is not None:
        request.restore_ref.CopyFrom(desk.ref(path))
    return desk.call("RestoreRecycleItem", request)[0]


def test_the_trash_keeps_ids(opencloud: Desk) -> None:
    """Keys are node ids; folders can be looked into and single files taken out; an occupied place is refused."""
    opencloud.mkdir("/einstein/d")
    opencloud.upload("/einstein/d/x", b"x")
    opencloud.upload("/einstein/d/y", b"y")
    folder, file = opencloud.stat("/einstein/d").id, opencloud.stat("/einstein/d/x").id
    opencloud.delete("/einstein/d")
    item = opencloud.recycled()[0]
    assert (item.key, item.ref.path) == (folder.opaque_id, "/d")
    inside = provider_pb.ListRecycleRequest(ref=opencloud.ref("/einstein"), key=f"{item.key}/")
    entries = opencloud.call("ListRecycle", inside)[1].recycle_items
    assert sorted(entry.ref.path for entry in entries) == ["/d/x", "/d/y"]
    assert restore(opencloud, item.key, None) == "INVALID_ARGUMENT"
    assert restore(opencloud, f"{item.key}/x", "/einstein/x") == "OK"
    assert opencloud.stat("/einstein/x").id == file
    assert restore(opencloud, item.key, "/einstein/x") == "ALREADY_EXISTS"
    assert restore(opencloud, item.key, "/einstein/no/d") == "NOT_FOUND"
    assert restore(opencloud, "nonsense", "/einstein/n") == "INTERNAL"
    assert restore(opencloud, item.key, "/einstein/back") == "OK"
    assert opencloud.stat("/einstein/back").id == folder
    assert opencloud.list("/einstein/back") == ["y"]
    assert opencloud.recycled() == []
    assert opencloud.stat("/einstein").size == 2


def test_a_restore_into_another_space_loses_the_item(opencloud: Desk) -> None:
    """The answer is OK all the same."""
    opencloud.upload("/einstein/x", b"x")
    opencloud.delete("/einstein/x")
    assert restore(opencloud, opencloud.recycled()[0].key, "/marie/x") == "OK"
    assert opencloud.recycled() == []
    assert opencloud.list("/marie", "marie") == []


def test_purging(opencloud: Desk) -> None:
    """One by one, or all with an empty key."""
    for name in "abc":
        opencloud.touch(f"/einstein/{name}")
        opencloud.delete(f"/einstein/{name}")
    key = opencloud.recycled()[0].key

    def purge(wanted: str) -> str:
        return opencloud.call("PurgeRecycle", provider_pb.PurgeRecycleRequest(ref=opencloud.ref("/einstein"), key=wanted))[0]

    assert purge(key) == "OK"
    assert purge(key) == "NOT_FOUND"
    assert len(opencloud.recycled()) == 2
    assert purge("") == "OK"
    assert opencloud.recycled() == []


def test_versions_can_be_read_and_restored(opencloud: Desk) -> None:
    """By their key as an id with path "."; a restore makes the present content a version."""
    for data in (b"one", b"two", b"three"):
        opencloud.upload("/einstein/x", data)
    keys = [item.key for item in opencloud.versions("/einstein/x")]
    sizes = [item.size for item in opencloud.versions("/einstein/x")]
    assert sizes == [3, 3]
    assert ".REV.20" in keys[0]
    rid = opencloud.stat("/einstein/x").id
    rid.opaque_id = keys[1]
    request = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(resource_id=rid, path="."))
    assert read(opencloud.get(opencloud.call("InitiateFileDownload", request)[1])) == b"one"

    def bring_back(key: str) -> str:
        return opencloud.call(
            "RestoreFileVersion", provider_pb.RestoreFileVersionRequest(ref=opencloud.ref("/einstein/x"), key=key)
        )[0]

    assert bring_back("nonsense") == "NOT_FOUND"
    assert bring_back(keys[1]) == "OK"
    assert opencloud.content("/einstein/x") == b"one"
    assert sorted(item.size for item in opencloud.versions("/einstein/x")) == [3, 5]
    # As measured: of the version that the restore made, the list tells the moment of the restore and an etag that no download has, and
    # Stat of any version tells id and etag of the present content.
    made = next(item for item in opencloud.versions("/einstein/x") if item.size == 5)
    rid.opaque_id = made.key
    request = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(resource_id=rid, path="."))
    got = opencloud.get(opencloud.call("InitiateFileDownload", request)[1])
    assert read(got) == b"three"
    assert got.headers["Etag"] != made.etag
    info = opencloud.call("Stat", provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=rid, path=".")))[1].info
    assert (info.size, info.etag, info.id) == (5, opencloud.stat("/einstein/x").etag, opencloud.stat("/einstein/x").id)
    opencloud.lock("SetLock", "/einstein/x", "L")
    assert bring_back(opencloud.versions("/einstein/x")[0].key) == "LOCKED"


@pytest.mark.parametrize("rpc", ["Stat", "ListContainer"])
def test_a_bad_token_looks_like_a_missing_file(opencloud: Desk, rpc: str) -> None:
    """The trap of this server; other calls say what is wrong."""
    from cs3fuse.emulator.failures import Refusal
    from cs3fuse.emulator.proto import NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED

    request = getattr(provider_pb, f"{rpc}Request")(ref=opencloud.ref("/einstein"))
    refusal = opencloud.profile.bad_token(rpc, request, missing=False)
    assert isinstance(refusal, Refusal)
    assert refusal.code == NOT_FOUND
    assert refusal.message.startswith("gateway could not find space for ref=resource_id:{")
    delete = provider_pb.DeleteRequest(ref=opencloud.ref("/einstein"))
    assert opencloud.profile.bad_token("Delete", delete, missing=False).code == PERMISSION_DENIED
    assert opencloud.profile.bad_token("Delete", delete, missing=True).code == UNAUTHENTICATED
