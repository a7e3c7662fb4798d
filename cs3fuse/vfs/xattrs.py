"""Extended attributes: ``user.*`` is CS3 arbitrary metadata, ``user.cs3.*`` is what we know of the file, read-only.

Called by ``kernel.operations`` from the trio thread. Metadata values are text in CS3 (servers drop what is not UTF-8), so other
bytes travel as ``base64:`` text.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from cs3fuse.errors import (
    BadRequestError,
    Cs3FuseError,
    NoAttributeError,
    NoNamespaceError,
    NotFoundError,
    NotPermittedError,
    ServerError,
    UnsupportedError,
)
from cs3fuse.locks.foreign import advisory_lock
from cs3fuse.locks.guarding import with_our_lock
from cs3fuse.model import Entry, Ino, Kind, LockInfo
from cs3fuse.vfs.committing import Committer
from cs3fuse.vfs.inodes import Node
from cs3fuse.vfs.refresh import refresh
from cs3fuse.vfs.state import VfsState
from cs3fuse.vfs.tree import Tree

_USER = "user."
_OURS = "user.cs3."
_REFRESH = "user.cs3.refresh"
_LOCK = "user.cs3.lock"
_ERROR = "user.cs3.error"
_SHARES = "user.cs3.shares"
_QUOTA = "user.cs3.quota"
ERROR_KEY = "cs3.error"
"""In the metadata of an entry that the mesh view shows although it cannot be reached: why."""
_BASE64 = "base64:"
_VALUE_MAX_BYTES = 65536  # XATTR_SIZE_MAX of Linux, linux/limits.h
# Keys that servers give a meaning of their own: "mtime" sets times, "etag" is stored and never returned as such.
_RESERVED_KEYS = frozenset({"mtime", "etag"})


def encode_value(value: bytes) -> str:
    """Metadata text for an attribute's bytes; ``decode_value`` gives the bytes back."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.startswith(_BASE64) or "\x00" in text or text.encode() != value:
        return _BASE64 + base64.b64encode(value).decode("ascii")
    return text


def decode_value(text: str) -> bytes:
    """The bytes of a metadata text; text that only looks like ours is returned as it is."""
    if text.startswith(_BASE64):
        try:
            return base64.b64decode(text[len(_BASE64) :], validate=True)
        except binascii.Error:
            pass
    return text.encode()


def describe_lock(lock: LockInfo | None, *, is_ours: bool) -> str:
    """A lock as JSON, "" for none; the lock id stays secret (knowing it is enough to write)."""
    if lock is None:
        return ""
    until = datetime.fromtimestamp(lock.expires_at, tz=UTC).isoformat() if lock.expires_at else None
    told = {"application": lock.app_name, "user": lock.user, "type": lock.kind, "until": until, "ours": is_ours}
    return json.dumps(told)


