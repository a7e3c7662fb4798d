"""How long something took, and what it cost the processes that did it.

Owns the reading of /proc and the page cache's emptying. Used by the runner and the items, from one thread.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_CALM_SHARE = 0.15
_CALM_LOOK_S = 0.25


@dataclass
class Sample:
    """One measurement. ``None``: not known. CPU-seconds are those of the daemon, for bare calls those of the caller."""

    seconds: float = 0.0
    cpu_s: float | None = None
    gateway_cpu_s: float | None = None
    calls: int | None = None
    peak_bytes: int | None = None
    growth_bytes: int | None = None
    others_cpu_s: float | None = None
    """What all other processes of the machine used meanwhile: much of it, and the time means little."""


def cpu_seconds(pid: int) -> float:
    """What a process and its threads, ended ones too, used since its start [s], to the nanosecond.

    Source: clock_getcpuclockid(3); the number of the clock is made as its C library makes it. Raises: OSError: there is no such process.
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int) -> tuple[int, int]:
    """Resident memory of a process now, and the most it ever was [bytes]."""
    values = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name in {"VmRSS", "VmHWM"}:
            values[name] = int(value.split()[0]) * 1024
    return values["VmRSS"], values["VmHWM"]


def machine_cpu_seconds() -> float:
    """What all processes of the machine used since it started [s]. Source: proc(5), /proc/stat, without idle and iowait."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_S


def wait_for_calm(limit_s: float) -> None:
    """Wait until the machine is nearly idle, at most so long [s]."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        started, used = time.monotonic(), machine_cpu_seconds()
        time.sleep(_CALM_LOOK_S)
        share = (machine_cpu_seconds() - used) / (time.monotonic() - started) / (os.cpu_count() or 1)
        if share < _CALM_SHARE:
            return


def own_cpu_seconds() -> float:
    """User and system time of this process and of the children that ended [s]."""
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return used


@dataclass
class Meter:
    """Takes one sample. ``pid`` is the daemon's, None for bare calls; ``calls`` counts what the gateway served since ``forget_calls``.

    ``calm_s``: how long to wait for a calm machine before the part that counts. ``slow_down`` and ``speed_up`` are called at its
    beginning and end: a distant gateway is distant while it is measured, not while files are prepared.
    """

    pid: int | None = None
    gateway_pid: int | None = None
    count_calls: Callable[[], int] | None = None
    forget_calls: Callable[[], None] | None = None
    calm_s: float = 0.0
    slow_down: Callable[[], None] | None = None
    speed_up: Callable[[], None] | None = None
    sample: Sample = field(default_factory=Sample)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The part that counts."""
        if self.forget_calls is not None:
            self.forget_calls()
        gc.collect()
        wait_for_calm(self.calm_s)
        if self.slow_down is not None:
            self.slow_down()
        rss_before = memory(self.pid)[0] if self.pid is not None else 0
        used, gateway_used = self._used(), self._gateway_used()
        own, all_used = own_cpu_seconds(), machine_cpu_seconds()
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            if self.speed_up is not None:
                self.speed_up()
        sample = self.sample
        sample.seconds = seconds
        sample.cpu_s = self._used() - used
        if gateway_used is not None:
            sample.gateway_cpu_s = (self._gateway_used() or 0.0) - gateway_used
        mine = own_cpu_seconds() - own + (sample.cpu_s if self.pid is not None else 0.0) + (sample.gateway_cpu_s or 0.0)
        sample.others_cpu_s = max(0.0, machine_cpu_seconds() - all_used - mine)
        if self.count_calls is not None:
            sample.calls = self.count_calls()
        if self.pid is not None:
            sample.peak_bytes = memory(self.pid)[1]
            sample.growth_bytes = max(0, sample.peak_bytes - rss_before)

    def _used(self) -> float:
        return cpu_seconds(self.pid) if self.pid is not None else own_cpu_seconds()

    def _gateway_used(self) -> float | None:
        return cpu_seconds(self.gateway_pid) if self.gateway_pid is not None else None


def drop_pages(paths: Iterable[Path]) -> None:
    """Take files out of the page cache; what is not on disk yet is written first, or it would stay."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def drop_all_pages() -> bool:
    """Empty the machine's page cache. Returns: whether we may (root only)."""
    try:
        os.sync()
        _DROP_CACHES.write_text("1", encoding="ascii")
    except OSError:
        return False
    return True
