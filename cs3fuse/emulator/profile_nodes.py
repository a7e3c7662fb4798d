"""What the profiles with stable ids have in common: one tree, its history, its spaces, its shares, its uploads.

Owns the construction of these parts and small helpers on nodes. Base of `profile_opencloud` and `profile_eos`; runs
on the server's loop only.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs3fuse.emulator.checksums import compute_checksums
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.history import History
from cs3fuse.emulator.identity import IdentityHandlers
from cs3fuse.emulator.links import Link, LinkBook, LinkHandlers
from cs3fuse.emulator.profiles import Services
from cs3fuse.emulator.proto import NOT_FOUND
from cs3fuse.emulator.shares import ShareBook, ShareHandlers
from cs3fuse.emulator.spaces import Space, Spaces
from cs3fuse.emulator.tree import Node, Tree


class NodeProfile(LinkHandlers, IdentityHandlers, ShareHandlers):
    """A gateway over a `Tree`."""

    checksum_names: tuple[str, ...] = ()
    """Which checksums a file has."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        inner = self.config.state_path
        self.staging = inner / "uploads"
        self.tree = Tree(self.state, self.clock, self.staging, self.new_id)
        self.history = History(self.tree, self.state, self.clock, inner, self.version_key)
        self.shares = ShareBook(self.state)
        self.links = LinkBook(self.state)
        self.spaces = Spaces(self.tree, self.shares, self.state, self.config.root)
        self.uploads: dict[str, dict[str, Any]] = self.state.load("uploads")

    def new_id(self, is_folder: bool) -> str:  # noqa: FBT001 - called by the tree with nothing else
        """The id of a new node."""
        return str(uuid.uuid4())

    def version_key(self, node: Node) -> str:
        """The key of a version made now."""
        raise NotImplementedError

    def etag(self, node: Node) -> str:
        """The etag of a node, in double quotes."""
        raise NotImplementedError

    def checksums(self, node: Node) -> Mapping[str, str]:
        """The checksums of a file, computed if they are not known. Raises: OSError."""
        if node.checksums is None:
            node.checksums = compute_checksums(Path(self.tree.disk(node)), self.checksum_names)
            self.tree.mark(node)
            self.tree.flush()
        return node.checksums

    def split_root_path(self, path: str) -> tuple[Space, str]:
        """A path below the root folder as (space, path below the space without a slash in front). Raises: Refusal."""
        for space in self.spaces:
            folder = f"/{space.folder}"
            if path == folder or path.startswith(folder + "/"):
                return space, path[len(folder) :].strip("/")
        raise Refusal(NOT_FOUND, f"no space has the folder of {path}")

    def place_of(self, reference: Any) -> Node | None:
        """The node a reference leads to, or the folder it would be in. Raises: Refusal."""
        raise NotImplementedError

    def link_reaches(self, link: Link, reference: Any) -> bool:
        """Whether a reference leads to the linked node or below it."""
        try:
            node = self.place_of(reference)
        except Refusal:
            return False
        return node is not None and link.resource[2] in {node.id, *(above.id for above in node.ancestors())}

    def put_upload(self, upload_id: str, record: dict[str, Any]) -> None:
        """Remember an upload that was initiated."""
        self.uploads[upload_id] = record
        self.state.put("uploads", upload_id, record)

    def drop_upload(self, upload_id: str) -> None:
        """Forget an upload and its bytes."""
        self.uploads.pop(upload_id, None)
        self.state.drop("uploads", upload_id)
        self.staged(upload_id).unlink(missing_ok=True)

    def staged(self, upload_id: str) -> Path:
        """Where the bytes of an upload are collected."""
        return self.staging / upload_id
