"""Sizes, times and names as people read and write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cli.words import age, clean, files, plain, size, size_of
from cs3fuse.errors import BadRequestError


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1000", 1000), ("20G", 20 << 30), ("512 MiB", 512 << 20), ("1.5k", 1536), ("3 TB", 3 << 40), (" 7B ", 7)],
)
def test_sizes_are_understood(text: str, count: int) -> None:
    """As people write them in a shell or in a sentence; units are powers of 1024."""
    assert size_of(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1", "1 2", "1e9", "10 X", "1,5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """A misread size would empty a cache."""
    with pytest.raises(BadRequestError, match="not a size"):
        size_of(text)


@given(st.integers(0, 1 << 50))
def test_a_shown_size_is_close_to_the_true_one(count: int) -> None:
    """Three digits are enough to decide, and what is shown can be typed back."""
    assert size_of(size(count)) == pytest.approx(count, rel=0.06, abs=1)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (200_000, "2 days"), (-5, "0 s")]
)
def test_ages(seconds: float, words: str) -> None:
    """One unit, the one that matters; a clock that was set back gives no negative age."""
    assert age(1000.0 - seconds, now=1000.0) == words


@given(st.text())
def test_names_cannot_command_the_terminal(name: str) -> None:
    """Line ends and escape sequences in a name from a server are shown as question marks, and nothing else changes."""
    shown = clean(name)
    assert shown.isprintable()
    assert len(shown) == len(name)
    assert all(a in (b, "?") for a, b in zip(shown, name, strict=True))


def test_plain_words() -> None:
    """What is not known is not called no."""
    assert plain(None) == "not known yet"
    assert plain(False) == "no"
    assert plain({"stable_ids": True, "locks": "full"}) == "stable ids yes, locks full"
    assert (files(1), files(0)) == ("1 file", "0 files")