class Xattrs:
    """Operations on extended attributes."""

    def __init__(self, state: VfsState, tree: Tree, committer: Committer) -> None:
        self._state = state
        self._committer = committer
        self._tree = tree
        self._virtual: Mapping[str, Callable[[Node, Entry], str]] = {
            "user.cs3.id": lambda _node, entry: str(entry.id) if entry.id else "",
            "user.cs3.etag": lambda _node, entry: entry.etag,
            "user.cs3.checksum": lambda _node, entry: f"{entry.checksum.kind}:{entry.checksum.hex}" if entry.checksum else "",
            "user.cs3.owner": lambda _node, entry: entry.owner,
            "user.cs3.path": lambda node, _entry: str(node.location),
            "user.cs3.permissions": lambda _node, entry: ",".join(sorted(entry.permissions or ())),
            _LOCK: self._shown_lock,
            "user.cs3.state": self._state_of,
            _ERROR: lambda _node, entry: entry.metadata.get(ERROR_KEY, ""),
        }

    def _state_of(self, node: Node, _entry: Entry) -> str:
        file = self._state.open_files.get(node.ino)
        session = file.session if file is not None and file.session is not None else self._state.unsent(node.location)
        return session.state if session is not None else "clean"

    def _shown_lock(self, node: Node, entry: Entry) -> str:
        """Our lock where we hold one, else what the server shows."""
        leases, at = self._state.leases, node.location
        ours = leases.lock_at(at)
        if ours is not None:
            return describe_lock(LockInfo(ours.lock_id, ours.app_name, "", "write", ours.expires_at), is_ours=True)
        lock = entry.lock or advisory_lock(entry.metadata, leases.now())
        return describe_lock(lock, is_ours=leases.is_own(at, lock))

    async def get(self, ino: Ino, name: str) -> bytes:
        """Value of an attribute. Raises: NoAttributeError; NoNamespaceError outside ``user.``."""
        if not name.startswith(_USER):
            # The kernel asks for security.capability before every write, ls for two of each file: no call for that, and
            # EOPNOTSUPP, after which ls asks no more on this file system (coreutils src/ls.c, unsupported_device).
            raise NoNamespaceError(f"There is no attribute {name}: CS3 carries those below user. only.")
        try:
            node, entry = await self._tree.entry(ino)
        except Cs3FuseError as error:
            if name != _ERROR or isinstance(error, NotFoundError):
                raise
            return str(error).encode()
        virtual = self._virtual.get(name)
        if name in {_SHARES, _QUOTA}:  # not in the list of names: that would cost every ls -l a call
            text = await (self._shares_of(entry) if name == _SHARES else self._quota_of(node))
            if text:
                return text.encode()
        elif virtual is not None:
            text = virtual(node, entry)
            if not text and name == _LOCK:  # weak locks are in no Stat
                lock = await self._state.leases.lock_on(node.location, entry)
                text = describe_lock(lock, is_ours=self._state.leases.is_own(node.location, lock))
            if text:
                return text.encode()
        elif (key := name[len(_USER) :]) in entry.metadata:
            return decode_value(entry.metadata[key])
        raise NoAttributeError(f"{node.location} has no attribute {name}.", path=str(node.location))

    async def _shares_of(self, entry: Entry) -> str:
        return await self._state.shares_of(entry) or "" if self._state.shares_of is not None else ""

    async def _quota_of(self, node: Node) -> str:
        """Of the space that a folder lies in, as JSON: statfs(2) is asked for the whole mount. "" where the storage does not tell."""
        if node.kind is not Kind.DIRECTORY:
            return ""
        try:
            quota = await self._state.tree.quota(node.location)
        except (UnsupportedError, ServerError):
            return ""
        return json.dumps({"total": quota.total, "used": quota.used})

    async def list(self, ino: Ino) -> list[str]:
        """Names of the attributes that have a value."""
        node, entry = await self._tree.entry(ino)
        names = [name for name, virtual in self._virtual.items() if virtual(node, entry)]
        return names + [_USER + key for key in entry.metadata if not (_USER + key).startswith(_OURS)]

    async def set(self, ino: Ino, name: str, value: bytes) -> None:
        """Set an attribute; any value of ``user.cs3.refresh`` forgets what is known of the file, or of the folder and all below it.

        Raises: NotPermittedError for ours; NoNamespaceError outside ``user.``; BadRequestError if too large.
        """
        if name == _REFRESH:
            refresh(self._state, self._state.inodes.get(ino))
            return
        key = self._writable_key(name)
        if len(value) > _VALUE_MAX_BYTES:
            raise BadRequestError(f"The value of {name} has more than {_VALUE_MAX_BYTES} bytes.")
        node = self._state.inodes.get(ino)
        at, tree = node.location, self._state.tree
        await with_our_lock(self._state.leases, at, lambda lock: tree.set_metadata(at, {key: encode_value(value)}, lock=lock))
        await self._refresh(node)

    async def remove(self, ino: Ino, name: str) -> None:
        """Remove an attribute. Raises: NoAttributeError."""
        key = self._writable_key(name)
        node, entry = await self._tree.entry(ino)
        if key not in entry.metadata:
            raise NoAttributeError(f"{node.location} has no attribute {name}.", path=str(node.location))
        at, tree = node.location, self._state.tree
        await with_our_lock(self._state.leases, at, lambda lock: tree.unset_metadata(at, [key], lock=lock))
        await self._refresh(node)

    def _writable_key(self, name: str) -> str:
        if name.startswith(_OURS):
            raise NotPermittedError(f"{name} is told by cs3fuse and cannot be changed.")
        if not name.startswith(_USER) or name == _USER:
            raise NoNamespaceError(f"CS3 carries attributes below user. only, not {name}.")
        key = name[len(_USER) :]
        if key in _RESERVED_KEYS:
            raise NotPermittedError(f"The metadata key {key} has a meaning of its own on CS3 servers and cannot be set here.")
        if self._state.options.is_read_only:
            raise NotPermittedError(f"{name}: this mount is read-only.")
        return key

    async def _refresh(self, node: Node) -> None:
        """See the change at once, also in an open file."""
        at = node.location
        self._state.metadata.forget(at)
        entry = await self._state.metadata.stat(at, fresh=True)
        file = self._state.open_files.get(node.ino)
        if file is not None:
            self._committer.touched(file, entry)
