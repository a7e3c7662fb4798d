"""Reading directories: opendir, readdir, releasedir.

Owns the open directories. Called by ``kernel.operations`` from the trio thread; different directories are read concurrently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from cs3fuse.errors import (
    BadHandleError,
)
from cs3fuse.model import Entry, Fh, Ino
from cs3fuse.vfs.attributes import Attributes
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.state import VfsState


@dataclass(slots=True)
class _Directory:
    """An open directory: the listing of the moment when reading it began, so that positions stay true."""

    node: Node
    names: list[tuple[str, Entry]] | None = None


class Directories:
    """Operations on open directories."""

    def __init__(self, state: VfsState) -> None:
        self._state = state
        self._directories: dict[Fh, _Directory] = {}
        self._numbers = count(1)

    async def opendir(self, ino: Ino) -> Fh:
        """Open a directory for reading. Raises: NotDirectoryError."""
        node = self._state.directory(ino)
        fh = Fh(next(self._numbers))
        self._directories[fh] = _Directory(node)
        self._state.inodes.hold(node)
        return fh

    async def readdir(self, fh: Fh, start: int) -> Iterator[tuple[str, Attributes, int]]:
        """Entries from position ``start`` on, each with the position that follows it. 0 reads the directory anew.

        A node is made for an entry when the iterator yields it; ``took`` counts the lookup of one that the kernel accepted.
        """
        directory = self._directories.get(fh)
        if directory is None:
            raise BadHandleError(f"Directory handle {fh} is not open.")
        if start == 0 or directory.names is None:
            directory.names = self._merge(directory.node, await self._state.metadata.list(directory.node.location))
        return self._entries(directory, directory.names, start)

    def _merge(self, node: Node, listed: Sequence[Entry]) -> list[tuple[str, Entry]]:
        """The server's entries, and files written here that it does not have yet."""
        names = {entry.name: entry for entry in listed if not entry.is_hidden}
        for session in self._state.unsent_below(node.location):
            if session.at.parent == node.location and session.at.rel:
                names[session.at.name] = session.entry()
        return list(names.items())

    def _entries(self, directory: _Directory, names: list[tuple[str, Entry]], start: int) -> Iterator[tuple[str, Attributes, int]]:
        for position in range(start, len(names)):
            name, entry = names[position]
            node = self._state.node_for(directory.node, name, entry)
            yield name, self._state.attributes(node, entry), position + 1
            self._state.inodes.release(node)

    def releasedir(self, fh: Fh) -> None:
        """The directory handle is closed."""
        directory = self._directories.pop(fh, None)
        if directory is not None:
            self._state.inodes.unhold(directory.node)
