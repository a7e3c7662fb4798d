"""The composition root of a mount: builds every part, wires them, runs them, ends them in order.

Owns the nursery tree. ``services`` (content store, commits, leases, control socket) surrounds ``serving`` (pyfuse3's own), so
that everything a request relies on outlives the request. Called by ``cli`` only, once per process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import trio

from cs3fuse import __version__
from cs3fuse.auth.secrets import Secret
from cs3fuse.auth.tokens import Login, RenewingTokens
from cs3fuse.cache.content import ContentStore
from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.commit.engine import CommitEngine, EngineOptions
from cs3fuse.config import folders
from cs3fuse.config.options import MountOptions
from cs3fuse.control.server import ControlServer, Progress
from cs3fuse.errors import Cs3FuseError
from cs3fuse.kernel import session
from cs3fuse.kernel.operations import Operations
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.mesh.view import open_view
from cs3fuse.model import Identity, Location
from cs3fuse.observability.logging import LogStyle, configure
from cs3fuse.observability.notify import notify
from cs3fuse.vfs.attributes import Owner
from cs3fuse.vfs.filesystem import Vfs
from cs3fuse.vfs.inodes import InodeTable
from cs3fuse.vfs.state import VfsOptions, VfsState

log = structlog.get_logger(__name__)

# pyfuse3 runs this many handlers at once; more than data_slots, so that waiting reads leave room for stat and lookup.
_SPARE_TASKS = 48
_PROGRESS_PERIOD_S = 0.2
_CLOSE_S = 5.0
# An unreachable server must not keep the mount from starting; locks that are not refreshed run out by themselves.
_OLD_LOCKS_S = 10.0
_OLD_LOCKS_PERIOD_S = 10.0


def run_mount(options: MountOptions, mount_point: Path, secret: Secret, *, ready_fd: int | None) -> None:
    """Mount and serve until unmounted or told to stop. ``ready_fd`` gets the word "ready" when the mount answers.

    Raises: Cs3FuseError with a sentence if it cannot be mounted.
    """
    name = folders.mount_name(options.source, options.user, mount_point)
    state_folder = folders.make_private(options.state_folder or folders.default_state_folder(name))
    cache_folder = folders.make_private(options.cache_folder or folders.default_cache_folder(name))
    log_file = options.log_file or (state_folder / "log" if ready_fd is not None else None)
    configure(options.log_level, LogStyle.JSON if options.log_json else LogStyle.CONSOLE, log_file=log_file)
    try:
        trio.run(_run, options, mount_point, secret, state_folder, cache_folder, ready_fd)
    except* Cs3FuseError as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[Cs3FuseError]) -> Cs3FuseError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


class Mount:
    """The parts of one running mount, and what the control socket can ask of them."""

    def __init__(
        self,
        options: MountOptions,
        mount_point: Path,
        client: Cs3Client,
        identity: Identity,
        root: Location,
        state_folder: Path,
        cache_folder: Path,
    ) -> None:
        self._options = options
        self._mount_point = mount_point
        self._identity = identity
        self._started = time.time()
        self.book = CapabilityBook()
        half = options.attribute_timeout_s / 2  # the kernel keeps attributes for the other half: together the promised time-out
        self.metadata = MetadataCache(client.tree, attr_ttl_s=half, negative_ttl_s=half, listing_ttl_s=half, book=self.book)
        self.content = ContentStore(
            cache_folder,
            client.data,
            client.tree,
            self.book,
            budget_bytes=options.cache_bytes,
            min_free_bytes=options.cache_min_free_bytes,
        )
        self.leases = LeaseManager(
            client.locks,
            self.book,
            app_name=f"cs3fuse-{os.uname().nodename}-{_instance(state_folder)}",
            policy=options.locks,
            ttl_s=options.lock_ttl_s,
            state_file=state_folder / "leases.json",
        )
        self.commits = CommitEngine(
            client.tree,
            client.data,
            self.content,
            self.book,
            state_folder=state_folder,
            identity=f"{options.source.partition('://')[2].partition('/')[0]}|{identity.idp}|{identity.opaque_id}",
            username=identity.username,
            options=EngineOptions(mode=options.commit, workers=options.upload_workers, lock_of=self.leases.lock_at),
        )
        self.vfs = Vfs(
            VfsState(
                inodes=InodeTable(root.root),
                tree=client.tree,
                metadata=self.metadata,
                content=self.content,
                commits=self.commits,
                leases=self.leases,
                book=self.book,
                options=VfsOptions(Owner(os.getuid(), os.getgid()), attribute_valid_s=half, is_read_only=options.read_only),
                wall_clock_ns=time.time_ns,
            )
        )
        self.operations = Operations(self.vfs, request_deadline_s=options.request_deadline_s, data_slots=options.data_slots)
        self.root = root

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the services until cancelled; started when the journal of an earlier run has been replayed.

        Raises: LocalStorageError: another daemon has the cache or state folder.
        """
        async with trio.open_nursery() as services:
            await services.start(self.content.run)
            await services.start(self.commits.run)
            await services.start(self.leases.run)
            with trio.move_on_after(_OLD_LOCKS_S):
                await self.leases.take_over_stale()
            report = await self.commits.recover()
            log.info("journal_replayed", report=str(report))
            services.start_soon(self._release_old_locks)
            task_status.started()

    async def _release_old_locks(self) -> None:
        """Locks that a killed daemon left are released once nothing of theirs is unsent."""
        while self.leases.stale():
            await self.leases.release_stale(is_needed=lambda at: self.commits.session_at(at) is not None)
            await trio.sleep(_OLD_LOCKS_PERIOD_S)

    # --- what the control socket answers -----------------------------------------------------------------------------

    async def ping(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Who is there."""
        return {"pid": os.getpid(), "version": __version__}

    async def status(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Everything that ``cs3fuse status`` shows."""
        identity = self._identity
        return {
            "mount_point": str(self._mount_point),
            "source": self._options.source,
            "root": str(self.root),
            "identity": {"user": identity.username, "name": identity.display_name, "id": identity.opaque_id, "idp": identity.idp},
            "storages": self.book.as_dict(),
            "cache": self.content.usage(),
            "metadata": self.metadata.statistics(),
            "open_files": self.vfs.files.open_count,
            "leases": len(self.leases.held()),
            "unsent": len(self.commits.queue()),
            "requests": sum(self.operations.requests.values()),
            "failures": dict(self.operations.failures),
            "commit": self._options.commit,
            "uptime_s": round(time.time() - self._started),
            "pid": os.getpid(),
            "version": __version__,
        }

    async def flush(self, _request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Wait until nothing is unsent; says how many files are left if the server does not take them."""
        total = len(self.commits.queue())
        async with trio.open_nursery() as nursery:

            async def report() -> None:
                while True:
                    await progress({"done": max(0, total - len(self.commits.queue())), "total": total})
                    await trio.sleep(_PROGRESS_PERIOD_S)

            if total:
                nursery.start_soon(report)
                await self.commits.flush(None)
            nursery.cancel_scope.cancel()
        return {"left": len(self.commits.queue())}


def _instance(state_folder: Path) -> str:
    """This mount's own mark in the names of its locks: kept, so that locks of a crashed run are known again."""
    path = state_folder / "instance"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        mark = uuid.uuid4().hex[:8]
        path.write_text(mark, encoding="ascii")
        return mark


async def _run(
    options: MountOptions, mount_point: Path, secret: Secret, state_folder: Path, cache_folder: Path, ready_fd: int | None
) -> None:
    async with _connected(options, secret) as client:
        identity = await client.identity()
        root = await open_view(client, options.source)
        mount = Mount(options, mount_point, client, identity, root, state_folder, cache_folder)
        socket_path = folders.socket_path(mount_point)
        folders.make_private(socket_path.parent)
        async with trio.open_nursery() as services:
            await services.start(mount.run)
            control = ControlServer(socket_path, {"ping": mount.ping, "status": mount.status, "flush": mount.flush})
            await services.start(control.run)
            await _serve(mount, mount_point, options, ready_fd)
            services.cancel_scope.cancel()


@asynccontextmanager
async def _connected(options: MountOptions, secret: Secret) -> AsyncIterator[Cs3Client]:
    """A client that signs in on its first call; closed at the end."""
    endpoint, _path = parse_source(options.source, ca_file=options.tls_ca, is_insecure=options.tls_insecure)
    gateway = await Gateway.connect(endpoint)
    client = Cs3Client(gateway, RenewingTokens(gateway.authenticate, Login(options.auth, options.user, secret)))
    try:
        yield client
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True):
            await client.aclose()


async def _serve(mount: Mount, mount_point: Path, options: MountOptions, ready_fd: int | None) -> None:
    """Attach to the kernel, serve, drain. The file system stays mounted (dead) if this ends by a fault of ours."""
    session.attach(
        mount.operations, mount_point, source=options.source, allow_other=options.allow_other, is_read_only=options.read_only
    )
    is_orderly = False
    try:
        async with trio.open_nursery() as serving:
            serving.start_soon(_stop_on_signal)
            serving.start_soon(_announce, mount_point, ready_fd)
            await session.serve(max_tasks=options.data_slots + _SPARE_TASKS)
            serving.cancel_scope.cancel()
        await _drain(mount, options.drain_timeout_s)
        is_orderly = True
    finally:
        session.detach(unmount=is_orderly)


async def _announce(mount_point: Path, ready_fd: int | None) -> None:
    """Tell whoever waits, once the mount has answered a question of our own."""
    await trio.to_thread.run_sync(os.stat, mount_point)
    notify("READY=1")
    if ready_fd is not None:
        os.write(ready_fd, b"ready")
        os.close(ready_fd)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # nobody reads our stderr any more
    log.info("mounted", mount_point=str(mount_point))


async def _stop_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name)
            notify("STOPPING=1")
            session.stop()
            return


async def _drain(mount: Mount, limit_s: float) -> None:
    """Send what is unsent, within a bound; the rest stays in the journal."""
    mount.vfs.files.close_all()
    with trio.move_on_after(limit_s):
        await mount.commits.flush(None)
    left = len(mount.commits.queue())
    if left:
        log.warning("unsent_left", files=left, reason="They stay in the journal and are sent at the next mount.")
