"""Content stores for tests: opened over a fake server, and ways to wait for what threads do without sleeping."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from cs3fuse.cache.content import ContentStore
from cs3fuse.capabilities import CapabilityBook
from tests.unit.cache.fakes import FakeServer

MIB = 1024 * 1024


@asynccontextmanager
async def opened(folder: Path, server: FakeServer, *, book: CapabilityBook | None = None, **options):
    """A running store; its downloads are cancelled at the end."""
    options = {"budget_bytes": 1 << 30, "min_free_bytes": 0, **options}
    store = ContentStore(folder, server, server, book or CapabilityBook(), **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield store
        nursery.cancel_scope.cancel()


def some(size: int, seed: int = 1) -> bytes:
    """Seeded bytes."""
    return random.Random(seed).randbytes(size)


def knowing(*, ranges: bool) -> CapabilityBook:
    """A book that knows whether the fake's storage serves ranges."""
    book = CapabilityBook()
    book.of("storage").ranges = ranges
    return book


async def until(condition: Callable[[], object]) -> None:
    """Wait until threads have brought something about; the test's own time-out ends it if they do not."""
    while not condition():
        await trio.testing.wait_all_tasks_blocked(0.001)


def paused(store: ContentStore) -> bool:
    """Whether a transfer waits for its readers."""
    return any(transfer.sink.is_paused for transfer in store._services.active)
