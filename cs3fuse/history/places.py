"""What a path below ``.cs3/versions`` means: a path of the mount, through the roots on its way.

Holds no state. Called by ``history.tree``, from the trio thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from cs3fuse.errors import NotDirectoryError, NotFoundError, ServerError
from cs3fuse.model import Entry, Kind, Location, VirtualRoot
from cs3fuse.ports import RemoteTree


async def find(tree: RemoteTree, top: Location, names: Sequence[str]) -> tuple[Location, Entry]:
    """Where a path below ``top`` is, and what is there. Only folders of the view lead to other roots; below them one Stat is enough.

    Raises: NotFoundError; what RemoteTree.stat raises.
    """
    at, entry = top, None
    for position, name in enumerate(names):
        if not isinstance(at.root, VirtualRoot):
            for below in names[position:]:
                at = at.child(below)
            entry = None
            break
        entry = await tree.stat(at.child(name))
        at = Location(entry.anchor) if entry.anchor is not None else at.child(name)
    try:
        return at, entry if entry is not None else await tree.stat(at)
    except (ServerError, NotDirectoryError) as error:
        failure = error
    # Below a file, driver local answers INTERNAL even to Stat.
    if at.rel and (await tree.stat(at.parent)).kind is not Kind.DIRECTORY:
        raise NotFoundError(f"There is no {at}.", path=str(at)) from failure
    raise failure
