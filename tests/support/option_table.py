"""The table of options in docs/configuration.md, made from their declaration.

``python -m tests.support.option_table --write`` brings the page up to date; tests/unit/test_docs.py compares.
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cs3fuse.config.options import MountOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_BEGIN, _END = "<!-- options: begin -->\n", "<!-- options: end -->\n"


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


def replaced(page: str) -> str:
    """The page with the table of today between its marks. Raises: ValueError where it has no marks."""
    before, begin, rest = page.partition(_BEGIN)
    _old, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("docs/configuration.md has lost the marks of its table of options")
    return f"{before}{begin}\n{table()}\n{end}{after}"


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
