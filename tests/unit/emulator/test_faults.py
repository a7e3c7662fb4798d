"""Tests of the fault rules and the call log."""

import pytest

from cs3fuse.emulator.faults import CallLog, FaultBook, FaultRule


def fired(book: FaultBook, count: int, name: str = "Stat", path: str = "/einstein/a", user: str = "einstein") -> list[bool]:
    return [bool(book.effects("grpc", name, path, user)) for _ in range(count)]


def test_a_rule_fires_at_the_calls_it_names() -> None:
    """nth, every, after and times count only matching calls."""
    book = FaultBook(1)
    book.set_rules([{"call": "Stat", "nth": 3}])
    assert fired(book, 4) == [False, False, True, False]
    book.set_rules([{"call": "Stat", "every": 2, "after": 1, "times": 1}])
    assert fired(book, 6) == [False, False, True, False, False, False]
    book.set_rules([{"call": "Stat|Move", "path": r"\.root$", "user": "marie"}])
    assert fired(book, 1) == [False]
    assert fired(book, 1, "Move", "/marie/x.root", "marie") == [True]
    assert fired(book, 1, "Move", "/marie/x.root", "einstein") == [False]


def test_rules_for_grpc_and_http_do_not_mix() -> None:
    """A rule with a call never spoils HTTP, one with a method never gRPC, one with neither both."""
    book = FaultBook(1)
    book.set_rules([{"call": ".*"}])
    assert not book.effects("http", "GET", "/a", "")
    book.set_rules([{"method": "GET"}])
    assert not book.effects("grpc", "Stat", "/a", "")
    assert book.effects("http", "GET", "/a", "")
    book.set_rules([{"path": "a"}])
    assert book.effects("grpc", "Stat", "/a", "") and book.effects("http", "PUT", "/a", "")


def test_probability_is_repeatable() -> None:
    """The same seed spoils the same calls."""

    def run(seed: int) -> list[bool]:
        book = FaultBook(seed)
        book.set_rules([{"probability": 0.3}])
        return fired(book, 200)

    assert run(7) == run(7)
    assert run(7) != run(8)
    assert 30 < sum(run(7)) < 90


def test_a_rule_that_cannot_be_understood_is_refused_with_its_fields() -> None:
    """A typing error in a test must not become a fault that never fires."""
    with pytest.raises(ValueError, match=r"no field delay; it has .*delay_s"):
        FaultRule.from_json({"delay": 1})
    with pytest.raises(ValueError, match="broken"):
        FaultRule.from_json({"path": "("})


def test_the_log_numbers_calls_and_shows_those_since() -> None:
    """Tests count round trips by the numbers."""
    log = CallLog()
    for name in ("Stat", "Move", "Stat"):
        log.finish(log.begin("grpc", name))
    assert [entry.name for entry in log.entries()] == ["Stat", "Move", "Stat"]
    assert [entry.number for entry in log.entries(since=2)] == [3]
    log.clear()
    log.finish(log.begin("grpc", "Delete"))
    assert [entry.number for entry in log.entries()] == [4]
