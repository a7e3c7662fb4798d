"""What opening a file takes: the server's version of the moment, the lease, the session of unsent bytes.

Called by ``vfs.files`` under the inode's gate. An open reader keeps the version it opened: when the server has another one, the inode
is orphaned and the name gets a new inode number, so that the kernel's page cache can never mix two versions.
"""

from __future__ import annotations

import structlog
import trio

from cs3fuse.errors import AccessDeniedError, Cs3FuseError, IsDirectoryError, StaleError, UnsupportedError
from cs3fuse.locks.foreign import ADVISORY_KEY
from cs3fuse.locks.guarding import refuse_foreign
from cs3fuse.model import Entry, Kind
from cs3fuse.vfs.attributes import READ_FILE, WRITE_FILE
from cs3fuse.vfs.state import OpenFile, VfsState

log = structlog.get_logger(__name__)


class Opener:
    """Binds an ``OpenFile`` to a version for reading, or to a session for writing."""

    def __init__(self, state: VfsState) -> None:
        self._state = state

    async def empty(self, file: OpenFile) -> None:
        """O_TRUNC. If it fails nothing was emptied: the program saw an error, so an empty file must not be sent later."""
        session = file.session
        assert session is not None
        had_unsent_bytes = session.is_dirty
        try:
            await session.truncate(0)
        except BaseException:
            if not file.handles and not had_unsent_bytes:
                session.abandon()
            raise

    async def begin_reading(self, file: OpenFile) -> None:
        """Bind the file to the server's version of this moment; a file with unsent writes is its own truth."""
        if file.session is not None:
            return
        node = file.node
        if not node.is_linked:
            if file.reader is None:
                raise StaleError(f"{node.location} was deleted.", path=str(node.location))
            return
        unsent = self._state.unsent(node.location)
        if unsent is not None and not file.handles:  # written here, closed, and not on the server yet
            file.session, file.entry, file.is_borrowed = unsent, unsent.entry(), True
            return
        if file.reader is None and (known := self._state.metadata.peek(node.location)) is not None and known.may(READ_FILE):
            self._state.content.expect_reader(node.location, known)
        asked_at = trio.current_time()
        entry = await self._state.metadata.stat(node.location, fresh=True)
        self._accept_version(file, entry)
        if not entry.may(READ_FILE):
            raise AccessDeniedError(f"You may not read {node.location}.", path=str(node.location))
        if entry.refusal:
            raise UnsupportedError(entry.refusal, path=str(node.location))
        if file.reader is None:
            file.entry = entry
            file.reader = self._state.content.open(node.location, entry, asked_at=asked_at)

    async def begin_writing(self, file: OpenFile) -> None:
        """Take the lease, then Stat: the version seen under the lock is the base of what will be committed.

        Cancellation: the lease is released, nothing was begun.
        """
        node, state = file.node, self._state
        at = node.location
        if file.session is not None and file.writers:
            return
        if not node.is_linked:
            raise StaleError(f"{at} was deleted.", path=str(at))
        unsent = state.unsent(at)
        seen = unsent.entry() if unsent is not None else await state.metadata.stat(at)
        if seen.kind is Kind.DIRECTORY:
            raise IsDirectoryError(f"{at} is a directory.", path=str(at))
        if not seen.may(WRITE_FILE):
            raise AccessDeniedError(f"You may not write {at}.", path=str(at))
        if ADVISORY_KEY in seen.metadata:  # it may have gone meanwhile, and nothing else would ask
            seen = await state.metadata.stat(at, fresh=True)
        is_new = unsent is not None and unsent.base is None  # the server does not have it: there is nothing to lock
        lease = None if is_new else await state.leases.acquire(at, seen)
        try:
            unsent = state.unsent(at)
            if unsent is None:
                entry = await state.metadata.stat(at, fresh=True)
                self._accept_version(file, entry)
                if lease is None:
                    await refuse_foreign(state.leases, at, entry)
                base: Entry | None = entry
            else:  # what was written here before and is not sent yet is the truth to go on from
                entry, base = unsent.entry(), unsent.base
        except BaseException:
            if lease is not None:
                lease.release()
            raise
        # CHECKPOINT-FREE: from here to the end the file, its lease and its session belong together.
        file.lease, file.entry, file.is_borrowed = lease, entry, False
        if file.reader is None and base is not None:
            file.reader = state.content.open(at, base)
        file.session = state.commits.begin(at, base, lease=lease)

    async def lock_created(self, file: OpenFile) -> None:
        """Lock a new file once the server has it, for as long as its writers stay; without one if that cannot be had.

        Cancellation: the lock is released.
        """
        session, at = file.session, file.node.location
        if not file.is_lock_wanted or session is None or session.base is None or not file.writers:
            return
        file.is_lock_wanted = False
        if session.at != at:  # somebody else took the name: these bytes go into a conflict copy
            return
        lease = None
        try:
            lease = await self._state.leases.acquire(at, session.base)
        except Cs3FuseError as error:
            log.info("new_file_not_locked", path=str(at), reason=str(error))
        if lease is None:
            return
        # CHECKPOINT-FREE: the file may have been closed, renamed or removed while the server was asked.
        if (
            file.session is not session
            or session.at != at
            or not file.writers
            or not file.node.is_linked
            or file.node.location != at
        ):
            lease.release()
            return
        file.lease = lease
        self._state.commits.begin(at, session.base, lease=lease)

    def _accept_version(self, file: OpenFile, entry: Entry) -> None:
        """Refuse to put a second version under an inode whose first one is still open.

        Raises: StaleError: the inode was orphaned; a new lookup finds the new one.
        """
        node = file.node
        if entry.kind is not node.kind:
            self._state.inodes.unlink(node)
            raise StaleError(f"{node.location} is of another kind now; open it again.", path=str(node.location))
        if file.handles and file.entry is not None and file.entry.version != entry.version:
            log.info("open_file_changed_on_server", path=str(node.location), was=str(file.entry.version), now=str(entry.version))
            self._state.inodes.unlink(node)
            raise StaleError(
                f"{node.location} changed on the server while it was open here; open it again.", path=str(node.location)
            )
