"""A mount that nobody uses."""

from __future__ import annotations

import os
import time

from bench.items.base import Item, Medians, Stage, Verdict
from bench.measure import Meter
from bench.mounts import Mount

_CALM_S = 3.0
_MOST_CPU = 0.002


class IdleMount(Item):
    """What it costs to be mounted."""

    name = "idle"
    title = "idle mount"
    runs = 1
    with_peers = False

    def work(self, stage: Stage, mount: Mount, meter: Meter) -> None:
        os.listdir(mount.path)
        time.sleep(_CALM_S)
        with meter.timed():
            time.sleep(stage.idle_s)

    def verdict(self, stage: Stage, medians: Medians) -> Verdict:
        ours = medians.ours
        is_calm = ours.cpu_s is not None and ours.cpu_s / ours.seconds < _MOST_CPU
        return Verdict("no call, < 0.2 % CPU", is_calm and not ours.calls)
