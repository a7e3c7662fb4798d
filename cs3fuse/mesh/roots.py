"""Which server, and which rights, stand behind each root of the view.

Owns the table of roots. ``mesh.folders`` enters what the lists say, ``mesh.remote`` asks before each call. A root that no list
named is served by the mount's own client and by what the server says: the home, and what a journal of an earlier run
leads to before the lists were read. Trio thread only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cs3fuse.errors import AccessDeniedError
from cs3fuse.mesh.sites import Site
from cs3fuse.model import Entry, Location, Root
from cs3fuse.ports import RemoteData, RemoteHistory, RemoteLocks, RemoteTree


class Remote(Protocol):
    """A signed-in client, or something that looks like one."""

    @property
    def tree(self) -> RemoteTree:
        """Names and attributes."""
        ...

    @property
    def data(self) -> RemoteData:
        """Bytes."""
        ...

    @property
    def locks(self) -> RemoteLocks:
        """Locks."""
        ...

    @property
    def history(self) -> RemoteHistory:
        """Old versions and the trash."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """How a root is used. ``allowed`` None: the server's permissions are right. ``site``: another one stands behind it and may be away.

    ``is_whole``: the permissions of the share are all there is to say, more than the server shows of each file (OCM shows fewer).
    """

    remote: Remote
    allowed: frozenset[str] | None = None
    site: Site | None = None
    is_whole: bool = False

    def require(self, permission: str, at: Location) -> None:
        """Refuse what the share does not allow, before any call. Raises: AccessDeniedError."""
        if self.allowed is not None and permission not in self.allowed:
            raise AccessDeniedError(f"{at} was shared with you without the right to {permission}.", path=str(at))

    def restricted(self, entry: Entry) -> Entry:
        """The entry with the rights of the share."""
        if self.allowed is None:
            return entry
        if self.is_whole or entry.permissions is None:
            return replace(entry, permissions=self.allowed)
        return entry if entry.permissions <= self.allowed else replace(entry, permissions=entry.permissions & self.allowed)


class RootTable:
    """Grants by root, as the folders of the view entered them."""

    def __init__(self, own: Remote) -> None:
        self._own = Grant(own)
        self._grants: dict[Root, dict[str, Grant]] = {}
        self._withdrawn: set[Root] = set()

    def enter(self, folder: str, grants: Mapping[Root, Grant]) -> None:
        """What a folder leads to now; what it led to before and no longer does is withdrawn."""
        for root in [root for root, by_folder in self._grants.items() if folder in by_folder and root not in grants]:
            del self._grants[root][folder]
            if not self._grants[root]:
                del self._grants[root]
                self._withdrawn.add(root)
        for root, grant in grants.items():
            self._grants.setdefault(root, {})[folder] = grant
            self._withdrawn.discard(root)

    def of(self, at: Location) -> Grant:
        """The grant behind a location.

        Raises: AccessDeniedError: it was shared and is not any more; some servers would go on serving it (Reva's driver local).
        """
        by_folder = self._grants.get(at.root)
        if by_folder is None:
            if at.root in self._withdrawn:
                raise AccessDeniedError(f"{at} is not shared with you any more.", path=str(at))
            return self._own
        grants = list(by_folder.values())
        return grants[0] if len(grants) == 1 else united(grants)

    def sites(self) -> set[Site]:
        """Every other site behind a root."""
        return {grant.site for by_folder in self._grants.values() for grant in by_folder.values() if grant.site is not None}


def united(grants: Iterable[Grant]) -> Grant:
    """What may be done where several folders lead to one root: whatever any of them allows."""
    first, *others = grants
    allowed = first.allowed
    for other in others:
        allowed = None if allowed is None or other.allowed is None else allowed | other.allowed
    return replace(first, allowed=allowed)


def placeholder(entry: Entry, reason: str) -> Entry:
    """An entry that cannot be reached: nothing may be done with it, and it says why."""
    return replace(entry, permissions=frozenset(), metadata={"cs3.error": reason})
