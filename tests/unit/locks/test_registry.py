"""Our locks on disk: what a crash leaves is read again, whatever the last line looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.errors import LocalStorageError
from cs3fuse.locks.registry import LockRegistry
from cs3fuse.model import IdRoot, Location, Lock, PathRoot, ResourceId

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
ROOTS = st.one_of(st.builds(PathRoot, TEXT), st.builds(IdRoot, st.builds(ResourceId, TEXT, TEXT, TEXT)))
LOCATIONS = st.builds(Location, ROOTS, TEXT)
CHANGES = st.lists(st.tuples(LOCATIONS, st.none() | st.builds(Lock, TEXT, TEXT, st.floats(0, 1e10))), max_size=10)


@given(changes=CHANGES, cut=st.integers(0, 40))
def test_registry_is_read_again(
    changes: list[tuple[Location, Lock | None]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A dict is the model; a last line that a crash cut off only loses that change."""
    path = tmp_path_factory.mktemp("registry") / "locks"
    registry = LockRegistry(path)
    models: list[dict[Location, Lock]] = [{}]
    for at, lock in changes:
        model = dict(models[-1])
        model.pop(at, None)
        if lock is None:
            registry.remove(at)
        else:
            registry.add(at, lock)
            model[at] = lock
        models.append(model)
    assert registry.locks() == models[-1]
    assert LockRegistry(path).locks() == models[-1]
    with path.open("ab") as file:
        file.write(b'{"root": "/home", "rel": "half a line", "lock": ["a", "b", 12345678901234567890]}'[:cut])
    assert LockRegistry(path).locks() == models[-1]


def test_nothing_is_kept_without_a_file() -> None:
    """A mount without a state file works, and forgets."""
    registry = LockRegistry(None)
    registry.add(Location(PathRoot("/home"), "a"), Lock("id", "app", 1))
    registry.remove(Location(PathRoot("/home"), "a"))
    assert registry.locks() == {}


def test_unusable_file_is_told(tmp_path: Path) -> None:
    """A folder in its place is a sentence, not a traceback."""
    (tmp_path / "locks").mkdir()
    with pytest.raises(LocalStorageError, match="cannot be used"):
        LockRegistry(tmp_path / "locks")
