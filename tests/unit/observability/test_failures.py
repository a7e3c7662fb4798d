"""The list of recent failures."""

from cs3fuse.observability.failures import RecentFailures


def test_failures_are_found_by_path_newest_first() -> None:
    """What a person asks about is one file."""
    failures = RecentFailures(wall_clock=iter(range(100)).__next__)
    failures.note("flush", 5, "first", "/a")
    failures.note("flush", 5, "other", "/b")
    failures.note("flush", 5, "second", "/a")
    assert [(each.sentence, each.at) for each in failures.of("/a")] == [("second", 2), ("first", 0)]
    assert [each.sentence for each in failures.newest(2)] == ["second", "other"]


def test_a_program_in_a_loop_does_not_push_out_the_others() -> None:
    """Equal failures in a row are one, with the time of the last."""
    failures = RecentFailures(limit=3, wall_clock=iter(range(100)).__next__)
    failures.note("open", 16, "busy", "/a")
    for _ in range(10):
        failures.note("open", 13, "denied", "/b")
    assert [(each.sentence, each.at) for each in failures.newest(9)] == [("denied", 10), ("busy", 0)]


def test_the_list_is_bounded() -> None:
    """The oldest go."""
    failures = RecentFailures(limit=3)
    for number in range(10):
        failures.note("open", 13, str(number), "/a")
    assert [each.sentence for each in failures.of("/a")] == ["9", "8", "7"]
