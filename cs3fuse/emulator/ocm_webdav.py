"""The WebDAV between two sites: PROPFIND answers, written and read.

Owns the little of RFC 4918 that is spoken, and the carelessness of the imitated reader: names are taken from the last segment of an
href as they come, sizes may be negative. Pure functions, safe everywhere.

Source: reva internal/http/services/owncloud/ocdav (writer), studio-b12/gowebdav (reader), as measured.
"""

import email.utils
import posixpath
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

_DAV = "{DAV:}"
_UNQUOTED = "/\t\n\r:@!$&'()*+,;=~"
"""What the writer leaves as it is in an href; of these TAB and newline spoil the answer for the reader."""


class BrokenAnswerError(ValueError):
    """An answer that the reader cannot understand."""


@dataclass(frozen=True)
class Entry:
    """One resource in a PROPFIND answer.

    Args:
        name: for a writer the displayname; a reader has it from the href in `children`, from the displayname otherwise.
        size: [bytes], of a file.
        mtime_s: seconds since the epoch.

    """

    name: str
    is_folder: bool
    size: int
    mtime_s: int


def href_of(path: str) -> str:
    """A path as an href."""
    return urllib.parse.quote(path, safe=_UNQUOTED)


def write_multistatus(entries: Iterable[tuple[str, Entry]]) -> bytes:
    """The body of a 207 answer; each entry with its href, the resource itself first."""
    parts = ['<?xml version="1.0" encoding="utf-8"?><d:multistatus xmlns:d="DAV:">']
    for href, entry in entries:
        length = "" if entry.is_folder else f"<d:getcontentlength>{entry.size}</d:getcontentlength>"
        kind = "<d:collection/>" if entry.is_folder else ""
        changed = email.utils.formatdate(entry.mtime_s, usegmt=True)
        parts.append(
            f"<d:response><d:href>{escape(href)}</d:href><d:propstat><d:prop><d:displayname>{escape(entry.name)}</d:displayname>"
            f"<d:resourcetype>{kind}</d:resourcetype>{length}<d:getetag>&quot;{entry.mtime_s}-{entry.size}&quot;</d:getetag>"
            f"<d:getlastmodified>{changed}</d:getlastmodified></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )
    return "".join([*parts, "</d:multistatus>"]).encode("utf-8", "surrogateescape")


def read_multistatus(body: bytes) -> list[tuple[str, Entry]]:
    """The entries of a 207 answer with the last segment of their hrefs, decoded. Raises: BrokenAnswerError."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - both sides are ours or a test's
        return [_read(response) for response in root.iter(f"{_DAV}response")]
    except (ET.ParseError, ValueError, TypeError) as error:
        raise BrokenAnswerError(str(error)) from error


def _read(response: ET.Element) -> tuple[str, Entry]:
    href = response.findtext(f"{_DAV}href") or ""
    if any(ord(character) < 0x20 for character in href):
        raise BrokenAnswerError("net/url: invalid control character in URL")
    prop = response.find(f"{_DAV}propstat/{_DAV}prop")
    if prop is None:
        raise BrokenAnswerError("a response without properties")
    last = posixpath.basename(urllib.parse.unquote(href).rstrip("/"))
    changed = prop.findtext(f"{_DAV}getlastmodified")
    entry = Entry(
        name=prop.findtext(f"{_DAV}displayname") or "",
        is_folder=prop.find(f"{_DAV}resourcetype/{_DAV}collection") is not None,
        size=int(prop.findtext(f"{_DAV}getcontentlength") or 0),
        mtime_s=int(email.utils.parsedate_to_datetime(changed).timestamp()) if changed else 0,
    )
    return last, entry
