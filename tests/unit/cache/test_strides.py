"""Which pieces of a file are expected of a reader that jumps in even steps."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.cache.strides import Strides
from cs3fuse.model import ByteRange

KIB, MIB = 1024, 1024 * 1024
STEP, LENGTH = 8 * MIB, 400 * KIB


def read_piece(strides: Strides, start: int, length: int = LENGTH) -> list[ByteRange]:
    """As the kernel asks for it: in two requests. Returns what was expected at the first."""
    expected = strides.observe(start, length - 16 * KIB)
    assert strides.observe(start + length - 16 * KIB, 16 * KIB) == []
    return expected


def covers(expected: list[ByteRange], start: int, length: int = LENGTH) -> bool:
    return any(piece.start <= start and piece.stop >= start + length for piece in expected)


def test_even_steps_are_followed() -> None:
    """Two jumps teach the step; then the piece itself and the next one, two, four, eight are expected."""
    strides = Strides()
    assert read_piece(strides, MIB) == []
    assert read_piece(strides, MIB + STEP) == []
    counts = []
    for number in range(2, 12):
        start = MIB + number * STEP
        expected = read_piece(strides, start)
        assert covers(expected, start) and covers(expected, start + STEP)
        counts.append(len(expected) - 1)
    assert counts[:4] == [1, 2, 4, 8] and set(counts[4:]) == {8}


def test_steps_may_vary_a_little() -> None:
    """Compressed pieces differ; what is expected is widened by as much as the last step was off."""
    strides, chance, start = Strides(), random.Random(3), 0
    hits = 0
    previous: list[ByteRange] = []
    for _ in range(60):
        expected = read_piece(strides, start)
        hits += covers(previous, start, LENGTH // 2)
        previous, start = expected, start + STEP + chance.randint(-60, 60) * KIB
    assert hits > 35


def test_several_columns_at_once() -> None:
    """Threads that follow a column each do not disturb each other."""
    strides = Strides()
    for number in range(6):
        for column in (0, 300 * MIB, 700 * MIB):
            start = column + number * STEP
            expected = read_piece(strides, start)
            assert (len(expected) > 1) == (number >= 2)
            assert number < 2 or covers(expected, start + STEP)


def test_random_jumps_are_not_followed() -> None:
    """Hardly ever: two steps are alike by chance."""
    strides, chance = Strides(), random.Random(5)
    guesses = sum(len(strides.observe(chance.randrange(10**10), 4096)) > 0 for _ in range(500))
    assert guesses < 10


def test_reading_in_order_is_not_its_business() -> None:
    """One long piece."""
    strides = Strides()
    assert all(strides.observe(number * 128 * KIB, 128 * KIB) == [] for number in range(500))


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(1, MIB)), max_size=40))
def test_never_much_and_never_behind(reads: list[tuple[int, int]]) -> None:
    """Whatever is read: at most nine pieces, at most 4 MiB ahead, nothing before the read."""
    strides = Strides()
    for offset, size in reads:
        expected = strides.observe(offset, size)
        assert len(expected) <= 9
        assert sum(map(len, expected[1:])) <= 4 * MIB
        assert all(offset <= piece.start <= piece.stop for piece in expected)
