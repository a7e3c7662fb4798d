"""The maker of large ROOT files: tests/support/rootfiles.py."""

from __future__ import annotations

import uproot

from tests.support.rootfiles import large_root_file


def test_file_has_the_size_and_the_branches_asked_for(tmp_path):
    """About the size, all branches, several baskets each, every number as expected."""
    made = large_root_file(size_bytes=2_400_000, branches=4, folder=tmp_path)
    assert 2_400_000 <= made.path.stat().st_size < 2_500_000
    tree = uproot.open(made.path)["events"]
    assert tree.keys() == [f"branch{number:02}" for number in range(4)]
    assert tree["branch03"].num_baskets == 2
    assert (tree["branch03"].array(library="np") == made.expected(3)).all()
    assert not (made.expected(3) == made.expected(2)).all()


def test_file_is_written_once(tmp_path):
    """The second call takes the file that is there and leaves nothing else behind."""
    first = large_root_file(size_bytes=40_000, branches=2, folder=tmp_path)
    stamp = first.path.stat().st_mtime_ns
    assert large_root_file(size_bytes=40_000, branches=2, folder=tmp_path).path.stat().st_mtime_ns == stamp
    assert list(tmp_path.iterdir()) == [first.path]
