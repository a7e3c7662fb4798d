"""The vfs as one object: the tree, the files and the attributes of a mount.

Built by ``app`` and by tests; ``kernel.operations`` calls its three parts.
"""

from __future__ import annotations

from cs3fuse.vfs.files import Files
from cs3fuse.vfs.state import VfsState
from cs3fuse.vfs.tree import Tree
from cs3fuse.vfs.xattrs import Xattrs


class Vfs:
    """POSIX semantics on inode numbers."""

    def __init__(self, state: VfsState) -> None:
        self.state = state
        self.files = Files(state)
        self.tree = Tree(state, self.files)
        self.xattrs = Xattrs(state, self.tree, self.files)
