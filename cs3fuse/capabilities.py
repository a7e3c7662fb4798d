"""What each storage was proven to do: ranges, locks, conditional uploads, etag propagation.

Owns the book of capability records, one per storage id. ``cache`` (ranges), ``locks`` (locks), ``commit`` (conditional
uploads, checksums), ``mesh`` (etag propagation) and ``history`` (old versions) write what they learn; everybody reads; ``control`` shows it.
Used from the trio thread only.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass


class LockSupport(enum.Enum):
    """How far a storage's locks can be trusted."""

    FULL = "full"
    WEAK = "weak"
    NONE = "none"


@dataclass(slots=True)
class StorageCapabilities:
    """What was proven of one storage; None means not tried yet."""

    ranges: bool | None = None
    locks: LockSupport | None = None
    conditional_uploads: bool | None = None
    etag_propagation: bool | None = None
    checksums: bool | None = None
    stable_ids: bool | None = None
    times: bool | None = None
    renames: bool | None = None
    old_versions: bool | None = None
    """Whether it serves the bytes of old versions."""

    def as_dict(self) -> dict[str, object]:
        """For ``status``: plain values, unknown ones as None."""
        values = asdict(self)
        values["locks"] = self.locks.value if self.locks else None
        return values


class CapabilityBook:
    """Capability records by storage id."""

    def __init__(self) -> None:
        self._records: dict[str, StorageCapabilities] = {}

    def of(self, storage_id: str) -> StorageCapabilities:
        """The record of a storage, made empty on first use; change its fields in place."""
        return self._records.setdefault(storage_id, StorageCapabilities())

    def as_dict(self) -> dict[str, dict[str, object]]:
        """All records, for ``status``."""
        return {storage_id: record.as_dict() for storage_id, record in self._records.items()}
