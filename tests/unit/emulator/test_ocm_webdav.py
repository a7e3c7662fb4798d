"""Tests of the WebDAV between two emulated sites: what is written is read, and what a hostile site writes is read as real readers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.emulator.ocm_webdav import BrokenAnswerError, Entry, href_of, read_multistatus, write_multistatus

# XML has no other control characters; TAB and newlines are what test_a_control_character... is about.
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\ufffe\uffff"), min_size=1)
ENTRIES = st.builds(Entry, NAMES, st.booleans(), st.integers(0, 1 << 62), st.integers(0, 1 << 32))


def answer(href: str, length: str = "1") -> bytes:
    """A 207 answer with one entry."""
    return (
        f"<d:multistatus xmlns:d='DAV:'><d:response><d:href>{href}</d:href><d:propstat><d:prop>"
        f"<d:getcontentlength>{length}</d:getcontentlength></d:prop></d:propstat></d:response></d:multistatus>"
    ).encode()


@given(st.lists(ENTRIES, max_size=4))
def test_what_is_written_is_read(entries: list[Entry]) -> None:
    """Names, kinds, sizes of files and whole seconds survive the way."""
    written = write_multistatus([(f"/dav/{href_of(entry.name)}", entry) for entry in entries])
    wanted = [
        (entry.name, Entry(entry.name, entry.is_folder, 0 if entry.is_folder else entry.size, entry.mtime_s)) for entry in entries
    ]
    assert read_multistatus(written) == wanted


@pytest.mark.parametrize("name", ["tab\tx", "nl\nx"])
def test_a_control_character_spoils_the_whole_answer(name: str) -> None:
    """The writer lets them through as they are, and the reader takes no such href."""
    good, bad = Entry("good", False, 1, 1), Entry(name, False, 1, 1)
    written = write_multistatus([(f"/{href_of(entry.name)}", entry) for entry in (good, bad)])
    with pytest.raises(BrokenAnswerError):
        read_multistatus(written)


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("/dav/a%2Fb", "b"),
        ("/dav/%2e%2e", ".."),
        ("/dav/%2e%2e%2Fetc%2Fpasswd", "passwd"),
        ("/dav/%00nul", "\0nul"),
        ("/dav/dir/", "dir"),
    ],
)
def test_the_last_segment_counts_after_decoding(href: str, name: str) -> None:
    """As the real reader does it, however the site encodes."""
    assert read_multistatus(answer(href))[0][0] == name


def test_a_negative_size_is_believed() -> None:
    """Nothing is checked that the real reader does not check."""
    assert read_multistatus(answer("/dav/x", "-5"))[0][1].size == -5


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"<d:multistatus xmlns:d='DAV:'><d:response/></d:multistatus>", answer("/x", "many")]
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    """Text that is not XML, a response without properties, a size that is no number."""
    with pytest.raises(BrokenAnswerError):
        read_multistatus(body)
