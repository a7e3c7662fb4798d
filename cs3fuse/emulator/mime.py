"""MIME types: by extension for Stat, by the first bytes for GET. Pure functions, safe everywhere."""

import functools
import mimetypes
import posixpath

FOLDER = "httpd/unix-directory"
UNKNOWN = "application/octet-stream"

_TEXT_BYTES = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)) - {0x7F})
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"\xff\xd8\xff", "image/jpeg"),
)


@functools.lru_cache(maxsize=1024)
def _by_extension(extension: str) -> str:
    return mimetypes.types_map.get(extension.lower(), UNKNOWN)


def of_name(name: str) -> str:
    """The type a file of this name is said to have."""
    return _by_extension(posixpath.splitext(name)[1])


def sniffed(head: bytes) -> str:
    """The type a GET announces, judged by the first 512 bytes as Go's http.DetectContentType does in the common cases."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "text/plain; charset=utf-8" if not head[:512].translate(None, _TEXT_BYTES) else UNKNOWN
