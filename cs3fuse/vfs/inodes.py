"""The inode table: which inode number stands for which name, and how often the kernel knows it.

Owns nodes, their place in the tree and their lookup counts. Called by ``vfs.tree`` and ``vfs.files`` from the trio thread
only; every method is synchronous and free of checkpoints. Servers' ids are not used as inode numbers: on Reva local an id is
a function of the path and is reused by the next file of that name.
"""

from __future__ import annotations

from collections.abc import Iterator

from cs3fuse.model import ContentVersion, Ino, Kind, Location, Root

ROOT_INO = Ino(1)


class Node:
    """One inode. A node lives while the kernel knows it, while it has children in the table, or while it is open.

    ``parent`` is None for the root and for a node whose name is gone (unlinked, replaced): such a node remembers in
    ``orphaned_at`` where it was. ``anchor`` is set where a root of its own begins. ``kernel_version`` is the content version that the kernel's page cache may hold,
    ``kernel_size`` the size that it was last told.
    """

    __slots__ = (
        "anchor",
        "children",
        "ino",
        "kernel_size",
        "kernel_version",
        "kind",
        "lookups",
        "name",
        "open_count",
        "orphaned_at",
        "parent",
    )

    def __init__(self, ino: Ino, parent: Node | None, name: str, kind: Kind, anchor: Root | None) -> None:
        self.ino = ino
        self.parent = parent
        self.name = name
        self.kind = kind
        self.anchor = anchor
        self.children: dict[str, Node] = {}
        self.lookups = 0
        self.open_count = 0
        self.orphaned_at: Location | None = None
        self.kernel_version: ContentVersion | None = None
        self.kernel_size: int | None = None

    @property
    def is_linked(self) -> bool:
        """Whether the node still has a name; the root always has."""
        return self.parent is not None or self.ino == ROOT_INO

    @property
    def location(self) -> Location:
        """Where the server has it, or had it when its name was taken away."""
        names: list[str] = []
        node = self
        while node.anchor is None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        base = node.orphaned_at or (Location(node.anchor) if node.anchor else None)
        if base is None:
            raise LookupError(f"inode {self.ino} ({self.name}) was never given a place in the tree")
        for name in reversed(names):
            base = base.child(name)
        return base

    def __repr__(self) -> str:
        return f"Node({self.ino}, {self.name!r}, {self.kind.value})"


class InodeTable:
    """All nodes by number. INVARIANT: ``node.parent.children[node.name] is node`` for each linked node but the root."""

    def __init__(self, root: Root) -> None:
        self._next = ROOT_INO + 1
        self.root = Node(ROOT_INO, None, "", Kind.DIRECTORY, root)
        self._nodes: dict[Ino, Node] = {ROOT_INO: self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, ino: Ino) -> Node:
        """The node of a number that the kernel was given. Raises: KeyError if it is not known."""
        return self._nodes[ino]

    def child(self, parent: Node, name: str) -> Node | None:
        """The node of a name, if the table has one."""
        return parent.children.get(name)

    def ensure(self, parent: Node, name: str, kind: Kind, anchor: Root | None = None) -> Node:
        """The node of a name: the known one if it is of the same kind and root, else a new one in its place."""
        node = parent.children.get(name)
        if node is not None:
            if node.kind is kind and node.anchor == anchor:
                return node
            self.unlink(node)
        node = Node(Ino(self._next), parent, name, kind, anchor)
        self._next += 1
        parent.children[name] = node
        self._nodes[node.ino] = node
        return node

    def remember(self, node: Node) -> None:
        """The kernel was told of the node once more."""
        node.lookups += 1

    def forget(self, ino: Ino, count: int) -> None:
        """The kernel forgot ``count`` lookups.

        Raises: ValueError on an unknown number or more than were counted: a book-keeping error of ours.
        """
        node = self._nodes.get(ino)
        if node is None or count > node.lookups:
            if ino == ROOT_INO:  # the kernel holds the root without a lookup of ours
                return
            known = node.lookups if node else "no"
            raise ValueError(f"the kernel forgot {count} lookups of inode {ino}, which has {known}")
        node.lookups -= count
        self.release(node)

    def hold(self, node: Node) -> None:
        """The node is open once more."""
        node.open_count += 1

    def unhold(self, node: Node) -> None:
        """One open less; the node goes if nothing else needs it."""
        node.open_count -= 1
        self.release(node)

    def release(self, node: Node) -> None:
        """Drop the node, and its parents, where neither the kernel, nor a child, nor an open file needs them."""
        current: Node | None = node
        while current is not None and current.ino != ROOT_INO:
            if current.lookups or current.open_count or current.children:
                return
            parent = current.parent
            self._nodes.pop(current.ino, None)
            if parent is not None and parent.children.get(current.name) is current:
                del parent.children[current.name]
            current = parent

    def unlink(self, node: Node) -> None:
        """Take the node's name away; it lives on while it is known or open, at no place."""
        parent = node.parent
        if parent is None:
            return
        if parent.children.get(node.name) is node:
            del parent.children[node.name]
        node.orphaned_at = node.location
        node.parent = None
        for child in list(node.children.values()):
            self.unlink(child)
        self.release(node)
        self.release(parent)

    def move(self, node: Node, parent: Node, name: str) -> None:
        """Give the node another name; a node that had that name is unlinked."""
        existing = parent.children.get(name)
        if existing is node:
            return
        if existing is not None:
            self.unlink(existing)
        old_parent = node.parent
        if old_parent is not None and old_parent.children.get(node.name) is node:
            del old_parent.children[node.name]
        node.parent, node.name = parent, name
        parent.children[name] = node
        if old_parent is not None:
            self.release(old_parent)

    def subtree(self, node: Node) -> Iterator[Node]:
        """The node and everything below it that the table knows."""
        stack = [node]
        while stack:
            current = stack.pop()
            yield current
            stack.extend(current.children.values())

    def is_ancestor(self, node: Node, of: Node) -> bool:
        """Whether ``node`` is ``of`` or one of its parents."""
        current: Node | None = of
        while current is not None:
            if current is node:
                return True
            current = current.parent
        return False
