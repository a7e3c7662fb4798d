"""What a Stat says: the table of decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.commit.verdict import Sent, Verdict, judge, same_version
from cs3fuse.model import Checksum, Entry, Kind


def entry(size: int, etag: str = '"1"', checksum: str | None = None, mtime_ns: int = 0) -> Entry:
    return Entry("a", Kind.FILE, size=size, etag=etag, mtime_ns=mtime_ns, checksum=Checksum("sha1", checksum) if checksum else None)


BASE = entry(5)
NEVER, TRIED, TOLD = Sent(7), Sent(7, attempted=True), Sent(7, attempted=True, acknowledged=True)


@pytest.mark.parametrize(
    ("found", "base", "sent", "agrees", "verdict"),
    [
        (None, None, NEVER, None, Verdict.ABSENT),
        (None, BASE, TOLD, None, Verdict.ABSENT),
        (Entry("a", Kind.DIRECTORY), BASE, TOLD, None, Verdict.DIRECTORY),
        (entry(5), BASE, NEVER, None, Verdict.BASE),
        (entry(5), BASE, TRIED, None, Verdict.BASE),
        (entry(5), None, NEVER, None, Verdict.FOREIGN),
        (entry(5, '"2"'), BASE, NEVER, None, Verdict.FOREIGN),
        (entry(7, '"2"'), BASE, NEVER, None, Verdict.FOREIGN),
        (entry(7, '"2"'), BASE, NEVER, True, Verdict.OURS),
        (entry(7, '"2"'), BASE, TRIED, None, Verdict.PERHAPS_OURS),
        (entry(7, '"2"'), BASE, TRIED, False, Verdict.FOREIGN),
        (entry(7, '"2"'), BASE, TRIED, True, Verdict.OURS),
        (entry(7, '"2"'), BASE, TOLD, None, Verdict.OURS),
        (entry(7, '"2"'), BASE, TOLD, False, Verdict.FOREIGN),
        (entry(3, '"2"'), BASE, TRIED, None, Verdict.PERHAPS_PART_OF_OURS),
        (entry(0, '"2"'), None, TRIED, None, Verdict.PERHAPS_PART_OF_OURS),
        (entry(3, '"2"'), BASE, NEVER, None, Verdict.FOREIGN),
        (entry(8, '"2"'), BASE, TOLD, None, Verdict.FOREIGN),
        (entry(7), entry(7), TOLD, None, Verdict.BASE),  # the old etag: the server has not done it
        (entry(7, ""), entry(7, ""), TOLD, None, Verdict.OURS),  # no etags, same clock tick: its word counts
        (entry(7, ""), entry(7, ""), TRIED, None, Verdict.BASE),
        (entry(0), entry(0), Sent(0, attempted=True, acknowledged=True), None, Verdict.OURS),  # no bytes, nothing to compare
        (entry(0), None, Sent(0), None, Verdict.OURS),
        (entry(0, '"2"'), BASE, Sent(0), None, Verdict.OURS),
        (entry(0), None, Sent(0, is_exclusive=True), None, Verdict.FOREIGN),
        (entry(7), None, Sent(7, is_exclusive=True), True, Verdict.FOREIGN),
        (entry(0), None, Sent(0, attempted=True, is_exclusive=True), None, Verdict.OURS),
        (entry(7), BASE, Sent(7, is_exclusive=True), True, Verdict.OURS),
    ],
)
def test_decision(found: Entry | None, base: Entry | None, sent: Sent, agrees: bool | None, verdict: Verdict) -> None:
    """Each row is one situation after an open, a lost answer or an acknowledged upload."""
    assert judge(found, base, sent, checksum_agrees=agrees) is verdict


def test_same_version() -> None:
    """Checksums decide where there are two, else etags, else size and mtime."""
    assert same_version(entry(5), entry(5, mtime_ns=9))
    assert not same_version(entry(5), entry(6))
    assert not same_version(entry(5), entry(5, '"2"'))
    assert same_version(entry(5, checksum="ab"), entry(5, '"2"', checksum="ab"))
    assert not same_version(entry(5, checksum="ab"), entry(5, '"2"', checksum="cd"))
    assert same_version(entry(5, "", mtime_ns=1), entry(5, "", mtime_ns=1))
    assert not same_version(entry(5, "", mtime_ns=1), entry(5, "", mtime_ns=2))
    assert not same_version(entry(5, "", checksum="ab"), entry(5, "", checksum="cd"))
    assert not same_version(entry(5, checksum="ab"), entry(5, checksum="cd")), "an etag that stayed although the content changed"


@given(
    size=st.integers(0, 3),
    etag=st.sampled_from(["", '"1"', '"2"']),
    checksum=st.sampled_from([None, "ab", "cd"]),
    agrees=st.sampled_from([None, True, False]),
    attempted=st.booleans(),
)
def test_foreign_bytes_are_never_taken_for_the_base(
    size: int, etag: str, checksum: str | None, agrees: bool | None, attempted: bool
) -> None:
    """Whatever is found: another etag with other or unknown content is never something to put ours over."""
    base = entry(2, '"1"', "ab")
    verdict = judge(entry(size, etag, checksum), base, Sent(3, attempted=attempted), checksum_agrees=agrees)
    if verdict is Verdict.BASE:
        assert size == 2
        assert checksum == "ab" or (checksum is None and etag in {'"1"', ""})
