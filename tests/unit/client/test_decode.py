"""What ResourceInfo means, from friendly and from hostile servers."""

from __future__ import annotations

import json

import pytest
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb2
from cs3.storage.provider.v1beta1 import resources_pb2
from cs3.types.v1beta1 import types_pb2
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.client import decode
from cs3fuse.client.tree import plain_opaque
from cs3fuse.model import Checksum, IdRoot, Kind, Location, LockInfo, PathRoot, ResourceId
from tests.unit.client.fakes import folder, info

HOME = Location(PathRoot("/home"))
SHA1 = "a" * 40


def test_a_file_of_opencloud() -> None:
    """Everything that OpenCloud fills arrives: nanoseconds, checksum, owner, permissions, metadata."""
    entry = decode.entry(
        info(
            name="f",
            mtime=types_pb2.Timestamp(seconds=5, nanos=7),
            checksum=resources_pb2.ResourceChecksum(type=resources_pb2.RESOURCE_CHECKSUM_TYPE_SHA1, sum=SHA1.upper()),
            owner=user_pb2.UserId(opaque_id="einstein"),
            permission_set=resources_pb2.ResourcePermissions(stat=True, move=True),
            arbitrary_metadata=resources_pb2.ArbitraryMetadata(metadata={"k": "v"}),
            mime_type="text/plain",
        ),
        name="f",
    )
    assert (entry.kind, entry.size, entry.mtime_ns, entry.etag) == (Kind.FILE, 10, 5_000_000_007, '"e1"')
    assert entry.checksum == Checksum("sha1", SHA1)
    assert entry.permissions == {"stat", "move"}
    assert (entry.owner, entry.mime_type, dict(entry.metadata)) == ("einstein", "text/plain", {"k": "v"})
    assert not entry.is_processing
    assert entry.lock is None


def test_absent_permissions_are_not_all_false() -> None:
    """Synthetic folders carry no permission set; that must not lock everybody out."""
    assert decode.entry(folder(), name="").permissions is None
    assert decode.entry(info(permission_set=resources_pb2.ResourcePermissions()), name="f").permissions == frozenset()


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_metadata_of_any_size_arrives_each_time(size: int) -> None:
    """Small sets are remembered between entries, large ones are not; what one entry has is never another's."""
    for letter in "aba":
        values = {"key": letter * size, "other": letter}
        found = decode.entry(info(arbitrary_metadata=resources_pb2.ArbitraryMetadata(metadata=values)), name="f").metadata
        assert found == values
    assert not decode.entry(info(arbitrary_metadata=resources_pb2.ArbitraryMetadata()), name="f").metadata


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, 0), (2**64 - 5, 0)])
def test_absurd_sizes_are_capped(size: int, expected: int) -> None:
    """An OCM remote's negative size comes through as a number near 2^64."""
    assert decode.entry(info(size=size), name="f").size == expected


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (0, 0, 0),
        (1, 999_999_999, 1_999_999_999),
        (1, 2**32 - 1, 1_000_000_000),
        (2**40, 0, 2**33 * 10**9),
        (2**64 - 1, 0, 0),
    ],
)
def test_times_out_of_range_are_capped(seconds: int, nanos: int, expected: int) -> None:
    """Whatever a server says, nanoseconds fit into 63 bits and are not negative."""
    assert decode.entry(info(mtime=types_pb2.Timestamp(seconds=seconds, nanos=nanos)), name="f").mtime_ns == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.text(max_size=2000), st.text())
def test_any_numbers_and_texts_give_a_usable_entry(size: int, seconds: int, nanos: int, etag: str, key: str) -> None:
    """No value of a field makes decoding fail or leaves the range of a stat structure."""
    try:
        message = info(
            size=size, mtime=types_pb2.Timestamp(seconds=seconds, nanos=nanos), etag=etag, opaque=plain_opaque({key: "{"})
        )
    except UnicodeEncodeError:
        return
    entry = decode.entry(message, name="f")
    assert 0 <= entry.size < 2**63
    assert 0 <= entry.mtime_ns < 2**63
    assert entry.etag in {etag, ""}
    assert entry.etag.isprintable()


@pytest.mark.parametrize("kind", [resources_pb2.RESOURCE_TYPE_INVALID, resources_pb2.RESOURCE_TYPE_INTERNAL, 99])
def test_types_that_mean_nothing_are_refused(kind: int) -> None:
    """A device or an unknown type is not shown as a file."""
    with pytest.raises(decode.UnusableEntryError):
        decode.entry(info(type=kind), name="f")


