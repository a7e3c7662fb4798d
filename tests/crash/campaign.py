"""Rounds of: a program saves files through a mount, something dies, and everything it was told is compared with what there is.

Used by the tests of this folder. One gateway and one state folder serve all rounds, so that what one round leaves is the next one's past.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cs3fuse.emulator.control_client import ControlClient, ControlError
from tests.crash import left
from tests.crash.ledger import Expected, Told, read
from tests.crash.moments import Moment
from tests.support.processes import GatewayProcess, MountProcess

THREADS = 3
WORK = "work"
_SENT_WITHIN_S = 45.0
_LOCKING = {"opencloud", "eos"}


@dataclass
class Numbers:
    """What a campaign met: ``hits`` counts deaths at which the journal held something, ``sealed`` the records that it held then."""

    rounds: int = 0
    hits: int = 0
    sealed: int = 0
    unfinished: int = 0
    acknowledged: int = 0
    doubtful: int = 0
    torn_until_remount: int = 0
    conflict_copies: int = 0
    kept_out: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{name}: {count}" for name, count in sorted(self.moments.items()))
        return (
            f"{self.rounds} rounds, {self.acknowledged} acknowledged steps, the journal held something at {self.hits} deaths "
            f"({self.sealed} sealed, {self.unfinished} unfinished), {self.doubtful} steps without an answer, "
            f"{self.torn_until_remount} files torn on the server until the remount, {self.conflict_copies} conflict copies, "
            f"others kept out by a lock {self.kept_out} times; {kinds}"
            + (f"; refused: {dict(self.refused)}" if self.refused else "")
        )


class Campaign:
    """See the module. ``folder`` is where everything lives; ``seed`` decides all of it but the machine's pace."""

    def __init__(self, gateway: GatewayProcess, folder: Path, seed: str, **options: object) -> None:
        self.gateway = gateway
        self.control = ControlClient(f"http://127.0.0.1:{gateway.http_port}")
        self.mount = MountProcess(gateway.source(), folder / "mount", options=options)
        self.numbers = Numbers()
        self.expected = Expected()
        self._folder = folder
        self._seed = seed
        self._chance = random.Random(f"{seed}/moments")
        self._theirs: dict[str, bytes] = {}
        self._others = 0

    @property
    def server(self) -> Path:
        """The files on the server, as its own disk has them: no client, no cache."""
        return self.gateway.root / "einstein" / WORK

    # Rounds

    def kill_round(self) -> None:
        """The daemon dies, the mount is made again; ends mounted."""
        self._make_folder()
        turn = self.numbers.rounds
        moment = Moment.draw(self._chance, has_locks=self.gateway.profile in _LOCKING)
        pid = self.mount.pid
        with self._writing(turn) as ledger:
            if moment.rule:
                self.control.fault(**moment.rule)
            fired = moment.wait(self.control)
            # The dead mount stays until the program has seen that it is dead.
            os.kill(pid, signal.SIGKILL)
            self.mount.wait_for_end(pid)
        subprocess.run(["fusermount3", "-uz", str(self.mount.path)], check=True, capture_output=True)
        self.control.clear_faults()
        time.sleep(moment.settled_after_s)
        self.numbers.rounds += 1
        self.numbers.moments[moment.name if fired else "by the clock"] += 1
        told = self._take(ledger)
        left_behind = left.journal(self.mount.state, of_dead=True)
        self._count(left_behind)
        self.check_acknowledged(told, torn_allowed={row.name: row.sha1 for row in left_behind if row.is_sealed})
        self._change_as_another(left_behind)
        self.mount.mount()
        self.check_replayed(left_behind)

    def run_through(self, seconds: float, disturb: Iterator[None]) -> None:
        """The program writes for ``seconds``, ``disturb`` does its worst meanwhile; ends mounted, with everything sent."""
        self._make_folder()
        turn = self.numbers.rounds
        with self._writing(turn, seconds) as ledger:
            for _ in disturb:
                pass
        self.control.clear_faults()
        self.numbers.rounds += 1
        told = self._take(ledger)
        self.check_replayed(left.journal(self.mount.state))
        self.check_acknowledged(told, torn_allowed={})

    def _make_folder(self) -> None:
        """The folder of all work; a gateway that was started again a moment ago may need another one to be found."""
        until = time.monotonic() + 20
        while True:
            try:
                (self.mount.path / WORK).mkdir(exist_ok=True)
            except OSError as error:
                if error.errno != errno.EHOSTDOWN or time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    @contextmanager
    def _writing(self, turn: int, seconds: float = 30.0) -> Iterator[Path]:
        ledger = self._folder / f"ledger-{turn:03}"
        arguments = [sys.executable, "-m", "tests.crash.writer", str(self.mount.path / WORK), str(ledger), self._seed]
        writer = subprocess.Popen([*arguments, str(turn), str(THREADS), str(seconds)], stderr=subprocess.PIPE, text=True)
        try:
            until = time.monotonic() + 20
            while not ledger.exists() or not ledger.stat().st_size:
                assert writer.poll() is None, writer.communicate()[1]
                assert time.monotonic() < until, "the program does not get to its first step"
                time.sleep(0.002)
            yield ledger
            complaint = writer.communicate(timeout=seconds + 90)[1]
            assert "Traceback" not in complaint, complaint
        finally:
            if writer.poll() is None:
                writer.kill()
                writer.communicate()

    def _take(self, ledger: Path) -> list[Told]:
        told = read(ledger)
        self.expected.play(told)
        self.numbers.acknowledged += sum(item.is_acknowledged for item in told)
        self.numbers.doubtful += sum(not item.is_acknowledged for item in told)
        self.numbers.refused.update(str(item.errno) for item in told if item.errno)
        return told

    def note_journal(self) -> None:
        """Count what waits in the journal at this moment."""
        self._count(left.journal(self.mount.state))

    def _count(self, rows: list[left.Row]) -> None:
        sealed = sum(row.state != left.UNFINISHED for row in rows)
        self.numbers.sealed += sealed
        self.numbers.unfinished = len(rows) - sealed  # they stay: nobody decides about them here
        self.numbers.hits += bool(sealed)

    def _change_as_another(self, rows: list[left.Row]) -> None:
        """Now and then somebody else saves the very file that is in the dead mount's journal."""
        for row in rows:
            if row.is_sealed and not row.source and self._chance.random() < 0.25:
                theirs = f"theirs {self._others}".encode()
                try:
                    self.control.write(f"/einstein/{row.name}", theirs, "einstein")
                except ControlError as error:
                    # The dead daemon's lock still keeps others out.
                    assert error.code in {"LOCKED", "409"}, error
                    self.numbers.kept_out += 1
                else:
                    self._others += 1
                    self._theirs[row.name] = theirs

    # Judgement

    def check_acknowledged(self, told: list[Told], *, torn_allowed: dict[str, str]) -> None:
        """Every acknowledged byte is on the server.

        Where a step had no answer the old content may be there, or the new one; or, where the storage commits an upload that broke off
        (Reva), a piece of the new one: but only if the journal has all of it (``torn_allowed``: names below the mount, their digests).
        """
        found = left.files(self.server)
        touched = {item.step.name for item in told} | {item.step.source for item in told if item.step.source}
        for name, content in self.expected.contents.items():
            if name not in self.expected.doubtful:
                assert found.get(name) == content, self._explain(name, found.get(name), content)
        for name in touched & set(self.expected.doubtful):
            before, wanted = self.expected.contents.get(name), self.expected.wanted(name)
            if found.get(name) in {before, wanted}:
                continue
            journaled = torn_allowed.get(f"{WORK}/{name}")
            is_torn = wanted is not None and wanted.startswith(found.get(name) or b"")
            assert is_torn and journaled == left.digest(wanted), self._explain(name, found.get(name), before, wanted)
            self.numbers.torn_until_remount += 1

    def check_replayed(self, before: list[left.Row]) -> None:
        """The journal is empty but for unfinished files, everything sealed is on the server, nothing was overwritten in silence."""
        until = time.monotonic() + _SENT_WITHIN_S
        while (
            rows := [row for row in left.journal(self.mount.state) if row.state != left.UNFINISHED]
        ) and time.monotonic() < until:
            time.sleep(0.2)
        assert not rows, f"still in the journal {_SENT_WITHIN_S:.0f} s after the remount: {rows}\n{self.mount.log()}"
        found = left.files(self.server)
        there = {left.digest(content) for content in found.values()}
        for row in before:
            if row.is_sealed and not self._was_superseded(row):
                assert row.sha1 in there, f"{row} is nowhere on the server\n{self.mount.log()}"
        for name, content in self._theirs.items():
            short = name.removeprefix(f"{WORK}/")
            assert found.get(short) == content, f"somebody else's {name} was overwritten\n{self.mount.log()}"
            self.expected.contents[short] = content
            self.expected.doubtful.pop(short, None)
        self._settle_doubtful(found, {row.name.removeprefix(f"{WORK}/"): row for row in before if row.is_sealed})
        known = {name for name, content in self.expected.contents.items() if content is not None}
        strangers = set(found) - known
        copies = {name for name in strangers if "(conflict einstein " in name}
        assert strangers == copies, f"nobody made these: {strangers - copies}"
        assert len(copies) - self.numbers.conflict_copies <= len(self._theirs), (
            f"conflicts without a second writer: {sorted(copies)}"
        )
        self.numbers.conflict_copies = len(copies)
        self._theirs.clear()

    def _was_superseded(self, row: left.Row) -> bool:
        """Whether the program was told that a later step of the same file is on the server; then that one counts."""
        short = row.name.removeprefix(f"{WORK}/")
        return (
            short not in self.expected.doubtful and self.expected.contents.get(short) is not None and row.name not in self._theirs
        )

    def _settle_doubtful(self, found: dict[str, bytes], sealed: dict[str, left.Row]) -> None:
        for name in sorted(self.expected.doubtful):
            before, wanted = self.expected.contents.get(name), self.expected.wanted(name)
            content = found.get(name)
            row = sealed.get(name)
            was_refused = row is not None and bool(row.source) and self.expected.doubtful[name].errno is not None
            if row is not None and row.sha1 == left.digest(wanted) and not was_refused:
                assert content == wanted, self._explain(name, content, wanted)
            assert content in {before, wanted}, self._explain(name, content, before, wanted)
        for name in sorted(self.expected.doubtful):
            self.expected.settle(name, found.get(name))

    def _explain(self, name: str, found: bytes | None, *allowed: bytes | None) -> str:
        """For whoever reads the failure."""

        def shown(content: bytes | None) -> str:
            return "nothing" if content is None else f"{len(content)} bytes ({left.digest(content)[:8]})"

        doubtful = self.expected.doubtful.get(name)
        step = f", in doubt: {doubtful.step} errno {doubtful.errno}" if doubtful else ""
        return (
            f"round {self.numbers.rounds}, {name}: the server has {shown(found)}, not {' or '.join(map(shown, allowed))}{step}\n"
            f"{self.mount.log()}"
        )

    def check_with_second_client(self) -> None:
        """The same through a second mount that starts with empty folders."""
        with MountProcess(self.gateway.source(), self._folder / "second") as second:
            seen = left.files(second.path / WORK)
        for name, content in self.expected.contents.items():
            assert seen.get(name) == content, self._explain(name, seen.get(name), content)
