"""The commit protocol: put frozen bytes over exactly the version they were made from, and know what became of them.

Owns no state between commits. ``session`` and ``recovery`` call ``CommitProtocol.commit`` from the trio thread; several files may be
committed at once, one file only once at a time (the engine sees to that).

Each step assumes that the process may die in it:

* The target is looked at (type, version) before any byte is sent, unless the storage was proven to check the version itself.
* ``note`` is told *before* the upload that the target may be half ours from now on, and after a lost answer that it is unknown.
* An upload whose answer was lost is settled by looking, never by a blind second PUT: checksum, then etag, then reading back.
* What the server acknowledged is looked at once more: some commit a truncated file, some accept another length than announced.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog
import trio

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.commit.checksums import hex_of
from cs3fuse.commit.looks import Looks
from cs3fuse.commit.records import RecordState
from cs3fuse.commit.verdict import Sent, Verdict, judge
from cs3fuse.errors import (
    BadDataError,
    BusyError,
    ChecksumError,
    ConflictError,
    Cs3FuseError,
    DeadlineError,
    IsDirectoryError,
    LocalStorageError,
    LockLostError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    SiteAwayError,
    StaleError,
    UnavailableError,
)
from cs3fuse.limits import Turn
from cs3fuse.model import Entry, IdRoot, Kind, Location, Lock, Root
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag, RemoteData, RemoteTree, Sink, UploadSource

_LOG = structlog.get_logger(__name__)

MISSING_AGAIN_S = 0.25
"""How long to wait before a NOT_FOUND of a known file is believed: Reva's local driver has none between two renames of an overwrite."""
ATTEMPTS_AT_LEAST = 2
LOST_LOCKS_AT_MOST = 2
"""A lock that the server does not know is taken again once. One that it forgets at once (its clock is ahead by more than a lock lives) locks
nobody out and is left away: the version is checked all the same, and somebody else's lock still refuses."""
SHARED_BYTES = 1 << 20
"""Up to this size a file's look after its upload may be shared with others; a Stat is nothing beside the upload of a larger one."""
MAX_LOST_RACES = 8
"""Refused conditional uploads after which a commit gives up; each time somebody else changed the file in a few milliseconds."""

_LOOK_AGAIN = (UnavailableError, DeadlineError, ServerError, BusyError)
_OUTCOME_UNKNOWN = (OutcomeUnknownError, DeadlineError, ServerError, BadDataError, BusyError)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one commit tries before its error goes to the caller, and how long it waits between attempts (seconds)."""

    budget_s: float = 20.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0


class Backoff:
    """Waits that double, within one budget."""

    def __init__(self, policy: RetryPolicy, tell: Callable[[Cs3FuseError], None]) -> None:
        """``tell`` is told of each failure that is waited out: people want to know why a file is still not on the server."""
        self._policy = policy
        self._tell = tell
        self._ends_at = trio.current_time() + policy.budget_s
        self._delay_s = policy.first_delay_s
        self._waits = 0

    async def wait(self, error: Cs3FuseError) -> None:
        """Wait before the next attempt. Raises: ``error`` itself when the budget is used up, or waiting is of no use.

        One upload of a large file can take longer than the budget: two more attempts are made all the same.
        """
        if isinstance(error, SiteAwayError):
            raise error  # whoever has it away looks for it in the background, and says when it is back
        self._waits += 1
        if trio.current_time() + self._delay_s > self._ends_at and self._waits > ATTEMPTS_AT_LEAST:
            raise error
        self._tell(error)
        await trio.sleep(self._delay_s)
        self._delay_s = min(self._delay_s * 2, self._policy.longest_delay_s)


async def _no_note(state: RecordState) -> None:
    """For callers without a journal."""


async def _nothing_to_reaffirm() -> None:
    """For callers without a lock."""


def _no_lock() -> Lock | None:
    return None


def _tell_nobody(error: Cs3FuseError) -> None:
    """For callers whom nobody asks."""


def _always() -> bool:
    return True


@dataclass(slots=True)
class CommitJob:
    """One frozen file on its way.

    ``is_exclusive``: as in ``verdict.Sent``. ``attempted`` starts True where an earlier run may have sent bytes. ``earlier``: as in ``CommitRecord``; who finds those bytes may replace
    them. ``note`` writes the journal. ``resend_if_deleted``: a file
    that was deleted meanwhile is created again. ``retries`` counts for the log; ``tell`` is told of each failure that is waited out.
    ``turn`` is the place among those that may upload at once: given back when the server has acknowledged, taken anew before another upload.
    ``is_awaited``: somebody waits for the end; otherwise the look at what was uploaded may wait for others.
    """

    at: Location
    base: Entry | None
    source: UploadSource
    lock: Callable[[], Lock | None] = _no_lock
    reaffirm_lock: Callable[[], Awaitable[None]] = _nothing_to_reaffirm
    note: Callable[[RecordState], Awaitable[None]] = _no_note
    tell: Callable[[Cs3FuseError], None] = _tell_nobody
    attempted: bool = False
    earlier: Sequence[tuple[int, str]] = ()
    resend_if_deleted: bool = True
    is_exclusive: bool = False
    turn: Turn = field(default_factory=Turn)
    is_awaited: Callable[[], bool] = _always
    retries: int = 0
    acknowledged: bool = field(default=False, init=False)


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a job: the server's entry afterwards, where it is (a file renamed by others is followed).

    ``was_recreated``: the file had been deleted meanwhile and was created again. ``was_unknown``: an upload was made whose outcome
    nobody told us; it may still be carried out.
    """

    at: Location
    entry: Entry
    was_recreated: bool = False
    was_unknown: bool = False


