"""Old versions of files and the trash of a `Tree`.

Owns `.emulator/versions` and `.emulator/trash`. Used by the profiles `opencloud` and `eos` on the server's loop
only. A deleted subtree keeps its nodes: it hangs below no root, so nothing reaches it, and comes back with its ids.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tree import Node, Tree


@dataclass
class Version:
    """One old content of a file.

    Args:
        key: what clients call it.
        file: name below the version store.
        size: announced size [bytes].
        listed_etag, listed_mtime_ns: what the list of versions tells instead, where that differs.

    """

    key: str
    file: str
    size: int
    mtime_ns: int
    etag: str
    checksums: dict[str, str] | None
    listed_etag: str = ""
    listed_mtime_ns: int = 0


@dataclass
class Deleted:
    """One item in the trash.

    Args:
        key: what clients call it.
        node_id: the root of the deleted subtree.
        root_id: the space it came from.
        path: where it was below the root of the space.
        deleted_s: when [s since the epoch].

    """

    key: str
    node_id: str
    root_id: str
    path: str
    deleted_s: float
    deleted_by: str


class History:
    """Versions by node, deleted items by key."""

    def __init__(self, tree: Tree, state: State, clock: Clock, inner: Path, new_key: Callable[[Node], str]) -> None:
        self._tree = tree
        self._state = state
        self._clock = clock
        self._new_key = new_key
        self._version_folder = inner / "versions"
        self._trash_folder = inner / "trash"
        for folder in (self._version_folder, self._trash_folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._versions = {key: [Version(**item) for item in items] for key, items in state.load("versions").items()}
        self.trash = {key: Deleted(**item) for key, item in state.load("trash").items()}

    # -- versions

    def keep(self, node: Node, etag: str) -> Version:
        """Remember the present content of a file. It stays where it is, too, until something replaces it."""
        number = self._clock.tick_ns()
        file = f"{node.id}.{number}"
        os.link(self._tree.disk(node), self._version_folder / file)
        version = Version(self._new_key(node), file, node.size, node.mtime_ns, etag, node.checksums)
        self._versions.setdefault(node.id, []).append(version)
        self._store(node.id)
        return version

    def versions(self, node: Node) -> list[Version]:
        """Old contents, the one with the youngest mtime first."""
        return sorted(self._versions.get(node.id, []), key=lambda item: item.mtime_ns, reverse=True)

    def find(self, node: Node, key: str) -> Version | None:
        """The version with this key."""
        return next((item for item in self._versions.get(node.id, []) if item.key == key), None)

    def by_key(self, key: str) -> tuple[Node, Version] | None:
        """The version with this key, whosesoever it is."""
        for node_id, items in self._versions.items():
            for item in items:
                if item.key == key and node_id in self._tree.nodes:
                    return self._tree.nodes[node_id], item
        return None

    def file(self, version: Version) -> Path:
        """The content of a version."""
        return self._version_folder / version.file

    def restore(self, node: Node, version: Version, etag: str) -> Version:
        """Make an old content the present one; the present one becomes a version, which is returned. Raises: OSError."""
        assert node.parent is not None
        staged = self._version_folder / f"{version.file}.back"
        shutil.copyfile(self.file(version), staged)
        kept = self.keep(node, etag)
        self._tree.place(node.parent, node.name, str(staged), version.size)
        node.checksums = version.checksums
        self._tree.mark(node)
        self._tree.flush()
        self._versions[node.id].remove(version)
        self.file(version).unlink(missing_ok=True)
        self._store(node.id)
        return kept

    def retell(self, node: Node, version: Version, etag: str, mtime_ns: int) -> None:
        """Have the list of versions tell another etag and mtime of a version from now on."""
        version.listed_etag, version.listed_mtime_ns = etag, mtime_ns
        self._store(node.id)

    def _drop_versions(self, node: Node) -> None:
        for version in self._versions.pop(node.id, []):
            self.file(version).unlink(missing_ok=True)
        self._state.drop("versions", node.id)

    def _store(self, node_id: str) -> None:
        self._state.put("versions", node_id, [asdict(item) for item in self._versions[node_id]])

    # -- trash

    def delete(self, node: Node, key: str, user: str) -> None:
        """Move a subtree into the trash. Raises: OSError."""
        path, root, parent = self._tree.path(node), node.top(), node.parent
        assert parent is not None
        place = self._trash_folder / f"{self._clock.tick_ns()}"
        os.rename(self._tree.disk(node), place)
        self._tree.unhang(node)
        node.anchor, node.lock = str(place), None
        self._tree.stamp_up(parent)
        self._tree.flush()
        item = Deleted(key, node.id, root.id, path, self._clock.now_s(), user)
        self.trash[key] = item
        self._state.put("trash", key, asdict(item))

    def node_of(self, item: Deleted) -> Node:
        """The root of a deleted subtree."""
        return self._tree.nodes[item.node_id]

    def untrash(self, item: Deleted, node: Node, folder: Node, name: str) -> None:
        """Bring a deleted subtree, or one node inside it, back under a free name. Raises: OSError."""
        os.rename(self._tree.disk(node), f"{self._tree.disk(folder)}/{name}")
        self._tree.unhang(node)
        self._tree.hang(node, folder, name)
        self._tree.flush()
        if node.id == item.node_id:
            self._drop_item(item)

    def purge(self, item: Deleted) -> None:
        """Remove a deleted subtree for good."""
        node = self.node_of(item)
        place = Path(self._tree.disk(node))
        if node.is_folder:
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
        for below in node.subtree():
            self._drop_versions(below)
        self._tree.forget(node)
        self._tree.flush()
        self._drop_item(item)

    def _drop_item(self, item: Deleted) -> None:
        self.trash.pop(item.key, None)
        self._state.drop("trash", item.key)
