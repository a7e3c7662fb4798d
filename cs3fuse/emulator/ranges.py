"""The `Range` header as these servers read it: close to Go's parser, with each server's own answers.

Owns the decision which bytes a GET gets. Called by `datagateway`; pure functions, safe everywhere.

Source: reva pkg/rhttp/datatx/utils/download; OpenCloud as measured.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_ITEM = re.compile(r"^(\d*)-(\d*)$")


class RangePolicy(enum.Enum):
    """What a storage does with a well-formed range."""

    REFUSED = "refused"
    """416 with Accept-Ranges and without Content-Range: the storage has no ranges (reva local)."""
    SERVED = "served"
    """206; several ranges as multipart/byteranges (eos)."""
    CUT = "cut"
    """206; several ranges as multipart/byteranges whose Content-Length is 15 bytes too small per part (opencloud)."""


@dataclass(frozen=True)
class Slice:
    """Bytes [start, start + length) of the file."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


@dataclass(frozen=True)
class RangePlan:
    """The answer: status 200 (whole file), 206 with slices, or 416."""

    status: int
    slices: tuple[Slice, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class _MalformedError(Exception):
    pass


def plan_ranges(header: str | None, size: int, policy: RangePolicy) -> RangePlan:
    """Decide what a GET with this Range header gets.

    Args:
        header: the header's value, None when absent.
        size: size of the file [bytes].
        policy: what the storage does with ranges.

    """
    if header is None or (size == 0 and policy is not RangePolicy.CUT):
        return RangePlan(200)
    beyond = RangePlan(416, headers={"Content-Range": f"bytes */{size}"})
    if size == 0:
        return beyond
    try:
        parsed = _parse(header, size)
    except _MalformedError:
        return RangePlan(416)
    if parsed is None:
        return RangePlan(200)
    if not parsed:
        return beyond
    if sum(item.length for item in parsed) > size:
        return RangePlan(200)
    if policy is RangePolicy.REFUSED:
        return RangePlan(416, headers={"Accept-Ranges": "bytes"})
    return RangePlan(206, tuple(parsed), {"Accept-Ranges": "bytes"})


def _parse(header: str, size: int) -> list[Slice] | None:
    """The satisfiable slices; None means "ignore the header"."""
    if not header.startswith("bytes="):
        raise _MalformedError
    slices = []
    for raw in header[len("bytes=") :].split(","):
        item = raw.strip()
        if not item:
            continue
        if "-" not in item:
            return None
        match = _ITEM.match(item)
        if match is None or match.groups() == ("", ""):
            raise _MalformedError
        first, last = match.groups()
        if not first:
            length = min(int(last), size)
            slices.append(Slice(size - length, length))
            continue
        start = int(first)
        end = int(last) if last else size - 1
        if last and end < start:
            raise _MalformedError
        if start < size:
            slices.append(Slice(start, min(end, size - 1) - start + 1))
    return slices


@dataclass(frozen=True)
class Multipart:
    """A multipart/byteranges body: what stands before each slice, the end, and the length to announce."""

    boundary: str
    heads: tuple[bytes, ...]
    tail: bytes
    announced: int


def multipart(plan: RangePlan, size: int, content_type: str, boundary: str, policy: RangePolicy) -> Multipart:
    """Lay out a multipart answer; with policy CUT the announced length is too small, as OpenCloud's is."""
    heads = []
    for number, item in enumerate(plan.slices):
        start = "" if number == 0 else "\r\n"
        head = f"{start}--{boundary}\r\nContent-Range: {item.content_range(size)}\r\nContent-Type: {content_type}\r\n\r\n"
        heads.append(head.encode())
    tail = f"\r\n--{boundary}--\r\n".encode()
    total = sum(map(len, heads)) + sum(item.length for item in plan.slices) + len(tail)
    if policy is RangePolicy.CUT:
        total -= 15 * len(plan.slices)
    return Multipart(boundary, tuple(heads), tail, max(0, total))
