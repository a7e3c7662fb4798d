"""What an earlier run left: read the journal, sweep the folder, send what is ours, and say what became of it.

Owns nothing. ``engine.recover`` runs it once, before the mount serves; ``cs3fuse recover`` without a mount. Trio thread only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from cs3fuse.commit.generation import Generation, Outcome
from cs3fuse.commit.journal import Journal
from cs3fuse.commit.records import CommitRecord, RecordState
from cs3fuse.commit.session import WriteSession
from cs3fuse.commit.staging import StagedFile
from cs3fuse.errors import ConflictError, Cs3FuseError, DeadlineError, LocalStorageError, SiteAwayError, UnavailableError
from cs3fuse.model import Location
from cs3fuse.values import changed

_LOG = structlog.get_logger(__name__)


@dataclass(slots=True)
class RecoveryReport:
    """What became of the records of this identity; of others only their number.

    ``committed``: on the server now. ``conflicts``: ours is beside the original. ``kept``: not sent yet, with the reason; tried again
    in the background. ``unfinished``: written by a program that never got to close or sync it; kept, never sent by itself.
    ``vanished``: named in the journal, and their bytes are not here (the server was told and the journal was not, or somebody deleted
    them). ``foreign``: records of other users or servers, left alone.
    """

    committed: list[Location] = field(default_factory=list)
    conflicts: list[Location] = field(default_factory=list)
    kept: list[tuple[Location, str]] = field(default_factory=list)
    unfinished: list[Location] = field(default_factory=list)
    vanished: list[Location] = field(default_factory=list)
    foreign: int = 0

    def __str__(self) -> str:
        """For the log."""
        counts = {
            "committed": len(self.committed),
            "conflicts": len(self.conflicts),
            "kept": len(self.kept),
            "unfinished": len(self.unfinished),
            "vanished": len(self.vanished),
            "of others": self.foreign,
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"


def sweep(folder: Path, journal: Journal) -> int:
    """Delete staged files that no record of anybody names: committed, superseded or abandoned. Returns how many.

    INVARIANT of ``session``: no byte enters a staged file before the journal names it; so these hold nothing that is missed.
    """
    named = {record.staged for record in journal.records()}
    swept = 0
    try:
        with os.scandir(folder) as found:
            for each in found:
                if each.name not in named and each.is_file(follow_symlinks=False):
                    Path(each.path).unlink(missing_ok=True)
                    swept += 1
    except OSError as exc:
        raise LocalStorageError(f"The staged files in {folder} cannot be listed: {exc.strerror}.", path=str(folder)) from exc
    return swept


class Recovery:
    """One replay of the journal."""

    def __init__(self, journal: Journal, folder: Path, identity: str, *, restore: Callable[[CommitRecord], WriteSession]) -> None:
        self._journal = journal
        self._folder = folder
        self._identity = identity
        self._restore = restore
        self._under_way: set[WriteSession] = set()
        self.report = RecoveryReport()

    async def run(self) -> None:
        """Replay. Never raises for a single record: its reason is in the report. Cancellation: the rest goes on in the background."""
        sessions = []
        for record in self._journal.records():
            session = self._take(record)
            if session is not None:
                sessions.append(session)
                self._under_way.add(session)
        if sessions:
            first, *others = sessions
            error = await self._send(first)
            if isinstance(error, (UnavailableError, DeadlineError)) and not isinstance(error, SiteAwayError):
                # Nobody there: do not spend the budget on each file; the background tries again.
                self.report.kept += [(session.at, str(error)) for session in others]
                self._under_way.clear()
            else:
                async with trio.open_nursery() as nursery:
                    for session in others:
                        nursery.start_soon(self._send, session)
        await self._journal.flush()

    def finish(self) -> RecoveryReport:
        """The report; what is still being sent counts as kept."""
        self.report.kept += [(session.at, "still being sent") for session in self._under_way]
        _LOG.info("journal replayed", outcome=str(self.report))
        return self.report

    def _take(self, record: CommitRecord) -> WriteSession | None:
        """Sort a record into the report, or make a session of it that can be sent."""
        if record.identity != self._identity:
            self.report.foreign += 1
            return None
        if record.state in {RecordState.CLEANUP, RecordState.ASIDE}:
            return None  # the engine's other half: replacements
        if not (self._folder / record.staged).exists():
            self._forget_vanished(record)
            return None
        if record.state is RecordState.DIRTY:
            self.report.unfinished.append(record.at)
            _LOG.warning("unfinished file of an earlier run is kept", path=str(record.at), staged=str(self._folder / record.staged))
            return None
        if record.source is not None and not record.may_be_on_the_server:
            # A rename that had not touched the server yet: the source is there, whole, under its own name.
            (self._folder / record.staged).unlink(missing_ok=True)
            self._journal.drop_soon(record.id)
            return None
        try:
            return self._restore(record)
        except Cs3FuseError as exc:
            self.report.kept.append((record.at, str(exc)))
            _LOG.error("staged file of an earlier run cannot be used", path=str(record.at), reason=str(exc))
            return None

    def _forget_vanished(self, record: CommitRecord) -> None:
        # An unfinished file that was never written is no news: its record was made a moment before its first byte.
        if record.state is not RecordState.DIRTY or record.size:
            self.report.vanished.append(record.at)
            _LOG.warning("bytes named in the journal are not here", path=str(record.at), state=record.state.value)
        self._journal.drop_soon(record.id)

    async def _send(self, session: WriteSession) -> Cs3FuseError | None:
        at, outcome = session.at, session.ask()
        if outcome is None:
            return None
        await outcome.done.wait()
        self._under_way.discard(session)
        self._note(at, outcome)
        return outcome.error

    def _note(self, at: Location, outcome: Outcome) -> None:
        if outcome.error is None:
            self.report.committed.append(at)
        elif isinstance(outcome.error, ConflictError):
            self.report.conflicts.append(at)
        else:
            self.report.kept.append((at, str(outcome.error)))


def restored_generation(folder: Path, record: CommitRecord) -> Generation:
    """The frozen bytes of a record. Raises: LocalStorageError: missing or too short."""
    staged = StagedFile.reopen(folder / record.staged, size=record.size, missing=record.missing)
    # "Uploading" means from here on: perhaps a part of ours stands on the server already.
    record = changed(record, attempted=record.may_be_on_the_server)
    return Generation(staged, record, is_restored=True, is_synced=True)
