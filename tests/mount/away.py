"""Somebody works in a share while its site is away: what the long test and its short form have in common.

Owns one round: the site goes away, marie works, everything that she does is timed, the site comes back. The gateways and the mount belong to
the caller. One round at a time.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs3fuse.emulator.control_client import ControlClient, befriend
from tests.support.footprint import Footprint
from tests.support.mesh import OCM_MOUNT, A, B, Sites, two_sites
from tests.support.processes import MountProcess

AWAY = {errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO, errno.EACCES}
"""What a program may be told by a share whose site is away; EACCES: what is remembered of it is for reading only."""
BACK_WITHIN_S = 30.0
_FILES = 40
_IDLE_S = 45.0
"""Within which everything that worked for the share is gone: trio's threads end after 10 s without work, a probe takes 10 s at most."""


@dataclass
class Report:
    """What a round saw. Times in seconds; ``calls`` are those to the share, by kind."""

    how: str
    away_s: float = 0.0
    listings: list[float] = field(default_factory=list)
    calls: dict[str, list[float]] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    before: Footprint | None = None
    after: Footprint | None = None
    back_s: float = 0.0
    written: dict[str, bytes] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        return sorted(self.listings)[int(share * (len(self.listings) - 1))]

    @property
    def slowest(self) -> float:
        return max(max(times) for times in self.calls.values())

    def __str__(self) -> str:
        slowest = {kind: round(max(times), 3) for kind, times in sorted(self.calls.items())}
        return json.dumps(
            {
                "site": self.how,
                "away_s": round(self.away_s),
                "listings": len(self.listings),
                "ls_ms": {
                    name: round(1000 * self.percentile(share), 1) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
                },
                "calls": sum(map(len, self.calls.values())),
                "slowest_s": slowest,
                "before": str(self.before),
                "after": str(self.after),
                "back_s": round(self.back_s, 1),
                "files_written": len(self.written),
            },
            indent=1,
        )


@dataclass
class Scene:
    """marie at site B with a share of site A, one of her own site, and a home."""

    sites: Sites
    marie: MountProcess
    site_timeout_s: float

    @property
    def share(self) -> Path:
        return self.marie.path / "mesh" / "work"

    @property
    def disk(self) -> Path:
        return self.sites.gateway_a.root / "einstein" / "work"

    @property
    def everything_else(self) -> list[Path]:
        top = self.marie.path
        return [top, top / "home", top / "home" / "docs", top / "mesh", top / "shares", top / "shares" / "local"]

    def go_away(self, how: str) -> None:
        """frozen: the process stands still, connections are accepted and nothing is answered; stopped: it is gone."""
        if how == "frozen":
            os.kill(self.sites.gateway_a.pid, signal.SIGSTOP)
        else:
            self.sites.gateway_a.stop(how=signal.SIGKILL)

    def come_back(self, how: str) -> None:
        if how == "frozen":
            os.kill(self.sites.gateway_a.pid, signal.SIGCONT)
        else:
            self.sites.gateway_a.start()


@contextmanager
def scene(folder: Path, *, site_timeout_s: float) -> Iterator[Scene]:
    """Gateways and mount, and what they hold."""
    with two_sites(folder) as sites:
        _fill(sites.gateway_a.root / "einstein" / "work", sites.a, "einstein")
        _fill(sites.gateway_b.root / "richard" / "local", sites.b, "richard")
        _fill(sites.gateway_b.root / "marie" / "docs", sites.b, "marie")
        befriend(sites.a, "einstein", A, sites.b, "marie")
        sites.a.mesh_share("/einstein/work", "einstein", "marie", B)
        sites.b.share("/richard/local", "richard", "marie")
        options = {"view": "mesh", "ocm_mount": OCM_MOUNT, "site_timeout_s": site_timeout_s}
        with MountProcess(sites.gateway_b.source(), folder / "marie", "marie", options) as marie:
            marie.run("accept", "work", "--mount", str(marie.path))
            try:
                yield Scene(sites, marie, site_timeout_s)
            finally:
                if sites.gateway_a.is_running:
                    os.kill(sites.gateway_a.pid, signal.SIGCONT)


def _fill(folder: Path, control: ControlClient, user: str) -> None:
    control.mkdir(f"/{user}/{folder.name}", user)
    for number in range(_FILES):
        (folder / f"f{number:02}").write_bytes(b"known " * (number + 1))


