"""Values are what frozen dataclasses are, however they are made."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from cs3fuse.model import Entry, Kind
from cs3fuse.values import changed, quickly_made


@dataclass(frozen=True, slots=True)
class Plain:
    """As dataclasses makes it."""

    name: str
    size: int = 7
    tags: list[str] = field(default_factory=list)


@quickly_made
@dataclass(frozen=True, slots=True)
class Quick:
    """The same, made quickly."""

    name: str
    size: int = 7
    tags: list[str] = field(default_factory=list)


def test_it_takes_what_a_dataclass_takes() -> None:
    """By place and by name, with defaults, each list a new one."""
    for arguments, named in ((("a",), {}), (("a", 1, ["x"]), {}), ((), {"tags": ["y"], "name": "b"})):
        plain, quick = Plain(*arguments, **named), Quick(*arguments, **named)
        assert [getattr(plain, each.name) for each in fields(Plain)] == [getattr(quick, each.name) for each in fields(Quick)]
    assert Quick("a").tags is not Quick("a").tags
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)
    for bad in ((), ("a", 1, [], 4)):
        with pytest.raises(TypeError, match=r"Quick\.__init__"):
            Quick(*bad)


def test_it_stays_a_frozen_dataclass() -> None:
    """Equal by its fields, replaced as others are, never changed."""
    assert Quick("a", 1) == Quick("a", 1) != Quick("a", 2)
    assert replace(Quick("a", 1, ["x"]), size=2) == Quick("a", 2, ["x"])
    assert repr(Quick("a")) == "Quick(name='a', size=7, tags=[])"
    with pytest.raises(FrozenInstanceError):
        Quick("a").size = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Entry("a", Kind.FILE).size = 3  # type: ignore[misc]


def test_changed_is_replace() -> None:
    """Another value with other fields, the first as it was; a field that there is none of is refused."""
    value = Quick("a", 1, ["x"])
    for changes in ({}, {"size": 2}, {"name": "b", "tags": []}):
        assert changed(value, **changes) == replace(value, **changes)
    assert value == Quick("a", 1, ["x"])
    assert changed(value).tags is value.tags
    with pytest.raises(TypeError):
        changed(value, length=1)  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        changed(value, size=2).size = 3  # type: ignore[misc]


def test_what_would_get_lost_is_refused() -> None:
    """A check after construction, and fields that are not passed."""

    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            raise ValueError

    @dataclass(frozen=True, slots=True)
    class Partly:
        size: int = field(init=False, default=0)

    @dataclass(frozen=True, slots=True)
    class Named:
        size: int = field(kw_only=True)

    for each in (Checked, Partly, Named):
        with pytest.raises(TypeError):
            quickly_made(each)
