"""Which names may be sent to a server, and how the kernel's bytes become text.

Pure; called by the kernel adapter and by every vfs operation that makes a name.
"""

from __future__ import annotations

import re

from cs3fuse.errors import BadRequestError, NameTooLongError
from cs3fuse.model import NAME_MAX_BYTES

# Names of this form are taken for pieces of an ownCloud chunked upload: the PUT answers 206 and no file appears
# (measured on Reva local and OpenCloud).
_CHUNKING = re.compile(r"-chunking-\w+-\d+-\d+$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decode_name(raw: bytes) -> str:
    """The text of a name from the kernel. Raises: BadRequestError: CS3 carries UTF-8 only."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"The name {raw!r} is not UTF-8; CS3 servers carry UTF-8 names only.") from error


def check_name(name: str) -> None:
    """Refuse a new name that a storage could not keep or would misunderstand.

    Raises: NameTooLongError over 255 bytes; BadRequestError for "", ".", "..", "/", control characters (OpenCloud creates
    them and then answers GET 500; OCM cannot list their folder), and upload chunk names.
    """
    if len(name.encode()) > NAME_MAX_BYTES:
        raise NameTooLongError(f"The name {name[:40]!r}... has more than {NAME_MAX_BYTES} bytes.")
    if name in {"", ".", ".."} or "/" in name:
        raise BadRequestError(f"{name!r} is not a file name.")
    if _CONTROL.search(name):
        raise BadRequestError(f"The name {name!r} has a control character, which CS3 storages cannot serve.")
    if _CHUNKING.search(name):
        raise BadRequestError(f"The name {name!r} looks like a piece of a chunked upload; servers would swallow the file.")
