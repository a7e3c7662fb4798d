"""Tests of profile `opencloud`: uploads with their races, downloads."""

import hashlib
import time
from collections.abc import Callable

import pytest

from cs3fuse.emulator.failures import HttpRefusal
from cs3fuse.emulator.proto import provider_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy
from tests.unit.emulator.desk import Desk, read


def test_conditions_at_the_initiation(opencloud: Desk) -> None:
    """if_match with the quotes of the etag, if_not_exist, if_unmodified_since."""
    opencloud.upload("/einstein/x", b"one")
    etag = opencloud.stat("/einstein/x").etag
    for wrong in ('"wrong"', "*", etag.strip('"')):
        assert opencloud.upload("/einstein/x", b"two", if_match=wrong) == "FAILED_PRECONDITION"
    assert opencloud.upload("/einstein/none", b"two", if_match=etag) == "FAILED_PRECONDITION"
    assert opencloud.upload("/einstein/x", b"two", if_not_exist=True) == "ALREADY_EXISTS"
    old = storage_pb.ResourceInfo().mtime
    old.seconds = 1_000_000_000
    assert opencloud.upload("/einstein/x", b"two", if_unmodified_since=old) == "FAILED_PRECONDITION"
    assert opencloud.upload("/einstein/x", b"two", if_match=etag) == 200
    assert opencloud.upload("/einstein/no/x", b"x") == "FAILED_PRECONDITION"
    assert opencloud.upload("/einstein", b"x") == "FAILED_PRECONDITION"


def test_conditions_are_checked_again_at_the_put(opencloud: Desk) -> None:
    """Of two uploads with the same if_match, or of the same new name, the second PUT is 412."""
    opencloud.upload("/einstein/x", b"old")
    etag = opencloud.stat("/einstein/x").etag
    first, second = (opencloud.initiate("/einstein/x", 5, if_match=etag)[1] for _ in range(2))
    assert opencloud.put(second, b"later") == 200
    assert opencloud.put(first, b"first") == 412
    assert opencloud.content("/einstein/x") == b"later"
    one, other = (opencloud.initiate("/einstein/new", 3)[1] for _ in range(2))
    assert opencloud.put(one, b"one") == 200
    assert opencloud.put(other, b"two") == 412
    assert opencloud.content("/einstein/new") == b"one"


def test_an_unconditional_upload_overwrites_what_came_between(opencloud: Desk) -> None:
    """The other's content is left as a version."""
    opencloud.upload("/einstein/x", b"old")
    mine = opencloud.initiate("/einstein/x", 4)[1]
    opencloud.upload("/einstein/x", b"interloper")
    assert opencloud.put(mine, b"mine") == 200
    assert [item.size for item in opencloud.versions("/einstein/x")] == [10, 3]


def test_what_happens_between_initiation_and_put(opencloud: Desk) -> None:
    """Locked by another: 500; own lock gone: 412; deleted: 500; renamed: the content goes to the new name."""
    for name in ("locked", "released", "deleted", "renamed"):
        opencloud.upload(f"/einstein/{name}", b"old")
    locked = opencloud.initiate("/einstein/locked", 3)[1]
    opencloud.lock("SetLock", "/einstein/locked", "L")
    assert opencloud.put(locked, b"new") == 500
    opencloud.lock("SetLock", "/einstein/released", "L")
    released = opencloud.initiate("/einstein/released", 3, lock_id="L")[1]
    opencloud.lock("Unlock", "/einstein/released", "L")
    assert opencloud.put(released, b"new") == 412
    deleted = opencloud.initiate("/einstein/deleted", 3)[1]
    opencloud.delete("/einstein/deleted")
    assert opencloud.put(deleted, b"new") == 500
    renamed = opencloud.initiate("/einstein/renamed", 3)[1]
    opencloud.move("/einstein/renamed", "/einstein/elsewhere")
    assert opencloud.put(renamed, b"new") == 200
    assert opencloud.content("/einstein/elsewhere") == b"new"
    assert opencloud.list("/einstein") == ["elsewhere", "locked", "released"]


