"""A client whose gateway is a script."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator

import pytest

from cs3fuse.client.calls import Calls
from cs3fuse.client.connections import ConnectionPool
from cs3fuse.client.data import Cs3Data
from cs3fuse.client.locks import Cs3Locks
from cs3fuse.client.tree import Cs3Tree
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
