"""A folder whose entries have ids of their own: they survive renames, overwrites and restarts.

Owns the table of nodes beside a plain folder: id, parent, name, sizes of whole subtrees, the stamp that makes etags
change up to the root, metadata, locks. Used by the profiles `opencloud` and `eos` on the server's loop only. Every
lookup compares the node with the disk, so files that somebody put into the folder by hand are found, and get ids.
"""

import os
import stat as stat_modes
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.state import State

Signature = tuple[int, int, int]
"""(inode, mtime in nanoseconds, size in bytes) of a file on disk."""


class Node:
    """A file or folder.

    Attributes:
        size: announced size of a file, sum of all files below a folder [bytes].
        mtime_ns: modification time of a file on disk.
        stamp: moment of the last change, of a folder also of anything below it [ns]; never twice the same.
        signature: what the disk looked like when the node was last compared with it; None for a folder.
        checksums: by name ("sha1"), hexadecimal; None when they must be computed.
        anchor: place on disk of a root (of a space, or of a deleted subtree); None below a root.

    """

    __slots__ = (
        "anchor",
        "checksums",
        "children",
        "extra",
        "id",
        "is_folder",
        "lock",
        "metadata",
        "mtime_ns",
        "name",
        "parent",
        "processing_until",
        "signature",
        "size",
        "stamp",
    )

    def __init__(self, node_id: str, name: str, *, is_folder: bool) -> None:
        self.id = node_id
        self.name = name
        self.is_folder = is_folder
        self.parent: Node | None = None
        self.children: dict[str, Node] = {}
        self.anchor: str | None = None
        self.size = 0
        self.mtime_ns = 0
        self.stamp = 0
        self.signature: Signature | None = None
        self.checksums: dict[str, str] | None = None
        self.metadata: dict[str, str] = {}
        self.lock: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}
        self.processing_until = 0.0

    def record(self) -> list[Any]:
        """The node as it is stored."""
        parent = self.parent.id if self.parent is not None else ""
        values = [self.is_folder, self.size, self.mtime_ns, self.stamp, self.signature, self.checksums]
        return [parent, self.name, *values, self.metadata, self.lock, self.extra, self.anchor]

    @classmethod
    def restored(cls, node_id: str, record: list[Any]) -> "Node":
        """A node from its record, not yet attached to its parent."""
        node = cls(node_id, record[1], is_folder=record[2])
        node.size, node.mtime_ns, node.stamp = record[3:6]
        node.signature = tuple(record[6]) if record[6] is not None else None
        node.checksums, node.metadata, node.lock, node.extra, node.anchor = record[7:12]
        return node

    def ancestors(self) -> Iterator["Node"]:
        """The folders above, nearest first."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def top(self) -> "Node":
        """The root this node hangs below; the node itself if it is one."""
        node = self
        while node.parent is not None:
            node = node.parent
        return node

    def subtree(self) -> Iterator["Node"]:
        """The node and everything below it."""
        yield self
        for child in self.children.values():
            yield from child.subtree()


class Tree:
    """All nodes of one gateway."""

    def __init__(self, state: State, clock: Clock, staging: Path, new_id: Callable[[bool], str]) -> None:
        staging.mkdir(parents=True, exist_ok=True)
        self._state = state
        self._clock = clock
        self._staging = staging
        self._new_id = new_id
        self._dirty: dict[str, Node] = {}
        self._gone: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self._load()

    def _load(self) -> None:
        records = self._state.load("nodes")
        self.nodes = {node_id: Node.restored(node_id, record) for node_id, record in records.items()}
        for node_id, record in records.items():
            node, parent = self.nodes[node_id], self.nodes.get(record[0])
            if parent is not None:
                node.parent = parent
                parent.children[node.name] = node

    # -- where things are

    def disk(self, node: Node) -> str:
        """The place of a node on disk."""
        names = []
        while node.anchor is None:
            names.append(node.name)
            assert node.parent is not None
            node = node.parent
        return "/".join([node.anchor, *reversed(names)])

    def path(self, node: Node) -> str:
        """The path of a node below its root: "/" for the root, "/a/b" below it."""
        names = []
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    def child(self, folder: Node, name: str) -> Node | None:
        """The entry of a folder, compared with the disk. Raises: OSError, ValueError for a name no disk can hold."""
        if not folder.is_folder:
            return None
        disk = f"{self.disk(folder)}/{name}"
        try:
            status = os.lstat(disk)
        except FileNotFoundError:
            if name in folder.children:
                self._vanished(folder.children[name])
                self.flush()
            return None
        node = self._compared(folder, name, disk, status)
        self.flush()
        return node

    def children_of(self, folder: Node) -> list[Node]:
        """All entries of a folder, compared with the disk. Raises: OSError."""
        base, found, names = self.disk(folder), [], set()
        with os.scandir(base) as entries:
            for entry in entries:
                node = self._compared(folder, entry.name, entry.path, entry.stat(follow_symlinks=False))
                if node is not None:
                    found.append(node)
                    names.add(entry.name)
        for name in set(folder.children) - names:
            self._vanished(folder.children[name])
        self.flush()
        return found

    def walk(self, folder: Node, names: Iterable[str]) -> Node | None:
        """Follow names downwards. Raises: OSError, ValueError."""
        node: Node | None = folder
        for name in names:
            node = self.child(node, name) if node is not None else None
        return node

    # -- comparing with the disk

    def _compared(self, folder: Node, name: str, disk: str, status: os.stat_result) -> Node | None:
        kind = status.st_mode
        is_folder = stat_modes.S_ISDIR(kind)
        node = folder.children.get(name)
        if node is not None and node.is_folder == is_folder:
            if not is_folder and node.signature != (status.st_ino, status.st_mtime_ns, status.st_size):
                self._changed_outside(node, status)
            return node
        if node is not None:
            self._vanished(node)
        if not is_folder and not stat_modes.S_ISREG(kind):
            return None
        node = self._hang(folder, name, is_folder=is_folder)
        if is_folder:
            self._scan(node, disk)
        else:
            self._changed_outside(node, status)
        return node

    def _scan(self, folder: Node, disk: str) -> None:
        with os.scandir(disk) as entries:
            for entry in entries:
                self._compared(folder, entry.name, entry.path, entry.stat(follow_symlinks=False))

    def _changed_outside(self, node: Node, status: os.stat_result) -> None:
        self.note_disk(node, status, status.st_size)
        node.checksums = None
        self.stamp_up(node)

    def _vanished(self, node: Node) -> None:
        parent = node.parent
        self.unhang(node)
        self.forget(node)
        if parent is not None:
            self.stamp_up(parent)

    # -- the building blocks of changes

    def _hang(self, folder: Node, name: str, *, is_folder: bool) -> Node:
        node = Node(self._new_id(is_folder), name, is_folder=is_folder)
        node.parent = folder
        folder.children[name] = node
        self.nodes[node.id] = node
        self.stamp_up(node)
        return node

    def note_disk(self, node: Node, status: os.stat_result, size: int) -> None:
        """Remember what the disk looks like, and the announced size [bytes] of a file."""
        node.signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        node.mtime_ns = status.st_mtime_ns
        self.resize(node, size)

    def resize(self, node: Node, size: int) -> None:
        """Set a size and add the difference to every folder above."""
        delta, node.size = size - node.size, size
        self._dirty[node.id] = node
        if delta:
            for folder in node.ancestors():
                folder.size += delta
                self._dirty[folder.id] = folder

    def stamp_up(self, node: Node) -> None:
        """Mark a node and every folder above it as changed now."""
        stamp = self._clock.tick_ns()
        node.stamp = stamp
        self._dirty[node.id] = node
        for folder in node.ancestors():
            folder.stamp = stamp
            self._dirty[folder.id] = folder

    def mark(self, node: Node) -> None:
        """Have a node stored at the next flush."""
        self._dirty[node.id] = node

    def hang(self, node: Node, folder: Node, name: str) -> None:
        """Attach a node (with what is below it) to a folder; the disk is the caller's."""
        node.parent, node.name, node.anchor = folder, name, None
        folder.children[name] = node
        for above in node.ancestors():
            above.size += node.size
        self._dirty[node.id] = node
        self.stamp_up(folder)

    def unhang(self, node: Node) -> None:
        """Detach a node (with what is below it) from its folder; the disk is the caller's."""
        for above in node.ancestors():
            above.size -= node.size
            self._dirty[above.id] = above
        if node.parent is not None:
            node.parent.children.pop(node.name, None)
        node.parent = None
        self._dirty[node.id] = node

    def forget(self, node: Node) -> None:
        """Drop a detached node and everything below it for good."""
        for item in node.subtree():
            self.nodes.pop(item.id, None)
            self._dirty.pop(item.id, None)
            self._gone.add(item.id)

    def flush(self) -> None:
        """Store what has changed."""
        if self._gone:
            self._state.drop_many("nodes", self._gone)
            self._gone.clear()
        if self._dirty:
            self._state.put_many("nodes", ((node.id, node.record()) for node in self._dirty.values()))
            self._dirty.clear()

    # -- whole changes

    def add_root(self, node_id: str, name: str, disk: Path) -> Node:
        """A root at a place on disk: the known one, compared with the disk, or a new one."""
        disk.mkdir(parents=True, exist_ok=True)
        node = self.nodes.get(node_id)
        if node is None:
            node = Node(node_id, name, is_folder=True)
            self.nodes[node_id] = node
            self.stamp_up(node)
        node.anchor = str(disk)
        self._rescan(node)
        self.flush()
        return node

    def _rescan(self, folder: Node) -> None:
        for child in self.children_of(folder):
            if child.is_folder:
                self._rescan(child)

    def make_folder(self, folder: Node, name: str) -> Node:
        """Create a folder. Raises: OSError, ValueError."""
        os.mkdir(f"{self.disk(folder)}/{name}", 0o755)
        node = self._hang(folder, name, is_folder=True)
        self.flush()
        return node

    def place(self, folder: Node, name: str, staged: str | None, size: int | None = None, mtime_ns: int | None = None) -> Node:
        """Put a staged file (None: an empty one) under a name, over the content that was there; keeps the id.

        Args:
            folder: where.
            name: under which name.
            staged: file on the same disk, renamed into place.
            size: announced size [bytes] if it differs from the staged file's.
            mtime_ns: modification time to set; None takes the clock's.

        Raises:
            OSError, ValueError: nothing has changed.

        """
        disk = f"{self.disk(folder)}/{name}"
        if staged is None:
            staged = f"{self._staging}/new-{self._clock.tick_ns()}"
            os.close(os.open(staged, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644))
        stamp = mtime_ns if mtime_ns is not None else self._clock.tick_ns()
        os.utime(staged, ns=(stamp, stamp))
        os.replace(staged, disk)
        status = os.lstat(disk)
        node = folder.children.get(name) or self._hang(folder, name, is_folder=False)
        self.note_disk(node, status, status.st_size if size is None else size)
        self.stamp_up(node)
        self.flush()
        return node

    def move(self, node: Node, folder: Node, name: str) -> None:
        """Rename a node to a free name. Raises: OSError, ValueError."""
        os.rename(self.disk(node), f"{self.disk(folder)}/{name}")
        before = node.parent
        self.unhang(node)
        self.hang(node, folder, name)
        if before is not None:
            self.stamp_up(before)
        self.flush()

    def set_mtime(self, node: Node, mtime_ns: int) -> None:
        """Set the modification time of one file or folder. Raises: OSError."""
        disk = self.disk(node)
        os.utime(disk, ns=(mtime_ns, mtime_ns))
        if not node.is_folder:
            self.note_disk(node, os.lstat(disk), node.size)
        self.stamp_up(node)
        self.flush()
