"""The emulator answers the probe as the real servers did, field by field; what differs is in a table with its reason."""

from collections.abc import Mapping, Sequence

import pytest

from tests.emulator import known_differences
from tests.emulator.comparison import Known, complaints, differences, unknown_rows
from tests.emulator.recorded import Fact, read_facts

REVA = read_facts("reva-local.jsonl")
OPENCLOUD = read_facts("opencloud.jsonl")


@pytest.mark.parametrize("name", REVA)
def test_reva_answers_as_recorded(name: str, reva_facts: dict[str, Fact]) -> None:
    """One fact of profile reva against Reva 3.12 with driver local."""
    check(name, reva_facts, REVA, known_differences.REVA)


@pytest.mark.parametrize("name", OPENCLOUD)
def test_opencloud_answers_as_recorded(name: str, opencloud_facts: dict[str, Fact]) -> None:
    """One fact of profile opencloud against OpenCloud."""
    check(name, opencloud_facts, OPENCLOUD, known_differences.OPENCLOUD)


def test_reva_answers_nothing_else(reva_facts: dict[str, Fact]) -> None:
    """Profile reva gives no fact that Reva did not give, and the table names none that nobody has."""
    check_the_rest(reva_facts, REVA, known_differences.REVA)


def test_opencloud_answers_nothing_else(opencloud_facts: dict[str, Fact]) -> None:
    """Profile opencloud gives no fact that OpenCloud did not give, and the table names none that nobody has."""
    check_the_rest(opencloud_facts, OPENCLOUD, known_differences.OPENCLOUD)


def check(name: str, ours: Mapping[str, Fact], recorded: Mapping[str, Fact], table: Sequence[Known]) -> None:
    """Fail unless exactly the differences of the table show in one fact."""
    found = complaints(name, differences(ours.get(name), recorded.get(name)), table)
    assert not found, "\n".join(found)


def check_the_rest(ours: Mapping[str, Fact], recorded: Mapping[str, Fact], table: Sequence[Known]) -> None:
    """Fail for facts that were never recorded and for rows about no fact."""
    for name in ours:
        if name not in recorded:
            check(name, ours, recorded, table)
    assert not unknown_rows(table, recorded, ours)
