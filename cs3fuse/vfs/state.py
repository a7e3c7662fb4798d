"""What the parts of the vfs share: the inode table, the open files, and the core services they call.

Owns nothing but the wiring. Built by ``app`` (or a test), handed to ``Tree``, ``Files`` and ``Xattrs``; all of it is used
from the trio thread only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from cs3fuse.cache.content import ContentStore
from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.cache.reader import ContentReader
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.engine import CommitEngine
from cs3fuse.commit.session import WriteSession
from cs3fuse.errors import NotDirectoryError, NotFoundError, NotPermittedError, StaleError
from cs3fuse.locks.held import Lease
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.model import Entry, Fh, Ino, Kind, Location
from cs3fuse.ports import KernelNotifier, RemoteTree
from cs3fuse.vfs.attributes import Attributes, Owner, attributes_of
from cs3fuse.vfs.inodes import InodeTable, Node


@dataclass(frozen=True, slots=True)
class VfsOptions:
    """How the mount behaves. ``attribute_valid_s``: seconds that the kernel may keep attributes and names.

    ``on_foreign_lock``: what opening for writing does where somebody else holds the lock: "busy" answers EBUSY, "wait" tries for
    ``foreign_lock_wait_s`` seconds first, "readonly" opens for reading.
    """

    owner: Owner
    attribute_valid_s: float = 0.5
    is_read_only: bool = False
    on_foreign_lock: Literal["busy", "wait", "readonly"] = "busy"
    foreign_lock_wait_s: float = 30.0


class NoKernel:
    """A notifier for a vfs that no kernel caches anything of."""

    def invalidate_inode(self, ino: Ino, *, attributes_only: bool) -> None:
        """Nobody to tell."""

    def attributes_changed(self, ino: Ino) -> None:
        """Nobody to tell."""

    def invalidate_entry(self, parent: Ino, name: str) -> None:
        """Nobody to tell."""


class OpenFile:
    """One open inode, shared by all its handles.

    ``entry`` is the version that is open (for a new file: what stat shows until the server has it). With a ``session`` all
    reads and writes go through it; without one reads go through ``reader``. INVARIANT: while ``writers`` > 0 there is a
    session; without writers there is one only where bytes of an earlier writer are not sent yet. ``is_borrowed``: such a
    session is only read here and not ours to close. ``is_tainted``: the kernel's pages hold bytes that the server does not have
    (a commit failed): they must not outlive the last handle. ``is_lock_wanted``: it is new, and is locked once the server has it.
    ``created_mode`` is what create(2) asked for, and ``wanted_mtime_ns`` what utimensat(2) asked for and the server has not got yet.
    """

    __slots__ = (
        "created_mode",
        "entry",
        "handles",
        "is_borrowed",
        "is_lock_wanted",
        "is_tainted",
        "lease",
        "node",
        "reader",
        "session",
        "wanted_mtime_ns",
        "writers",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entry: Entry | None = None
        self.reader: ContentReader | None = None
        self.session: WriteSession | None = None
        self.lease: Lease | None = None
        self.handles: set[Fh] = set()
        self.writers = 0
        self.is_borrowed = False
        self.is_tainted = False
        self.is_lock_wanted = False
        self.created_mode: int | None = None
        self.wanted_mtime_ns: int | None = None


@dataclass(slots=True)
class VfsState:
    """Everything that a vfs operation may need."""

    inodes: InodeTable
    tree: RemoteTree
    metadata: MetadataCache
    content: ContentStore
    commits: CommitEngine
    leases: LeaseManager
    book: CapabilityBook
    options: VfsOptions
    wall_clock_ns: Callable[[], int]
    notifier: KernelNotifier = field(default_factory=NoKernel)
    open_files: dict[Ino, OpenFile] = field(default_factory=dict)
    shares_of: Callable[[Entry], Awaitable[str]] | None = None
    """With whom an entry is shared, as JSON, for ``user.cs3.shares``; asks the server."""

    def unsent(self, at: Location) -> WriteSession | None:
        """The session whose bytes are newer than the server's: of a file that is open for writing, or not sent yet."""
        session = self.commits.session_at(at)
        return session if session is not None and session.is_dirty and not session.is_abandoned else None

    def attributes(self, node: Node, entry: Entry) -> Attributes:
        """What stat shows: the open version with its unsent writes where the file is open, else the entry."""
        file = self.open_files.get(node.ino)
        shown = attributes_of(node.ino, entry, self.options.owner, 0.0 if entry.is_vague else self.options.attribute_valid_s)
        if file is None or file.entry is None:
            node.kernel_size = shown.size
            return shown
        session = file.session
        size = session.size if session else file.entry.size
        mtime_ns = session.mtime_ns if session else file.entry.mtime_ns
        node.kernel_size = size
        return Attributes(
            shown.ino, shown.mode, size, mtime_ns, shown.uid, shown.gid, shown.valid_s, is_written=session is not None
        )

    def unsent_below(self, at: Location) -> list[WriteSession]:
        """The same for everything at and below a location."""
        return [s for s in self.commits.sessions() if s.is_dirty and not s.is_abandoned and s.at.is_below(at)]

    def node_for(self, parent: Node, name: str, entry: Entry) -> Node:
        """The inode of a name; a new one where the open one holds another version (its readers keep what they opened)."""
        node = self.inodes.child(parent, name)
        file = self.open_files.get(node.ino) if node is not None else None
        if node is not None and file is not None and file.session is None and file.handles:
            is_other = file.entry is not None and file.entry.version != entry.version
            if is_other:
                self.inodes.unlink(node)
        return self.inodes.ensure(parent, name, entry.kind, entry.anchor)

    def directory(self, ino: Ino) -> Node:
        """The node of a directory that has a name. Raises: NotDirectoryError; StaleError if it was deleted."""
        node = self.inodes.get(ino)
        if node.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{node.location} is not a directory.", path=str(node.location))
        if not node.is_linked:
            raise StaleError(f"{node.location} was deleted.", path=str(node.location))
        return node

    def check_writable(self, node: Node) -> None:
        """Refuse every change in a read-only mount. Raises: NotPermittedError."""
        if self.options.is_read_only:
            raise NotPermittedError(f"{node.location}: this mount is read-only.", path=str(node.location))

    async def stat_or_none(self, at: Location, *, fresh: bool = False) -> Entry | None:
        """The entry at a location, None if there is nothing."""
        try:
            return await self.metadata.stat(at, fresh=fresh)
        except NotFoundError:
            return None
