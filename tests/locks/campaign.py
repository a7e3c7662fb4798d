"""Random steps of two mounts and the official client on three files, checked after each step.

Everybody saves whole contents, each of a length of its own, so that the gateway's call log tells which of them arrived. The clock of the
gateway and of both mounts is one, and jumps. What must hold, always: nobody believes in a lock that the server gives to somebody else; an
acknowledged save is on the server, over the version that its writer had seen; what was not acknowledged arrives later or lies beside.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from cs3client.exceptions import AuthenticationException, UnimplementedException, UnknownException

from cs3fuse.app import Mount
from cs3fuse.client.session import Cs3Client
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import Cs3FuseError
from cs3fuse.model import Fh, Location, LockInfo
from tests.interop.official import Official
from tests.support.syscalls import Syscalls, as_errno
from tests.support.vfs import running_mount

NAMES = ("a.txt", "b.txt", "c.txt")
OFFICIAL_LIFE_S = 300
_SETTLE_S = 0.15
_SENT_WITHIN_S = 60.0
_RELEASED_WITHIN_S = 10.0
_OFFICIAL_REFUSALS = (OSError, UnknownException, UnimplementedException, AuthenticationException)

STEPS = ("open",) * 6 + ("write",) * 4 + ("sync",) * 2 + ("close",) * 6 + ("crash",) + ("restart",) + ("sleep",) * 2
OFFICIAL_STEPS = ("lock",) * 3 + ("save",) * 3 + ("unlock",) * 3 + ("vanish",)


@dataclass
class Handle:
    """A file that a mount has open. ``bases``: contents that its save may replace; ``content``: what it wrote last.

    ``is_told``: its program knows already that this content is not under this name.
    """

    fh: Fh
    bases: set[bytes | None]
    content: bytes = b""
    is_told: bool = False


class Side:
    """One mount: one host. Dies and comes back on the same state folder."""

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.folder = folder
        self.mount: Mount
        self.calls: Syscalls
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.handles: dict[str, Handle] = {}
        # By name: content that a failed save left here, and the contents that it may replace.
        self.unsent: dict[str, tuple[bytes, set[bytes | None]]] = {}

    async def live(
        self, emulator: EmulatorThread, clock: Callable[[], float], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be mounted until the scope is cancelled: that is a crash, unless everything was closed and drained before."""
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        with self.scope:
            async with running_mount(emulator, self.folder, clock=clock) as mount:
                self.mount, self.calls = mount, Syscalls(mount.vfs)
                task_status.started()
                await trio.sleep_forever()
        self.ended.set()

    async def open(self, name: str) -> Fh:
        """open(name, O_RDWR | O_CREAT)."""
        async with self.calls.at("") as top:
            opened, attributes = await self.mount.vfs.files.create(top, name, os.O_RDWR)
            self.mount.vfs.tree.took(attributes.ino)
            self.mount.vfs.tree.forget(attributes.ino, 1)
            return opened.fh

    async def flush(self, fh: Fh) -> None:
        """The first half of close(2), which tells the program."""
        with as_errno():
            await self.mount.vfs.files.flush(fh)

    async def release(self, fh: Fh) -> None:
        """The second half, which tells nobody."""
        with suppress(Cs3FuseError):
            await self.mount.vfs.files.release(fh)


@dataclass
class Numbers:
    """What a campaign met."""

    steps: int = 0
    met: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.steps} steps: " + ", ".join(f"{name} {count}" for name, count in sorted(self.met.items()))


