"""How locations are spelled for servers, and which names are refused before a call."""

from __future__ import annotations

import pytest
from cs3.storage.provider.v1beta1 import resources_pb2
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.client.references import absolute_path, check_new_name, model_id, name_problem, reference, shown
from cs3fuse.errors import BadRequestError, NameTooLongError
from cs3fuse.model import IdRoot, Location, PathRoot, ResourceId

BY_PATH = PathRoot("/home")
BY_ID = IdRoot(ResourceId("storage", "space", "node"))


def test_path_root_leaves_the_id_unset() -> None:
    """A resource id that is present but empty would switch Reva to routing by id."""
    spelled = reference(Location(BY_PATH, "a/b"))
    assert spelled.path == "/home/a/b"
    assert not spelled.HasField("resource_id")


def test_global_root_is_a_slash() -> None:
    """The root of all is "/", and what is below it has no double slash."""
    assert reference(Location(PathRoot(""))).path == "/"
    assert reference(Location(PathRoot(""), "home")).path == "/home"


def test_id_root_is_always_relative() -> None:
    """A bare id makes download addresses that lead to the storage's root (Reva) or answer 500 (OpenCloud)."""
    assert reference(Location(BY_ID)).path == "."
    spelled = reference(Location(BY_ID, "a/b"))
    assert spelled.path == "./a/b"
    assert model_id(spelled.resource_id) == BY_ID.id


def test_absolute_path_of_an_id_is_a_mistake() -> None:
    """There is none; a caller that asks has mixed up roots."""
    with pytest.raises(TypeError):
        absolute_path(Location(BY_ID))


@pytest.mark.parametrize("rel", ["a/../b", ".", "..", "a//b", "a/", "nul\0", "x\udcff"])
def test_components_that_cannot_exist_are_refused(rel: str) -> None:
    """Servers clean paths and follow "..": such a path never leaves this machine."""
    with pytest.raises(BadRequestError):
        reference(Location(BY_PATH, rel))


@pytest.mark.parametrize(("name", "is_long"), [("a" * 255, False), ("a" * 256, True), ("ü" * 127, False), ("ü" * 128, True)])
def test_names_are_measured_in_bytes(name: str, is_long: bool) -> None:
    """256 bytes are INTERNAL on every server; the user deserves ENAMETOOLONG."""
    if is_long:
        with pytest.raises(NameTooLongError):
            reference(Location(BY_ID, name))
    else:
        reference(Location(BY_ID, name))


@pytest.mark.parametrize("name", ["tab\t", "line\n", "bell\x07", "del\x7f", "x-chunking-1-2-0", "-chunking-a_1-10-3"])
def test_new_names_that_servers_lose_are_refused(name: str) -> None:
    """Control characters cannot be fetched again, chunk-like names are swallowed; looking them up is fine."""
    with pytest.raises(BadRequestError):
        check_new_name(Location(BY_PATH, name))
    reference(Location(BY_PATH, name))


@pytest.mark.parametrize("name", ["chunking", "x-chunking-1-2", "a\\b", "...", " blank ", "co:lon", "ü", "-chunking-1-2-3x"])
def test_odd_but_good_names_pass(name: str) -> None:
    """What the servers were measured to keep exactly is not refused."""
    check_new_name(Location(BY_PATH, name))


def test_a_root_cannot_be_created() -> None:
    """There is no name to check."""
    with pytest.raises(BadRequestError):
        check_new_name(Location(BY_PATH))


@given(st.text(max_size=300))
def test_a_name_without_problem_can_be_sent(name: str) -> None:
    """Whatever is let through fits into a protobuf string and stays one component."""
    if not name_problem(name):
        assert reference(Location(BY_ID, name)).path == f"./{name}"
        assert "/" not in name
        assert len(name.encode()) <= 255


def test_shown_is_safe_for_a_terminal() -> None:
    """A name with an escape sequence does not reach the terminal as one."""
    assert "\x1b" not in shown(Location(BY_PATH, "\x1b[2J"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (resources_pb2.ResourceId(storage_id="/", opaque_id="random"), None),
        (resources_pb2.ResourceId(storage_id="s", space_id="p"), None),
        (resources_pb2.ResourceId(opaque_id="o"), ResourceId("", "", "o")),
    ],
)
def test_ids_that_say_nothing_are_none(message: resources_pb2.ResourceId, expected: ResourceId | None) -> None:
    """Above the mounts Reva invents an id for each answer."""
    assert model_id(message) == expected
