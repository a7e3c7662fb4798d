"""Which name everything gets in a folder of the view: safe, unlike all others, and the same tomorrow.

Pure. Called by ``mesh.folders`` for each listing. Servers and other sites are not trusted with names: what cannot be a file name is
changed until it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cs3fuse.model import NAME_MAX_BYTES

_TAIL_ROOM_BYTES = 80
"""Kept free at the end of a name for `` (owner) 12``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something that wants a name. ``key`` stays the same as long as it is the same thing; ``owner`` is a word for people, or ""."""

    key: str
    name: str
    owner: str = ""
    created_s: float = 0.0


def assign(wishes: Iterable[Wish], before: Mapping[str, str]) -> dict[str, str]:
    """A name for each key: ``name``, else ``name (owner)``, else ``name (owner) 2`` and so on.

    Args: ``before``: names that were given earlier, by key. Whoever has a name that still fits keeps it, whatever came or went since;
    of newcomers the older one chooses first, so that the first listing on another machine agrees.
    """
    ordered = sorted(wishes, key=lambda wish: (wish.created_s, wish.key))
    given: dict[str, str] = {}
    taken: set[str] = set()
    for wish in ordered:
        name = before.get(wish.key)
        if name is not None and name not in taken and _belongs(name, safe(wish.name)):
            given[wish.key] = name
            taken.add(name)
    for wish in ordered:
        if wish.key not in given:
            given[wish.key] = name = _free(wish, taken)
            taken.add(name)
    return given


def safe(name: str) -> str:
    """A name that every kernel and every terminal can carry: no slash, no control character, not "." or "..", not too long."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    text = "".join("_" if letter == "/" or not _is_carried(letter) else letter for letter in text)
    if not text.strip() or text in {".", ".."}:
        text = text.replace(".", "_").strip() or "unnamed"
    return _cut(text, NAME_MAX_BYTES - _TAIL_ROOM_BYTES) if len(text.encode()) > NAME_MAX_BYTES - _TAIL_ROOM_BYTES else text


def _is_carried(letter: str) -> bool:
    """Not a control character, nor one that makes a terminal show something else than what is there (U+202A to U+202E and the like)."""
    return (
        letter == " " or letter.isprintable() or (letter.isspace() and letter not in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
    )


def _free(wish: Wish, taken: set[str]) -> str:
    name = safe(wish.name)
    if name not in taken:
        return name
    owner = _cut(safe(wish.owner), _TAIL_ROOM_BYTES // 2) if wish.owner else ""
    second = f"{name} ({owner})" if owner else name
    if second not in taken:
        return second
    number = 2
    while f"{second} {number}" in taken:
        number += 1
    return f"{second} {number}"


def _belongs(given: str, name: str) -> bool:
    """Whether a name that was given earlier was made of this wish, which may have been renamed since."""
    return given == name or given.startswith((f"{name} (", f"{name} "))


def _cut(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8, no broken letter at the end."""
    return text.encode()[:size].decode(errors="ignore")