def test_a_second_put_with_the_same_token_appends(opencloud: Desk) -> None:
    """400 x, a broken connection, then 1000 y: 200, and the file is 400 x and 600 y."""
    opencloud.upload("/einstein/x", b"original")
    response = opencloud.initiate("/einstein/x", 1000)[1]
    opencloud.put(response, b"x" * 400, broken=True)
    assert opencloud.content("/einstein/x") == b"original"
    assert opencloud.put(response, b"y" * 1000) == 200
    assert opencloud.content("/einstein/x") == b"x" * 400 + b"y" * 600


def test_the_body_of_a_failed_put_wins_over_that_of_its_retry(opencloud: Desk) -> None:
    """After a 500 because of a lock the retry stores the first body."""
    opencloud.upload("/einstein/x", b"old")
    response = opencloud.initiate("/einstein/x", 5)[1]
    opencloud.lock("SetLock", "/einstein/x", "L")
    assert opencloud.put(response, b"AAAAA") == 500
    opencloud.lock("Unlock", "/einstein/x", "L")
    assert opencloud.put(response, b"BBBBB") == 200
    assert opencloud.content("/einstein/x") == b"AAAAA"
    assert opencloud.put(response, b"CCCCC") == 500


def test_a_chunked_put_stores_nothing(opencloud: Desk) -> None:
    """206, as for names that look like chunks."""
    assert opencloud.put(opencloud.initiate("/einstein/x", 3)[1], b"abc", length=None) == 206
    assert opencloud.upload("/einstein/x-chunking-1234-2-0", b"abc") == 206
    assert opencloud.list("/einstein") == []


def test_upload_checksum_is_verified(opencloud: Desk) -> None:
    """A mismatch is 419 and stores nothing; unknown algorithms are refused at the initiation."""
    data = b"some data"
    right, wrong = (f"sha1 {hashlib.sha1(text).hexdigest()}" for text in (data, b"other"))
    assert opencloud.upload("/einstein/x", data, opaque={"Upload-Checksum": wrong}) == 419
    assert opencloud.stat("/einstein/x") is None
    assert opencloud.upload("/einstein/x", data, opaque={"Upload-Checksum": right}) == 200
    for text in ("SHA1 abc", "sha256 abc", "sha1abc"):
        assert opencloud.upload("/einstein/y", data, opaque={"Upload-Checksum": text}) == "INVALID_ARGUMENT"
    poisoned = opencloud.initiate("/einstein/z", len(data), opaque={"Upload-Checksum": right})[1]
    opencloud.put(poisoned, b"xx", broken=True)
    assert opencloud.put(poisoned, data) == 419


def test_large_files_have_the_same_checksums_as_small_ones(opencloud: Desk) -> None:
    """They are hashed by a thread while they arrive."""
    data = bytes(range(256)) * 20_000
    sha1 = hashlib.sha1(data).hexdigest()
    assert opencloud.upload("/einstein/big", data, opaque={"Upload-Checksum": f"sha1 {sha1}"}) == 200
    info = opencloud.stat("/einstein/big")
    assert info.checksum.sum == sha1
    assert info.opaque.map["md5"].value.decode() == hashlib.md5(data).hexdigest()
    assert opencloud.upload("/einstein/big", data, opaque={"Upload-Checksum": f"sha1 {'0' * 40}"}) == 419


def test_length_zero_or_none_empties_the_file_at_once(opencloud: Desk) -> None:
    """The PUT that follows is 400 when empty, 500 otherwise; the old content is a version."""
    opencloud.upload("/einstein/x", b"sixteen bytes ok")
    for length in (0, None):
        response = opencloud.initiate("/einstein/x", length)[1]
        assert opencloud.stat("/einstein/x").size == 0
        assert opencloud.put(response, b"") == 400
        assert opencloud.put(response, b"abc") == 500
    assert [item.size for item in opencloud.versions("/einstein/x")] == [0, 16]
    assert opencloud.initiate("/einstein/x", 0, if_match='"wrong"')[0] == "FAILED_PRECONDITION"
    assert opencloud.initiate("/einstein/x", 0, if_not_exist=True)[0] == "ALREADY_EXISTS"
    assert opencloud.initiate("/einstein/fresh", 0)[0] == "OK"
    assert opencloud.content("/einstein/fresh") == b""


