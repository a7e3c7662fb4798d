"""One generation of a file on its way to the server, and the promise to whoever waits for it.

Owns the value that ``session`` freezes and ``sender`` sends, and ``Outcome``, through which callers of ``WriteSession.commit`` wait.
Trio thread only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from cs3fuse.commit.records import CommitRecord
from cs3fuse.commit.staging import StagedFile
from cs3fuse.errors import Cs3FuseError
from cs3fuse.model import Entry


@dataclass(slots=True, eq=False)
class Generation:
    """Frozen bytes: ``staged`` is not written any more.

    ``record`` is its line in the journal. ``is_complete``: nothing is missing from below and the digest in ``record.sha1`` is that of
    all bytes. ``is_synced``: the bytes would survive a power loss. ``replaces`` is the record of an earlier generation that never
    reached the server; it is dropped when this one is sealed. ``is_restored``: left by an earlier run, its digest must be checked.
    """

    staged: StagedFile
    record: CommitRecord
    replaces: CommitRecord | None = None
    is_complete: bool = False
    is_synced: bool = False
    is_restored: bool = False


@dataclass(slots=True, eq=False)
class Outcome:
    """One commit that was asked for. ``sealed``: the journal has it; ``done``: it ended, with ``entry`` or ``error``.

    ``is_frozen``: writes from now on belong to a later commit. ``is_awaited``: somebody waits for ``done``.
    """

    sealed: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    is_frozen: bool = False
    is_awaited: bool = False
    entry: Entry | None = None
    error: Cs3FuseError | None = None

    def finish(self, *, entry: Entry | None = None, error: Cs3FuseError | None = None) -> None:
        """End it, once; later calls change nothing."""
        if self.done.is_set():
            return
        self.entry, self.error = entry, error
        self.sealed.set()
        self.done.set()
