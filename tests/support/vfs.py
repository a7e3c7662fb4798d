"""A vfs without a kernel: the real core over the real client and an embedded gateway in a thread.

Used by tests/vfs. The gateway's storage can be changed behind the vfs's back, as another client would.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from pydantic import SecretStr

from cs3fuse.app import Mount
from cs3fuse.auth.secrets import FixedSecret
from cs3fuse.auth.tokens import Login, RenewingTokens
from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.config.options import MountOptions
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.mesh.view import open_view
from tests.support.processes import SECRETS


@asynccontextmanager
async def signed_in(emulator: EmulatorThread, user: str = "einstein") -> AsyncIterator[Cs3Client]:
    """A client of its own, such as another program on another machine has."""
    endpoint, _ = parse_source(f"cs3+plain://127.0.0.1:{emulator.grpc_port}")
    gateway = await Gateway.connect(endpoint)
    client = Cs3Client(gateway, RenewingTokens(gateway.authenticate, Login("basic", user, FixedSecret(SECRETS[user]))))
    try:
        yield client
    finally:
        with trio.move_on_after(5, shield=True):
            await client.aclose()


@asynccontextmanager
async def running_mount(
    emulator: EmulatorThread,
    folder: Path,
    user: str = "einstein",
    path: str = "",
    clock: Callable[[], float] = time.time,
    **options: object,
) -> AsyncIterator[Mount]:
    """Everything of a mount but the kernel; ended in order, unsent bytes stay in ``folder``. ``clock`` tells its locks the time."""
    source = f"cs3+plain://127.0.0.1:{emulator.grpc_port}{path}"
    settings = MountOptions(source=source, user=user, secret=SecretStr(SECRETS[user]), **{"view": "home", **options})  # type: ignore[arg-type]
    state, cache = folder / "state", folder / "cache"
    state.mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    async with signed_in(emulator, user) as client:
        view = await open_view(client, settings, state)
        mount = Mount(settings, folder / "mnt", view, await client.identity(), state, cache)
        mount.leases.state.now = clock
        async with trio.open_nursery() as services:
            await services.start(view.run)
            await services.start(mount.run)
            yield mount
            mount.vfs.files.close_all()
            services.cancel_scope.cancel()
