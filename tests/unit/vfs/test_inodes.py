"""The inode table against a plain model."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from cs3fuse.model import Ino, Kind, Location, PathRoot
from cs3fuse.vfs.inodes import ROOT_INO, InodeTable, Node

ROOT = PathRoot("/home")


class InodeMachine(RuleBasedStateMachine):
    """Names, lookups and opens in any order: the table keeps exactly what is needed, at the right place."""

    nodes = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.table = InodeTable(ROOT)
        self.known: list[Node] = []
        self.lookups: dict[Ino, int] = {}
        self.opens: dict[Ino, int] = {}

    def alive(self, node: Node) -> bool:
        try:
            return self.table.get(node.ino) is node
        except KeyError:
            return False

    def directories(self) -> list[Node]:
        return [self.table.root] + [n for n in self.known if self.alive(n) and n.kind is Kind.DIRECTORY and n.is_linked]

    @rule(data=st.data(), name=st.sampled_from("abc"), is_directory=st.booleans())
    def look_up(self, data: st.DataObject, name: str, is_directory: bool) -> None:
        parent = data.draw(st.sampled_from(self.directories()))
        node = self.table.ensure(parent, name, Kind.DIRECTORY if is_directory else Kind.FILE)
        self.table.remember(node)
        if node not in self.known:
            self.known.append(node)
        self.lookups[node.ino] = self.lookups.get(node.ino, 0) + 1
        assert node.location == parent.location.child(name)

    def pick(self, data: st.DataObject) -> Node | None:
        alive = [n for n in self.known if self.alive(n)]
        return data.draw(st.sampled_from(alive)) if alive else None

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        node = self.pick(data)
        if node is not None and self.lookups.get(node.ino):
            self.lookups[node.ino] -= 1
            self.table.forget(node.ino, 1)

    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        node = self.pick(data)
        if node is not None:
            self.table.hold(node)
            self.opens[node.ino] = self.opens.get(node.ino, 0) + 1

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        node = self.pick(data)
        if node is not None and self.opens.get(node.ino):
            self.opens[node.ino] -= 1
            self.table.unhold(node)

    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        node = self.pick(data)
        if node is not None:
            before = node.location
            self.table.unlink(node)
            assert node.location == before

    @rule(data=st.data(), name=st.sampled_from("abc"))
    def move(self, data: st.DataObject, name: str) -> None:
        node = self.pick(data)
        parent = data.draw(st.sampled_from(self.directories()))
        if node is None or not node.is_linked or self.table.is_ancestor(node, parent):
            return
        target = self.table.child(parent, name)
        if target is not None and self.table.is_ancestor(target, node):
            return
        self.table.move(node, parent, name)
        assert node.location == parent.location.child(name)

    @invariant()
    def needed_nodes_are_there_and_no_others(self) -> None:
        for node in self.known:
            needed = bool(self.lookups.get(node.ino) or self.opens.get(node.ino) or node.children)
            assert self.alive(node) == needed, node
            if self.alive(node):
                assert node.lookups == self.lookups.get(node.ino, 0)

    @invariant()
    def names_lead_to_their_nodes(self) -> None:
        for node in self.table.subtree(self.table.root):
            for name, child in node.children.items():
                assert child.parent is node
                assert child.name == name


TestInodeMachine = InodeMachine.TestCase
TestInodeMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_forgetting_more_than_counted_is_refused() -> None:
    """A lookup count never goes below zero: that would be a book-keeping error of ours, and it must be seen."""
    table = InodeTable(ROOT)
    node = table.ensure(table.root, "a", Kind.FILE)
    table.remember(node)
    with pytest.raises(ValueError, match="forgot 2 lookups"):
        table.forget(node.ino, 2)


def test_inode_numbers_are_never_used_twice() -> None:
    """The generation is constant, so a number must not come back."""
    table = InodeTable(ROOT)
    numbers = set()
    for _ in range(5):
        node = table.ensure(table.root, "a", Kind.FILE)
        table.remember(node)
        numbers.add(node.ino)
        table.forget(node.ino, 1)
    assert len(numbers) == 5
    assert ROOT_INO not in numbers


def test_a_share_root_is_addressed_by_its_own_root() -> None:
    """Below an anchored node everything is addressed relative to the anchor."""
    table = InodeTable(ROOT)
    share = table.ensure(table.root, "share", Kind.DIRECTORY, PathRoot("/owner/folder"))
    file = table.ensure(share, "x", Kind.FILE)
    assert share.location == Location(PathRoot("/owner/folder"))
    assert file.location == Location(PathRoot("/owner/folder"), "x")


def test_an_orphan_keeps_its_last_place_when_its_parent_moves() -> None:
    """Messages about an unlinked file name the place where it was."""
    table = InodeTable(ROOT)
    folder = table.ensure(table.root, "d", Kind.DIRECTORY)
    file = table.ensure(folder, "x", Kind.FILE)
    table.hold(file)
    table.unlink(file)
    assert str(file.location) == "/home/d/x"
    assert not file.is_linked
