"""Names of conflict copies. Pure."""

from __future__ import annotations

import time

from cs3fuse.model import NAME_MAX_BYTES


def conflict_name(name: str, user: str, moment: float, attempt: int = 1) -> str:
    """``name (conflict USER 2026-01-02 14-03-05).ext`` in local time; ``attempt`` above 1 adds a number for uniqueness.

    The name keeps its extension (so that it opens with the same program) and is cut to 255 bytes of UTF-8.
    """
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 16 or " " in extension:
        stem, dot, extension = name, "", ""
    who = "".join("-" if letter in "/\\\0" or not letter.isprintable() else letter for letter in user).strip() or "unknown"
    when = time.strftime("%Y-%m-%d %H-%M-%S", time.localtime(moment))
    again = f" {attempt}" if attempt > 1 else ""
    tail = f" (conflict {_cut(who, 64)} {when}{again}){dot}{extension}"
    return _cut(stem, NAME_MAX_BYTES - len(tail.encode())) + tail


def _cut(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8, no broken letter at the end."""
    return text.encode()[:size].decode(errors="ignore")
