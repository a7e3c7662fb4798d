"""Brings the frozen bytes of one session to the server, or records why not. The work of the engine's workers.

Owns no state but two limits. ``engine`` calls ``send`` for one session at a time per file; the steps, and what a crash in each leaves:

1. fill: bytes of the base that were not written come into the staged file. Crash: the record says DIRTY or SEALED with ranges missing.
2. seal: digest and size go into the journal. Crash: the next start sends it.
3. upload (``protocol``). Crash: the record says UPLOADING; the next start looks before it sends.
4. journal: the record is dropped. Crash before: the next start finds our bytes on the server and drops it then.
5. adopt: the staged file becomes the content of the new version. Crash before: the file is swept, as no record names it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.checksums import hex_of
from cs3fuse.commit.copies import conflict_name
from cs3fuse.commit.generation import Generation
from cs3fuse.commit.journal import Journal
from cs3fuse.commit.looks import Looks
from cs3fuse.commit.protocol import CommitJob, CommitProtocol, Committed, RetryPolicy
from cs3fuse.commit.records import CommitRecord, ConflictRecord, RecordState
from cs3fuse.commit.session import WriteSession
from cs3fuse.commit.staging import StagedFile, local_error, pieces
from cs3fuse.errors import (
    AccessDeniedError,
    BadRequestError,
    ConflictError,
    Cs3FuseError,
    IsDirectoryError,
    LocalSpaceError,
    LocalStorageError,
    NotFoundError,
    NotPermittedError,
    QuotaError,
    StaleError,
    UnsupportedError,
)
from cs3fuse.limits import RootLimits, Turn, promptly
from cs3fuse.model import Entry, Location
from cs3fuse.ports import BaseContent, UploadSource
from cs3fuse.values import changed

_LOG = structlog.get_logger(__name__)

_WAITING_RARELY_HELPS = (
    AccessDeniedError,
    BadRequestError,
    IsDirectoryError,
    LocalStorageError,
    NotFoundError,
    NotPermittedError,
    QuotaError,
    StaleError,
    UnsupportedError,
)
SYNCED_IN_TURN_BYTES = 1 << 20
"""A larger file is synced before it is its record's turn in the journal: others wait for that turn, the first write of a file too."""
RETRY_FIRST_S = 5.0
RETRY_LONGEST_S = 600.0
_COPY_NAMES = 20
_MICROSECOND_NS = 1000


@dataclass(slots=True)
class SenderOptions:
    """``username`` goes into the names of conflict copies; ``is_background``: the journal's word counts; ``watch`` is told of each
    commit: with the entry if an upload broke off before one went through, with None if there is nothing to doubt. ``on_server`` is
    told what stands on the server now, conflict copies too.
    """

    username: str
    is_background: bool
    watch: Callable[[Location, Entry | None, Sequence[tuple[int, str]]], None]
    on_server: Callable[[Location, Entry], None]
    wall_clock: Callable[[], float] = time.time


