"""What the emulator remembers across restarts: one small sqlite file with buckets of JSON values.

Owns `.emulator/state.sqlite`. Called by the profiles, the token maker and the share book from the server's loop
only (one thread at a time). Writes are committed one by one without fsync: they survive the death of the process,
not of the machine, which is all a test server promises.
"""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class State:
    """Buckets of key to JSON value."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entry (bucket TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
            " PRIMARY KEY (bucket, key)) WITHOUT ROWID"
        )

    def load(self, bucket: str) -> dict[str, Any]:
        """All entries of a bucket."""
        rows = self._database.execute("SELECT key, value FROM entry WHERE bucket = ?", (bucket,))
        return {key: json.loads(value) for key, value in rows}

    def put(self, bucket: str, key: str, value: Any) -> None:
        """Set one entry."""
        self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", (bucket, key, json.dumps(value)))

    def put_many(self, bucket: str, entries: Iterable[tuple[str, Any]]) -> None:
        """Set several entries in one transaction."""
        self._database.execute("BEGIN")
        rows = ((bucket, key, json.dumps(value)) for key, value in entries)
        self._database.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def drop(self, bucket: str, key: str) -> None:
        """Remove one entry; a missing one is no error."""
        self._database.execute("DELETE FROM entry WHERE bucket = ? AND key = ?", (bucket, key))

    def drop_many(self, bucket: str, keys: Iterable[str]) -> None:
        """Remove several entries in one transaction."""
        self._database.execute("BEGIN")
        self._database.executemany("DELETE FROM entry WHERE bucket = ? AND key = ?", ((bucket, key) for key in keys))
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._database.close()
