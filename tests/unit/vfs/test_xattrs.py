"""Attribute values as metadata text."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from cs3fuse.model import LockInfo
from cs3fuse.vfs.xattrs import decode_value, describe_lock, encode_value


@given(st.binary(max_size=200))
@example(b"base64:AAAA")
@example(b"a\x00b")
@example(b"\xff")
@example(b"")
def test_any_bytes_survive_the_way_through_metadata_text(value: bytes) -> None:
    """setxattr then getxattr gives the same bytes, whatever they are, and the text is UTF-8 without NUL."""
    text = encode_value(value)
    assert "\x00" not in text
    assert decode_value(text) == value


@given(st.text(st.characters(codec="utf-8"), max_size=50).filter(lambda text: not text.startswith("base64:")))
def test_text_set_by_other_clients_is_shown_as_it_is(text: str) -> None:
    """Only our own marker is decoded."""
    assert decode_value(text) == text.encode()


def test_a_lock_is_described_without_its_id() -> None:
    """Who, until when, and whose; knowing the lock id is enough to upload, so it is not shown."""
    told = describe_lock(LockInfo("secret-id", "collabora", "marie", "write", 1_000_000_000.0), is_ours=False)
    assert json.loads(told) == {
        "application": "collabora",
        "user": "marie",
        "type": "write",
        "until": "2001-09-09T01:46:40+00:00",
        "ours": False,
    }
    assert describe_lock(None, is_ours=False) == ""
