"""Which root a SOURCE shows: the home (or personal space), or the path that it names.

Called by ``app`` at the start. The rest of the program only sees the ``Location`` that comes out.
"""

from __future__ import annotations

from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client
from cs3fuse.errors import BadRequestError, NotFoundError
from cs3fuse.model import Kind, Location, PathRoot


async def open_view(client: Cs3Client, source: str) -> Location:
    """The root of the mount, checked by one Stat.

    Without a path it is the user's home. A path is taken as an absolute CS3 path.

    Raises: NotFoundError: there is no such path for this user; BadRequestError: it is not a directory.
    """
    _, path = parse_source(source)
    root = Location(PathRoot(path.rstrip("/"))) if path.strip("/") else await client.home()
    try:
        entry = await client.tree.stat(root)
    except NotFoundError as error:
        raise NotFoundError(f"{root} does not exist on {client.endpoint}, or you may not see it.", path=str(root)) from error
    if entry.kind is not Kind.DIRECTORY:
        raise BadRequestError(f"{root} is a file; only folders can be mounted.", path=str(root))
    return root
