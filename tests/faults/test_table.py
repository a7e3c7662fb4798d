"""docs/durability.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "durability.md"


def test_every_named_test_exists() -> None:
    """A row without its test, or a test that was renamed, fails here; a file named with it must hold it."""
    defined: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
            defined.setdefault(name, set()).add(path.name)
    named = re.findall(r"`(?:[\w/]*/)?(?:(test_\w+\.py)(?:::)?)?(test_\w+)?`", PAGE.read_text())
    tests = [(file, test) for file, test in named if test]
    assert len(tests) > 80
    missing = [test for file, test in tests if test not in defined or (file and file not in defined[test])]
    assert not missing
    folders = re.findall(r"`(tests/[\w/]+(?:\.py)?)", PAGE.read_text())
    assert [each for each in folders if not (ROOT / each).exists()] == []


def test_every_test_of_a_fault_is_named() -> None:
    """Each test of this folder stands in a row, so that what it shows can be found."""
    page = PAGE.read_text()
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
                assert name in page, f"{name} of {path.name} is named nowhere in docs/durability.md"
