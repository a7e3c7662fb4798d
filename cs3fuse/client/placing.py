"""Where a path is below the root of its storage, which servers want to hear and do not tell.

Owns the guess. Called by ``client.history``; holds no state.
"""

from __future__ import annotations

from collections.abc import Sequence

from cs3fuse.client.references import absolute_path
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.errors import Cs3FuseError
from cs3fuse.model import Location, PathRoot


async def storage_relative(tree: Cs3Tree, at: Location) -> Sequence[str]:
    """Paths that may name ``at`` from the root of its storage, in the order in which they must be tried.

    The storage is mounted at one of the folders above. The longest path comes first: where it is wrong it leads through folders of the
    mount point's own name, which do not exist, so the server refuses it. Nothing shorter is tried than what the first folder leaves that
    has an id of its own: above the mounts Reva invents ids (storage "/", client.references), below them they are real.

    Source: Reva internal/grpc/services/storageprovider, RestoreRecycleItem: ``restore_ref`` is the only path that is not translated.
    """
    names = absolute_path(at).strip("/").split("/")
    found = []
    for depth in range(len(names)):
        found.append("/" + "/".join(names[depth:]))
        try:
            entry = await tree.stat(Location(PathRoot("/" + "/".join(names[:depth]) if depth else "")))
        except Cs3FuseError:
            continue
        if entry.id is not None:
            break
    return found
