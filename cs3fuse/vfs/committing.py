"""What our own changes on the server mean for an open file: a commit, a new time, the end of its writing, a delete of its name.

Owns no state; ``OpenFile`` is what it changes. Called by ``vfs.files`` (flush, fsync, and release under the inode's gate), and by
``tree``, ``making``, ``renaming`` and ``xattrs`` after or before a change of a file that is open. Trio thread only; commits of one file
that come together join in its session.
"""

from __future__ import annotations

import structlog

from cs3fuse.errors import ConflictError, Cs3FuseError
from cs3fuse.locks.guarding import with_our_lock
from cs3fuse.model import Entry
from cs3fuse.vfs.state import OpenFile, VfsState
from cs3fuse.vfs.times import same_second, set_mtime

log = structlog.get_logger(__name__)


class Committer:
    """Keeps an ``OpenFile`` at the version that the server has through us."""

    def __init__(self, state: VfsState) -> None:
        self._state = state

    async def commit(self, file: OpenFile, *, to_server: bool = False) -> None:
        """Commit what was written; ``to_server``: also in mode "background", where close(2) is content with the journal.

        Raises: what ``WriteSession.commit`` raises. Cancellation: the commit goes on.
        """
        session, node = file.session, file.node
        if session is None or not session.is_dirty or not node.is_linked:
            return
        try:
            entry = await session.commit(to_server=to_server)
        except ConflictError:  # what was known of the name is somebody else's now, and a copy lies beside
            self._state.metadata.forget(node.location)
            self._state.metadata.forget(node.location.parent)
            raise
        if session.is_dirty:  # in the journal: what is read goes on coming from there
            file.entry = entry
            return
        self.committed(file, entry)
        wanted = file.wanted_mtime_ns
        if wanted is not None:
            file.wanted_mtime_ns = None
            await self._apply_mtime(file, entry, wanted)

    async def _apply_mtime(self, file: OpenFile, entry: Entry, wanted_ns: int) -> None:
        """Set the time that a program asked for where the upload did not (Reva takes X-OC-Mtime and does not apply it).

        The bytes are safe by now: a server that refuses leaves its own time, and the log says so.
        """
        if same_second(entry.mtime_ns, wanted_ns):
            return
        at = file.node.location
        try:
            entry = await with_our_lock(self._state.leases, at, lambda lock: set_mtime(self._state, at, wanted_ns, lock))
            self.touched(file, entry)
        except Cs3FuseError as error:
            log.info("mtime_not_set", path=str(at), reason=str(error))

    def committed(self, file: OpenFile, entry: Entry) -> None:
        """The open file has a new version on the server: ours."""
        at = file.node.location
        self._state.metadata.put(at, entry)
        file.entry = entry
        if file.reader is not None:
            file.reader.close()
        file.reader = self._state.content.open(at, entry)

    def touched(self, file: OpenFile, entry: Entry) -> None:
        """The open file's attributes changed on the server through us (a time, an xattr) and with them its etag; its bytes did not.

        What is open is that version from now on, so that our own change is not taken for somebody else's at the next commit.
        """
        known = file.session.base if file.session is not None else file.entry
        if known is None or known.size != entry.size or known.checksum != entry.checksum:
            return
        if file.session is not None:
            file.session.base = entry
        if file.session is None or not file.session.is_dirty:
            file.entry = entry

    async def keep_readable(self, file: OpenFile) -> None:
        """Bring all bytes of an open file here, before its name is deleted on the server."""
        if file.reader is not None:
            # Not only read: on storages without etags in their answers a stream counts when its last Stat has proved its version.
            await file.reader.complete()

    async def end_writing(self, file: OpenFile) -> None:
        """The last writer is gone: commit what no flush has tried yet, and end the session.

        Cancellation: the session is ended all the same; unsent bytes stay in the journal.
        """
        session = file.session
        try:
            # Bytes whose commit failed at the flush a moment ago are tried again later, not while the next open waits for this.
            if session is not None and session.state == "dirty" and file.node.is_linked:
                await self.commit(file)
        finally:
            # CHECKPOINT-FREE: the session releases its lease itself, once everything is sent.
            file.session = file.lease = None
            if session is not None:
                file.is_tainted = session.state != "clean"
                session.close()

    def close(self, file: OpenFile) -> None:
        """Nothing has the file open: let go of its content. What is unsent is sent in the background. Never blocks."""
        if file.session is not None:
            file.is_tainted = file.session.state != "clean"
            if not file.is_borrowed:
                file.session.close()
            file.session = file.lease = None
        if file.reader is not None:
            file.reader.close()
            file.reader = None
        if file.entry is not None and file.node.is_linked:
            file.node.kernel_version = None if file.is_tainted else file.entry.version
