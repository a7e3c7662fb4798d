"""Which root a SOURCE shows: the home (or personal space), or the path that it names.

Called by ``app`` at the start. The rest of the program only sees the ``Location`` that comes out.
"""

from __future__ import annotations

from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client
from cs3fuse.errors import NotFoundError
from cs3fuse.model import Location


async def open_view(client: Cs3Client, source: str) -> Location:
    """The root of the mount.

    Without a path it is the user's home, made on the first visit where the server makes homes. A path is an absolute CS3 path.

    Raises: NotFoundError: there is no such path for this user; NotDirectoryError.
    """
    _, path = parse_source(source)
    if not path.strip("/"):
        return Location(await client.home())
    try:
        return Location(await client.root_at(path))
    except NotFoundError as error:
        raise NotFoundError(f"{path} does not exist on {client.gateway.endpoint}, or you may not see it.", path=path) from error