def play(at: Scene, how: str, seconds: float, seed: int, *, calm_s: float) -> Report:
    """One round; see the module. Work in the share is done by threads of its own, as by other programs.

    ``calm_s``: how long nothing happens before: after 10 s trio's idle threads are gone, and the footprint is the smallest.
    """
    report = Report(how)
    chance = random.Random(seed)
    for number in range(_FILES // 2):
        assert (at.share / f"f{number:02}").read_bytes() == b"known " * (number + 1)
    for folder in at.everything_else * 3:
        os.listdir(folder)
    time.sleep(calm_s)
    report.before = Footprint.of(at.marie)
    opened = {f"{how}-{seed}-{number}": _open_new(at, f"{how}-{seed}-{number}") for number in range(6)}
    began = time.monotonic()
    with ThreadPoolExecutor(8) as programs:
        running: list[Future[None]] = []
        running.append(programs.submit(_timed, report, "write", lambda: _write(report, opened.popitem())))
        at.go_away(how)
        while (now := time.monotonic()) < began + seconds:
            for folder in at.everything_else:
                asked = time.monotonic()
                os.listdir(folder)
                report.listings.append(time.monotonic() - asked)
            running = [each for each in running if not each.done()]
            if len(running) < 8 and opened and now > began + seconds * (6 - len(opened)) / 8:
                running.append(programs.submit(_timed, report, "write", lambda: _write(report, opened.popitem())))
            elif len(running) < 8:
                kind, call = chance.choice(_work(at, chance))
                running.append(programs.submit(_timed, report, kind, call))
            time.sleep(chance.uniform(0.02, 0.6))
        while opened:
            _timed(report, "write", lambda: _write(report, opened.popitem()))
    report.away_s = time.monotonic() - began
    report.after = _settled(at, report.before)
    at.come_back(how)
    back = time.monotonic()
    _until(lambda: _answers(lambda: os.listdir(at.share)), BACK_WITHIN_S)
    report.back_s = time.monotonic() - back
    _until(lambda: all(_holds(at.disk / name, data) for name, data in report.written.items()), BACK_WITHIN_S)
    # The bytes are there before our own look at them is answered.
    _until(lambda: not at.marie.status()["unsent"], BACK_WITHIN_S)
    return report


def _open_new(at: Scene, name: str) -> int:
    """A program that has begun to write before anything happens."""
    fd = os.open(at.share / name, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"begun, ")
    return fd


def _write(report: Report, opened: tuple[str, int]) -> None:
    """It goes on and closes; whatever it is told, the bytes must arrive in the end."""
    name, fd = opened
    os.write(fd, name.encode())
    report.written[name] = b"begun, " + name.encode()
    os.close(fd)


def _work(at: Scene, chance: random.Random) -> list[tuple[str, Callable[[], object]]]:
    known, unknown = at.share / f"f{chance.randrange(_FILES // 2):02}", at.share / f"f{chance.randrange(_FILES // 2, _FILES):02}"
    return [
        ("stat", (at.share / f"no-{chance.random()}").stat),
        ("ls", lambda: os.listdir(at.share)),
        ("read what is cached", known.read_bytes),
        ("read what is not", unknown.read_bytes),
        ("create", lambda: (at.share / f"new-{chance.random()}").write_bytes(b"x")),
        ("mkdir", (at.share / f"d-{chance.random()}").mkdir),
        ("unlink", (at.share / f"f{chance.randrange(_FILES):02}-no").unlink),
        ("rename", lambda: known.rename(at.share / "other")),
    ]


def _timed(report: Report, kind: str, call: Callable[[], object]) -> None:
    asked = time.monotonic()
    try:
        call()
    except FileNotFoundError:
        pass  # it was asked before the site went
    except OSError as error:
        if error.errno not in AWAY:
            report.surprises.append(f"{kind}: {errno.errorcode.get(error.errno or 0)}")
    report.calls.setdefault(kind, []).append(time.monotonic() - asked)


def _settled(at: Scene, before: Footprint) -> Footprint:
    """The footprint once nothing but a probe now and then is left; the last one if that does not come."""
    until = time.monotonic() + _IDLE_S
    while True:
        found = Footprint.of(at.marie)
        if found.fits_into(before) or time.monotonic() > until:
            return found
        time.sleep(0.2)


def _answers(call: Callable[[], Any]) -> bool:
    try:
        call()
    except OSError:
        return False
    return True


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _until(is_so: Callable[[], bool], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, f"it did not become so within {within_s:.0f} s"
        time.sleep(0.1)
