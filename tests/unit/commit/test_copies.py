"""Names of conflict copies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.commit.copies import conflict_name

MOMENT = 1767362645.0


def test_name_keeps_its_extension() -> None:
    """The copy opens with the same program."""
    name = conflict_name("plot.root", "einstein", MOMENT)
    assert name.startswith("plot (conflict einstein 2026-01-0")
    assert name.endswith(").root")
    assert conflict_name("Makefile", "einstein", MOMENT).startswith("Makefile (conflict ")
    assert conflict_name(".bashrc", "einstein", MOMENT).startswith(".bashrc (conflict ")
    assert conflict_name("a.txt", "einstein", MOMENT, 2).endswith(" 2).txt")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=90).filter(
    lambda name: len(name.encode()) <= 255
)


@given(name=NAMES, user=st.text(st.characters(codec="utf-8"), max_size=80), attempt=st.integers(1, 30))
def test_name_is_always_a_name(name: str, user: str, attempt: int) -> None:
    """Whatever the name and the user: at most 255 bytes, nothing that cannot be in a name, another one than the original."""
    copy = conflict_name(name, user, MOMENT, attempt)
    assert 0 < len(copy.encode()) <= 255
    assert "/" not in copy
    assert "\0" not in copy
    assert copy != name
    assert copy != conflict_name(name, user, MOMENT, attempt + 1)
