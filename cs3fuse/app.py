"""The composition root of a mount: builds every part, wires them, runs them, ends them in order.

Owns the nursery tree. ``services`` (content store, commits, leases, control socket) surrounds ``serving`` (pyfuse3's own), so
that everything a request relies on outlives the request. Called by ``cli`` only, once per process.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from pathlib import Path

import structlog
import trio

from cs3fuse.auth.secrets import Secret
from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.commit.engine import EngineOptions
from cs3fuse.config import folders
from cs3fuse.config.options import MountOptions
from cs3fuse.control.commands import commands
from cs3fuse.control.parts import Parts
from cs3fuse.control.server import ControlServer
from cs3fuse.core import About, Core, connected
from cs3fuse.errors import Cs3FuseError, first_failure
from cs3fuse.history.view import with_history
from cs3fuse.kernel import session
from cs3fuse.kernel.notifier import Notifier
from cs3fuse.kernel.operations import Operations
from cs3fuse.mesh.view import View, open_view
from cs3fuse.model import Identity
from cs3fuse.observability.logging import LogStyle, configure
from cs3fuse.observability.notify import notify
from cs3fuse.vfs.attributes import Owner
from cs3fuse.vfs.filesystem import Vfs
from cs3fuse.vfs.inodes import InodeTable
from cs3fuse.vfs.state import VfsOptions, VfsState

log = structlog.get_logger(__name__)

# pyfuse3 runs this many handlers at once; more than data_slots, so that waiting reads leave room for stat and lookup.
_SPARE_TASKS = 48
_OBJECTS_BEFORE_COLLECTION = 10_000
_NOTIFIER_STOP_S = 3.0
# A lock that cannot be released in this time runs out by itself, and the next mount knows it as its own.
_RELEASE_S = 20.0


def run_mount(options: MountOptions, mount_point: Path, secret: Secret, *, ready_fd: int | None) -> int:
    """Mount and serve until unmounted or told to stop. ``ready_fd`` gets the word "ready" when the mount answers.

    Returns: how many files stay in the journal because the server does not have them.

    Raises: Cs3FuseError with a sentence if it cannot be mounted.
    """
    name = folders.mount_name(options.source, options.user, mount_point)
    state_folder = folders.make_private(options.state_folder or folders.default_state_folder(name))
    cache_folder = folders.make_private(options.cache_folder or folders.default_cache_folder(name))
    log_file = options.log_file or (state_folder / "log" if ready_fd is not None else None)
    configure(options.log_level, LogStyle.JSON if options.log_json else LogStyle.CONSOLE, log_file=log_file)
    try:
        return trio.run(_run, options, mount_point, secret, state_folder, cache_folder, ready_fd)
    except* Cs3FuseError as group:
        raise first_failure(group) from group
    raise AssertionError("trio.run returns or raises")


class Mount:
    """The parts of one running mount; everything but the kernel's session, which comes when they run."""

    def __init__(
        self,
        options: MountOptions,
        mount_point: Path,
        view: View,
        identity: Identity,
        state_folder: Path,
        cache_folder: Path,
    ) -> None:
        engine = EngineOptions(
            mode=options.commit,
            workers=options.upload_workers,
            on_server=lambda at, entry: self.metadata.put(at, entry),  # noqa: PLW0108 the cache is made below
            names_in=lambda at: self.metadata.names_in(at),  # noqa: PLW0108 the same
        )
        history = with_history(view)
        core = Core(options, view, identity, state_folder, cache_folder, engine_options=engine)
        self._core = core
        self.book, self.content, self.leases, self.commits = core.book, core.content, core.leases, core.commits
        history.book = self.book
        About.of(options, mount_point, core.identity).write(state_folder)
        half = options.attribute_timeout_s / 2  # the kernel keeps attributes for the other half: together the promised time-out
        self.metadata = MetadataCache(view.tree, attr_ttl_s=half, negative_ttl_s=half, listing_ttl_s=half, book=self.book)
        self.content.follow(self.metadata.peek_list)
        self.notifier = Notifier()
        self.vfs = Vfs(
            VfsState(
                inodes=InodeTable(view.top.root),
                tree=view.tree,
                metadata=self.metadata,
                content=self.content,
                commits=self.commits,
                leases=self.leases,
                book=self.book,
                options=VfsOptions(
                    Owner(os.getuid(), os.getgid()),
                    attribute_valid_s=half,
                    is_read_only=options.read_only,
                    on_foreign_lock=options.on_foreign_lock,
                    foreign_lock_wait_s=options.foreign_lock_wait_s,
                ),
                wall_clock_ns=time.time_ns,
                notifier=self.notifier,
                shares_of=view.given.text_of,
            )
        )
        self.operations = Operations(self.vfs, request_deadline_s=options.request_deadline_s, data_slots=options.data_slots)
        self.view = view
        self.root = view.top
        self.draining = trio.CancelScope()
        """Around the last wait for unsent bytes: cancelled when the person does not want to wait."""
        self.parts = Parts(
            options=options,
            mount_point=mount_point,
            state_folder=state_folder,
            identity=identity,
            view=view,
            tree=view.tree,
            locks=view.locks,
            book=self.book,
            metadata=self.metadata,
            content=self.content,
            commits=self.commits,
            leases=self.leases,
            vfs=self.vfs,
            requests=self.operations,
            kernel=self.notifier,
            sent_bytes=lambda: view.sent_bytes,
            leave=self.draining.cancel,
            started_at=time.time(),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the services until cancelled; started when the journal of an earlier run has been replayed.

        Raises: LocalStorageError: another daemon has the cache or state folder.
        """
        await self._core.run(task_status=task_status)

    async def drain(self, limit_s: float) -> int:
        """After the last request: send what is unsent and release the locks, within a bound. Returns: files that are left.

        What is left stays in the journal. Cancellation: as ``limit_s``.
        """
        self.vfs.files.close_all()
        self.draining.deadline = trio.current_time() + limit_s
        with self.draining:
            await self.commits.flush(None)
        with trio.move_on_after(_RELEASE_S):
            await self.leases.drain()
        left = len(self.commits.queue())
        if left:
            log.warning("unsent_left", files=left, reason="They stay in the journal and are sent at the next mount.")
        return left


async def _run(
    options: MountOptions, mount_point: Path, secret: Secret, state_folder: Path, cache_folder: Path, ready_fd: int | None
) -> int:
    async with connected(options, secret) as client:
        identity = await client.identity()
        view = await open_view(client, options, state_folder)
        mount = Mount(options, mount_point, view, identity, state_folder, cache_folder)
        socket_path = folders.socket_path(mount_point)
        folders.make_private(socket_path.parent)
        async with trio.open_nursery() as services:
            await services.start(view.run)
            await services.start(mount.run)
            await services.start(mount.metadata.run)
            await services.start(ControlServer(socket_path, commands(mount.parts)).run)
            left = await _serve(mount, mount_point, options, ready_fd)
            services.cancel_scope.cancel()
    return left


async def _serve(mount: Mount, mount_point: Path, options: MountOptions, ready_fd: int | None) -> int:
    """Attach to the kernel, serve, drain. The file system stays mounted (dead) if this ends by a fault of ours."""
    session.attach(
        mount.operations, mount_point, source=options.source, allow_other=options.allow_other, is_read_only=options.read_only
    )
    mount.notifier.start()
    is_orderly = False
    try:
        async with trio.open_nursery() as serving:
            serving.start_soon(_stop_on_signal)
            serving.start_soon(_announce, mount_point, ready_fd)
            await session.serve(max_tasks=options.data_slots + _SPARE_TASKS)
            serving.cancel_scope.cancel()
        left = await mount.drain(options.drain_timeout_s)
        is_orderly = True
    finally:
        with trio.move_on_after(_NOTIFIER_STOP_S, shield=True):
            await mount.notifier.stop()
        session.detach(unmount=is_orderly)
    return left


def _spare_the_collector() -> None:
    """What the program consists of is no garbage: 69 000 objects, 31 ms in the middle of a request at each full collection.

    Listings make thousands of objects that stay: with the usual threshold of 700 a sixth of their time went into looking at them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)


async def _announce(mount_point: Path, ready_fd: int | None) -> None:
    """Tell whoever waits, once the mount has answered a question of our own."""
    await trio.to_thread.run_sync(os.stat, mount_point)
    session.raise_read_ahead(mount_point)
    _spare_the_collector()
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