class Sender:
    """See the module."""

    def __init__(
        self,
        protocol: CommitProtocol,
        looks: Looks,
        content: BaseContent,
        book: CapabilityBook,
        journal: Journal,
        *,
        workers: int,
        options: SenderOptions,
    ) -> None:
        self._protocol = protocol
        self._looks = looks
        self._content = content
        self._book = book
        self._journal = journal
        self._options = options
        self._preparing = RootLimits(workers)
        self._uploading = RootLimits(workers)

    async def send(self, session: WriteSession, *, retry: RetryPolicy | None = None) -> None:
        """Commit what the session has; its outcome is finished in every case but cancellation.

        Cancellation: as a crash: the journal says how far it came.
        """
        more = True
        while more:
            try:
                with self._looks.commit_under_way():
                    entry = await self._send_once(session, retry)
            except Cs3FuseError as exc:
                more = session.finish(error=exc)
            else:
                more = session.finish(entry=entry)

    async def _send_once(self, session: WriteSession, retry: RetryPolicy | None) -> Entry:
        generation = await session.freeze()
        if generation is None:
            return session.entry()
        try:
            with Turn(self._uploading.of(session.at)) as turn:
                async with promptly(self._preparing.of(session.at)):
                    await self._prepare(session, generation, turn)
                session.note_sealed()
                await turn.take()
                return await self._upload(session, generation, retry, turn)
        except ConflictError:
            self._schedule(session, generation)
            raise
        except Cs3FuseError as exc:
            failure = exc
        finally:
            if session.is_abandoned:  # unlinked meanwhile: the seal above may have brought the record back
                self._journal.drop_soon(generation.record.id)
        await self._keep(session, generation, failure)
        raise failure

    # 1 and 2: a complete, sealed file

    async def _prepare(self, session: WriteSession, generation: Generation, turn: Turn) -> None:
        if not generation.is_complete:
            await self._fill(session, generation)
            digest = await _digest(generation.staged)
            if generation.is_restored and generation.record.sha1 and digest != generation.record.sha1:
                raise LocalStorageError(
                    f"The staged bytes of {session.at} are damaged (the machine lost power before they were on disk?); they are kept.",
                    path=str(session.at),
                )
            generation.record = changed(
                generation.record,
                sha1=digest,
                size=generation.staged.size,
                mtime_ns=_distinct_mtime(generation.record),
                missing=(),
                lock=session.lock.current(),
                earlier=generation.replaces.outstanding if generation.replaces is not None else generation.record.earlier,
            )
            generation.is_complete = True
        state = generation.record.state
        if state in {RecordState.DIRTY, RecordState.SEALED, RecordState.FAILED}:
            # The record says "uploading" before the first byte leaves; in the same transaction that seals it, if that is now. In mode
            # "close" a program waits meanwhile: that it was not acknowledged is enough to know.
            is_next = not self._options.is_background or turn.take_nowait()
            state = RecordState.UPLOADING if is_next else RecordState.SEALED
        await self._seal(generation, state, durable=self._must_survive_power_loss(generation))
        session.drop_layers_below(generation)

    async def _fill(self, session: WriteSession, generation: Generation) -> None:
        """Bring what was not written in from below. Raises: StaleError: the base is gone and the file cannot be completed."""
        staged = generation.staged
        missing = staged.needed_from_below(0, staged.size)
        parts = pieces(session.layers_below(generation), missing)
        for part in parts:
            if part.source is not None:
                with staged.pinned(), part.source.pinned():
                    await trio.to_thread.run_sync(staged.copy_from, part.source, part.where)
        from_base = [part.where for part in parts if part.source is None]
        if from_base and generation.record.base is not None:
            with staged.pinned():
                await self._content.fill(session.at, generation.record.base, from_base, staged.fd)
        staged.note_complete()

    def _must_survive_power_loss(self, generation: Generation) -> bool:
        """Whether an upload must not start before the bytes are on the local disk.

        In the background mode the journal is what was promised. Otherwise nothing was: but an upload that breaks off may leave the
        old content truncated (Reva), and then ours must still be here after a power loss. A new file has nothing to lose, and a
        storage that checks versions replaces content whole.
        """
        base = generation.record.base
        if self._options.is_background:
            return True
        return base is not None and base.size > 0 and not self._book.of(base.storage_id).conditional_uploads

    async def _seal(self, generation: Generation, state: RecordState, *, durable: bool, reason: str = "") -> None:
        """Write the record in this state; ``durable`` also puts the bytes on disk, before the record says so."""
        replaced = generation.replaces.id if generation.replaces is not None else None
        is_stored = False
        while not is_stored:
            with generation.staged.pinned():
                sync = generation.staged.sync if durable and not generation.is_synced else None
                if sync is not None and generation.record.size > SYNCED_IN_TURN_BYTES:
                    await trio.to_thread.run_sync(sync)
                    sync = None
                before = generation.record
                record = changed(before, state=state, reason=reason)
                stored = await self._journal.put(record, durable=durable, instead_of=replaced, first=sync)
            generation.is_synced |= durable
            # Renamed or touched meanwhile: the journal must not say where it was.
            is_stored = generation.record is before
            if is_stored:
                generation.record = stored
        generation.replaces = None

    # 3, 4, 5: to the server

    async def _upload(self, session: WriteSession, generation: Generation, retry: RetryPolicy | None, turn: Turn) -> Entry:
        if session.is_abandoned:
            return session.entry()
        if generation.record.state is RecordState.CONFLICT:
            await self._keep_copy(session, generation, generation.record.reason)
            raise ConflictError(generation.record.reason or f"{session.at} was changed by somebody else.", path=str(session.at))
        session.uploading_since = trio.current_time()
        is_first_try = not generation.is_restored and not session.attempts
        conflict, committed = None, None
        try:
            committed = await self._commit_original(session, generation, retry, turn)
        except ConflictError as exc:
            conflict = exc
        finally:
            session.uploading_since = None
        if committed is None:
            assert conflict is not None
            await turn.take()
            await self._divert(session, generation, conflict)
            raise conflict
        if generation.record.source is not None and is_first_try:
            await self._seal(generation, RecordState.CLEANUP, durable=False)
        else:
            await self._journal.drop(generation.record.id)
        if committed.was_recreated:
            _LOG.warning("file had been deleted meanwhile and was created again", path=str(session.at))
        earlier = generation.record.earlier
        is_doubtful = (committed.was_unknown or earlier) and not self._book.of(committed.entry.storage_id).conditional_uploads
        self._options.watch(session.at, committed.entry if is_doubtful else None, earlier)
        staged = session.settle(generation, committed.entry)
        self._options.on_server(session.at, committed.entry)
        await self._give_away(staged, committed, generation)
        if session.conflict is not None:
            raise ConflictError(
                f"{session.conflict.at} was changed by somebody else; these bytes are in {session.at}.", path=str(session.at)
            )
        return committed.entry

    async def _commit_original(
        self, session: WriteSession, generation: Generation, retry: RetryPolicy | None, turn: Turn
    ) -> Committed:
        async def note(state: RecordState) -> None:
            if generation.record.state is not state:
                await self._seal(generation, state, durable=False)

        await session.lock.ensure()
        record = generation.record
        with generation.staged.pinned():
            job = CommitJob(
                at=session.at,
                base=record.base,
                source=UploadSource(generation.staged.fd, record.size, record.sha1, record.mtime_ns),
                lock=session.lock.current,
                reaffirm_lock=session.lock.reaffirm,
                note=note,
                tell=session.note_trouble,
                attempted=record.attempted,
                earlier=record.earlier,
                is_exclusive=session.is_exclusive,
                turn=turn,
                is_awaited=lambda: not self._options.is_background or session.is_awaited,
            )
            try:
                return await self._protocol.commit(job, retry=retry)
            finally:
                generation.record = changed(generation.record, attempted=job.attempted)

    async def _give_away(self, staged: StagedFile | None, committed: Committed, generation: Generation) -> None:
        """The server has the bytes: the file becomes the content store's, unless the server shows another version already."""
        if staged is None:
            return
        staged.close()
        if committed.entry.size == generation.record.size:
            await self._content.adopt(committed.entry.content_key(committed.at), staged.path)
        else:
            staged.discard()

    # What could not be sent

    async def _divert(self, session: WriteSession, generation: Generation, conflict: ConflictError) -> None:
        """Somebody else was first: our bytes go beside. Never raises for a failure of that: then the record stays and is retried.

        The bytes of a replacement have a name of their own on the server already and need no copy.
        """
        if generation.record.source is not None:
            session.give_up(generation)
            return
        _LOG.warning("conflict: the file was changed by somebody else", path=str(session.at), reason=str(conflict))
        try:
            await self._seal(generation, RecordState.CONFLICT, durable=True, reason=str(conflict))
            await self._keep_copy(session, generation, str(conflict))
        except Cs3FuseError as exc:
            session.note_trouble(exc)
            _LOG.warning("conflict copy not stored yet, kept in the journal", path=str(session.at), reason=str(exc))

    async def _keep_copy(self, session: WriteSession, generation: Generation, reason: str) -> None:
        """Upload as a new file beside the original, under a name that the journal knows before the upload starts."""
        attempt, now = 0, self._options.wall_clock()
        tried_before = generation.record.copy_at is not None
        while True:
            copy_at = generation.record.copy_at
            if copy_at is None:
                attempt += 1
                copy_at = session.at.parent.child(conflict_name(session.at.name, self._options.username, now, attempt))
                generation.record = changed(generation.record, copy_at=copy_at)
                await self._seal(generation, RecordState.CONFLICT, durable=True, reason=reason)
            record = generation.record
            source = UploadSource(generation.staged.fd, record.size, record.sha1, record.mtime_ns)
            try:
                with generation.staged.pinned():
                    committed = await self._protocol.commit(CommitJob(at=copy_at, base=None, source=source, attempted=tried_before))
                break
            except ConflictError:
                if attempt >= _COPY_NAMES:
                    raise
                generation.record = changed(generation.record, copy_at=None)
                tried_before = False
        note = ConflictRecord(self._journal.new_id(), record.identity, session.at, copy_at, now, reason)
        await self._journal.add_conflict(note, instead_of=record.id)
        _LOG.warning("our bytes were stored beside the original", path=str(note.at), copy=str(copy_at))
        session.conflict = note
        staged = session.settle(generation, committed.entry, diverted_to=copy_at)
        self._options.on_server(copy_at, committed.entry)
        await self._give_away(staged, committed, generation)

    async def _keep(self, session: WriteSession, generation: Generation, error: Cs3FuseError) -> None:
        """Not on the server: make sure that the journal has it, and when to try again."""
        if session.is_abandoned:
            return
        session.note_trouble(error)
        if generation.record.source is not None and not generation.record.attempted:
            session.give_up(generation)
            return
        state = generation.record.state
        if state is not RecordState.CONFLICT:
            state = RecordState.FAILED if isinstance(error, _WAITING_RARELY_HELPS) else RecordState.SEALED
        generation.record = changed(generation.record, attempts=generation.record.attempts + 1)
        try:
            await self._seal(generation, state, durable=True, reason=str(error))
        except (LocalSpaceError, LocalStorageError) as exc:
            _LOG.error("the journal could not be written; the bytes are in the staged file", path=str(session.at), reason=str(exc))
        self._schedule(session, generation)
        _LOG.warning(
            "not on the server yet, kept in the journal",
            path=str(session.at),
            reason=str(error),
            bytes=generation.record.size,
            attempts=session.attempts,
        )

    def _schedule(self, session: WriteSession, generation: Generation) -> None:
        if session.record is not generation.record:
            return
        session.retry_at = trio.current_time() + min(RETRY_FIRST_S * 2**session.attempts, RETRY_LONGEST_S)
        session.attempts += 1


