"""Takes chance out of facts about things that happened at the same time: who wins is luck, that one wins is not.

Applied to both sides of a comparison by `test_closer_look`. Pure, safe everywhere.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.emulator.recorded import Fact

_SUCCESS = 200


def winner_first(fact: Fact) -> Fact:
    """Two parallel PUTs, `[status, status, content, versions]` per run: the statuses in order, and whose content it is."""

    def settled(run: list[Any]) -> list[Any]:
        first, second, content, versions = run
        winner = "first" if first == _SUCCESS else "second"
        return [*sorted([first, second]), "the winner's" if content == winner else f"the loser's, {content}", versions]

    return fact | {"runs": [settled(run) for run in fact["runs"]]}


def without_messages(fact: Fact) -> Fact:
    """Losers of a race meet the winner's work in different states, each with a text of its own."""
    return {key: value for key, value in fact.items() if key != "msgs"}


def in_order(fact: Fact) -> Fact:
    """Pairs of code and text, in no order."""
    return fact | {"codes": sorted(fact["codes"])}


SETTLED: Mapping[str, Callable[[Fact], Fact]] = {
    "race_if_match_parallel_puts": winner_first,
    "race_if_not_exist_parallel": winner_first,
    "race_mkdir_parallel": without_messages,
    "race_touch_parallel": in_order,
    "race_zero_byte_if_not_exist_parallel_init": in_order,
}


def settle(name: str, fact: Fact | None) -> Fact | None:
    """The fact without chance."""
    return SETTLED[name](fact) if fact is not None and name in SETTLED else fact
