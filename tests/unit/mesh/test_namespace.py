"""Names in the folders of the view."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.mesh.namespace import Wish, assign, safe


def test_lone_names_stay_as_they_are():
    """Nothing is added where nothing collides."""
    assert assign([Wish("a", "Data"), Wish("b", "Dätén ☃")], {}) == {"a": "Data", "b": "Dätén ☃"}


def test_colliding_names_get_owner_then_number():
    """The oldest has the plain name, the next its owner's, the third a number."""
    wishes = [
        Wish("c", "Data", "marie", 3),
        Wish("a", "Data", "einstein", 1),
        Wish("b", "Data", "marie", 2),
        Wish("d", "Data", "", 4),
    ]
    assert assign(wishes, {}) == {"a": "Data", "b": "Data (marie)", "c": "Data (marie) 2", "d": "Data 2"}


def test_names_are_kept_when_others_come_and_go():
    """Whoever had a name keeps it: after an older one appears, and after the one it gave way to is gone."""
    first = assign([Wish("b", "Data", "marie", 2)], {})
    both = assign([Wish("a", "Data", "einstein", 1), Wish("b", "Data", "marie", 2)], first)
    assert both == {"a": "Data (einstein)", "b": "Data"}
    assert assign([Wish("a", "Data", "einstein", 1)], both) == {"a": "Data (einstein)"}


def test_renamed_share_gets_its_new_name():
    """A kept name that was made of another one is given up."""
    assert assign([Wish("a", "Results")], {"a": "Data"}) == {"a": "Results"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../a/b\nc", ".._a_b_c"),
        ("", "unnamed"),
        (".", "_"),
        ("..", "__"),
        ("   ", "unnamed"),
        ("a\0b\x1b[31m", "a_b_[31m"),
        ("tab\there", "tab_here"),
        ("evil\u202egnp.exe", "evil_gnp.exe"),
        (" lead and trail ", " lead and trail "),
    ],
)
def test_names_are_made_safe(name, expected):
    """What another site sends becomes a file name."""
    assert safe(name) == expected


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=80), st.integers(0, 5)), max_size=8))
def test_any_names_become_different_file_names(wishes):
    """Whatever is wished for: every key has a name, no two are equal, each fits into a directory."""
    made = assign([Wish(str(number), *wish) for number, wish in enumerate(wishes)], {})
    assert len(set(made.values())) == len(made) == len(wishes)
    for name in made.values():
        assert 0 < len(name.encode()) <= 255
        assert "/" not in name and "\0" not in name and name not in {".", ".."}
        assert assign([Wish(str(number), *wish) for number, wish in enumerate(wishes)], made) == made
