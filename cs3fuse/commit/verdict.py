"""What a Stat says about a file that we want to replace: pure decisions, no calls.

``protocol`` asks; the answers are the only place where "somebody else changed it" is decided.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cs3fuse.model import Checksum, Entry, Kind


class Verdict(enum.Enum):
    """What stands on the server.

    ``OURS``: our bytes, complete. ``BASE``: the version we replace, possibly with other metadata. ``ABSENT``: nothing. ``DIRECTORY``:
    a directory. ``FOREIGN``: a version that we neither know nor sent. ``PERHAPS_OURS``: as long as ours and nothing else to go by;
    read back and compare. ``PERHAPS_PART_OF_OURS``: shorter than ours; an upload that broke off leaves that on some storages.
    """

    OURS = "ours"
    BASE = "base"
    ABSENT = "absent"
    DIRECTORY = "directory"
    FOREIGN = "foreign"
    PERHAPS_OURS = "perhaps ours"
    PERHAPS_PART_OF_OURS = "perhaps a part of ours"


@dataclass(frozen=True, slots=True)
class Sent:
    """What we want to store: ``size`` bytes, and (lazily computed) the checksum of the kind that the server reports.

    ``attempted``: bytes of ours may have reached the server. ``acknowledged``: the server said that all did. ``is_exclusive``: the file was
    created with O_EXCL: one that somebody else made is not ours, though it holds the same bytes.
    """

    size: int
    attempted: bool = False
    acknowledged: bool = False
    is_exclusive: bool = False


def same_version(base: Entry, found: Entry) -> bool:
    """Whether ``found`` holds the bytes of ``base``, as far as the storage can tell.

    Checksums decide where both have one: an etag can change without the content (metadata on OpenCloud), and stay although the
    content changed (OpenCloud's is a function of node and mtime, and mtimes can be set). Then etags, then size and mtime.
    """
    if base.size != found.size:
        return False
    by_checksum = same_checksum(base.checksum, found.checksum)
    if by_checksum is not None:
        return by_checksum
    if base.etag and found.etag:
        return base.etag == found.etag
    return base.mtime_ns == found.mtime_ns


def same_checksum(left: Checksum | None, right: Checksum | None) -> bool | None:
    """Whether two checksums agree; None where they cannot be compared."""
    if left is None or right is None or left.kind != right.kind:
        return None
    return left.hex == right.hex


def judge(found: Entry | None, base: Entry | None, sent: Sent, *, checksum_agrees: bool | None) -> Verdict:
    """What ``found`` is to us.

    Args: ``base`` is the version that we replace, None if we create the file; ``checksum_agrees`` compares ``found.checksum`` with
    that of our bytes, None where the server gives none that we know.
    """
    if found is None:
        return Verdict.ABSENT
    if found.kind is Kind.DIRECTORY:
        return Verdict.DIRECTORY
    is_base = base is not None and same_version(base, found)
    if found.size == sent.size:
        if checksum_agrees or not sent.size:  # no bytes, nothing to compare
            return Verdict.FOREIGN if sent.is_exclusive and base is None and not sent.attempted else Verdict.OURS
        # Without etags an overwrite within the storage's clock tick looks like the base; then the server's word decides.
        if checksum_agrees is None and sent.acknowledged and not (is_base and found.etag):
            return Verdict.OURS
        if is_base:
            return Verdict.BASE
        if checksum_agrees is None and sent.attempted:
            return Verdict.PERHAPS_OURS
        return Verdict.FOREIGN
    if is_base:
        return Verdict.BASE
    if sent.attempted and found.size < sent.size:
        return Verdict.PERHAPS_PART_OF_OURS
    return Verdict.FOREIGN
