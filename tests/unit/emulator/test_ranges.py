"""Tests of the Range header's reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.emulator.ranges import RangePolicy, Slice, multipart, plan_ranges


@given(start=st.integers(0, 2000), length=st.integers(1, 2000), size=st.integers(1, 1500))
def test_one_range_is_clipped_to_the_file(start: int, length: int, size: int) -> None:
    """A well-formed range gives exactly the bytes that both it and the file have, or 416."""
    plan = plan_ranges(f"bytes={start}-{start + length - 1}", size, RangePolicy.SERVED)
    if start >= size:
        assert plan.status == 416
        assert plan.headers["Content-Range"] == f"bytes */{size}"
    else:
        assert plan.slices == (Slice(start, min(length, size - start)),)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("bytes=a-b", 416),
        ("bytes=9-3", 416),
        ("items=0-9", 416),
        ("bytes=-", 416),
        ("bytes=5", 200),
        ("bytes=0-99,0-99", 200),
        ("bytes=-200", 206),
        ("bytes=90-", 206),
    ],
)
def test_odd_headers_get_the_answers_of_the_servers(header: str, status: int) -> None:
    """Malformed headers are 416, ranges larger than the file in sum are ignored, suffixes are clipped."""
    assert plan_ranges(header, 100, RangePolicy.SERVED).status == status


def test_a_storage_without_ranges_says_416_with_accept_ranges_and_no_content_range() -> None:
    """This pair of headers is how a client tells "no ranges here" from "beyond the end"."""
    plan = plan_ranges("bytes=0-", 100, RangePolicy.REFUSED)
    assert (plan.status, dict(plan.headers)) == (416, {"Accept-Ranges": "bytes"})


def test_a_range_of_an_empty_file_is_ignored_but_on_opencloud() -> None:
    """Reva answers 200 with nothing, OpenCloud 416."""
    assert plan_ranges("bytes=0-9", 0, RangePolicy.REFUSED).status == 200
    assert plan_ranges("bytes=0-9", 0, RangePolicy.CUT).status == 416


def test_opencloud_announces_15_bytes_too_few_per_part() -> None:
    """The measured defect that makes multi-range requests useless there."""
    plan = plan_ranges("bytes=0-9,20-29", 100, RangePolicy.CUT)
    cut = multipart(plan, 100, "text/plain", "b" * 60, RangePolicy.CUT)
    whole = multipart(plan, 100, "text/plain", "b" * 60, RangePolicy.SERVED)
    assert whole.announced - cut.announced == 30
    assert whole.announced == sum(map(len, whole.heads)) + 20 + len(whole.tail)
