"""Words to systemd: sd_notify(3) without a library.

Called by ``app``. Does nothing where no supervisor asked for it.
"""

from __future__ import annotations

import os
import socket


def notify(message: str) -> None:
    """Send ``message`` (such as "READY=1") to the supervisor named by NOTIFY_SOCKET; failures are ignored, as sd_notify(3) says."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract namespace, unix(7)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(address)
            connection.sendall(message.encode())
    except OSError:
        return
