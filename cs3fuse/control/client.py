"""The client end of the control socket, for the command line.

Synchronous; one request per connection. Called by ``cli``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cs3fuse.control.protocol import decode, encode
from cs3fuse.errors import Cs3FuseError, UnavailableError


def request(
    path: Path,
    command: str,
    /,
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    timeout_s: float | None = 30,
    **arguments: object,
) -> dict[str, Any]:
    """Ask the daemon behind a socket, with any named ``arguments``. ``timeout_s`` bounds the wait for each line; None waits for ever.

    Raises: UnavailableError if no daemon answers there; Cs3FuseError with the daemon's sentence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(encode({"command": command, **arguments}))
            with connection.makefile("rb") as lines:
                for line in lines:
                    message = decode(line)
                    if "progress" in message:
                        if on_progress is not None:
                            on_progress(message["progress"])
                    elif "result" in message:
                        result: dict[str, Any] = message["result"]
                        return result
                    else:
                        raise Cs3FuseError(str(message.get("error")), call=command)
        except TimeoutError as error:
            raise UnavailableError("The cs3fuse daemon does not answer.", call=command) from error
        except OSError as error:
            raise UnavailableError(f"No cs3fuse daemon answers at {path}: {error.strerror}.", call=command) from error
    raise UnavailableError("The cs3fuse daemon closed the connection without an answer.", call=command)
