"""Compares facts of the emulator with recorded ones, and the differences with the table of known ones.

Owns what a difference is and when it is a fault: a difference that the table does not explain, and a row of the table that
explains nothing any more. Pure, safe everywhere.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.emulator.recorded import Fact
from tests.emulator.telling import ABSENT, Leaf, telling_fields

WHOLE_FACT = "(fact)"
"""The field name of a difference in whether a fact exists at all."""

ANYTHING = "(anything)"
"""In a row of the table: a value that is not worth saying, or differs from run to run."""


@dataclass(frozen=True)
class Difference:
    """One field in which two facts differ."""

    field: str
    ours: Leaf
    recorded: Leaf

    def __str__(self) -> str:
        return f"{self.field}: ours {self.ours!r}, recorded {self.recorded!r}"


@dataclass(frozen=True)
class Known:
    """A row of the table: differences that stay, and why.

    Args:
        facts: names of the facts; the difference must show in each of them.
        field: name of the field, `*` in it stands for anything.
        ours: what the emulator answers, `ANYTHING`, or a text with `*`.
        recorded: what the server answered, in the same way.
        reason: why it is left so.

    """

    facts: tuple[str, ...]
    field: str
    ours: Leaf
    recorded: Leaf
    reason: str

    def explains(self, difference: Difference) -> bool:
        """Whether this row is about this difference."""
        return (
            _matches(self.field, difference.field)
            and _matches(self.ours, difference.ours)
            and _matches(self.recorded, difference.recorded)
        )


def _matches(pattern: Leaf, value: Leaf) -> bool:
    if pattern == ANYTHING:
        return True
    if isinstance(pattern, str) and isinstance(value, str) and "*" in pattern:
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None
    return type(pattern) is type(value) and pattern == value


def differences(ours: Fact | None, recorded: Fact | None) -> list[Difference]:
    """Every telling field in which the two are not the same."""
    if ours is None or recorded is None:
        return [Difference(WHOLE_FACT, _presence(ours), _presence(recorded))]
    left, right = telling_fields(ours), telling_fields(recorded)
    names = sorted(left.keys() | right.keys())
    pairs = ((name, left.get(name, ABSENT), right.get(name, ABSENT)) for name in names)
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2] or type(pair[1]) is not type(pair[2])]


def _presence(fact: Fact | None) -> str:
    return ABSENT if fact is None else "(there)"


def complaints(name: str, found: Sequence[Difference], table: Sequence[Known]) -> list[str]:
    """One sentence for each difference of this fact that is not in the table, and each row that is gone."""
    rows = [row for row in table if name in row.facts]
    used: set[int] = set()
    texts = []
    for difference in found:
        explaining = [number for number, row in enumerate(rows) if row.explains(difference)]
        used.update(explaining)
        if not explaining:
            texts.append(f"{name}: not in the table of differences: {difference}")
    texts += [f"{name}: in the table, but gone: {row}" for number, row in enumerate(rows) if number not in used]
    return texts


def unknown_rows(table: Sequence[Known], recorded: Mapping[str, Fact], ours: Mapping[str, Fact]) -> list[str]:
    """Facts named in the table that neither side has: a slip of the pen."""
    return sorted({name for row in table for name in row.facts if name not in recorded and name not in ours})
