"""Where to fetch a file: answers of InitiateFileDownload and InitiateFileUpload, kept for a short time where they may be.

Owns the choice of a protocol and the store of download tickets. Called by ``client.data`` from the trio thread. An upload ticket is used
once, ever: a second PUT on one token appends to what the first left behind (Reva, OpenCloud).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from cs3fuse.client.errors import printable
from cs3fuse.errors import BadDataError, UnsupportedError
from cs3fuse.model import Location

# Transfer tokens live for 100 minutes and more, but name a path: the shorter a ticket is kept, the less often it is a stranger's file.
_KEEP_S = 60.0
_KEEP_COUNT = 1024
# In the order of preference; TUS is never used: Reva's drops empty files and says 204.
_PROTOCOLS = ("simple", "spaces")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One address for one transfer, or for several downloads. ``token`` "" where the address needs none or contains it."""

    url: str
    token: str
    protocol: str

    def __repr__(self) -> str:
        """Without the address, which may contain the token."""
        return f"Ticket({self.protocol})"


def data_headers(token: str, ticket: Ticket) -> dict[str, str]:
    """The headers with the two tokens: Reva's data provider checks the one, its datagateway the other."""
    headers = {"x-access-token": token, "User-Agent": "cs3fuse"}
    if ticket.token:
        headers["X-Reva-Transfer"] = ticket.token
    return headers


def choose_download(protocols: Sequence[Any], path: str) -> Ticket:
    """The usable one of the offered download protocols. Raises: UnsupportedError."""
    return _choose([(entry.protocol, entry.download_endpoint, entry.token) for entry in protocols], path)


def choose_upload(protocols: Sequence[Any], path: str) -> Ticket:
    """The usable one of the offered upload protocols. Raises: UnsupportedError."""
    return _choose([(entry.protocol, entry.upload_endpoint, entry.token) for entry in protocols], path)


def _choose(offers: list[tuple[str, str, str]], path: str) -> Ticket:
    """By name; offers without a name are useless ones that public links put first (Reva publicstorageprovider)."""
    for protocol in _PROTOCOLS:
        for name, url, token in offers:
            if name == protocol and url:
                if not (token.isascii() and token.isprintable()):
                    raise BadDataError(f"The server sent an unusable transfer token for {path}.")
                return Ticket(url, token, name)
    raise UnsupportedError(
        f"The server offers no way to transfer {path} that is known here: {', '.join(printable(offer[0], limit=40) for offer in offers) or 'none'}."
    )


class DownloadTickets:
    """Download tickets by location: many ranges of one file cost one initiation."""

    def __init__(self, initiate: Callable[[Location], Awaitable[Ticket]]) -> None:
        self._initiate = initiate
        self._kept: OrderedDict[Location, tuple[Ticket, float]] = OrderedDict()
        self._pending: dict[Location, trio.Event] = {}

    async def get(self, at: Location) -> tuple[Ticket, bool]:
        """A ticket, and whether it was used before. One initiation at a time per location; the others wait for it.

        Cancellation: whoever waits next initiates.
        """
        while True:
            kept = self._kept.get(at)
            if kept is not None and trio.current_time() - kept[1] < _KEEP_S:
                return kept[0], True
            pending = self._pending.get(at)
            if pending is None:
                break
            await pending.wait()
        done = self._pending[at] = trio.Event()
        try:
            started = trio.current_time()
            ticket = await self._initiate(at)
            self._kept[at] = (ticket, started)
            self._kept.move_to_end(at)
            while len(self._kept) > _KEEP_COUNT:
                self._kept.popitem(last=False)
            return ticket, False
        finally:
            del self._pending[at]
            done.set()

    def drop(self, at: Location, ticket: Ticket) -> None:
        """Forget a ticket that was refused, unless it was replaced meanwhile."""
        kept = self._kept.get(at)
        if kept is not None and kept[0] is ticket:
            del self._kept[at]
