"""What the content store knows after a restart: one sqlite file beside the cached files.

Owns ``index.sqlite`` with one row per cached version and one per chunk of its block map. Nothing here is precious: an index
that cannot be read is thrown away with the files. ``cache.content`` reads on the trio thread (single rows, microseconds) and
writes batches in a worker thread, one at a time; the two use connections of their own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cs3fuse.model import ContentKey, ContentVersion

_FORMAT: Final = 2
"""1 had other checksums (CRC-32 of zlib)."""
_SCHEMA: Final = """
CREATE TABLE content (
    name TEXT PRIMARY KEY, resource TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    bytes INTEGER NOT NULL, used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX content_resource ON content (resource);
CREATE TABLE chunk (
    name TEXT NOT NULL, number INTEGER NOT NULL, stored BLOB NOT NULL, crcs BLOB NOT NULL, PRIMARY KEY (name, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One version and the chunks of its map that changed. ``used_at`` is unix seconds."""

    name: str
    key: ContentKey
    size_on_disk: int
    used_at: float
    chunks: tuple[tuple[int, bytes, bytes], ...] = ()


class ContentIndex:
    """The table of cached versions."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises: sqlite3.Error if the file is damaged; ValueError if it is of another format."""
        with contextlib.ExitStack() as stack:
            self._reading = stack.enter_context(contextlib.closing(_connect(path)))
            _prepare(self._reading)
            self._writing = stack.enter_context(contextlib.closing(_connect(path)))
            stack.pop_all()

    def close(self) -> None:
        """Close both connections."""
        self._writing.close()
        self._reading.close()

    def names(self) -> list[tuple[str, int]]:
        """All versions, from the least to the most recently used, with their bytes on disk."""
        return self._reading.execute("SELECT name, bytes FROM content ORDER BY used_at").fetchall()

    def key(self, name: str) -> ContentKey | None:
        """Which version a name stands for."""
        row = self._reading.execute("SELECT resource, etag, size, mtime_ns FROM content WHERE name = ?", (name,)).fetchone()
        return ContentKey(row[0], ContentVersion(*row[1:])) if row else None

    def other_versions(self, newest: Iterable[Row]) -> list[str]:
        """Blocking: the names of all stored versions of the same resources but these. Not while ``write`` runs."""
        query = "SELECT name FROM content WHERE resource = ? AND name <> ?"
        return [found[0] for row in newest for found in self._writing.execute(query, (row.key.resource, row.name))]

    def chunks(self, name: str) -> list[tuple[int, bytes, bytes]]:
        """The stored chunks (number, stored, crcs) of a version."""
        return self._reading.execute("SELECT number, stored, crcs FROM chunk WHERE name = ?", (name,)).fetchall()

    def write(self, removed: Iterable[str], rows: Iterable[Row]) -> None:
        """Blocking: remove and store versions in one transaction; one call at a time."""
        with self._writing:
            for name in removed:
                self._writing.execute("DELETE FROM content WHERE name = ?", (name,))
                self._writing.execute("DELETE FROM chunk WHERE name = ?", (name,))
            for row in rows:
                version = row.key.version
                self._writing.execute(
                    "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row.name, row.key.resource, version.etag, version.size, version.mtime_ns, row.size_on_disk, row.used_at),
                )
                self._writing.executemany(
                    "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?)", [(row.name, *chunk) for chunk in row.chunks]
                )


def _prepare(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    elif found != _FORMAT:
        raise ValueError(f"the index has format {found}, not {_FORMAT}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=1.0)
    # After a power failure rows may speak of blocks that never reached the disk: the CRCs find them.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
