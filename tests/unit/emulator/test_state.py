"""Tests of what the emulator remembers."""

from pathlib import Path

from cs3fuse.emulator.state import State


def test_entries_survive_by_bucket(tmp_path: Path) -> None:
    """The last value counts, buckets do not mix, dropped entries are gone; a missing one may be dropped."""
    state = State(tmp_path / "state.sqlite")
    state.put("a", "key", 1)
    state.put("a", "key", {"n": [2]})
    state.put_many("b", [("key", 3), ("other", 4), ("third", 5)])
    state.put_many("b", [("other", 6)])
    state.drop("b", "key")
    state.drop("b", "key")
    state.drop_many("b", ["third", "none"])
    state.close()
    again = State(tmp_path / "state.sqlite")
    assert (again.load("a"), again.load("b"), again.load("c")) == ({"key": {"n": [2]}}, {"other": 6}, {})
    again.close()