def test_bodies_of_another_length_than_announced(opencloud: Desk) -> None:
    """Longer is cut, shorter is believed: the size is as announced and every GET dies."""
    assert opencloud.put(opencloud.initiate("/einstein/long", 4)[1], b"12345678") == 200
    assert opencloud.content("/einstein/long") == b"1234"
    assert opencloud.put(opencloud.initiate("/einstein/short", 10)[1], b"1234") == 200
    assert opencloud.stat("/einstein/short").size == 10
    assert opencloud.content("/einstein/short") == 0


def test_a_large_body_longer_than_announced_is_hashed_as_it_is_cut(opencloud: Desk) -> None:
    """The thread that follows the upload stops where the file will end."""
    data = bytes(range(256)) * 12_000
    assert opencloud.put(opencloud.initiate("/einstein/long", 2_000_000)[1], data) == 200
    assert opencloud.stat("/einstein/long").checksum.sum == hashlib.sha1(data[:2_000_000]).hexdigest()
    assert opencloud.content("/einstein/long") == data[:2_000_000]


def test_mtime_of_the_initiation_is_applied(opencloud: Desk) -> None:
    """Also for an empty file; junk is ignored."""
    mtime = {"X-OC-Mtime": "1600000000.123456789"}
    assert opencloud.upload("/einstein/x", b"x", opaque=mtime) == 200
    opencloud.initiate("/einstein/empty", 0, opaque=mtime)
    for path in ("/einstein/x", "/einstein/empty"):
        info = opencloud.stat(path)
        assert (info.mtime.seconds, info.mtime.nanos) == (1_600_000_000, 123_456_789)
    assert opencloud.upload("/einstein/x", b"x", opaque={"X-OC-Mtime": "junk"}) == 200


def test_while_processing_a_file_can_be_seen_but_not_read_or_deleted(open_desk: Callable[..., Desk], monkeypatch) -> None:
    """Stat shows the new content with a status; GET is 500 and Delete TOO_EARLY until it is done."""
    desk = open_desk("opencloud", quirks={"processing_s": 10.0})
    assert desk.upload("/einstein/x", b"new") == 200
    assert desk.stat("/einstein/x").opaque.map["status"].value == b"processing"
    assert desk.content("/einstein/x") == 500
    assert desk.delete("/einstein/x") == "TOO_EARLY"
    assert desk.move("/einstein/x", "/einstein/y") == "OK"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11.0)
    assert "status" not in desk.stat("/einstein/y").opaque.map
    assert desk.content("/einstein/y") == b"new"
    assert desk.delete("/einstein/y") == "OK"


def test_a_get_carries_etag_and_checksum(opencloud: Desk) -> None:
    """Ranges are served; a folder breaks off; a missing file is 404 at the GET."""
    opencloud.upload("/einstein/x", b"data")
    download, info = opencloud.open_download("/einstein/x"), opencloud.stat("/einstein/x")
    assert download.headers["Etag"] == download.etag == info.etag
    assert download.headers["Oc-Checksum"] == f"SHA1:{info.checksum.sum}"
    assert download.ranges is RangePolicy.CUT
    assert read(download) == b"data"
    assert opencloud.content("/einstein/none") == 404
    assert opencloud.content("/einstein") == 0


def test_a_download_by_id_survives_a_rename_and_a_bare_id_fails(opencloud: Desk) -> None:
    """By path it is 404 afterwards."""
    opencloud.upload("/einstein/x", b"data")
    by_path = opencloud.call("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=opencloud.ref("/einstein/x")))[1]
    reference = storage_pb.Reference(resource_id=opencloud.stat("/einstein/x").id, path=".")
    by_id = opencloud.call("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=reference))[1]
    reference.path = ""
    bare = opencloud.call("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=reference))[1]
    opencloud.move("/einstein/x", "/einstein/y")
    assert read(opencloud.get(by_id)) == b"data"
    for response, status in ((by_path, 404), (bare, 500)):
        with pytest.raises(HttpRefusal) as refusal:
            opencloud.get(response)
        assert refusal.value.status == status


def test_another_user_may_put_with_my_upload_token_but_not_get_with_my_download_token(opencloud: Desk) -> None:
    """As measured."""
    response = opencloud.initiate("/einstein/x", 3)[1]
    assert opencloud.put(response, b"abc", user="marie") == 200
    assert opencloud.content("/einstein/x", "marie") == 404
