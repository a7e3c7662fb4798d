"""A client whose gateway is a script."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cs3fuse.client.calls import Calls
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.data import Cs3Data
from cs3fuse.client.locks import Cs3Locks
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.ports import UploadSource
from tests.unit.client.fakes import FakeDataServer, FakeStub, FakeTokens


@pytest.fixture
def stub() -> FakeStub:
    return FakeStub()


@pytest.fixture
def tokens() -> FakeTokens:
    return FakeTokens()


@pytest.fixture
def calls(stub: FakeStub, tokens: FakeTokens) -> Calls:
    return Calls(stub, tokens)


@pytest.fixture
def tree(calls: Calls) -> Cs3Tree:
    return Cs3Tree(calls)


@pytest.fixture
def locks(calls: Calls, tree: Cs3Tree) -> Cs3Locks:
    return Cs3Locks(calls, tree)


@pytest.fixture
def pool() -> Iterator[ConnectionPool]:
    pool = ConnectionPool(tls=ssl.create_default_context(), is_plain_allowed=True, size=8)
    yield pool
    pool.close()


@pytest.fixture
async def data(calls: Calls, tree: Cs3Tree, pool: ConnectionPool) -> AsyncIterator[Cs3Data]:
    data = Cs3Data(calls, tree, pool)
    yield data
    data.close()


@pytest.fixture
def server() -> Iterator[FakeDataServer]:
    with FakeDataServer() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[[bytes], UploadSource]]:
    """Makes staged files."""
    opened: list[int] = []

    def make(content: bytes) -> UploadSource:
        path = tmp_path / f"staged-{len(opened)}"
        path.write_bytes(content)
        opened.append(os.open(path, os.O_RDONLY))
        return UploadSource(opened[-1], len(content), hashlib.sha1(content).hexdigest(), 5_000_000_007)

    yield make
    for descriptor in opened:
        os.close(descriptor)
