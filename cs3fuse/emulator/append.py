"""The staged bytes of an upload. Base of every sink; used by one request at a time, on the server's loop."""

import os
from pathlib import Path


class AppendFile:
    """The staged bytes of an upload, opened for appending."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises: OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        """Close; closing twice is no error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
