"""The emulator's profile opencloud answers the closer look as OpenCloud did: races, ranges, tokens, trash, names, shares."""

import pytest

from tests.emulator.closer.chance import settle
from tests.emulator.closer.not_asked import NOT_ASKED, reasons
from tests.emulator.comparison import complaints, differences, unknown_rows
from tests.emulator.known_differences import CLOSER
from tests.emulator.recorded import Fact, read_facts

RECORDED = read_facts("opencloud-shares.jsonl")
ASKED = [name for name in RECORDED if not reasons(name)]


@pytest.mark.parametrize("name", ASKED, ids=[f"{RECORDED[name]['topic']}-{name[:60]}" for name in ASKED])
def test_opencloud_answers_as_recorded(name: str, closer_facts: dict[str, Fact]) -> None:
    """One fact of the closer look, the luck of races taken out."""
    found = differences(settle(name, closer_facts.get(name)), settle(name, RECORDED[name]))
    texts = complaints(name, found, CLOSER)
    assert not texts, "\n".join(texts)


def test_only_recorded_facts_are_asked(closer_facts: dict[str, Fact]) -> None:
    """Each fact of the emulator has a recorded one to be compared with, and is not called "not asked"."""
    assert not [name for name in closer_facts if name not in RECORDED]
    assert not [name for name in closer_facts if reasons(name)]
    assert not unknown_rows(CLOSER, RECORDED, closer_facts)


def test_each_reason_is_about_something() -> None:
    """No pattern of what is not asked is left over."""
    used = {pattern for name in RECORDED for pattern in reasons(name)}
    assert not NOT_ASKED.keys() - used


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("put_checksum_mismatch", "status", 200),
        ("broken_put_then_retry_same_transfer_token_exact_content", "runs", [{"put": 200, "len": 1000, "is_400x_600y": False}]),
        ("race_if_match_parallel_puts", "runs", [[200, 200, "first", [8]]] * 6),
        ("race_if_match_parallel_puts", "runs", [[200, 412, "second", [8]]] * 6),
        ("expired_stat", "code", "PERMISSION_DENIED"),
        ("init_upload_length_0_on_existing_file", "size_after_init_only", 16),
    ],
)
def test_a_flipped_answer_is_reported(name: str, field: str, value: object) -> None:
    """A gateway that is better than the real one, or worse, is found out."""
    flipped = RECORDED[name] | {field: value}
    assert complaints(name, differences(settle(name, flipped), settle(name, RECORDED[name])), CLOSER)