def test_checksums_prefer_the_strongest() -> None:
    """OpenCloud tells sha1 in the field and the others in the opaque map; EOS adler32; nonsense is no checksum."""
    opaque = plain_opaque({"md5": "B" * 32, "adler32": "c" * 8})
    sha1 = resources_pb2.ResourceChecksum(type=resources_pb2.RESOURCE_CHECKSUM_TYPE_SHA1, sum=SHA1)
    adler = resources_pb2.ResourceChecksum(type=resources_pb2.RESOURCE_CHECKSUM_TYPE_ADLER32, sum="1A530459")
    wrong = resources_pb2.ResourceChecksum(type=resources_pb2.RESOURCE_CHECKSUM_TYPE_SHA1, sum="zz")
    assert decode.entry(info(checksum=sha1, opaque=opaque), name="f").checksum == Checksum("sha1", SHA1)
    assert decode.entry(info(opaque=opaque), name="f").checksum == Checksum("md5", "b" * 32)
    assert decode.entry(info(checksum=adler), name="f").checksum == Checksum("adler32", "1a530459")
    assert decode.entry(info(checksum=wrong), name="f").checksum is None


def test_processing_is_seen() -> None:
    """Such a file answers GET 500 for a while."""
    assert decode.entry(info(opaque=plain_opaque({"status": "processing"})), name="f").is_processing


def test_locks_in_both_places() -> None:
    """EOS fills the field, OpenCloud also the opaque map; broken JSON is no lock."""
    lock = resources_pb2.Lock(
        lock_id="L", type=resources_pb2.LOCK_TYPE_WRITE, app_name="app", expiration=types_pb2.Timestamp(seconds=9)
    )
    told = json.dumps({"lock_id": "L", "type": 2, "app_name": "app", "expiration": {"seconds": 9}})
    expected = LockInfo("L", "app", "", "write", 9.0)
    assert decode.entry(info(lock=lock), name="f").lock == expected
    assert decode.entry(info(opaque=plain_opaque({"lock": told})), name="f").lock == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["lock_id", "type", "user", "expiration", "seconds", "app_name"]), inner)
        ),
    )
)
def test_any_json_lock_is_survived(told: object) -> None:
    """Whatever stands in the opaque map, decoding goes on."""
    decode.entry(info(opaque=plain_opaque({"lock": json.dumps(told)})), name="f")


def test_a_lock_without_expiration_never_ends() -> None:
    """None, not the year 1970."""
    assert decode.lock_info(resources_pb2.Lock(lock_id="L")).expires_at is None


@pytest.mark.parametrize("bad", ["..", ".", "a\0b", "x/y", "n" * 256])
def test_unsafe_names_are_left_out(bad: str) -> None:
    """Such names arrive from OCM remotes unchanged."""
    entries = decode.listing([info(name=bad, path=f"/home/{bad}"), info(name="good")], HOME)
    assert [entry.name for entry in entries] == ["good"]


def test_doubles_and_odd_types_are_left_out() -> None:
    """One name is one dentry; the first one counts."""
    first, second = info("/home/a", size=1), info("/home/a", size=2)
    device = info("/home/dev", type=resources_pb2.RESOURCE_TYPE_INTERNAL)
    entries = decode.listing([first, second, device], HOME)
    assert [(entry.name, entry.size) for entry in entries] == [("a", 1)]


def test_names_come_from_the_path_where_empty() -> None:
    """Reva's local driver leaves ``name`` empty."""
    assert [entry.name for entry in decode.listing([info("/home/d/x"), folder("/home/d/y/")], HOME)] == ["x", "y"]


def test_relative_listings_take_the_space_of_their_root() -> None:
    """Reva derives the space of such entries from cut paths, so it would differ from Stat's."""
    at = Location(IdRoot(ResourceId("s", "right", "root")))
    [entry] = decode.listing([info(id=resources_pb2.ResourceId(storage_id="s", space_id="wrong", opaque_id="o"))], at)
    assert entry.id == ResourceId("s", "right", "o")
    [foreign] = decode.listing([info(id=resources_pb2.ResourceId(storage_id="t", space_id="own", opaque_id="o"))], at)
    assert foreign.id == ResourceId("t", "own", "o")
