"""rename(2) onto an existing file, so that the destination keeps its id, shares, lock and versions.

Owns no state; ``engine`` runs ``Replacement`` in a worker, so that nothing breaks off when the request is given up. Two ways:

* Upload: the source's bytes go onto the destination through the commit protocol, then the source is deleted. What a crash leaves: before
  the upload both files as they were; within it a record that the next start completes; after it a CLEANUP record: the next start
  deletes the source if it is still the same version.
* Move, for large files: the server's own Move where it replaces, else destination aside, Move, delete the one aside. An ASIDE record
  names the file aside before it is moved, and the next start puts it back if the destination is missing.

At each moment each of the two names has one complete version, or the journal knows where it is.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

from cs3fuse.commit.generation import Generation
from cs3fuse.commit.host import SessionHost, SessionLock
from cs3fuse.commit.records import CommitRecord, RecordState
from cs3fuse.commit.sender import Sender
from cs3fuse.commit.session import WriteSession
from cs3fuse.commit.staging import StagedFile
from cs3fuse.commit.verdict import same_version
from cs3fuse.errors import (
    BusyError,
    ConflictError,
    CrossStorageError,
    Cs3FuseError,
    DeadlineError,
    ExistsError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    UnavailableError,
    UnsupportedError,
)
from cs3fuse.model import ByteRange, Entry, Location, Lock
from cs3fuse.ports import BaseContent, RemoteTree

_LOG = structlog.get_logger(__name__)

DELETE_BUDGET_S = 5.0
"""How long a rename waits for the server to let go of the source (OpenCloud answers TOO_EARLY while it processes a file: 3 ms to seconds);
after that the source is deleted in the background."""

_MAYBE_DONE = (OutcomeUnknownError, DeadlineError, ServerError)


@dataclass(frozen=True, slots=True)
class Names:
    """Who replaces whom: locations, the versions that were seen (destination: None for a new name), and our locks on them."""

    source: Location
    source_entry: Entry
    destination: Location
    destination_entry: Entry | None
    source_lock: Lock | None = None
    destination_lock: Lock | None = None


class Replacer:
    """See the module."""

    def __init__(
        self,
        tree: RemoteTree,
        content: BaseContent,
        sender: Sender,
        host: SessionHost,
        *,
        upload_bound: int,
        send_again: Callable[[WriteSession], None],
    ) -> None:
        """``upload_bound``: sources above this many bytes are moved by the server instead of uploaded.

        ``send_again`` is given an upload that broke off: it is to be tried again until the destination is whole.
        """
        self._send_again = send_again
        self._tree = tree
        self._content = content
        self._sender = sender
        self._host = host
        self._upload_bound = upload_bound
        self._busy: set[int] = set()

    async def replace(self, names: Names) -> Entry:
        """Carry it out. Returns the destination's entry afterwards.

        Raises: ConflictError: the destination is not the version that was seen; whatever keeps the server from doing it. Then the source
        has all its bytes, and the destination is the old or the new version, whole, or the journal completes it.
        """
        if names.destination_entry is None or names.source_entry.size <= self._upload_bound:
            return await self._by_upload(names)
        try:
            return await self._by_move(names, names.destination_entry)
        except CrossStorageError:  # it cannot rename at all
            return await self._by_upload(names)

    # By upload

    async def _by_upload(self, names: Names) -> Entry:
        carrier = WriteSession(
            self._host,
            names.destination,
            names.destination_entry,
            lock=SessionLock(lambda: names.destination_lock),
            created=names.destination_entry is None,
        )
        generation = await self._fetch_source(names)
        carrier.restore(generation)
        outcome = carrier.ask_quietly()
        await self._sender.send(carrier)
        if outcome.error is not None:
            if carrier.is_dirty:
                self._send_again(carrier)
            raise outcome.error
        entry = outcome.entry or carrier.entry()
        record = self._host.journal.record(generation.record.id)
        if record is not None and record.state is RecordState.CLEANUP:
            await self.clean_up(record, lock=names.source_lock)
        return entry

    async def _fetch_source(self, names: Names) -> Generation:
        """The source's bytes in a staged file of their own, named in the journal."""
        size = names.source_entry.size
        now = time.time()
        staged = StagedFile.create(self._host.folder, lower_size=size)
        record = CommitRecord(
            id=self._host.journal.new_id(),
            identity=self._host.identity,
            at=names.destination,
            base=names.destination_entry,
            staged=staged.path.name,
            size=size,
            mtime_ns=names.source_entry.mtime_ns,
            state=RecordState.SEALED,
            created_at=now,
            changed_at=now,
            source=names.source,
            source_entry=names.source_entry,
        )
        try:
            record = await self._host.journal.put(record, durable=False)
            with staged.pinned():
                if size:
                    await self._content.fill(names.source, names.source_entry, [ByteRange(0, size)], staged.fd)
        except BaseException:
            self._host.journal.drop_soon(record.id)
            staged.discard()
            raise
        staged.note_complete()
        return Generation(staged, record)

    async def clean_up(self, record: CommitRecord, *, lock: Lock | None = None) -> None:
        """The destination has the bytes: delete the source, if it is still that version, and forget the record.

        A server that is busy with the file or away is no failure: the record stays, and this is called again.
        Raises: LockedError, AccessDeniedError and the like: the source stays for good.
        """
        if record.id in self._busy:
            return
        self._busy.add(record.id)
        try:
            await self._clean_up(record, lock)
        finally:
            self._busy.discard(record.id)

    async def _clean_up(self, record: CommitRecord, lock: Lock | None) -> None:
        assert record.source is not None
        assert record.source_entry is not None
        ends_at = trio.current_time() + DELETE_BUDGET_S
        delay_s = 0.02
        refusal: Cs3FuseError | None = None
        while True:
            try:
                await self._delete_if_same(record.source, record.source_entry, lock)
                break
            except (BusyError, UnavailableError, *_MAYBE_DONE) as exc:
                if trio.current_time() + delay_s > ends_at:
                    _LOG.warning("renamed, and the old name is deleted later", path=str(record.source), reason=str(exc))
                    return
            except Cs3FuseError as exc:
                refusal = exc
                break
            await trio.sleep(delay_s)
            delay_s *= 2
        await self._host.journal.drop(record.id)
        if refusal is not None:
            raise refusal

    async def _delete_if_same(self, at: Location, entry: Entry, lock: Lock | None) -> None:
        try:
            found = await self._tree.stat(at)
            if not same_version(entry, found):
                _LOG.warning("renamed, but somebody wrote to the old name meanwhile: it stays", path=str(at))
                return
            await self._tree.delete(at, lock=lock)
        except NotFoundError:
            return

    # By the server's Move

    async def _by_move(self, names: Names, replaced: Entry) -> Entry:
        found = await self._tree.stat(names.destination)
        if not same_version(replaced, found):
            raise ConflictError(f"{names.destination} was changed by somebody else.", path=str(names.destination))
        try:
            await self._move(names.source, names.destination, names.source_lock, size=names.source_entry.size)
        except (ExistsError, ServerError, UnsupportedError) as exc:
            _LOG.debug("the server does not move over a file, doing it in steps", path=str(names.destination), reason=str(exc))
            await self._by_steps(names, replaced)
        return await self._tree.stat(names.destination)

    async def _by_steps(self, names: Names, replaced: Entry) -> None:
        aside = names.destination.parent.child(f".{uuid.uuid4().hex[:12]}.cs3fuse-aside")
        now = time.time()
        record = CommitRecord(
            id=self._host.journal.new_id(),
            identity=self._host.identity,
            at=names.destination,
            base=names.destination_entry,
            staged="",
            size=names.source_entry.size,
            mtime_ns=0,
            state=RecordState.ASIDE,
            created_at=now,
            changed_at=now,
            copy_at=aside,
            source=names.source,
            source_entry=names.source_entry,
        )
        await self._host.journal.put(record, durable=True)
        self._busy.add(record.id)
        failure: Cs3FuseError | None = None
        try:
            await self._move(names.destination, aside, names.destination_lock, size=replaced.size)
            await self._move(names.source, names.destination, names.source_lock, size=names.source_entry.size)
        except Cs3FuseError as exc:
            failure = exc
        finally:
            self._busy.discard(record.id)
        await self.put_back(record)
        if failure is not None:
            raise failure

    async def put_back(self, record: CommitRecord) -> None:
        """Settle an ASIDE record by what stands where: a missing destination gets its old version back, else the one aside goes.

        Never raises for the server's sake: then the record stays, and this is called again.
        """
        if record.id in self._busy:
            return
        self._busy.add(record.id)
        try:
            await self._put_back(record)
        finally:
            self._busy.discard(record.id)

    async def finish_leftovers(self) -> None:
        """Records of replacements that were not finished: at start and from time to time. Never raises for the server's sake."""
        for record in self._host.journal.records():
            if record.identity != self._host.identity:
                continue
            if record.state is RecordState.ASIDE:
                await self.put_back(record)
            elif record.state is RecordState.CLEANUP:
                try:
                    await self.clean_up(record)
                except Cs3FuseError as exc:
                    _LOG.warning("renamed, and the old name stays", path=str(record.source), reason=str(exc))

    async def _put_back(self, record: CommitRecord) -> None:
        assert record.copy_at is not None
        assert record.source is not None
        try:
            aside = await self._stat(record.copy_at)
            if aside is not None:
                destination = await self._stat(record.at)
                if destination is None:
                    await self._tree.move(record.copy_at, record.at)
                elif await self._stat(record.source) is None and destination.size == record.size:
                    await self._tree.delete(record.copy_at)
                else:
                    _LOG.warning(
                        "a file was put aside and its name is taken: both stay", path=str(record.at), aside=str(record.copy_at)
                    )
            await self._host.journal.drop(record.id)
        except Cs3FuseError as exc:
            _LOG.warning("a rename in steps is not finished yet", path=str(record.at), aside=str(record.copy_at), reason=str(exc))

    async def _move(self, source: Location, destination: Location, lock: Lock | None, *, size: int) -> None:
        """Move, and settle a lost answer by looking. Raises: ServerError: it did not happen, the server does not say why."""
        try:
            await self._tree.move(source, destination, lock=lock)
        except _MAYBE_DONE as exc:
            failure = exc
        else:
            return
        gone = await self._stat(source) is None
        arrived = await self._stat(destination)
        if not gone or arrived is None or arrived.size != size:
            raise ServerError(f"{source} could not be moved to {destination}: {failure}", path=str(source)) from failure

    async def _stat(self, at: Location) -> Entry | None:
        try:
            return await self._tree.stat(at)
        except NotFoundError:
            return None
