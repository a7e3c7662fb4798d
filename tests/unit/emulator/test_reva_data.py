"""Tests of profile `reva`: what an upload does to the tree, versions, recycle bin, spaces, shares."""

import asyncio
from pathlib import Path

import pytest

from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.profiles import DataCall
from cs3fuse.emulator.proto import provider_pb, spaces_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy
from tests.unit.emulator.desk import Desk, read


def test_an_upload_id_works_once(reva: Desk) -> None:
    """The record is gone after success, so the same PUT again is 500 and changes nothing."""
    code, response = reva.initiate("/einstein/a", 5)
    assert code == "OK"
    assert {item.protocol for item in response.protocols} == {"simple", "tus"}
    assert reva.put(response, b"hello") == 200
    assert reva.put(response, b"again") == 500
    assert reva.content("/einstein/a") == b"hello"


def test_conditions_are_ignored(reva: Desk) -> None:
    """No compare-and-swap exists on this server."""
    reva.upload("/einstein/a", b"old")
    assert reva.upload("/einstein/a", b"new", if_match='"wrong"', if_not_exist=True, lock_id="L") == 200
    assert reva.content("/einstein/a") == b"new"


def test_a_broken_connection_commits_what_came(reva: Desk) -> None:
    """The most dangerous habit: the short content replaces the good one, which is left only among the versions."""
    reva.upload("/einstein/a", b"good content")
    response = reva.initiate("/einstein/a", 1000)[1]
    reva.put(response, b"short", broken=True)
    assert reva.content("/einstein/a") == b"short"
    assert [item.size for item in reva.versions("/einstein/a")] == [12]


def test_a_failed_put_leaves_bytes_to_which_the_next_one_appends(reva: Desk) -> None:
    """The parent is missing at the first PUT; after it was made, the same token stores both bodies."""
    response = reva.initiate("/einstein/no/a", 3)[1]
    assert reva.put(response, b"abc") == 500
    reva.mkdir("/einstein/no")
    assert reva.put(response, b"abc") == 200
    assert reva.content("/einstein/no/a") == b"abcabc"


def test_an_upload_over_a_folder_replaces_it(reva: Desk) -> None:
    """With everything in it, without a word."""
    reva.mkdir("/einstein/d")
    reva.touch("/einstein/d/child")
    assert reva.upload("/einstein/d", b"file now") == 200
    assert reva.content("/einstein/d") == b"file now"


def test_chunk_like_names_are_swallowed(reva: Desk) -> None:
    """206, and no file."""
    assert reva.upload("/einstein/x-chunking-abc-3-1", b"x") == 206
    assert reva.list("/einstein") == []


def test_downloads_have_no_ranges_and_check_nothing_at_the_initiation(reva: Desk) -> None:
    """404 comes at the GET; a folder announces a size and breaks off."""
    reva.upload("/einstein/a", b"text")
    download = reva.open_download("/einstein/a")
    assert (download.ranges, download.etag, download.size) == (RangePolicy.REFUSED, "", 4)
    assert download.content_type == "text/plain; charset=utf-8"
    assert read(download) == b"text"
    assert reva.content("/einstein/none") == 404
    assert reva.open_download("/einstein").abort


def test_download_by_id_needs_the_dot(reva: Desk) -> None:
    """A bare id leads to the root of the storage."""
    reva.upload("/einstein/a", b"text")
    rid = reva.stat("/einstein/a").id
    dotted = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(resource_id=rid, path="."))
    response = reva.call("InitiateFileDownload", dotted)[1]
    assert [item.protocol for item in response.protocols] == ["spaces"]
    assert read(reva.get(response)) == b"text"
    bare = provider_pb.InitiateFileDownloadRequest(ref=storage_pb.Reference(resource_id=rid))
    assert reva.get(reva.call("InitiateFileDownload", bare)[1]).abort


def test_version_keys_lack_the_v_that_restore_needs(reva: Desk) -> None:
    """And versions cannot be downloaded at all."""
    reva.upload("/einstein/a", b"one")
    reva.upload("/einstein/a", b"two")
    key = reva.versions("/einstein/a")[0].key
    assert reva.versions("/einstein/a")[0].mtime == int(key) > 10**12
    with pytest.raises(HttpRefusal) as refusal:
        reva.open_download("/einstein/a", version=key)
    assert refusal.value.status == 404

    def restore(wanted: str) -> str:
        return reva.call("RestoreFileVersion", provider_pb.RestoreFileVersionRequest(ref=reva.ref("/einstein/a"), key=wanted))[0]

    assert restore(key) == "NOT_FOUND"
    assert restore(f"v{key}") == "OK"
    assert reva.content("/einstein/a") == b"one"


