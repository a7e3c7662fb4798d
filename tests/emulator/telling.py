"""What is telling about an answer: turns a fact into flat fields that two servers can be compared by.

Owns the rules of what is random (ids, etags, times, hosts) and what is not said at all (durations, notes). A random value is
replaced by its shape, and by the field it is equal to: `after.etag: <etag = before.etag>` says that the etag did not change, so
that ids kept and etags changed are compared although no id and no etag is the same on two servers. Pure, safe everywhere.
"""

import base64
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.emulator.recorded import Fact

ABSENT = "(absent)"
"""Stands for a field that one side does not have."""

UNSAID = frozenset({"ms", "note", "load", "topic", "expose", "header_bytes", "stat_ms", "waited_s", "bytes", "bytes_per_entry"})
"""Keys that tell nothing about the server: durations, sizes of messages, the notes of who measured."""

UNORDERED = frozenset(
    {
        "protocols",
        "names",
        "listed",
        "entries",
        "items",
        "trash",
        "spaces",
        "shares",
        "mounts",
        "state",
        "types",
        "list_shows_status",
    }
)
"""Keys of lists whose order is random on the real servers."""

FIXED_SECONDS = frozenset({"1600000000"})
"""The times that the probes set themselves."""

BROWSER_HEADERS = frozenset(
    {
        "content-security-policy",
        "referrer-policy",
        "strict-transport-security",
        "vary",
        "x-content-type-options",
        "x-frame-options",
        "x-permitted-cross-domain-policies",
        "x-robots-tag",
        "x-xss-protection",
    }
)
"""What OpenCloud's web proxy tells browsers on every answer; the same whatever was asked, so it tells nothing."""

_NOW = re.compile(r"\b1[789]\d{8}\b")
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_NOW_MS = re.compile(r"\b1[789]\d{11}\b")
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_HTTP_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d (GMT|UTC|\+0000)")
_SERVER = re.compile(r"https?://(localhost|127\.0\.0\.1):\d+")
_PROBE_FOLDER = re.compile(r"probe-<now>|probe-\d+")
_DISK_ERROR = re.compile(r"\b(readdirent|readlink|symlink|lstat)\b.*", re.DOTALL)
_TWICE = re.compile(r"(?P<id>[0-9a-f-]{16,}), (?P=id)")
_RANDOM = {
    "uuid": re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "etag": re.compile(r'"[0-9a-f]{32}"'),
    "boundary": re.compile(r"(?<=boundary=)[0-9a-f]{60}"),
}
_DISK_NUMBERS = frozenset({"total", "used", "quotaMaxBytes", "remainingBytes"})
_LARGE = 1 << 30

Leaf = str | int | float | bool | None


def telling_fields(fact: Fact) -> dict[str, Leaf]:
    """The fields of a fact by dotted name, without what is random and what says nothing."""
    fields = dict(sorted(_flatten("", _tidy("", fact))))
    seen: dict[str, str] = {}
    return {name: _name_random_values(name, value, seen) for name, value in fields.items()}


def _tidy(key: str, value: Any) -> Any:
    """Unpack opaques, drop what is unsaid, mask times and hosts, order what has no order."""
    if isinstance(value, dict):
        if set(value) == {"map"}:
            value = value["map"]
        if "decoder" in value:
            return _tidy(key, _decoded(value))
        if value and all(_RANDOM["uuid"].fullmatch(name) for name in value):
            # Permissions by user id: the id is a random value, not the name of a field.
            return _tidy("entries", [{"id": name, "has": item} for name, item in value.items()])
        unsaid = UNSAID
        if value.get("status") == "broken":
            unsaid |= {"len", "sha", "head"}  # of this client's own error text
        if "multipart/" in str(value.get("headers", {})):
            unsaid |= {"sha"}  # the boundary is random
        tidied = {name: _tidy(name, item) for name, item in value.items() if name not in unsaid}
        if "RESOURCE_TYPE_CONTAINER" in (tidied.get("type"), tidied.get("mimeType")) and tidied.get("size") == "4096":
            # A folder's own blocks on the disk below Reva: another number on another file system.
            tidied["size"] = "<size of a folder on disk>"
        return tidied
    if isinstance(value, list):
        items = [_tidy("" if isinstance(item, list) else key, item) for item in value]
        return sorted(items, key=_order) if key in UNORDERED else items
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        with contextlib.suppress(json.JSONDecodeError):
            return _tidy(key, json.loads(value))
    return _mask(key, value)


def _decoded(entry: dict[str, str]) -> Any:
    """One entry of a CS3 opaque: text, or what the JSON in it says."""
    text = base64.b64decode(entry.get("value", "")).decode()
    return json.loads(text) if entry["decoder"] == "json" else text


def _mask(key: str, value: Leaf) -> Leaf:
    if key in _DISK_NUMBERS and str(value).isdecimal() and int(str(value)) > _LARGE:
        return "<bytes of the disk>"
    if key == "nanos":
        return value if value == 123456789 else "<nanos>"
    if key in {"seconds", "mtime", "exp", "iat", "mtime_after"} and str(value) not in FIXED_SECONDS and str(value).isdecimal():
        return "<now in ms>" if int(str(value)) > 1e12 else "<now>"
    if key.lower() == "x-request-id":
        return "<id> twice" if _TWICE.fullmatch(str(value)) else "<id>"
    if isinstance(value, int) and _NOW.fullmatch(str(value)):
        return "<now>"
    if not isinstance(value, str) or key == "quota.remaining":
        return value
    for pattern, name in (
        (_JWT, "<transfer-token>"),
        (_ISO, "<time>"),
        (_HTTP_DATE, r"<date \2>"),
        (_SERVER, "<server>"),
        (_DISK_ERROR, "<error of the disk>"),
        (_NOW_MS, "<now in ms>"),
        (_NOW, "<now>"),
        (_PROBE_FOLDER, "probe-<n>"),
    ):
        value = pattern.sub(name, value)
    return value.removeprefix("CODE_") if key in {"code", "stat", "init", "exists", "spaces"} else value


def _order(item: Any) -> str:
    """A sort key that random values have no part in; a space sorts by its kind and name."""
    if isinstance(item, dict) and "spaceType" in item:
        item = [item["spaceType"], item.get("name"), item]
    text = json.dumps(item, sort_keys=True, ensure_ascii=False).replace('\\"', '"')
    for kind, pattern in _RANDOM.items():
        text = pattern.sub(f"<{kind}>", text)
    return text


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, dict) and (value or not prefix):
        is_headers = prefix.rpartition(".")[2] in {"headers", "hdr"}
        for key, item in value.items():
            name = key.lower() if is_headers else key
            if not (is_headers and name in BROWSER_HEADERS):
                yield from _flatten(f"{prefix}.{name}" if prefix else name, item)
    elif isinstance(value, list) and value:
        yield f"{prefix}.length", len(value)
        for number, item in enumerate(value):
            yield from _flatten(f"{prefix}[{number}]", item)
    else:
        yield prefix, {"{}": "{}", "[]": "[]"}.get(str(value), value)


def _name_random_values(name: str, value: Leaf, seen: dict[str, str]) -> Leaf:
    """Replace random parts by their kind and by the first field that has the same value."""
    if not isinstance(value, str):
        return value

    def shape(kind: str) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            first = seen.setdefault(match.group(), name)
            return f"<{kind}>" if first == name else f"<{kind} = {first}>"

        return replaced

    for kind, pattern in _RANDOM.items():
        value = pattern.sub(shape(kind), value)
    return value
