"""Which paths are warmed, and in requests of which size."""

import io
from pathlib import Path

import pytest

from cs3fuse.cli import cache
from cs3fuse.errors import BadRequestError


def test_patterns_lists_and_plain_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose very name looks like a pattern is that file; stdin gives one path a line."""
    for name in ("a1", "a2", "b[1]"):
        (tmp_path / name).touch()
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\ntwo words\n"))
    asked = [f"{tmp_path}/a*", f"{tmp_path}/b[1]", "plain", "-"]
    found = list(cache._expanded(asked))
    assert sorted(found[:2]) == [f"{tmp_path}/a1", f"{tmp_path}/a2"]
    assert found[2:] == [f"{tmp_path}/b[1]", "plain", "one", "two words"]


def test_a_pattern_without_a_match_is_an_error(tmp_path: Path) -> None:
    """Nothing warmed and no word said would look like success."""
    with pytest.raises(BadRequestError, match="Nothing matches"):
        list(cache._expanded([f"{tmp_path}/nonesuch*"]))


def test_requests_stay_below_the_limit_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million paths are many requests; each path is in one of them, with its mount."""
    monkeypatch.setattr(cache, "mount_of", lambda path: (path.parents[-2], str(path.relative_to(path.parents[-2]))))
    asked = [f"/{'mn'[number % 2]}/{'x' * 1000}{number}" for number in range(1000)]
    batches = list(cache._batches(asked))
    assert len(batches) > 2
    assert all(sum(len(path) * 6 for path in paths) < 1 << 20 for _, paths in batches)
    assert sorted(str(point / path) for point, paths in batches for path in paths) == sorted(asked)
