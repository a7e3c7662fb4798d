"""Tests of profile `reva`: the tree as driver local keeps it."""

import os
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from struct import pack

import grpc
import pytest

from cs3fuse.emulator.failures import GrpcAbort
from cs3fuse.emulator.proto import provider_pb, storage_pb
from tests.unit.emulator.desk import Desk


def file_of(desk: Desk, path: str) -> Path:
    return Path(f"{desk.root}{path}")


def test_a_file_looks_as_the_local_driver_shows_it(reva: Desk) -> None:
    """Path-shaped id, etag by the driver's formula, whole seconds, no name, everybody's permissions, the caller as owner."""
    assert reva.upload("/einstein/a b.txt", b"hello") == 200
    info, status = reva.stat("/einstein/a b.txt"), file_of(reva, "/einstein/a b.txt").stat()
    assert info.id.opaque_id == "fileid-%2Feinstein%2Fa+b.txt"
    assert info.id.space_id == "F5WG6Y3BNQXWK2LOON2GK2LO"
    packed = pack(">qQQq", int(status.st_mtime), status.st_ino, status.st_dev, status.st_size)
    assert info.etag == f'"{md5(packed).hexdigest()}"'
    assert (info.size, info.mtime.nanos, info.name, info.path) == (5, 0, "", "/local/einstein/a b.txt")
    assert reva.stat("/einstein/a b.txt", "marie").owner.opaque_id == "marie"
    assert info.permission_set.initiate_file_upload and not info.permission_set.deny_grant


def test_the_folders_above_the_mounts_are_made_up(reva: Desk) -> None:
    """Also for a prefix that is no whole segment; with another id each time, without permissions."""
    for path in ("/", "/lo"):
        reference = storage_pb.Reference(path=path)
        infos = [reva.call("Stat", provider_pb.StatRequest(ref=reference))[1].info for _ in range(2)]
        assert infos[0].id.storage_id == "/"
        assert infos[0].id.opaque_id != infos[1].id.opaque_id
        assert not infos[0].HasField("permission_set")
    response = reva.call("ListContainer", provider_pb.ListContainerRequest(ref=storage_pb.Reference(path="/")))[1]
    assert [info.path for info in response.infos] == ["/local"]


def test_references_by_id(reva: Desk) -> None:
    """By the path in the id, relative to it, and the ways it goes wrong."""
    reva.mkdir("/einstein/d")
    reva.touch("/einstein/d/x")
    rid = reva.stat("/einstein/d").id

    def stat(reference):
        code, response = reva.call("Stat", provider_pb.StatRequest(ref=reference))
        return response.info.path if code == "OK" else code

    assert stat(storage_pb.Reference(resource_id=rid)) == "/local/einstein/d"
    assert stat(storage_pb.Reference(resource_id=rid, path="./x")) == "/local/einstein/d/x"
    assert stat(storage_pb.Reference(resource_id=storage_pb.ResourceId(storage_id="none", opaque_id="x"))) == "INTERNAL"
    assert stat(storage_pb.Reference(resource_id=storage_pb.ResourceId(), path="/local/einstein")) == "NOT_FOUND"
    assert stat(storage_pb.Reference(path="local/einstein")) == "NOT_FOUND"
    listing = provider_pb.ListContainerRequest(ref=storage_pb.Reference(resource_id=rid, path="."))
    assert [info.path for info in reva.call("ListContainer", listing)[1].infos] == ["/einstein/d/x"]
    with pytest.raises(GrpcAbort) as nothing:
        reva.call("Stat", provider_pb.StatRequest())
    assert nothing.value.code is grpc.StatusCode.INTERNAL


def test_codes_of_creating_and_removing(reva: Desk) -> None:
    """Never over anything, parents must exist, folders go with everything in them."""
    assert reva.mkdir("/einstein/d") == "OK"
    assert reva.mkdir("/einstein/d") == "ALREADY_EXISTS"
    assert reva.mkdir("/einstein/no/d") == "NOT_FOUND"
    assert reva.touch("/einstein/d/x") == "OK"
    assert reva.touch("/einstein/d/x") == "ALREADY_EXISTS"
    assert reva.touch("/einstein/no/x") == "NOT_FOUND"
    assert reva.mkdir("/einstein/" + "a" * 256) == "INTERNAL"
    assert reva.mkdir("/einstein/nul\0") == "INTERNAL"
    assert reva.mkdir("/MySharesX") == "PERMISSION_DENIED"
    assert reva.delete("/einstein/d") == "OK"
    assert reva.delete("/einstein/d") == "NOT_FOUND"
    assert reva.delete("/") == "INTERNAL"


def test_move_replaces_files_and_reports_everything_else_as_internal(reva: Desk) -> None:
    """Also a missing source; the replaced content is gone, into no version."""
    reva.upload("/einstein/a", b"a")
    reva.upload("/einstein/b", b"b")
    reva.mkdir("/einstein/d")
    reva.mkdir("/einstein/empty")
    assert reva.move("/einstein/a", "/einstein/b") == "OK"
    assert reva.content("/einstein/b") == b"a"
    assert reva.versions("/einstein/b") == []
    assert reva.move("/einstein/none", "/einstein/c") == "INTERNAL"
    assert reva.move("/einstein/d", "/einstein/empty") == "INTERNAL"
    assert reva.move("/einstein/d", "/einstein/d/sub") == "INTERNAL"
    assert reva.move("/einstein/b", "/einstein/d") == "INTERNAL"
    assert reva.move("/einstein/b", "/einstein/no/b") == "INTERNAL"
    request = provider_pb.MoveRequest(source=reva.ref("/einstein/b"), destination=storage_pb.Reference(path="/other/b"))
    assert reva.call("Move", request)[0] == "UNIMPLEMENTED"


