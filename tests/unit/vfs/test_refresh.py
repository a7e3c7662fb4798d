"""Forgetting a subtree: which inodes and names the kernel is told of."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from cs3fuse.model import Ino, Kind, Location, PathRoot
from cs3fuse.vfs.inodes import InodeTable, Node
from cs3fuse.vfs.refresh import known_node, refresh

ROOT = PathRoot("/home")


@dataclass
class Told:
    """Stands for the metadata cache and the kernel."""

    forgotten: list[tuple[Location, bool]] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)
    entries: list[tuple[int, str]] = field(default_factory=list)

    def forget(self, at: Location, *, subtree: bool = False) -> None:
        self.forgotten.append((at, subtree))

    def invalidate_inode(self, ino: Ino, *, attributes_only: bool) -> None:
        assert attributes_only
        self.inodes.append(ino)

    def invalidate_entry(self, parent: Ino, name: str) -> None:
        self.entries.append((parent, name))


@pytest.fixture
def table() -> InodeTable:
    return InodeTable(ROOT)


def add(table: InodeTable, parent: Node, name: str, kind: Kind, anchor: PathRoot | None = None) -> Node:
    node = table.ensure(parent, name, kind, anchor)
    table.remember(node)
    return node


def state_of(table: InodeTable, told: Told) -> Any:
    return SimpleNamespace(inodes=table, metadata=told, notifier=told)


def test_a_subtree_is_forgotten_and_nothing_else(table: InodeTable) -> None:
    """The folder and what is below it; siblings keep what is known of them."""
    folder = add(table, table.root, "folder", Kind.DIRECTORY)
    file = add(table, folder, "file", Kind.FILE)
    add(table, table.root, "other", Kind.FILE)
    told = Told()
    assert refresh(state_of(table, told), folder) == 2
    assert told.forgotten == [(Location(ROOT, "folder"), True)]
    assert sorted(told.inodes) == sorted([folder.ino, file.ino])


def test_names_of_folders_stay_in_the_kernel(table: InodeTable) -> None:
    """Dropping the dentry of a folder would leave a shell that stands in it without a working directory."""
    folder = add(table, table.root, "folder", Kind.DIRECTORY)
    add(table, folder, "file", Kind.FILE)
    told = Told()
    refresh(state_of(table, told), table.root)
    assert told.entries == [(folder.ino, "file")]


def test_shares_below_have_roots_of_their_own(table: InodeTable) -> None:
    """Their attributes are known under another root: that one is forgotten too."""
    share = add(table, table.root, "share", Kind.DIRECTORY, PathRoot("/owner/data"))
    told = Told()
    refresh(state_of(table, told), table.root)
    assert (Location(PathRoot("/owner/data")), True) in told.forgotten
    assert share.ino in told.inodes


def test_nodes_that_the_kernel_does_not_know_are_not_told(table: InodeTable) -> None:
    """A node made for a listing that the kernel did not take."""
    table.ensure(table.root, "unknown", Kind.FILE)
    told = Told()
    assert refresh(state_of(table, told), table.root) == 1
    assert told.inodes == [table.root.ino]


def test_the_deepest_known_node_of_a_path_is_found(table: InodeTable) -> None:
    """What is below it is only a name."""
    folder = add(table, table.root, "folder", Kind.DIRECTORY)
    assert known_node(table, ["folder", "a", "b"]) == (folder, ["a", "b"])
    assert known_node(table, []) == (table.root, ())
