"""When a wait for the server makes no sense any more."""

from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.control.patience import Patience


def test_a_server_that_is_away_is_given_up() -> None:
    """Nothing arrives: the limit counts from the beginning."""
    patience = Patience(60, 100.0)
    for second in range(60):
        patience.note(left=3, attempts=second, sent_bytes=0, now=100.0 + second)
        assert not patience.is_over(100.0 + second)
    assert patience.is_over(160.0)


def test_a_file_that_arrives_and_bytes_that_move_are_progress() -> None:
    """A slow upload of a large file is waited for as long as it takes."""
    patience = Patience(60, 0.0)
    for minute in range(20):
        patience.note(left=2, attempts=0, sent_bytes=minute * 1000, now=minute * 50.0)
        assert not patience.is_over(minute * 50.0 + 59)
    patience.note(left=1, attempts=0, sent_bytes=19_000, now=1000.0)
    assert not patience.is_over(1059.0)
    assert patience.is_over(1060.0)


@given(st.integers(1, 10_000), st.integers(1, 50))
def test_a_server_that_takes_the_same_part_again_and_again_is_given_up(part: int, tries: int) -> None:
    """Bytes that were sent before are no progress, however often they are sent."""
    patience = Patience(60, 0.0)
    for number in range(tries):
        for step in range(1, 5):
            patience.note(left=1, attempts=number, sent_bytes=number * part * 4 + step * part, now=number * 40.0 + step)
    assert not patience.is_over(4.0 + 59)
    assert patience.is_over(4.0 + 60), "the first attempt was the last progress"


def test_more_files_to_send_are_no_progress() -> None:
    """A program that goes on writing does not make the server any nearer."""
    patience = Patience(60, 0.0)
    for second in range(61):
        patience.note(left=second + 1, attempts=0, sent_bytes=0, now=float(second))
    assert patience.is_over(60.0)