class Campaign:
    """See the module. ``seed`` decides every step; the machine's pace decides what happens in the background meanwhile."""

    def __init__(
        self, emulator: EmulatorThread, folder: Path, witness: Cs3Client, official: Official, nursery: trio.Nursery, seed: str
    ) -> None:
        self.emulator = emulator
        self.numbers = Numbers()
        self.sides = [Side("left", folder / "left"), Side("right", folder / "right")]
        self._witness = witness
        self._official = official
        self._nursery = nursery
        self._chance = random.Random(seed)
        self._count = 0
        self._files = emulator.config.root / "einstein"
        self._log_read = 0
        self._arrived: set[int] = set()  # lengths
        self._acknowledged: dict[int, str] = {}  # by length: whose
        self._official_locks: dict[str, float] = {}  # name to expiry
        self._journal: list[str] = []

    # The world

    def now(self) -> float:
        """The clock of everybody."""
        return time.time() + self.emulator.clock.skew_s

    def there(self, name: str) -> bytes | None:
        """The content on the server's own disk."""
        try:
            return (self._files / name).read_bytes()
        except FileNotFoundError:
            return None

    async def lock_of(self, name: str) -> LockInfo | None:
        """The lock as the server gives it, to anybody."""
        try:
            return await self._witness.locks.get_lock(self.at(name))
        except Cs3FuseError:
            return None  # no such file

    def at(self, name: str) -> Location:
        return self.sides[0].mount.root.child(name)

    def content(self, label: str) -> bytes:
        """New content of a length that no other content has."""
        self._count += 1
        return f"{label} {self._count} ".encode().ljust(500 + self._count, b".")

    def note(self, what: str) -> None:
        """For whoever reads a failure."""
        self._journal.append(what)

    def met(self, what: str) -> None:
        self.numbers.met[what] += 1
        self.note(f"    {what}")

    async def outside(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """A call of the official client. Returns whether it was done."""
        try:
            await trio.to_thread.run_sync(lambda: call(*arguments))
        except _OFFICIAL_REFUSALS:
            return False
        return True

    # The play

    async def run(self, steps: int) -> Numbers:
        """Play, close everything, and account for every save."""
        for side in self.sides:
            await self._nursery.start(side.live, self.emulator, self.now)
        try:
            for _ in range(steps):
                await self._step()
                await self._check()
            await self._finish()
        except BaseException as error:
            error.add_note("\n".join(["the last steps:", *self._journal[-40:]]))
            raise
        for side in self.sides:
            side.scope.cancel()
        return self.numbers

    async def _step(self) -> None:
        self.numbers.steps += 1
        name = self._chance.choice(NAMES)
        who = self._chance.randrange(5)
        if who == 4:
            step = self._chance.choice(OFFICIAL_STEPS)
            if step == "unlock" and self._official_locks:
                name = self._chance.choice(sorted(self._official_locks))
            self.note(f"{self.numbers.steps}: official {step} {name}")
            await getattr(self, f"_official_{step}")(name)
        else:
            side, step = self.sides[who % 2], self._chance.choice(STEPS)
            if step in {"write", "sync", "close"}:
                if side.handles:
                    name = self._chance.choice(sorted(side.handles))
                else:
                    step = "open"
            self.note(f"{self.numbers.steps}: {side.label} {step} {name}")
            await getattr(self, f"_{step}")(side, name)

    # Steps of a mount

    async def _open(self, side: Side, name: str) -> None:
        if name in side.handles:
            return
        before, held = self.there(name), await self.lock_of(name)
        try:
            fh = await side.open(name)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            assert held is not None, "refused although nobody had it locked"
            self.met("open refused")
            return
        content, bases = side.unsent.get(name, (before, set()))
        side.handles[name] = Handle(fh, {before, self.there(name), content, *bases})
        self.met("opened")
        await self._write(side, name)

    async def _write(self, side: Side, name: str) -> None:
        handle = side.handles.get(name)
        if handle is None:
            return
        handle.content, handle.is_told = self.content(side.label), False
        await side.calls.pwrite(handle.fh, handle.content, 0)

    async def _sync(self, side: Side, name: str) -> None:
        handle = side.handles.get(name)
        if handle is not None:
            await self._save(side, name, handle, lambda: side.calls.fsync(handle.fh))

    async def _close(self, side: Side, name: str) -> None:
        handle = side.handles.get(name)
        if handle is None:
            return
        await self._save(side, name, handle, lambda: side.flush(handle.fh))
        del side.handles[name]
        await side.release(handle.fh)
        if name not in side.unsent:
            await self._released(side, name)

    async def _released(self, side: Side, name: str) -> None:
        """close(2) does not wait for the release, but it comes."""
        with trio.fail_after(_RELEASED_WITHIN_S):
            while (held := await self.lock_of(name)) is not None and side.mount.leases.is_own(self.at(name), held):  # noqa: ASYNC110 - another process
                await trio.sleep(0.01)

    async def _save(self, side: Side, name: str, handle: Handle, call: Callable[[], Any]) -> None:
        before = self.there(name)
        try:
            await call()
        except OSError as error:
            self.met(f"save failed: {errno.errorcode[error.errno or 0]}")
            side.unsent[name] = (handle.content, handle.bases)
            handle.is_told = True
            return
        if handle.is_told and self.there(name) != handle.content:
            return  # an error is told once; nothing was written since
        self.met("saved")
        self._acknowledged[len(handle.content)] = f"{side.label} {name}"
        side.unsent.pop(name, None)
        assert self.there(name) == handle.content, "acknowledged, and something else is there"
        assert before in {*handle.bases, handle.content}, f"overwrote {(before or b'nothing')[:20]!r} without having seen it"
        handle.bases = {handle.content}

    async def _sleep(self, side: Side, name: str) -> None:
        """Some minutes go by for everybody, sometimes more than a lock lives, at once (suspend) or in pieces (it is refreshed)."""
        jump = self._chance.choice([30.0, 120.0, 250.0, 250.0, 400.0])
        self.emulator.clock.skew_s += jump
        self.note(f"    {jump:.0f} s go by")
        await trio.sleep(_SETTLE_S)

    async def _crash(self, side: Side, name: str) -> None:
        """Gone with all handles; back at once on the same state folder."""
        self.met(f"crashed with {len(side.handles)} open files")
        side.handles.clear()
        side.scope.cancel()
        await side.ended.wait()
        await self._nursery.start(side.live, self.emulator, self.now)

    async def _restart(self, side: Side, name: str) -> None:
        """Unmounted in order."""
        for each in list(side.handles):
            await self._close(side, each)
        await side.mount.drain(_SENT_WITHIN_S)
        ours = side.mount.leases
        for each in NAMES:
            held = await self.lock_of(each)
            assert held is None or not ours.is_own(self.at(each), held), f"{side.label} left a lock on {each}"
        side.scope.cancel()
        await side.ended.wait()
        await self._nursery.start(side.live, self.emulator, self.now)
        self.met("remounted")

    # Steps of the official client

    def _official_has(self, name: str) -> bool:
        return self._official_locks.get(name, 0.0) > self.now()

    async def _official_lock(self, name: str) -> None:
        if self._official_has(name) or self.there(name) is None:
            return
        held = await self.lock_of(name)
        life_s = OFFICIAL_LIFE_S + int(self.emulator.clock.skew_s)  # it counts from the real clock
        self._official.set_lock_life(life_s)
        until = time.time() + life_s - 2
        if await self.outside(self._official.lock, self.at(name)):
            assert held is None or held.app_name.startswith("cs3fuse-"), "locked twice"
            self._official_locks[name] = until
            self.met("official locked")
        else:
            self.met("official lock refused")

    async def _official_save(self, name: str) -> None:
        """With its lock, or without one where nobody has it locked."""
        content = self.content("official")
        lock_id = "official" if self._official_has(name) else None
        held = await self.lock_of(name)
        if await self.outside(self._official.write, self.at(name), content, lock_id):
            assert lock_id is not None or held is None or not self._is_believed(name, held), "wrote past our lock"
            assert self.there(name) == content
            self._acknowledged[len(content)] = f"official {name}"
            self.met("official saved")
        else:
            self.met("official save refused")

    async def _official_unlock(self, name: str) -> None:
        if self._official_has(name) and await self.outside(self._official.unlock, self.at(name)):
            self.met("official unlocked")
        self._official_locks.pop(name, None)

    async def _official_vanish(self, name: str) -> None:
        """It died: its locks run out."""
        self.met(f"official vanished with {len(self._official_locks)} locks")
        self._official_locks.clear()

    # What must hold

    def _is_believed(self, name: str, held: LockInfo) -> bool:
        """Whether one of the mounts relies on this lock."""
        locks = [side.mount.leases.lock_at(self.at(name)) for side in self.sides if name in side.handles]
        return any(lock is not None and lock.lock_id == held.lock_id for lock in locks)

    async def _check(self) -> None:
        self._read_log()
        for name in NAMES:
            believers = [side.label for side in self.sides if name in side.handles and self._believes(side, name)]
            if self._official_has(name):
                believers.append("official")
            assert len(believers) <= 1, f"{name} is locked by {' and '.join(believers)}"
            if believers:
                held = await self.lock_of(name)
                assert held is not None, f"{believers[0]} believes in a lock on {name} that is gone"
                whose = self._official.app_name if believers == ["official"] else "cs3fuse-"
                assert held.app_name.startswith(whose), f"{believers[0]} believes in a lock on {name} of {held.app_name}"

    def _believes(self, side: Side, name: str) -> bool:
        return side.mount.leases.lock_at(self.at(name)) is not None

    def _read_log(self) -> None:
        for entry in self.emulator.log.entries(self._log_read):
            if entry.kind == "http" and entry.name == "PUT" and entry.code.startswith("2"):
                self._arrived.add(entry.received)
            if entry.code:
                self._log_read = max(self._log_read, entry.number)

    async def _finish(self) -> None:
        """Everybody closes; what could not be sent is sent; no lock stays; every save is accounted for."""
        for side in self.sides:
            for name in list(side.handles):
                await self._close(side, name)
        for name in NAMES:  # also those that it forgot when it vanished
            held = await self.lock_of(name)
            if held is not None and held.app_name == self._official.app_name:
                await self.outside(self._official.unlock, self.at(name))
        with trio.fail_after(_SENT_WITHIN_S):
            for side in self.sides:
                while await side.mount.commits.flush():  # noqa: ASYNC110 - each round sends
                    await trio.sleep(0.2)
                while side.mount.leases.stale():
                    await side.mount.leases.release_stale()
                await side.mount.leases.drain()
        listed = [entry.name for entry in await self._witness.tree.list(self.sides[0].mount.root)]
        left = {name: held.app_name for name in listed if (held := await self.lock_of(name)) is not None}
        assert not left, f"locks were left: {left}"
        self._read_log()
        lost = {size: whose for size, whose in self._acknowledged.items() if size not in self._arrived}
        assert not lost, f"acknowledged and never sent: {lost}"
        owed = {len(content): f"{side.label} {name}" for side in self.sides for name, (content, _bases) in side.unsent.items()}
        owed = {size: whose for size, whose in owed.items() if size not in self._arrived}
        assert not owed, f"refused, kept, and not sent in the end: {owed}"
        copies = [self.there(name) for name in listed if name not in NAMES]
        assert all(content is not None and len(content) in self._arrived for content in copies)
        self.numbers.met["conflict copies"] = len(copies)