def _distinct_mtime(record: CommitRecord) -> int:
    """The modification time to give: some nanoseconds off where it would be exactly that of the version that is replaced.

    OpenCloud's etag is a function of node and mtime alone, and an old version is kept under its mtime (measured, build of
    2025-02-13): an overwrite with the same time (cp -p, tar) keeps the etag, so that nobody's if_match notices it, and the second
    such overwrite answers 500. Off by chance, because the version before that may have been moved by one as well.
    """
    base = record.base
    if base is None or base.mtime_ns != record.mtime_ns:
        return record.mtime_ns
    microsecond = record.mtime_ns // _MICROSECOND_NS * _MICROSECOND_NS
    return microsecond + (record.mtime_ns - microsecond + 1 + secrets.randbelow(_MICROSECOND_NS - 1)) % _MICROSECOND_NS


async def _digest(staged: StagedFile) -> str:
    with staged.pinned():
        try:
            digest = await staged.follower.result(staged.fd, staged.size) if staged.follower is not None else None
            if digest is None:
                digest = await trio.to_thread.run_sync(hex_of, "sha1", staged.fd, staged.size)
        except OSError as exc:
            raise local_error(exc, "read", staged.path) from exc
    if digest is None:
        raise LocalStorageError(f"The staged file {staged.path} is shorter than its {staged.size} bytes.", path=str(staged.path))
    return digest
