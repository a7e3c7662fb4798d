"""Tests of profile `eos`: transfers."""

import zlib
from collections.abc import Callable

from cs3fuse.emulator.ranges import RangePolicy
from tests.unit.emulator.desk import Desk, read


def test_a_put_without_a_length_is_500(eos: Desk) -> None:
    """The data gateway loses the Content-Length, so Upload-Length is needed; a wrong one is 500 too."""
    code, response = eos.initiate("/einstein/x", 3)
    assert code == "OK"
    assert [item.protocol for item in response.protocols] == ["simple"]
    assert eos.put(response, b"abc", headers={"Upload-Length": ""}) == 500
    assert eos.put(response, b"abc", headers={"Upload-Length": "4"}) == 500
    assert eos.stat("/einstein/x") is None
    assert eos.put(response, b"abc") == 200
    assert eos.put(response, b"def") == 200


def test_uploads_are_atomic(eos: Desk) -> None:
    """A broken connection leaves the old content and no version."""
    eos.upload("/einstein/x", b"good content")
    eos.put(eos.initiate("/einstein/x", 1000)[1], b"short", broken=True)
    assert eos.content("/einstein/x") == b"good content"
    assert eos.versions("/einstein/x") == []


def test_refusals_of_a_put(open_desk: Callable[..., Desk]) -> None:
    """Parent missing 404, a folder 500, no permission 403, no room 507."""
    eos = open_desk("eos", quota_bytes=1000)
    eos.mkdir("/einstein/d")
    assert eos.upload("/einstein/no/x", b"x") == 404
    assert eos.upload("/einstein/d", b"x") == 500
    assert eos.upload("/einstein/x", b"x", user="marie") == 403
    assert eos.upload("/einstein/x", b"x" * 900) == 200
    assert eos.upload("/einstein/y", b"x" * 101) == 507
    assert eos.upload("/einstein/x", b"x" * 1000) == 200


def test_downloads_have_ranges_and_no_etag(eos: Desk) -> None:
    """Large files have checksums as well."""
    data = bytes(range(256)) * 8192
    assert eos.upload("/einstein/x", data) == 200
    download = eos.open_download("/einstein/x")
    assert (download.ranges, download.etag) == (RangePolicy.SERVED, "")
    assert read(download) == data
    assert int(eos.stat("/einstein/x").checksum.sum, 16) == zlib.adler32(data)
    assert eos.content("/einstein/none") == 404
    assert eos.content("/einstein") == 500
