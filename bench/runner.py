"""Plays items on a gateway: every contender in turn, run after run, so that a busy moment of the machine meets all of them.

Owns the order and the bounds in time: each measurement has a watchdog that ends the mount, so a run ends by itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.bare import Bare, BareCallError
from bench.content import WrongBytesError
from bench.gateways import Gateway
from bench.items.base import Item, Medians, Stage, Verdict
from bench.measure import Meter, Sample
from bench.mounts import Cs3FuseMount, MinimalMount, Mount, installed_peers, mounted

OURS = Cs3FuseMount.label
LIMIT = "bare"
_LONGEST_S = 180.0


@dataclass
class Row:
    """The outcome of one item on one gateway: samples by contender, complaints by contender."""

    item: str
    title: str
    limit_title: str
    profile: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)

    def median(self, contender: str) -> Sample | None:
        """The medians of a contender's samples, field by field; None without samples."""
        samples = self.samples.get(contender)
        if not samples:
            return None
        values: dict[str, Any] = {}
        for one in fields(Sample):
            known = [value for sample in samples if (value := getattr(sample, one.name)) is not None]
            values[one.name] = statistics.median(known) if known else None
        return Sample(**values)

    def ratio(self, contender: str) -> float | None:
        """The median of the runs' ratios of time to the bare calls."""
        pairs = zip(self.samples.get(contender, []), self.samples.get(LIMIT, []), strict=False)
        ratios = [ours.seconds / limit.seconds for ours, limit in pairs if limit.seconds]
        return statistics.median(ratios) if ratios else None


@contextlib.contextmanager
def stage_of(gateway: Gateway, scratch: Path, *, scale: float, idle_s: float, calm_s: float, latency_s: float) -> Iterator[Stage]:
    """A signed-in caller and a folder on the server, removed at the end."""
    folder = f"cs3fuse-bench-{os.getpid()}-{os.urandom(3).hex()}"
    scratch.mkdir(parents=True)
    try:
        with Bare(gateway.access) as bare:
            bare.mkdir(folder)
            try:
                yield Stage(gateway, bare, folder, scratch, scale=scale, idle_s=idle_s, calm_s=calm_s, latency_s=latency_s)
            finally:
                # The gateway may be what failed; the failure that ended the run is the one to tell.
                with contextlib.suppress(BareCallError):
                    bare.delete(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def play(item: Item, stage: Stage, *, runs: int, is_minimal: bool, tell: Callable[[str], None]) -> Row:
    """Measure one item with every contender, ``is_minimal``: the minimal mount too. Failures become part of the row."""
    gateway = stage.gateway
    row = Row(item.name, item.title, item.limit_title, gateway.profile)
    tell("preparing")
    item.prepare(stage)
    contenders: dict[str, Callable[[], Sample]] = {}
    if item.limit_title:
        contenders[LIMIT] = lambda: _measure_bare(item, stage)
    contenders[OURS] = lambda: _measure_mount(item, stage, lambda folder: Cs3FuseMount(gateway, folder, item.mount_options))
    if is_minimal and item.with_minimal and not gateway.is_live:
        contenders[MinimalMount.label] = lambda: _measure_mount(
            item, stage, lambda folder: MinimalMount(gateway, folder, item.mount_options)
        )
    if item.with_peers:
        for peer in installed_peers(gateway):
            contenders[peer.label] = lambda peer=peer: _measure_mount(item, stage, lambda folder: peer(gateway, folder))  # type: ignore[misc]
    for run in range(item.runs or runs):
        for label, measure in contenders.items() if run % 2 == 0 else reversed(contenders.items()):
            if label in row.failures:
                continue
            tell(f"run {run + 1}: {label}")
            try:
                row.samples.setdefault(label, []).append(measure())
            except (OSError, BareCallError, WrongBytesError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
                row.failures[label] = f"{type(error).__name__}: {error}"
                row.samples.pop(label, None)
    row.verdict = _judged(item, stage, row)
    return row


def _judged(item: Item, stage: Stage, row: Row) -> Verdict:
    ours = row.median(OURS)
    if ours is None:
        return Verdict("", holds=False)
    verdict = item.verdict(stage, Medians(ours, row.median(LIMIT), row.ratio(OURS)))
    return Verdict(verdict.bound, None) if stage.scale != 1.0 or stage.latency_s else verdict


def _measure_bare(item: Item, stage: Stage) -> Sample:
    meter = _meter(stage)
    item.limit(stage, meter)
    return meter.sample


def _measure_mount(item: Item, stage: Stage, make: Callable[[Path], Mount]) -> Sample:
    meter = _meter(stage)
    with mounted(make(stage.scratch / "mount")) as mount, _watchdog(mount):
        meter.pid = mount.pid
        item.work(stage, mount, meter)
    return meter.sample


def _meter(stage: Stage) -> Meter:
    control = stage.gateway.control
    if control is None:
        return Meter(calm_s=stage.calm_s)
    return Meter(
        gateway_pid=stage.gateway.pid,
        count_calls=lambda: len(control.names()),
        forget_calls=control.clear_log,
        calm_s=stage.calm_s,
        slow_down=(lambda: control.fault(delay_s=stage.latency_s)) if stage.latency_s else None,
        speed_up=control.clear_faults if stage.latency_s else None,
    )


@contextlib.contextmanager
def _watchdog(mount: Mount) -> Iterator[None]:
    """End a mount that hangs: whoever waits for it gets ENOTCONN."""
    timer = threading.Timer(_LONGEST_S, mount.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def chosen(items: Sequence[type[Item]], names: Sequence[str], gateway: Gateway) -> list[Item]:
    """The items to play: those named (all without names) that fit the gateway."""
    made = [item() for item in items if not names or item.name in names]
    return [item for item in made if item.fits(gateway)]
