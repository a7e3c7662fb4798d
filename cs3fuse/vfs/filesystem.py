"""The vfs as one object: everything that a mount can be asked.

Built by ``core`` and by tests; ``kernel.operations`` calls its parts.
"""

from __future__ import annotations

from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.directories import Directories
from cs3fuse.vfs.files import Files
from cs3fuse.vfs.making import Making
from cs3fuse.vfs.renaming import Renaming
from cs3fuse.vfs.state import VfsState
from cs3fuse.vfs.tree import Tree
from cs3fuse.vfs.xattrs import Xattrs


class Vfs:
    """POSIX semantics on inode numbers."""

    def __init__(self, state: VfsState) -> None:
        self.state = state
        committer = Committer(state)
        self.files = Files(state, committer)
        self.tree = Tree(state, self.files, committer)
        self.directories = Directories(state)
        self.making = Making(state, committer)
        self.renaming = Renaming(state, committer, self.making)
        self.xattrs = Xattrs(state, self.tree, committer)
