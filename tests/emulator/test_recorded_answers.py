"""The emulator answers the probe as the real servers did, field by field; what differs is in a table with its reason."""

import pytest

from tests.emulator import known_differences
from tests.emulator.comparison import complaints, differences, unknown_rows
from tests.emulator.recorded import Fact, read_facts

REVA = read_facts("reva-local.jsonl")


@pytest.mark.parametrize("name", REVA)
def test_reva_answers_as_recorded(name: str, reva_facts: dict[str, Fact]) -> None:
    """One fact of profile reva against Reva 3.12 with driver local."""
    found = differences(reva_facts.get(name), REVA[name])
    assert not complaints(name, found, known_differences.REVA)


def test_reva_answers_nothing_else(reva_facts: dict[str, Fact]) -> None:
    """The probe notes no fact that the real server did not give, and the table names none that nobody has."""
    assert not [
        text
        for name, fact in reva_facts.items()
        if name not in REVA
        for text in complaints(name, differences(fact, None), known_differences.REVA)
    ]
    assert not unknown_rows(known_differences.REVA, REVA, reva_facts)
