"""Two emulators of profile reva share with each other as two Reva sites did, field by field."""

import pytest

from tests.emulator.comparison import complaints, differences, unknown_rows
from tests.emulator.known_differences import MESH
from tests.emulator.mesh.not_asked import NOT_ASKED, reasons
from tests.emulator.mesh.settling import settle
from tests.emulator.recorded import Fact, read_facts

RECORDED = read_facts("reva-ocm.jsonl")
ASKED = [name for name in RECORDED if not reasons(name)]


@pytest.mark.parametrize("name", ASKED)
def test_two_sites_answer_as_recorded(name: str, mesh_facts: dict[str, Fact]) -> None:
    """One fact about the mesh."""
    found = differences(mesh_facts.get(name), settle(name, RECORDED[name]))
    texts = complaints(name, found, MESH)
    assert not texts, "\n".join(texts)


def test_only_recorded_facts_are_asked(mesh_facts: dict[str, Fact]) -> None:
    """Each fact of the emulators has a recorded one to be compared with, and is not called "not asked"."""
    assert not [name for name in mesh_facts if name not in RECORDED]
    assert not [name for name in mesh_facts if reasons(name)]
    assert not unknown_rows(MESH, RECORDED, mesh_facts)


def test_each_reason_is_about_something() -> None:
    """No pattern of what is not asked is left over."""
    used = {pattern for name in RECORDED for pattern in reasons(name)}
    assert not NOT_ASKED.keys() - used