def test_internal_although_the_file_was_moved(reva: Desk) -> None:
    """The quirk that makes clients look at both ends after INTERNAL."""
    reva.touch("/einstein/a")
    reva.quirks["internal_after_rename"] = 1.0
    assert reva.move("/einstein/a", "/einstein/b") == "INTERNAL"
    assert reva.list("/einstein") == ["b"]


def test_mtimes_of_folders_follow_the_last_change_even_backwards(reva: Desk) -> None:
    """mkdir and metadata copy one mtime to all folders above; an upload changes the kernel's mtime of the parent only."""
    reva.mkdir("/einstein/d")
    reva.upload("/einstein/d/x", b"x")
    assert reva.set_metadata("/einstein/d/x", mtime="1600000000.5") == "OK"
    assert file_of(reva, "/einstein/d/x").stat().st_mtime_ns == 1_600_000_000_000_000_005
    assert file_of(reva, "/einstein").stat().st_mtime_ns == 1_600_000_000_000_000_005
    before = reva.stat("/einstein").etag
    reva.upload("/einstein/d/x", b"y")
    assert reva.stat("/einstein").etag == before


def test_metadata_is_tied_to_the_path(reva: Desk) -> None:
    """Rows outlive the file and do not follow the children of a renamed folder."""
    reva.mkdir("/einstein/d")
    reva.touch("/einstein/d/x")
    reva.set_metadata("/einstein/d/x", colour="red")
    reva.set_metadata("/einstein/d", colour="blue")
    reva.move("/einstein/d", "/einstein/e")
    assert dict(reva.stat("/einstein/e").arbitrary_metadata.metadata) == {"colour": "blue"}
    assert dict(reva.stat("/einstein/e/x").arbitrary_metadata.metadata) == {}
    reva.mkdir("/einstein/d")
    reva.touch("/einstein/d/x")
    assert dict(reva.stat("/einstein/d/x").arbitrary_metadata.metadata) == {"colour": "red"}
    unset = provider_pb.UnsetArbitraryMetadataRequest(ref=reva.ref("/einstein/d/x"), arbitrary_metadata_keys=["colour", "none"])
    assert reva.call("UnsetArbitraryMetadata", unset)[0] == "OK"
    assert dict(reva.stat("/einstein/d/x").arbitrary_metadata.metadata) == {}
    unset.arbitrary_metadata_keys.append("mtime")
    assert reva.call("UnsetArbitraryMetadata", unset)[0] == "INTERNAL"


def test_locks_and_symlinks_do_not_exist(reva: Desk) -> None:
    """Locks are INTERNAL, as nothing tells "not supported" from failure on this driver."""
    reva.touch("/einstein/x")
    assert {reva.lock(rpc, "/einstein/x", "L")[0] for rpc in ("SetLock", "RefreshLock", "Unlock")} == {"INTERNAL"}
    assert reva.get_lock("/einstein/x")[0] == "INTERNAL"
    request = provider_pb.CreateSymlinkRequest(ref=reva.ref("/einstein/y"), target="x")
    assert reva.call("CreateSymlink", request)[0] == "UNIMPLEMENTED"


def test_everybody_reaches_every_home(reva: Desk) -> None:
    """This driver enforces nothing."""
    assert reva.upload("/einstein/a", b"a", user="marie") == 200
    assert reva.content("/einstein/a", user="richard") == b"a"


def test_a_restart_keeps_metadata_bin_and_running_uploads(open_desk: Callable[..., Desk]) -> None:
    """Everything a client may refer to later survives."""
    desk = open_desk("reva")
    desk.touch("/einstein/x")
    desk.set_metadata("/einstein/x", colour="red")
    desk.touch("/einstein/gone")
    desk.delete("/einstein/gone")
    response = desk.initiate("/einstein/late", 3)[1]
    again = open_desk("reva")
    assert dict(again.stat("/einstein/x").arbitrary_metadata.metadata) == {"colour": "red"}
    assert [item.ref.path for item in again.recycled()] == ["/local/einstein/gone"]
    assert again.put(response, b"abc") == 200
    assert again.content("/einstein/late") == b"abc"


def test_quota_is_the_disk_or_the_configured_number(open_desk: Callable[..., Desk]) -> None:
    """With a number, used bytes are those in the home."""
    desk = open_desk("reva")
    disk = os.statvfs(desk.root)
    assert desk.quota()[1].total_bytes == disk.f_blocks * disk.f_frsize
    desk = open_desk("reva", quota_bytes=1000)
    desk.upload("/einstein/a", b"x" * 300)
    assert (desk.quota()[1].total_bytes, desk.quota()[1].used_bytes) == (1000, 300)


def test_a_skewed_clock_shows_in_mtimes(reva: Desk) -> None:
    """A server whose clock is wrong stamps its files wrongly."""
    reva.clock.skew_s = 3600.0
    reva.upload("/einstein/a", b"a")
    assert reva.stat("/einstein/a").mtime.seconds - time.time() > 3500
