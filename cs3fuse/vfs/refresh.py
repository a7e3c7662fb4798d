"""Forgetting on request: what is known of a name and everything below it is asked for anew.

Called by ``vfs.xattrs`` (``user.cs3.refresh``) and ``control``, from the trio thread; synchronous.
"""

from __future__ import annotations

from collections.abc import Sequence

from cs3fuse.model import Kind, Location
from cs3fuse.vfs.inodes import InodeTable, Node
from cs3fuse.vfs.state import VfsState


def known_node(inodes: InodeTable, names: Sequence[str]) -> tuple[Node, Sequence[str]]:
    """The deepest node that the table has on a path from the root, and the names below it that it does not know."""
    node = inodes.root
    for position, name in enumerate(names):
        child = inodes.child(node, name)
        if child is None:
            return node, names[position:]
        node = child
    return node, ()


def refresh(state: VfsState, node: Node) -> int:
    """Forget a node and its subtree here and in the kernel. Open files keep the version they opened. Returns: inodes told.

    Entries of directories stay in the kernel (for at most their time-out): dropping one takes the name from a shell that stands in it.
    """
    told = 0
    state.metadata.forget(node.location, subtree=True)
    for each in state.inodes.subtree(node):
        if each.anchor is not None:
            state.metadata.forget(Location(each.anchor), subtree=True)
        if not each.lookups and each.parent is not None:
            continue
        told += 1
        state.notifier.invalidate_inode(each.ino, attributes_only=True)
        if each.parent is not None and each.kind is not Kind.DIRECTORY:
            state.notifier.invalidate_entry(each.parent.ino, each.name)
    return told
