"""Reads that leave nothing behind: for O_DIRECT, and when the local disk is full.

Owns no state. ``cache.content`` calls ``read_uncached``. Safe as any other download.
"""

from __future__ import annotations

from typing import Final

from cs3fuse.cache.contents import Content
from cs3fuse.cache.transfers import Transfers
from cs3fuse.errors import BadDataError, NotFoundError, RangesUnsupportedError, UnsupportedError
from cs3fuse.model import ByteRange

WHOLE_BYTES: Final = 8 * 1024 * 1024
"""Up to this size a whole file is fetched into memory for a read of a part, where there are no ranges."""


class MemorySink:
    """Implements ports.Sink: collects one range."""

    def __init__(self, wanted: ByteRange) -> None:
        """Collect ``wanted``, to be kept small by the caller."""
        self._wanted = wanted
        self.data = bytearray()

    def write(self, offset: int, data: memoryview) -> None:
        """Append a piece. Raises: BadDataError for bytes out of order or beyond the range."""
        if offset != self._wanted.start + len(self.data) or offset + len(data) > self._wanted.stop:
            raise BadDataError(f"The server sent bytes {offset} to {offset + len(data)} which were not asked for.")
        self.data += data


async def read_uncached(services: Transfers, content: Content, wanted: ByteRange) -> bytes:
    """Fetch a range (or a small file) into memory.

    Raises: UnsupportedError: the storage has no ranges and the file is too large; StaleError; what the download raises.
    """
    capabilities = services.book.of(content.entry.storage_id)
    part = wanted
    if capabilities.ranges is False:
        if content.size > WHOLE_BYTES:
            raise UnsupportedError(
                f"{content.at} is on a storage that sends files only whole: it cannot be read without the cache folder."
            )
        part = ByteRange(0, content.size)
    services.counts["uncached_gets"] += 1
    sink = MemorySink(part)
    is_whole = len(part) == content.size
    try:
        fetched = await services.data.fetch(content.at, None if is_whole else part, sink, expected=content.entry)
    except RangesUnsupportedError:
        capabilities.ranges = False
        return await read_uncached(services, content, wanted)
    except NotFoundError as error:
        raise content.missing() from error
    if fetched.total != content.size or (fetched.etag is None and not await services.is_current(content)):
        raise content.gone()
    if len(sink.data) != len(part):
        raise BadDataError(f"The server sent {len(sink.data)} of {len(part)} bytes of {content.at}.", path=str(content.at))
    return bytes(sink.data[wanted.start - part.start : wanted.stop - part.start])
