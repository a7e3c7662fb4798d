"""Bringing a journal to the server without a mount: ``cs3fuse recover``.

Owns one run over one state folder: sign in, make sure that the journal is this user's, send, decide about unfinished files, release the
locks that an earlier run left. Called by ``cli``, once per folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from cs3fuse.auth.secrets import Secret
from cs3fuse.commit.engine import EngineOptions, QueueItem
from cs3fuse.commit.inspection import StateFolderContent
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.commit.records import ConflictRecord
from cs3fuse.config.options import MountOptions
from cs3fuse.control.waiting import wait_until_sent
from cs3fuse.core import About, Core, connected, journal_identity
from cs3fuse.errors import BadRequestError, Cs3FuseError, first_failure
from cs3fuse.mesh.view import open_view
from cs3fuse.model import Identity, Location

_RELEASE_S = 20.0
_FIRST_TRY_S = 5.0
"""How long the replay tries each file; the wait that follows has its own bound."""


@dataclass(slots=True)
class Drained:
    """What became of a journal. ``vanished``: named in the journal, bytes not here. ``saved``: unfinished files, as copies now."""

    committed: list[Location] = field(default_factory=list)
    conflicts: list[ConflictRecord] = field(default_factory=list)
    vanished: list[Location] = field(default_factory=list)
    saved: list[ConflictRecord] = field(default_factory=list)
    discarded: int = 0
    left: Sequence[QueueItem] = ()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for: numbers of unfinished records to save as copies or to discard, and how long to wait (seconds)."""

    save: Sequence[int] = ()
    discard: Sequence[int] = ()
    patience_s: float = 60.0


def drain_folder(
    content: StateFolderContent,
    options: MountOptions,
    secret: Secret,
    wishes: Wishes,
    tell: Callable[[int, int, int], None],
) -> Drained:
    """Send what a state folder holds. Blocking. ``tell(done, total, bytes)`` is called a few times a second.

    Raises: BadRequestError: it is another user's, or another server's; SignInError, UnavailableError; LocalStorageError: in use.
    """
    try:
        return trio.run(_drain, content, options, secret, wishes, tell)
    except* Cs3FuseError as group:
        raise first_failure(group) from group
    raise AssertionError("trio.run returns or raises")


async def _drain(
    content: StateFolderContent,
    options: MountOptions,
    secret: Secret,
    wishes: Wishes,
    tell: Callable[[int, int, int], None],
) -> Drained:
    cache_folder = content.folder / "recovery-cache"
    try:
        async with connected(options, secret) as client:
            identity = await client.identity()
            check_owner(content, options, identity)
            first_try = RetryPolicy(budget_s=min(_FIRST_TRY_S, wishes.patience_s))
            engine = EngineOptions(workers=options.upload_workers, recovery_retry=first_try)
            view = await open_view(client, options, content.folder)
            core = Core(options, view, identity, content.folder, cache_folder, engine_options=engine)
            async with trio.open_nursery() as services:
                await services.start(core.run)
                drained = await _send(core, wishes, lambda: view.sent_bytes, tell)
                services.cancel_scope.cancel()
    finally:
        shutil.rmtree(cache_folder, ignore_errors=True)
    return drained


def check_owner(content: StateFolderContent, options: MountOptions, identity: Identity) -> None:
    """Refuse to send anything of another user or server.

    Raises: BadRequestError with a sentence that says whose it is.
    """
    ours = journal_identity(options.source, identity)
    others = {record.identity for record in content.records} - {ours}
    if not others:
        return
    about = About.read(content.folder)
    whose = f"{about.user} at {about.source}" if about is not None and about.identity in others else " and ".join(sorted(others))
    raise BadRequestError(
        f"Nothing of {content.folder} was sent: it holds unsent files of {whose}, and you signed in as {identity.username} at "
        f"{options.source}. Sign in as that user at that server.",
        path=str(content.folder),
    )


async def _send(core: Core, wishes: Wishes, sent_bytes: Callable[[], int], tell: Callable[[int, int, int], None]) -> Drained:
    report = core.report
    assert report is not None
    commits = core.commits
    waited_for = {item.at for item in commits.queue()}
    before = {each.id for each in commits.conflicts()} if not report.conflicts else set()

    async def tell_all(done: int, total: int, sent: int) -> None:
        tell(done, total, sent)

    drained = Drained(committed=list(report.committed), vanished=list(report.vanished))
    drained.left = await wait_until_sent(commits, None, patience_s=wishes.patience_s, sent_bytes=sent_bytes, tell=tell_all)
    still_left = {item.at for item in drained.left}
    for number in wishes.save:
        drained.saved.append(await commits.save_unfinished(number))
    for number in wishes.discard:
        await commits.discard_unfinished(number)
        drained.discarded += 1
    saved = {each.id for each in drained.saved}
    drained.conflicts = [each for each in commits.conflicts() if each.id not in before and each.id not in saved]
    diverted = {each.at for each in drained.conflicts}
    drained.committed += [at for at in waited_for - still_left if at not in diverted]
    await _release(core.leases.drain)
    await _release(core.leases.release_stale)
    return drained


async def _release(call: Callable[[], Awaitable[None]]) -> None:
    with trio.move_on_after(_RELEASE_S):
        await call()
