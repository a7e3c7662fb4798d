"""The words of the control socket: one JSON object per line in both directions.

Pure; shared by ``control.server`` and ``control.client``. A request is ``{"command": NAME, ...arguments}``. The answer is any
number of ``{"progress": {...}}`` lines and then exactly one ``{"result": {...}}`` or ``{"error": SENTENCE}``.
"""

from __future__ import annotations

import json
from typing import Any

MAX_LINE_BYTES = 1 << 20


def encode(message: dict[str, Any]) -> bytes:
    """One message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """A line as a message. Raises: ValueError if it is not a JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise TypeError("not a JSON object")
    return message
