"""Reads the recorded answers of the real servers.

Owns the file format of `tests/facts`: one JSON object per line, its name under "fact". Pure, safe everywhere.
"""

import json
from pathlib import Path
from typing import Any

Fact = dict[str, Any]
"""What one call (or a few that belong together) was answered: codes, statuses, headers, messages as JSON."""

FACTS = Path(__file__).parent.parent / "facts"


def read_facts(file: str) -> dict[str, Fact]:
    """The facts of one file by name, in the order they were recorded.

    A name that occurs again gets a number: "restore_elsewhere", "restore_elsewhere#2".
    """
    facts: dict[str, Fact] = {}
    for line in (FACTS / file).read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        name, number = fact.pop("fact"), 1
        key = name
        while key in facts:
            number += 1
            key = f"{name}#{number}"
        facts[key] = fact
    return facts
