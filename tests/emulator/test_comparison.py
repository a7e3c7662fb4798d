"""The comparison itself: it sees what is different, forgives what is random, and notices rows that became untrue."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.comparison import ANYTHING, WHOLE_FACT, Difference, Known, complaints, differences
from tests.emulator.recorded import Fact, read_facts
from tests.emulator.telling import ABSENT, telling_fields

REVA = read_facts("reva-local.jsonl")
OPENCLOUD = read_facts("opencloud.jsonl")


def change(fact: Fact, *keys: Any, to: Any) -> Fact:
    """A copy of a fact with one value replaced, or taken out (to=None)."""
    changed = copy.deepcopy(fact)
    inner: Any = changed
    for key in keys[:-1]:
        inner = inner[key]
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return changed


FLIPS: list[tuple[Fact, tuple[Any, ...], Any, str]] = [
    (REVA["mkdir_again"], ("code",), "CODE_OK", "code"),
    (REVA["stat_notoken"], ("grpc",), "UNKNOWN", "grpc"),
    (REVA["range_single"], ("status",), 206, "status"),
    (REVA["upload"], ("protocols", 1, "protocol"), "spaces", "protocols[1].protocol"),
    (REVA["upload"], ("info", "mtime", "nanos"), 5, "info.mtime.nanos"),
    (REVA["upload"], ("info", "etag"), '"1:2"', "info.etag"),
    (REVA["upload"], ("info", "permissionSet", "delete"), None, "info.permissionSet.delete"),
    (REVA["move"], ("id_after",), REVA["move"]["id_before"], "id_after.opaqueId"),
    (REVA["download_full"], ("sha",), "0000000000", "sha"),
    (REVA["download_full"], ("headers", "Content-Type"), "text/html", "headers.content-type"),
    (OPENCLOUD["range_single"], ("headers", "Content-Range"), None, "headers.content-range"),
    (OPENCLOUD["range_single"], ("headers", "Etag"), None, "headers.etag"),
    (OPENCLOUD["upload"], ("info", "checksum", "sum"), "00", "info.checksum.sum"),
    (OPENCLOUD["get_lock"], ("lock", "appName"), "other", "lock.appName"),
    (OPENCLOUD["move"], ("id_after", "opaqueId"), "00000000-0000-0000-0000-000000000000", "id_before.opaqueId"),
    (OPENCLOUD["set_mtime"], ("mtime", "nanos"), None, "mtime.nanos"),
    (OPENCLOUD["versions"], ("n",), 4, "n"),
    (OPENCLOUD["etag_propagates"], ("parent_changed",), True, "parent_changed"),
]


@pytest.mark.parametrize(
    ("fact", "keys", "value", "field"), FLIPS, ids=[f"{flip[3]}-{number}" for number, flip in enumerate(FLIPS)]
)
def test_a_flipped_answer_is_reported(fact: Fact, keys: tuple[Any, ...], value: Any, field: str) -> None:
    """One value of a recorded answer is changed: that field is reported, and the test of that fact would fail."""
    found = differences(change(fact, *keys, to=value), fact)
    assert field in {difference.field for difference in found}
    assert complaints("fact", found, ())


@pytest.mark.parametrize("facts", [REVA, OPENCLOUD], ids=["reva", "opencloud"])
def test_a_fact_equals_itself(facts: dict[str, Fact]) -> None:
    """No difference is found where there is none."""
    assert not [found for fact in facts.values() for found in differences(copy.deepcopy(fact), fact)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("1795501029", "1801234567"),
        lambda text: text.replace("a36ad8d0-abb4-42b6-a24f-20202e2c6985", "0d7f33aa-0000-4000-8000-20202e2c6985"),
        lambda text: text.replace("https://localhost:9200", "http://127.0.0.1:41234"),
        lambda text: text.replace("Tue, 24 Nov 2026 06:17:09 GMT", "Wed, 25 Nov 2026 07:00:00 GMT"),
    ],
    ids=["time", "id", "server", "date"],
)
def test_random_values_are_no_difference(spoil: Callable[[str], str]) -> None:
    """Another time, other ids, another port: the same answer."""
    for name in ("upload", "overwrite", "move", "versions"):
        text = json.dumps(OPENCLOUD[name])
        assert not differences(json.loads(spoil(text)), OPENCLOUD[name])


def test_equality_of_random_values_is_compared() -> None:
    """An etag that did not change is told from one that did, although both are random."""
    kept = {"after": {"etag": '"' + "a" * 32 + '"'}, "before": {"etag": '"' + "a" * 32 + '"'}}
    changed = {"after": {"etag": '"' + "a" * 32 + '"'}, "before": {"etag": '"' + "b" * 32 + '"'}}
    assert telling_fields(kept)["before.etag"] == "<etag = after.etag>"
    assert [difference.field for difference in differences(kept, changed)] == ["before.etag"]


def test_a_missing_fact_is_reported() -> None:
    """A question that was never asked does not pass for a good answer."""
    assert differences(None, {"code": "OK"}) == [Difference(WHOLE_FACT, ABSENT, "(there)")]
    assert complaints("fact", differences(None, {"code": "OK"}), ())


def test_a_row_of_the_table_explains_and_expires() -> None:
    """A listed difference passes; once it is gone, the row itself is reported; another difference is not covered."""
    row = Known(("fact",), "headers.*", ABSENT, ANYTHING, "test")
    other = Difference("headers.etag", ABSENT, "<etag>")
    assert complaints("fact", [other], [row]) == []
    assert complaints("fact", [], [row])
    assert complaints("fact", [other, Difference("code", "OK", "INTERNAL")], [row])
    assert complaints("fact", [Difference("headers.etag", "<etag>", ABSENT)], [row])
    assert complaints("another fact", [other], [row])
