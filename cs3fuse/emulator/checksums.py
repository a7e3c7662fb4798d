"""Checksums of files: at once for small ones, in a thread that follows the upload for large ones.

Owns the hashing. Called by `profile_nodes` and the sinks of `opencloud_data` and `profile_eos`. A `RollingChecksums`
is fed on the server's loop and hashes in a thread of its own that touches nothing but the file.
"""

import asyncio
import hashlib
import threading
import zlib
from pathlib import Path
from typing import Any

from cs3fuse.emulator.proto import adler32_hex

_BLOCK = 1 << 20
_POLL_S = 0.05
MD5_LIMIT = 64 << 20
"""Larger files have no md5 [bytes]: it would cost more time than receiving them, and no client asks for it."""


class Hasher:
    """Several checksums of one stream of bytes."""

    def __init__(self, names: tuple[str, ...], size: int, required: str = "") -> None:
        wanted = [name for name in names if name != "adler32" and (name in {"sha1", required} or size <= MD5_LIMIT)]
        self._hashes: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}
        self._adler: int | None = 1 if "adler32" in names else None

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        for digest in self._hashes.values():
            digest.update(data)
        if self._adler is not None:
            self._adler = zlib.adler32(data, self._adler)

    def result(self) -> dict[str, str]:
        """The sums by name, hexadecimal."""
        sums = {name: str(digest.hexdigest()) for name, digest in self._hashes.items()}
        if self._adler is not None:
            sums["adler32"] = adler32_hex(self._adler)
        return sums


def compute_checksums(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Checksums of a whole file. Raises: OSError."""
    if not path.stat().st_size:
        return Hasher(names, 0).result()
    with path.open("rb", buffering=0) as file:
        hasher = Hasher(names, path.stat().st_size)
        view = memoryview(bytearray(_BLOCK))
        while count := file.readinto(view):
            hasher.update(view[:count])
    return hasher.result()


class RollingChecksums:
    """Checksums of a file that is still being written, up to a limit [bytes]."""

    def __init__(self, path: Path, names: tuple[str, ...], limit: int, required: str = "") -> None:
        self._path = path
        self._hasher = Hasher(names, limit, required)
        self._limit = limit
        self._more = threading.Event()
        self._ended = threading.Event()
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def feed(self) -> None:
        """More bytes are in the file."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cs3-emulator-checksums", daemon=True)
            self._thread.start()
        self._more.set()

    def stop(self) -> None:
        """No more bytes will come and nobody wants the result."""
        self._ended.set()
        self._more.set()

    async def result(self) -> dict[str, str]:
        """The sums, once the thread has caught up. Raises: OSError."""
        self.feed()
        self.stop()
        assert self._thread is not None
        await asyncio.to_thread(self._thread.join)
        if self._failure is not None:
            raise self._failure
        return self._hasher.result()

    def _run(self) -> None:
        try:
            self._follow()
        except OSError as error:
            self._failure = error

    def _follow(self) -> None:
        view, left = memoryview(bytearray(_BLOCK)), self._limit
        with self._path.open("rb", buffering=0) as file:
            while left:
                # Read the flag first: bytes written before it was set are seen by the read after it.
                ended = self._ended.is_set()
                count = file.readinto(view[: min(_BLOCK, left)])
                if count:
                    self._hasher.update(view[:count])
                    left -= count
                elif ended:
                    return
                else:
                    self._more.wait(_POLL_S)
                    self._more.clear()