class _DiffersError(Exception):
    """The server's bytes are not ours; ends the transfer of a read-back."""


class _CompareSink:
    """Takes a download and compares it with a local file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, data: memoryview) -> None:
        """Compare; see ``ports.Sink``."""
        if os.pread(self._fd, len(data), offset) != data:
            raise _DiffersError


class _DigestSink:
    """Takes a download from its beginning to its end; one that begins anew counts anew."""

    def __init__(self) -> None:
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._position = 0

    def write(self, offset: int, data: memoryview) -> None:
        """Count it; see ``ports.Sink``."""
        if offset == 0:
            self._sha1, self._position = hashlib.sha1(usedforsecurity=False), 0
        if offset != self._position:
            raise _DiffersError
        self._sha1.update(data)
        self._position += len(data)

    def hex(self) -> str:
        """The SHA-1 of what came."""
        return self._sha1.hexdigest()


class CommitProtocol:
    """Commits through the ports. See the module for what it guarantees."""

    def __init__(self, tree: RemoteTree, data: RemoteData, book: CapabilityBook, looks: Looks, *, retry: RetryPolicy) -> None:
        self._tree = tree
        self._looks = looks
        self._data = data
        self._book = book
        self._retry = retry
        self._asked: set[str] = set()
        self._seen: set[Root] = set()

    async def commit(self, job: CommitJob, *, retry: RetryPolicy | None = None) -> Committed:
        """Put the job's bytes on the server.

        Raises: ConflictError: somebody else's version stands there, nothing of ours was put over it; IsDirectoryError; LockedError,
        QuotaError, AccessDeniedError and whatever else will not pass by waiting; UnavailableError and its like after the budget.
        Cancellation: as if the process died here: ``note`` has been told what may have happened.
        """
        backoff = Backoff(retry or self._retry, job.tell)
        at, was_recreated, was_unknown, lost_races, lost_locks = job.at, False, False, 0, 0
        must_look = not self._server_checks(job) or job.attempted or bool(job.earlier)
        expect: Expectation = ExpectAbsent() if job.base is None else ExpectEtag(job.base.etag)
        while True:
            if must_look:
                at, found = await self._find(job, at, backoff)
                verdict = await self._settle(job, at, found, backoff)
                if verdict is Verdict.OURS and found is not None:
                    await self._ask_for_conditions(job, at, found)
                    return Committed(at, found, was_recreated, was_unknown)
                if job.acknowledged and verdict in {Verdict.BASE, Verdict.ABSENT, Verdict.PERHAPS_PART_OF_OURS}:
                    # The server said yes and shows something else: ask again before sending a second time.
                    job.acknowledged = False
                    await backoff.wait(_other_answer(at))
                    continue
                was_recreated |= verdict is Verdict.ABSENT and job.base is not None
                expect = _expectation(job, at, found, verdict)
            await job.turn.take()
            try:
                await job.note(RecordState.UPLOADING)
                await self._data.upload(at, job.source, expect=expect, lock=job.lock() if lost_locks < LOST_LOCKS_AT_MOST else None)
            except ConflictError as exc:
                lost_races += 1
                if lost_races >= MAX_LOST_RACES:
                    raise
                _LOG.info("upload refused, looking again", path=str(at), reason=str(exc))
            except UnavailableError as exc:
                job.retries += 1
                _LOG.warning("upload not started, retrying", path=str(at), reason=str(exc), retries=job.retries)
                await backoff.wait(exc)
            except ChecksumError as exc:
                job.retries += 1
                _LOG.warning("upload damaged on the way, retrying", path=str(at), reason=str(exc), retries=job.retries)
                await backoff.wait(exc)
            except LockLostError as exc:
                lost_locks += 1
                if lost_locks > LOST_LOCKS_AT_MOST:
                    raise
                _LOG.warning("the server does not know our lock", path=str(at), reason=str(exc), times=lost_locks)
                await job.reaffirm_lock()
            except _OUTCOME_UNKNOWN as exc:
                job.attempted = was_unknown = True
                job.retries += 1
                await job.note(RecordState.UNKNOWN)
                _LOG.warning("upload's outcome unknown, looking", path=str(at), reason=str(exc), retries=job.retries)
                await backoff.wait(exc)
                await job.reaffirm_lock()  # OpenCloud answers 500 for a lock that is not ours any more
            else:
                job.attempted = job.acknowledged = True
                job.turn.give_back()
            must_look = True

    def _server_checks(self, job: CommitJob) -> bool:
        """Whether the storage was proven to refuse an upload over another version: then one look is saved.

        Not for empty files, which are there with their initiation: the look after it would not tell ours from somebody else's.
        """
        if not job.source.size or (job.base is not None and not job.base.etag):
            return False
        return bool(self._book.of(_storage_of(job)).conditional_uploads)

    async def _ask_for_conditions(self, job: CommitJob, at: Location, ours: Entry) -> None:
        """Once per storage of spaces, after a first commit: whether it checks what is expected of a version.

        Where roots are paths (Reva's drivers) it is not asked: none does, and each initiation leaves a file behind on the server.
        """
        storage_id = ours.storage_id
        if not ours.size or not self._is_unproven(storage_id, at):
            return
        self._asked.add(storage_id)
        try:
            self._book.of(storage_id).conditional_uploads = await self._data.checks_versions(at, job.source, lock=job.lock())
        except Cs3FuseError as exc:
            _LOG.debug("not known whether uploads are conditional", path=str(at), reason=str(exc))

    def _is_unproven(self, storage_id: str, at: Location) -> bool:
        """Whether a storage is still to be asked for conditions."""
        return (
            isinstance(at.root, IdRoot) and storage_id not in self._asked and self._book.of(storage_id).conditional_uploads is None
        )

    async def _find(self, job: CommitJob, at: Location, backoff: Backoff) -> tuple[Location, Entry | None]:
        """Look at the target; a known file that is missing is asked for again, then followed by its id."""
        found = None
        if self._may_wait(job, at):
            found = await self._look(at, backoff, self._looks)
        # A listing is believed where it shows our file. On Reva it describes a link and not what it leads to.
        if found is None or not await self._shows_ours(job, found):
            found = await self._look(at, backoff)
            self._learn(job, at, found)
        if found is not None or (job.base is None and not job.attempted):
            return at, found
        await trio.sleep(MISSING_AGAIN_S)
        found = await self._look(at, backoff)
        if found is not None or job.base is None or job.base.id is None:
            return at, found
        capabilities = self._book.of(job.base.storage_id)
        if capabilities.stable_ids is False:
            return at, None
        by_id = Location(IdRoot(job.base.id))
        moved = await self._look_by_id(by_id, backoff)
        if moved is None or moved.kind is not Kind.FILE or moved.id != job.base.id:
            return at, None
        # Its path is gone and its id is not: ids outlive a rename here.
        capabilities.stable_ids = True
        _LOG.warning("file was renamed by somebody else, following it", path=str(at), renamed_to=moved.name)
        return by_id, moved

    def _may_wait(self, job: CommitJob, at: Location) -> bool:
        """Whether a look may be shared with others. The first ones are not: what they bring spares later commits a call."""
        if not job.acknowledged or job.is_awaited() or job.source.size > SHARED_BYTES:
            return False
        return at.root in self._seen and not self._is_unproven(_storage_of(job), at)

    async def _shows_ours(self, job: CommitJob, found: Entry) -> bool:
        """Whether an entry of a listing says as much as a Stat would, and that our bytes are there."""
        if found.kind is not Kind.FILE or found.size != job.source.size:
            return False
        if found.checksum is None:
            return not found.size or self._book.of(found.storage_id).checksums is False
        return bool(await self._checksum_agrees(job.source, found, found.size))

    def _learn(self, job: CommitJob, at: Location, found: Entry | None) -> None:
        """What the Stat of an upload tells of its storage: whether it has checksums."""
        if job.acknowledged and found is not None and found.size and found.size == job.source.size:
            self._book.of(found.storage_id).checksums = found.checksum is not None
            self._seen.add(at.root)

    async def _look(self, at: Location, backoff: Backoff, whom: RemoteTree | Looks | None = None) -> Entry | None:
        """What stands there, None for nothing; ``whom`` is asked, usually the server."""
        while True:
            try:
                return await (whom or self._tree).stat(at)
            except NotFoundError:
                return None
            except _LOOK_AGAIN as exc:
                await backoff.wait(exc)

    async def _look_by_id(self, at: Location, backoff: Backoff) -> Entry | None:
        """As ``_look``, but ids that a storage cannot resolve are no failure (INTERNAL on some)."""
        try:
            return await self._tree.stat(at)
        except (UnavailableError, DeadlineError):
            return await self._look(at, backoff)
        except Cs3FuseError:
            return None

    async def _settle(self, job: CommitJob, at: Location, found: Entry | None, backoff: Backoff) -> Verdict:
        """The verdict on what was found, read back where nothing else can tell."""
        sent = Sent(job.source.size, attempted=job.attempted, acknowledged=job.acknowledged, is_exclusive=job.is_exclusive)
        agrees = await self._checksum_agrees(job.source, found, job.source.size)
        verdict = judge(found, job.base, sent, checksum_agrees=agrees)
        if (
            found is not None
            and verdict in {Verdict.FOREIGN, Verdict.PERHAPS_OURS, Verdict.PERHAPS_PART_OF_OURS}
            and await self._is_earlier(job, at, found, backoff)
        ):
            _LOG.info("an earlier upload of ours was carried out late", path=str(at), size=found.size)
            return Verdict.BASE
        if found is None or verdict not in {Verdict.PERHAPS_OURS, Verdict.PERHAPS_PART_OF_OURS}:
            return verdict
        agrees = await self._checksum_agrees(job.source, found, found.size)
        if agrees is None:
            agrees = await self._reads_back_as_ours(job, at, found, backoff)
        _LOG.info("settled an upload of unknown outcome", path=str(at), size=found.size, ours=agrees)
        if not agrees:
            return Verdict.FOREIGN
        return Verdict.OURS if verdict is Verdict.PERHAPS_OURS else verdict

    async def _checksum_agrees(self, source: UploadSource, found: Entry | None, size: int) -> bool | None:
        """Compare a reported checksum with that of our first ``size`` bytes; None where there is none that we know."""
        if found is None or found.checksum is None or found.size != size:
            return None
        if found.checksum.kind == "sha1" and size == source.size:
            return found.checksum.hex == source.sha1
        try:
            ours = await trio.to_thread.run_sync(hex_of, found.checksum.kind, source.fd, size)
        except OSError as exc:
            raise LocalStorageError(f"The staged bytes cannot be read: {exc.strerror}.", call="staging.read") from exc
        return None if ours is None else ours == found.checksum.hex

    async def _is_earlier(self, job: CommitJob, at: Location, found: Entry, backoff: Backoff) -> bool:
        """Whether the server's bytes are older ones of ours whose upload was given up."""
        digests = {sha1 for size, sha1 in job.earlier if size == found.size}
        if not digests:
            return False
        if found.checksum is not None and found.checksum.kind == "sha1":
            return found.checksum.hex in digests
        sink = _DigestSink()
        return await self._reads_back(sink, at, found, backoff) and sink.hex() in digests

    async def _reads_back_as_ours(self, job: CommitJob, at: Location, found: Entry, backoff: Backoff) -> bool:
        """Whether the server's bytes are our first ``found.size`` ones."""
        return await self._reads_back(_CompareSink(job.source.fd), at, found, backoff)

    async def _reads_back(self, sink: Sink, at: Location, found: Entry, backoff: Backoff) -> bool:
        """Whether the sink took all bytes of this version."""
        while True:
            try:
                if found.size:
                    await self._data.fetch(at, None, sink, expected=found)
                after = await self._look(at, backoff)
            except _DiffersError:
                return False
            except (*_LOOK_AGAIN, BadDataError, NotFoundError, StaleError, OutcomeUnknownError) as exc:
                await backoff.wait(exc)
                after = await self._look(at, backoff)
                if after is None or after.version != found.version:
                    return False
                continue
            return after is not None and after.version == found.version


def _storage_of(job: CommitJob) -> str:
    """The storage of a job's file: its base's, else that of the space that it lies in; "" where only the server knows."""
    if job.base is not None:
        return job.base.storage_id
    return job.at.root.id.storage_id if isinstance(job.at.root, IdRoot) else ""


def _expectation(job: CommitJob, at: Location, found: Entry | None, verdict: Verdict) -> Expectation:
    """What the next upload must find on the server. Raises: ConflictError, IsDirectoryError, NotFoundError."""
    if verdict is Verdict.DIRECTORY:
        raise IsDirectoryError(f"{at} is a directory on the server now; the bytes were not sent and are kept here.", path=str(at))
    if verdict is Verdict.ABSENT or found is None:
        if job.base is not None and not job.resend_if_deleted:
            raise NotFoundError(f"{at} was deleted on the server meanwhile.", path=str(at))
        return ExpectAbsent()
    if verdict in {Verdict.BASE, Verdict.PERHAPS_PART_OF_OURS}:
        return ExpectEtag(found.etag)
    raise ConflictError(
        f"{at} was changed by somebody else since it was opened (now {found.size} bytes, etag {found.etag or 'none'}).",
        path=str(at),
    )


def _other_answer(at: Location) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"The server acknowledged the bytes of {at} but does not show them.", path=str(at))
