"""When to kill: seeded plans that make the last breath fall into a call to the server.

Used by ``campaign``. A plan has one rule for the gateway (hold a call before or after its work, or cut an upload off) and kills a moment
after the rule fired; some plans have none and kill by the clock.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from cs3fuse.emulator.control_client import ControlClient

_HOLD_S = 0.35
_LIMIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Moment:
    """``rule`` is given to the gateway ({}: none); the kill comes ``delay_s`` after it fired, or after the start."""

    name: str
    rule: dict[str, Any] = field(default_factory=dict)
    delay_s: float = 0.0

    @classmethod
    def draw(cls, chance: random.Random, *, has_locks: bool) -> Moment:
        """One of many."""
        kind = chance.random()
        number = chance.randint(1, 12)
        if kind < 0.25:
            rule = {"method": "PUT", "after": number, "times": 1, "delay_s": _HOLD_S}
            return cls("PUT held before its body is read", rule, chance.uniform(0, _HOLD_S))
        if kind < 0.4:
            rule = {"method": "PUT", "after": number, "times": 1, "answer_delay_s": _HOLD_S}
            return cls("PUT done, answer held", rule, chance.uniform(0.05, _HOLD_S))
        if kind < 0.6:
            rule = {"method": "PUT", "after": number, "times": 1, "direction": "request"}
            rule["reset_after_bytes"] = chance.choice([0, 1, 1000, 40_000, 300_000])
            return cls("PUT cut off", rule, chance.choice([0.0, 0.002, 0.02, 0.1]))
        if kind < 0.85:
            call = chance.choice(["InitiateFileUpload", "Stat", "Delete", *(["SetLock", "Unlock"] if has_locks else [])])
            where = chance.choice(["delay_s", "answer_delay_s"])
            number = chance.randint(1, 40) if call == "Stat" else chance.randint(1, 6)
            return cls(f"{call}, {where}", {"call": call, "after": number, "times": 1, where: _HOLD_S}, chance.uniform(0, _HOLD_S))
        return cls("by the clock", {}, chance.uniform(0.05, 1.0))

    def wait(self, control: ControlClient) -> bool:
        """Return when it is time to kill. Returns whether the rule fired: some calls are not made on every storage."""
        ends_at = time.monotonic() + _LIMIT_S
        if not self.rule:
            time.sleep(self.delay_s)
            return True
        while not control.faults()[0]["fired"]:
            if time.monotonic() > ends_at - _LIMIT_S * 0.75:
                return False
            time.sleep(0.003)
        time.sleep(self.delay_s)
        return True

    @property
    def settled_after_s(self) -> float:
        """How long after the kill the server may still be busy with what it had received."""
        return _HOLD_S + 0.1 if self.rule.get("delay_s") else 0.05