def test_the_recycle_bin_is_everybodys(reva: Desk) -> None:
    """Items come back to a storage-relative place; an empty key purges the items of all users."""
    reva.upload("/einstein/a", b"mine")
    reva.upload("/marie/b", b"hers")
    reva.delete("/einstein/a")
    reva.delete("/marie/b", user="marie")
    items = {item.ref.path: item for item in reva.recycled()}
    assert set(items) == {"/local/einstein/a", "/local/marie/b"}
    assert items["/local/einstein/a"].deletion_time.seconds > 10**12
    request = provider_pb.RestoreRecycleItemRequest(ref=reva.ref("/einstein"), key=items["/local/einstein/a"].key)
    request.restore_ref.path = "/einstein/back"
    assert reva.call("RestoreRecycleItem", request)[0] == "OK"
    assert reva.content("/einstein/back") == b"mine"
    assert reva.call("RestoreRecycleItem", request)[0] == "INTERNAL"
    assert reva.call("PurgeRecycle", provider_pb.PurgeRecycleRequest(ref=reva.ref("/einstein")))[0] == "OK"
    assert reva.recycled() == []


def tus(reva: Desk, response, method: str, body: bytes = b"", **headers: str):
    base, kind, tail = reva.target(response, "tus")
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    call = DataCall(method, reva.access(), base, kind, tail, sent, len(body), forwarded=True)
    try:
        if method == "HEAD":
            return reva.profile.tus_status(call)
        sink = reva.profile.tus_patch(call)
        sink.write(body)
        return asyncio.run(sink.finish())
    except HttpRefusal as refusal:
        return refusal.status


def test_tus_collects_pieces_and_commits_at_the_announced_length(reva: Desk) -> None:
    """HEAD tells the offset; a wrong offset is 409, too many bytes 413, a finished upload 404."""
    response = reva.initiate("/einstein/t", 6)[1]
    patch = {"Tus_Resumable": "1.0.0", "Content_Type": "application/offset+octet-stream"}
    assert tus(reva, response, "HEAD") == 412
    assert tus(reva, response, "PATCH", b"abc", **patch, Upload_Offset="0").status == 204
    assert tus(reva, response, "HEAD", Tus_Resumable="1.0.0").headers["Upload-Offset"] == "3"
    assert tus(reva, response, "PATCH", b"abc", **patch, Upload_Offset="0") == 409
    assert tus(reva, response, "PATCH", b"defg", **patch, Upload_Offset="3") == 413
    assert tus(reva, response, "PATCH", b"def", **patch, Upload_Offset="3", Upload_Length="6") == 501
    assert reva.content("/einstein/t") == 404
    assert tus(reva, response, "PATCH", b"def", **patch, Upload_Offset="3").status == 204
    assert reva.content("/einstein/t") == b"abcdef"
    assert tus(reva, response, "HEAD", Tus_Resumable="1.0.0") == 404


def test_shares_are_listed_with_an_accepted_state(reva: Desk) -> None:
    """Never pending; the id of the space is not kept; the root of a home cannot be shared."""
    reva.mkdir("/einstein/d")
    share_id = reva.share("/einstein/d", "marie", "viewer")
    from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

    received = reva.call("ListReceivedShares", share_api_pb.ListReceivedSharesRequest(), "marie")[1].shares
    assert [(item.share.id.opaque_id, item.state) for item in received] == [(share_id, 2)]
    assert received[0].share.resource_id.space_id == ""
    request = provider_pb.StatRequest(ref=storage_pb.Reference(resource_id=received[0].share.resource_id))
    assert reva.call("Stat", request, "marie")[1].info.path == "/local/einstein/d"
    root = share_api_pb.CreateShareRequest(resource_info=reva.stat("/einstein"))
    assert reva.call("CreateShare", root)[0] == "PERMISSION_DENIED"


def test_spaces_are_the_home_and_the_second_mount(reva: Desk) -> None:
    """The personal space has no root; the public one is also found as a project."""
    spaces = reva.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())[1].storage_spaces
    assert [space.space_type for space in spaces] == ["personal", "explorer", "explorer"]
    assert spaces[0].id.opaque_id == "local$F5WG6Y3BNQXWK2LOON2GK2LO"
    assert not spaces[0].HasField("root")


def test_uploads_stay_out_of_sight(reva: Desk) -> None:
    """An initiated upload leaves files only in the emulator's own folder, which no path reaches."""
    reva.initiate("/einstein/a", 5)
    assert reva.list("/") == ["einstein", "marie", "richard"]
    assert reva.stat("/.emulator") is None
    assert list(Path(reva.root, ".emulator", "reva-local", "uploads").iterdir())
