"""What a daemon consists of, to be compared before and after. Used by the long tests with a real mount; blocking."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bench.measure import memory
from tests.support.processes import MountProcess


@dataclass(frozen=True)
class Footprint:
    """Without the staged files of what is not sent yet, which are open on purpose. ``resident_bytes`` is for people: the rest is exact."""

    threads: int
    tasks: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, mount: MountProcess) -> Footprint:
        told = mount.status()
        descriptors = len(os.listdir(f"/proc/{told['pid']}/fd")) - told["unsent"]
        return cls(told["threads"], told["tasks"], descriptors, memory(told["pid"])[0])

    def fits_into(self, other: Footprint) -> bool:
        """Whether nothing that can be counted is more than there."""
        return self.threads <= other.threads and self.tasks <= other.tasks and self.descriptors <= other.descriptors
