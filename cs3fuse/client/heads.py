"""Heads of HTTP answers, taken apart. Pure; called by ``client.exchange``.

Source: RFC 9112 (status line, field lines, message body length).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: .*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH: Final = re.compile(r"\d{1,18}")


class BadAnswerError(Exception):
    """What came is no HTTP answer."""


class Headers(dict[str, str]):
    """Header fields by their names in lower case; a field that came twice is joined with commas."""

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field under any spelling of its name."""
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        """Whether there is a field, under any spelling of its name."""
        return super().__contains__(str(name).lower())


@dataclass(slots=True)
class Head:
    """Status line and header fields. ``length`` is the body's [bytes], None where it is not told; ``keeps``: the connection goes on."""

    status: int
    headers: Headers
    length: int | None
    keeps: bool


def parse_head(text: bytes) -> Head:
    """Take the head of an answer apart, without its last empty line. Raises: BadAnswerError."""
    first, *lines = text.replace(b"\r\n", b"\n").split(b"\n")
    told = _STATUS_LINE.fullmatch(first)
    if told is None:
        raise BadAnswerError("what came does not begin like HTTP")
    headers = Headers()
    for line in lines:
        left, colon, right = line.partition(b":")
        if not colon or not _NAME.fullmatch(left):
            raise BadAnswerError("a header field is none")
        name, value = left.decode("ascii").lower(), right.strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    status = int(told[2])
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return Head(status, headers, _length(status, headers), keeps=told[1] == b"1" and "close" not in options)


def _length(status: int, headers: Headers) -> int | None:
    if status < 200 or status in {204, 304}:
        return 0
    if "transfer-encoding" in headers or "content-length" not in headers:
        return None
    told = {value.strip() for value in headers["content-length"].split(",")}
    value = told.pop()
    if told or not _LENGTH.fullmatch(value):
        raise BadAnswerError("its length is not one number")
    return int(value)
