"""docs/emulator.md says what the emulator can do."""

from dataclasses import fields
from pathlib import Path

from cs3fuse.emulator.faults import FaultRule
from cs3fuse.emulator.profiles import QUIRKS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "emulator.md").read_text()


def test_every_field_of_a_fault_rule_is_explained() -> None:
    """A new effect also stands on the page."""
    for item in fields(FaultRule):
        assert item.name in {"seen", "fired"} or f"`{item.name}`" in PAGE, item.name


def test_every_quirk_is_explained_with_its_default() -> None:
    """A new habit, or another default, too."""
    for name, (default, _) in QUIRKS.items():
        assert f"| `{name}` | {default:g} |" in PAGE, name
