"""What a mount and ``cs3fuse recover`` have in common: a signed-in client, and the parts that keep and send bytes.

Owns putting them together, the order in which they start, and whose journal a folder holds. Called by ``app`` and ``draining``, from
the trio thread.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import structlog
import trio

from cs3fuse import __version__
from cs3fuse.auth.secrets import Secret
from cs3fuse.auth.tokens import Login, RenewingTokens
from cs3fuse.cache.content import ContentStore
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.client.channel import parse_source
from cs3fuse.client.session import Cs3Client, Gateway
from cs3fuse.commit.engine import CommitEngine, EngineOptions
from cs3fuse.commit.recovery import RecoveryReport
from cs3fuse.config.options import MountOptions
from cs3fuse.locks.manager import LeaseManager
from cs3fuse.mesh.view import View
from cs3fuse.model import Identity

log = structlog.get_logger(__name__)

_CLOSE_S = 5.0
# An unreachable server must not keep the mount from starting; locks that are not refreshed run out by themselves.
_OLD_LOCKS_S = 10.0
_OLD_LOCKS_PERIOD_S = 10.0
_ABOUT = "mount.json"


@asynccontextmanager
async def connected(options: MountOptions, secret: Secret) -> AsyncIterator[Cs3Client]:
    """A client that signs in on its first call; closed at the end. Raises: BadRequestError, UnavailableError."""
    endpoint, _path = parse_source(options.source, ca_file=options.tls_ca, is_insecure=options.tls_insecure)
    gateway = await Gateway.connect(endpoint)
    client = Cs3Client(gateway, RenewingTokens(gateway.authenticate, Login(options.auth, options.user, secret)))
    try:
        yield client
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True):
            await client.aclose()


def journal_identity(source: str, identity: Identity) -> str:
    """Whose journal records these are: the gateway's address and the user's id on it.

    Not in it: the path of SOURCE (records hold whole locations), whether TLS is used, the sign-in method, the user's name (it may
    change), and the idp (a site may change its address; on one gateway an opaque id is one user's).
    Source: cs3/identity/user/v1beta1/resources.proto, UserId.
    """
    endpoint, _path = parse_source(source)
    return f"{endpoint.target}|{identity.opaque_id}"


@dataclass(frozen=True, slots=True)
class About:
    """What a state folder belongs to, for ``cs3fuse recover``: enough to find or ask for the right secret; never the secret."""

    source: str
    user: str
    auth: str
    mount_point: str
    identity: str
    secret_file: str
    tls_ca: str
    tls_insecure: bool
    version: str

    @classmethod
    def of(cls, options: MountOptions, mount_point: Path, identity: str) -> About:
        """Of a mount."""
        return cls(
            source=options.source,
            user=options.user,
            auth=options.auth,
            mount_point=str(mount_point),
            identity=identity,
            secret_file=str(options.secret_file or ""),
            tls_ca=str(options.tls_ca or ""),
            tls_insecure=options.tls_insecure,
            version=__version__,
        )

    @classmethod
    def read(cls, state_folder: Path) -> About | None:
        """What an earlier run wrote there, None if nothing that can be understood."""
        try:
            values = json.loads((state_folder / _ABOUT).read_text(encoding="utf-8"))
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, state_folder: Path) -> None:
        """Replace it. A failure only means that ``recover`` has to be told more."""
        new = state_folder / f"{_ABOUT}.new"
        try:
            new.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
            new.replace(state_folder / _ABOUT)
        except OSError as error:
            log.warning("state_folder_not_described", reason=str(error))


class Core:
    """Content store, leases and commits of one user at one gateway, over one cache folder and one state folder."""

    def __init__(
        self,
        options: MountOptions,
        view: View,
        identity: Identity,
        state_folder: Path,
        cache_folder: Path,
        *,
        engine_options: EngineOptions | None = None,
    ) -> None:
        """``engine_options``: what differs from a mount's; room and locks are wired here."""
        self._view = view
        self.book = CapabilityBook()
        view.learn_into(self.book)
        self.content = ContentStore(
            cache_folder,
            view.data,
            view.tree,
            self.book,
            budget_bytes=options.cache_bytes,
            min_free_bytes=options.cache_min_free_bytes,
            window_bytes=options.read_window_bytes,
            max_parallel=options.download_streams,
        )
        self.leases = LeaseManager(
            view.locks,
            self.book,
            app_name=f"cs3fuse-{os.uname().nodename}-{_instance(state_folder)}",
            policy=options.locks,
            ttl_s=options.lock_ttl_s,
            state_file=state_folder / "leases.json",
        )
        engine = engine_options or EngineOptions(mode=options.commit, workers=options.upload_workers)
        engine.lock_of = self.leases.lock_at
        engine.make_room = partial(self.content.make_room, disk_of=state_folder)
        self.identity = journal_identity(options.source, identity)
        self.commits = CommitEngine(
            view.tree,
            view.data,
            self.content,
            self.book,
            state_folder=state_folder,
            identity=self.identity,
            username=identity.username,
            options=engine,
        )
        view.site_is_back = self.commits.hurry
        self.report: RecoveryReport | None = None
        """What became of the journal of earlier runs; None before it was replayed."""

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
            if self.commits.has_left:
                await self._view.know_other_sites()
            self.report = await self.commits.recover()
            log.info("journal_replayed", report=str(self.report))
            services.start_soon(self._release_old_locks)
            task_status.started()

    async def _release_old_locks(self) -> None:
        """Locks that a killed daemon left are released once nothing of theirs is unsent."""
        while self.leases.stale():
            await self.leases.release_stale(is_needed=lambda at: self.commits.session_at(at) is not None)
            await trio.sleep(_OLD_LOCKS_PERIOD_S)


def _instance(state_folder: Path) -> str:
    """This folder's own mark in the names of its locks: kept, so that locks of a crashed run are known again."""
    path = state_folder / "instance"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        mark = uuid.uuid4().hex[:8]
        path.write_text(mark, encoding="ascii")
        return mark
