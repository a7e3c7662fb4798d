"""The names that members of folders got, kept in the state folder so that they are the same after the next mount.

Owns one small JSON file per mount. Written whole when a name is new; a file that cannot be read or written only costs stability.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

_FILE = "names.json"
_MOST = 10_000


class NameBook(MutableMapping[str, str]):
    """Names by key. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _FILE if folder is not None else None
        self._names: dict[str, str] = self._read()

    def __getitem__(self, key: str) -> str:
        return self._names[key]

    def __setitem__(self, key: str, name: str) -> None:
        if self._names.get(key) != name:
            self._names[key] = name
            self._write()

    def __delitem__(self, key: str) -> None:
        del self._names[key]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def learn(self, given: dict[str, str]) -> None:
        """Several names at once: one write."""
        if any(self._names.get(key) != name for key, name in given.items()):
            self._names.update(given)
            while len(self._names) > _MOST:
                del self._names[next(iter(self._names))]
            self._write()

    def _read(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.warning("names_not_read", path=str(self._path), reason=str(error))
            return {}
        return {str(key): str(name) for key, name in values.items()} if isinstance(values, dict) else {}

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(self._names, ensure_ascii=False), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            _log.warning("names_not_kept", path=str(self._path), reason=str(error))
