"""The pages in docs/ say what the code says."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from cs3fuse import errors
from tests.support.option_table import PAGE, replaced

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_table_of_options_is_that_of_the_declaration():
    """A new option, default or help also stands in docs/configuration.md (python -m tests.support.option_table --write)."""
    assert PAGE.read_text() == replaced(PAGE.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    """No link to a page of ours is broken."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_errno_that_a_program_can_see_is_explained():
    """docs/semantics.md names each errno of the table in errors.py."""
    section = (ROOT / "docs" / "semantics.md").read_text().split("\n## Errors\n")[1]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Cs3FuseError)]
    for kind in kinds:
        name = errno.errorcode[errors.errno_for(kind("x"))]
        # EOPNOTSUPP and ENOTSUP are one number on Linux.
        name = {"ENOTSUP": "EOPNOTSUPP"}.get(name, name)
        assert name in section, f"{kind.__name__} answers {name}, which docs/semantics.md does not mention"
