"""The tables of options and profiles in docs/configuration.md, made from their declaration.

``python -m tests.support.option_table --write`` brings the page up to date; tests/unit/test_docs.py compares.
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cs3fuse.config.options import PROFILES, MountOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_TABLES = ("options", "profiles")


def table() -> str:
    """The options as lines of Markdown: name, default, help."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, field in MountOptions.model_fields.items():
        choices = [f"`{choice}`" for choice in typing.get_args(field.annotation) if isinstance(choice, str)]
        meaning = (field.description or "").replace("|", "\\|")
        if choices:
            meaning += f" One of {', '.join(choices)}."
        lines.append(f"| `{name}` | {_default(field.default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def profiles() -> str:
    """The profiles as lines of Markdown: each option that one of them sets, and its value in each."""
    lines = [f"| option | {' | '.join(f'`{name}`' for name in PROFILES)} |", "|---" * (len(PROFILES) + 1) + "|"]
    for option in dict.fromkeys(option for values in PROFILES.values() for option in values):
        default = MountOptions.model_fields[option].default
        lines.append(f"| `{option}` | {' | '.join(str(values.get(option, default)) for values in PROFILES.values())} |")
    return "\n".join(lines) + "\n"


def replaced(page: str) -> str:
    """The page with the tables of today between their marks. Raises: ValueError where it has no marks."""
    for name, text in zip(_TABLES, (table(), profiles()), strict=True):
        before, begin, rest = page.partition(f"<!-- {name}: begin -->\n")
        _old, end, after = rest.partition(f"<!-- {name}: end -->\n")
        if not begin or not end:
            raise ValueError(f"docs/configuration.md has lost the marks of its table of {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def _default(value: Any) -> str:
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value}`"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(replaced(PAGE.read_text()))
    else:
        print(table(), end="")
