"""Spaces of a `Tree` and who may do what in them.

Owns the list of spaces (personal, project) with their members, and the answer to "which permissions has this user
here". Used by the profiles `opencloud` and `eos` on the server's loop only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cs3fuse.emulator import proto
from cs3fuse.emulator.shares import ShareBook
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tree import Node, Tree
from cs3fuse.emulator.users import User

ROLES = {
    "manager": frozenset((*proto.READING, *proto.WRITING, *proto.GRANTING, "purge_recycle", "list_grants", "deny_grant")),
    "editor": frozenset((*proto.READING, *proto.WRITING, "list_grants")),
    "viewer": frozenset((*proto.READING, "list_grants")),
}
"""What a role in a project space may do; the owner of a personal space is its manager."""


@dataclass
class Space:
    """One space.

    Args:
        id: also the id of its root node.
        kind: personal or project.
        owner: opaque id of the owning user; empty for a project.
        folder: place of the root below the gateway's folder.
        members: opaque user id to role.
        quota: [bytes]; None is unlimited.

    """

    id: str
    kind: str
    name: str
    owner: str
    folder: str
    members: dict[str, str] = field(default_factory=dict)
    quota: int | None = None
    description: str = ""
    trashed: bool = False

    def role(self, user: User) -> str:
        """The user's role in the space itself, or nothing."""
        return "manager" if user.opaque_id == self.owner else self.members.get(user.opaque_id, "")


class Spaces:
    """All spaces by id."""

    def __init__(self, tree: Tree, shares: ShareBook, state: State, root: Path) -> None:
        self._tree = tree
        self._shares = shares
        self._state = state
        self._root = root
        self._spaces: dict[str, Space] = {}
        for record in state.load("spaces").values():
            self._open(Space(**record))

    def __iter__(self) -> Iterator[Space]:
        return iter(self._spaces.values())

    def _open(self, space: Space) -> None:
        self._spaces[space.id] = space
        self._tree.add_root(space.id, space.name, self._root / space.folder)

    def add(self, space: Space) -> Space:
        """Create a space, its folder included; an existing one is returned as it is."""
        if space.id not in self._spaces:
            self._open(space)
            self.store(space)
        return self._spaces[space.id]

    def store(self, space: Space) -> None:
        """Remember a changed space."""
        self._state.put("spaces", space.id, asdict(space))

    def remove(self, space: Space) -> None:
        """Forget a space; its folder stays on disk."""
        self._spaces.pop(space.id, None)
        self._state.drop("spaces", space.id)

    def get(self, space_id: str) -> Space | None:
        """The space with this id."""
        return self._spaces.get(space_id)

    def root(self, space: Space) -> Node:
        """The root node of a space."""
        return self._tree.nodes[space.id]

    def of(self, node: Node) -> Space | None:
        """The space a node lies in; None for a node in the trash."""
        return self._spaces.get(node.top().id)

    def permissions(self, user: User, node: Node) -> frozenset[str]:
        """What a user may do with a node: by role in the space, and by shares of the node or of a folder above it."""
        space = self.of(node)
        if space is None or space.trashed:
            return frozenset()
        granted = ROLES.get(space.role(user), frozenset())
        if granted is ROLES["manager"]:
            return granted
        for share in self._shares.reaching(user, self._line(node)):
            granted |= frozenset(share.permissions)
            if {"initiate_file_upload", "initiate_file_download"} <= granted:
                # A grant is kept as read and write; who may do both is told that he may move.
                granted |= {"move"}
        return granted

    @staticmethod
    def _line(node: Node) -> Iterable[str]:
        yield node.id
        for above in node.ancestors():
            yield above.id
