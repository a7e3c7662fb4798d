"""Which names are refused before they reach a server."""

import pytest

from cs3fuse.errors import BadRequestError, NameTooLongError
from cs3fuse.vfs.names import check_name, decode_name


@pytest.mark.parametrize(
    "name", ["a", "ünï #%?.root", " leading", "trailing ", "a" * 255, "ü" * 127, "...", "x-chunking-a-b", "back\\slash"]
)
def test_ordinary_names_pass(name: str) -> None:
    """What storages keep exactly is not refused."""
    check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "nul\x00", "tab\t", "new\nline", "del\x7f", "x-chunking-1-2-0"])
def test_names_that_a_storage_would_misunderstand_are_refused(name: str) -> None:
    """Control characters cannot be served, chunk names are swallowed, dots are not names."""
    with pytest.raises(BadRequestError):
        check_name(name)


@pytest.mark.parametrize("name", ["a" * 256, "ü" * 128])
def test_the_limit_is_255_bytes_not_characters(name: str) -> None:
    """ENAMETOOLONG before the call: servers answer INTERNAL."""
    with pytest.raises(NameTooLongError):
        check_name(name)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """CS3 strings are UTF-8; a lone byte would fail whole listings."""
    with pytest.raises(BadRequestError, match="not UTF-8"):
        decode_name(b"\xff\xfe")
