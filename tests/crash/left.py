"""What a killed daemon left behind, and what stands on the server: read without the daemon's code.

Used by ``campaign`` and by tests of real mounts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = "dirty"
"""State of a record whose file was never closed or synced: kept, never sent by itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of the journal; ``name`` is the path below the mount, ``staged`` the local file with the bytes."""

    name: str
    state: str
    size: int
    sha1: str
    staged: str
    source: str
    reason: str

    @property
    def is_sealed(self) -> bool:
        """Whether its bytes are complete and will be sent."""
        return self.state not in {UNFINISHED, "cleanup", "aside"} and bool(self.sha1)


def journal(state_folder: Path, *, of_dead: bool = False) -> list[Row]:
    """All records of a state folder; that of a dead daemon (``of_dead``) is read from a copy, so that looking changes nothing."""
    if not of_dead:
        return _read(f"file:{state_folder / 'journal.sqlite'}?mode=ro")
    with tempfile.TemporaryDirectory() as folder:
        for path in state_folder.glob("journal.sqlite*"):
            if path.suffix != ".sqlite-shm":
                shutil.copy(path, folder)
        return _read(f"file:{Path(folder) / 'journal.sqlite'}")


def _read(uri: str) -> list[Row]:
    database = sqlite3.connect(uri, uri=True)
    try:
        found = database.execute("SELECT at, state, size, sha1, staged, source, reason FROM commits ORDER BY id").fetchall()
    finally:
        database.close()
    return [
        Row(_rel(at), state, size, sha1, staged, _rel(source), reason) for at, state, size, sha1, staged, source, reason in found
    ]


def _rel(text: str | None) -> str:
    return "" if text is None else str(json.loads(text)[1])


def digest(content: bytes | None) -> str:
    """The sha1 that the journal has of a content; "" of nothing."""
    return "" if content is None else hashlib.sha1(content, usedforsecurity=False).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder of the gateway."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
