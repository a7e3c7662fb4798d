"""The index of the content store on disk."""

from __future__ import annotations

import sqlite3

import pytest

from cs3fuse.cache.index import ContentIndex, Row
from cs3fuse.model import ContentKey, ContentVersion

KEY = ContentKey("storage$!id", ContentVersion('"etag"', 10, 1_700_000_000_123_456_789))


def test_rows_come_back_after_a_restart(tmp_path):
    """Key, size, order of use and chunks are what was written."""
    index = ContentIndex(tmp_path / "i")
    index.write([], [Row("b", KEY, 5, 2.0, ((0, b"\1", b"1234"), (3, b"\0", b"5678"))), Row("a", KEY, 7, 1.0)])
    index.close()
    index = ContentIndex(tmp_path / "i")
    assert index.names() == [("a", 7), ("b", 5)]
    assert index.key("b") == KEY
    assert index.key("c") is None
    assert index.chunks("b") == [(0, b"\1", b"1234"), (3, b"\0", b"5678")]
    assert index.other_versions([Row("a", KEY, 7, 1.0)]) == ["b"]
    index.close()


def test_removed_and_stored_again_in_one_batch(tmp_path):
    """A version that was evicted and fetched again keeps nothing of its first life."""
    index = ContentIndex(tmp_path / "i")
    index.write([], [Row("a", KEY, 5, 1.0, ((0, b"\1", b"1234"), (1, b"\1", b"1234")))])
    index.write(["a"], [Row("a", KEY, 6, 2.0, ((0, b"\0", b"9999"),))])
    assert index.names() == [("a", 6)]
    assert index.chunks("a") == [(0, b"\0", b"9999")]
    index.close()


def test_failed_batch_changes_nothing(tmp_path):
    """Half a batch is never stored."""
    index = ContentIndex(tmp_path / "i")
    index.write([], [Row("a", KEY, 5, 1.0)])
    with pytest.raises(sqlite3.Error):
        index.write(["a"], [Row("b", KEY, 5, 1.0, ((0, None, b""),))])
    assert index.names() == [("a", 5)]
    index.close()


def test_other_format_and_damage_are_told(tmp_path):
    """What cannot be read is an error at once."""
    index = ContentIndex(tmp_path / "i")
    index.close()
    with sqlite3.connect(tmp_path / "i") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match="format 99"):
        ContentIndex(tmp_path / "i")
    (tmp_path / "j").write_bytes(b"not a database, not at all, but long enough" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        ContentIndex(tmp_path / "j")
