"""How a ``Location`` is spelled for a server, and which names may be sent to one.

Owns the conversion to CS3 references and the rules for names. Called by ``client.tree``, ``client.data`` and ``client.locks``; pure.
"""

from __future__ import annotations

import re
from typing import Any

from cs3.storage.provider.v1beta1 import resources_pb2

from cs3fuse.client.errors import printable
from cs3fuse.errors import BadRequestError, NameTooLongError
from cs3fuse.model import NAME_MAX_BYTES, IdRoot, Location, PathRoot, ResourceId, VirtualRoot

# Reva and OpenCloud take a PUT to such a name for a piece of an ownCloud chunked upload: 206, and no file appears.
# Source: Reva pkg/storage/utils/chunking.
_CHUNK_NAME = re.compile(r"-chunking-\w+-\d+-\d+$")


def resource_id(value: ResourceId) -> resources_pb2.ResourceId:
    """The protobuf form of an id."""
    return resources_pb2.ResourceId(storage_id=value.storage_id, space_id=value.space_id, opaque_id=value.opaque_id)


def model_id(message: Any) -> ResourceId | None:
    """The id of a protobuf ResourceId; None where it says nothing.

    Above the mounts Reva invents a new id for every answer, with the storage id "/".
    """
    # Each field is read once: it is made anew at each reading, and listings come here thousands of times.
    storage_id, opaque_id = message.storage_id, message.opaque_id
    if not opaque_id or storage_id == "/":
        return None
    return ResourceId(storage_id, message.space_id, opaque_id)


def reference(at: Location) -> resources_pb2.Reference:
    """The CS3 reference of a location.

    A path root gives an absolute path with ``resource_id`` unset: one that is present but empty switches the server to routing by id.
    An id root gives the id with a relative path, "." for itself: a bare id makes broken download addresses.
    Source: Reva pkg/utils/utils.go (IsRelativeReference), measured on both servers.

    Raises: BadRequestError, NameTooLongError: a component that no server can hold.
    """
    check_components(at)
    if isinstance(at.root, VirtualRoot):
        raise BadRequestError(f"{at} is a folder of this mount; no server has it.", path=str(at))
    if isinstance(at.root, PathRoot):
        return resources_pb2.Reference(path=absolute_path(at))
    return resources_pb2.Reference(resource_id=resource_id(at.root.id), path=f"./{at.rel}" if at.rel else ".")


def shown(at: Location) -> str:
    """A location for people: below an id root without the id; foreign names may hold line ends and terminal commands."""
    return printable(f"/{at.rel}" if isinstance(at.root, IdRoot) else str(at), limit=400)


def absolute_path(at: Location) -> str:
    """The absolute CS3 path of a location below a path root; "/" for the global root."""
    root = at.root
    if not isinstance(root, PathRoot):
        raise TypeError(f"{shown(at)} has no absolute path")
    return f"{root.path}/{at.rel}" if at.rel else root.path or "/"


def check_components(at: Location) -> None:
    """Refuse a path with a component that cannot exist: NUL, ".", "..", empty, not UTF-8, over 255 bytes."""
    if not at.rel:
        return
    for name in at.rel.split("/"):
        problem = name_problem(name)
        if problem == _TOO_LONG:
            raise NameTooLongError(f"The name {name[:40]!r}… is longer than {NAME_MAX_BYTES} bytes.", path=shown(at))
        if problem:
            raise BadRequestError(f"{name!a} is not a file name: {problem}.", path=shown(at))


_TOO_LONG = "too long"


def name_problem(name: str) -> str:
    """Why a name cannot be that of a file or folder; "" if it can."""
    if name in {"", ".", ".."}:
        return "it means a folder" if name else "it is empty"
    if "/" in name or "\0" in name:
        return "it contains a slash or NUL"
    # At most 4 bytes a character: most names need no encoding to be measured.
    if name.isascii():
        return _TOO_LONG if len(name) > NAME_MAX_BYTES else ""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return _TOO_LONG if size > NAME_MAX_BYTES else ""


def check_new_name(at: Location) -> None:
    """Refuse to create a name that servers lose or choke on, although it may be looked up.

    Control characters: OpenCloud answers GET 500 for such a file, and an OCM folder with one cannot be listed any more.

    Raises: BadRequestError, NameTooLongError.
    """
    check_components(at)
    name = at.name
    if not name:
        raise BadRequestError(f"{shown(at)} is a root and cannot be created.", path=shown(at))
    if any(ord(character) < 0x20 or character == "\x7f" for character in name):
        raise BadRequestError(f"{name!a} contains control characters, which CS3 servers cannot serve.", path=shown(at))
    if _CHUNK_NAME.search(name):
        raise BadRequestError(
            f"{name!r} ends like a piece of a chunked upload; servers swallow such files. Choose another name.", path=shown(at)
        )
