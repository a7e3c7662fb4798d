"""One program, one mount without a kernel, one gateway that can be spoiled: what the tests of this folder work with."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from cs3.rpc.v1beta1 import code_pb2

from cs3fuse.app import Mount
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.faults import FaultRule
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.model import Location
from tests.support.syscalls import Syscalls

OLD = b"the old content, which is longer than what replaces it" * 3
OURS = b"our new content, a little shorter than the old one" * 2
THEIRS = b"theirs"
WITHIN_S = 20.0
_HOLD_S = 0.4


@dataclass
class Desk:
    """``folder`` holds the mount's state and cache."""

    emulator: EmulatorThread
    mount: Mount
    folder: Path

    @property
    def profile(self) -> str:
        return self.emulator.config.profile

    @property
    def calls(self) -> Syscalls:
        return Syscalls(self.mount.vfs)

    # The server

    def fault(self, **rule: object) -> FaultRule:
        """Spoil calls from now on."""
        return self.emulator.faults.add(**rule)

    def mend(self) -> None:
        """All calls are answered as they should be."""
        self.emulator.faults.clear()

    def on_server(self, name: str) -> bytes | None:
        """What the server's disk has under a name."""
        path = self.emulator.config.root / "einstein" / name
        return path.read_bytes() if path.is_file() else None

    def names(self) -> list[str]:
        """All names in the home on the server."""
        return sorted(os.listdir(self.emulator.config.root / "einstein"))

    def copies(self) -> list[bytes]:
        """The contents of all conflict copies on the server."""
        return [self.on_server(name) or b"" for name in self.names() if "(conflict einstein " in name]

    def other(self, change: str, *arguments: object, **details: object) -> None:
        """Another client does something (see ``emulator.changes``), as soon as the server has processed the file."""
        ends_at = time.monotonic() + WITHIN_S
        while True:
            try:
                self.emulator.change(change, *arguments, user="einstein", **details)
            except Refusal as refusal:
                if refusal.code != code_pb2.CODE_TOO_EARLY or time.monotonic() > ends_at:
                    raise
                time.sleep(0.01)
            else:
                return

    def other_writes(self, name: str, data: bytes = THEIRS) -> None:
        """Another client saves a file."""
        self.other("write", f"/einstein/{name}", data)

    @asynccontextmanager
    async def during_put(self, action: Callable[[], object], *, before_work: bool = False, **rule: object) -> AsyncIterator[None]:
        """The next PUT is held, after its work or before, until ``action`` has run."""
        held = self.fault(method="PUT", times=1, **{"delay_s" if before_work else "answer_delay_s": _HOLD_S}, **rule)

        async def act() -> None:
            while not held.fired:  # noqa: ASYNC110 - it is set in the gateway's thread
                await trio.sleep(0.005)
            await trio.sleep(_HOLD_S / 3)
            await trio.to_thread.run_sync(action)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)
            yield

    def served(self, name: str) -> list[str]:
        """How the calls of one kind ended, oldest first."""
        return [entry.code for entry in self.emulator.log.entries() if entry.name == name]

    # The program

    async def save(self, name: str, data: bytes = OURS) -> int:
        """open(O_TRUNC), write, close. Returns the errno of what failed, 0 if nothing did."""
        try:
            await self.calls.write(name, data)
        except OSError as error:
            return error.errno or -1
        return 0

    async def patch(self, name: str, data: bytes, offset: int) -> int:
        """open without O_TRUNC, pwrite, close. Returns as ``save``."""
        try:
            async with self.calls.opened(name, os.O_RDWR) as fh:
                await self.calls.pwrite(fh, data, offset)
        except OSError as error:
            return error.errno or -1
        return 0

    # The journal

    def unsent(self) -> list[tuple[str, str]]:
        """(name, state) of what is not on the server."""
        return [(item.at.rel, item.state) for item in self.mount.commits.queue()]

    def staged_files(self) -> list[str]:
        """Local files with bytes that may be needed."""
        return sorted(os.listdir(self.folder / "state" / "staged"))

    async def all_sent(self) -> None:
        """Wait until everything has gone to the server by itself, and see that nothing is left behind here."""
        with trio.fail_after(WITHIN_S):
            while self.unsent() or self.mount.commits._running.journal.records() or self.staged_files():  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.02)

    def location(self, name: str) -> Location:
        """Where a file of the home is."""
        return self.mount.root.child(name)
