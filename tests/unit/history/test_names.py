"""Names of versions and of deleted things: always usable as names, never two alike, and they lead back to the same thing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.history.names import find_version, is_stamp, stamp, trash_names, version_names
from cs3fuse.model import NAME_MAX_BYTES, FileVersion, Kind, TrashItem

keys = st.text(min_size=1, max_size=30).filter(lambda key: not is_stamp(key))
seconds = st.one_of(st.integers(0, 5), st.integers(-(2**40), 2**40), st.just(1_767_362_645))
versions = st.lists(
    st.builds(FileVersion, keys, st.integers(0, 9), seconds.map(lambda value: value * 1_000_000_000)),
    unique_by=lambda version: version.key,
    max_size=8,
)
items = st.lists(
    st.builds(TrashItem, keys, st.text(min_size=1, max_size=300), st.sampled_from(Kind), st.just(0), seconds.map(float)),
    unique_by=lambda item: item.key,
    max_size=8,
)


def test_a_time_of_utc() -> None:
    """As in the issue: no colons, sorts by time."""
    assert stamp(1_767_362_645) == "2026-01-02T14-04-05Z"
    assert stamp(1e300) == stamp(-1e300) == stamp(0) == "1970-01-01T00-00-00Z"


@given(versions)
def test_each_version_has_a_name_that_leads_back(found: list[FileVersion]) -> None:
    """No two are alike, and each name and each key finds its version."""
    names = version_names(found)
    assert list(names.values()) == found
    for name, version in names.items():
        assert is_stamp(name)
        assert find_version(found, name) is version
        assert find_version(found, version.key) is version


@given(versions, st.data())
def test_a_name_never_means_another_version(found: list[FileVersion], data: st.DataObject) -> None:
    """When versions go, a name that is still understood means the version that it meant: of several in a second none has the bare time."""
    names = version_names(found)
    left = [version for version in found if data.draw(st.booleans())]
    for name, version in names.items():
        assert find_version(left, name) == (version if version in left else None)


def test_versions_of_one_second_are_told_apart() -> None:
    """The bare time means neither of them."""
    first, second = FileVersion("a", 1, 0), FileVersion("b", 1, 1)
    names = version_names([first, second])
    assert all(len(name) == len("1970-01-01T00-00-00Z-12345678") for name in names)
    assert find_version([first, second], "1970-01-01T00-00-00Z") is None
    assert find_version([second], "1970-01-01T00-00-00Z") is second


@given(items)
def test_names_of_deleted_things_are_safe(found: list[TrashItem]) -> None:
    """Whatever a server calls them, they are names, all different, in the same order."""
    names = trash_names(found)
    assert list(names.values()) == found
    for name in names:
        assert not any(letter < " " or letter == "\x7f" for letter in name)
        assert "/" not in name
        assert len(name.encode()) <= NAME_MAX_BYTES
        assert is_stamp(name.split(" ")[0])
