"""The real client against the emulated gateways, for the integration tests of the client."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cs3fuse.auth.secrets import FixedSecret
from cs3fuse.auth.tokens import Login, RenewingTokens
from cs3fuse.client.channel import Endpoint
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.emulator.config import DEFAULT_USERS, EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.model import Entry, Location, Lock
from cs3fuse.ports import ExpectAbsent, Expectation, UploadSource


def only(*profiles: str) -> pytest.MarkDecorator:
    """The test is about a habit of these profiles."""
    return pytest.mark.parametrize("gateway", profiles, indirect=True)


@contextmanager
def emulated(profile: str, root: Path) -> Iterator[EmulatorThread]:
    """A gateway of a profile over an empty folder; seeded."""
    with EmulatorThread(EmulatorConfig(root=root, profile=profile, seed=7)) as emulator:
        yield emulator


@asynccontextmanager
async def signed_in(emulator: EmulatorThread, user: str = "einstein") -> AsyncIterator[Cs3Client]:
    """A client of a user, closed at the end."""
    gateway = await Gateway.connect(Endpoint("127.0.0.1", emulator.grpc_port, is_tls=False))
    login = Login("basic", user, FixedSecret(DEFAULT_USERS[user]))
    client = Cs3Client(gateway, RenewingTokens(gateway.authenticate, login))
    try:
        yield client
    finally:
        await client.aclose()


@dataclass
class Bench:
    """A signed-in client and a fresh folder in its home."""

    emulator: EmulatorThread
    client: Cs3Client
    folder: Location
    mtime_ns: int = 1_700_000_000_123_456_789
    _descriptors: list[int] = field(default_factory=list)

    @property
    def profile(self) -> str:
        return self.emulator.config.profile

    def source(self, content: bytes, *, sha1: str = "") -> UploadSource:
        """A frozen file with this content, later than the one before: OpenCloud's etag is a function of the node and its time."""
        self.mtime_ns += 1
        descriptor = os.memfd_create("frozen")
        self._descriptors.append(descriptor)
        os.write(descriptor, content)
        return UploadSource(descriptor, len(content), sha1 or hashlib.sha1(content).hexdigest(), self.mtime_ns)

    def close(self) -> None:
        """Close the frozen files."""
        for descriptor in self._descriptors:
            os.close(descriptor)

    async def put(self, name: str, content: bytes, expect: Expectation | None = None, lock: Lock | None = None) -> Entry:
        """Upload and Stat."""
        at = self.folder.child(name)
        await self.client.data.upload(at, self.source(content), expect=expect or ExpectAbsent(), lock=lock)
        return await self.client.tree.stat(at)

    async def names(self) -> set[str]:
        return {entry.name for entry in await self.client.tree.list(self.folder)}

    def lock(self, lock_id: str = "lock-1", app_name: str = "cs3fuse-test", life_s: float = 300.0) -> Lock:
        return Lock(lock_id, app_name, time.time() + life_s)


@asynccontextmanager
async def bench(emulator: EmulatorThread) -> AsyncIterator[Bench]:
    """A bench with a folder of its own."""
    async with signed_in(emulator) as client:
        folder = Location(await client.home(), f"bench-{os.urandom(4).hex()}")
        await client.tree.mkdir(folder)
        bench = Bench(emulator, client, folder)
        try:
            yield bench
        finally:
            bench.close()
