"""The eviction policy against a list."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cs3fuse.cache.eviction import EvictionPolicy

NAMES = st.sampled_from([f"v{number}" for number in range(8)])
BUDGET = 1000


class Machine(RuleBasedStateMachine):
    """The model: a list of names from the least to the most recently used, and dictionaries of sizes and pins."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = EvictionPolicy(BUDGET, max_items=5)
        self.order: list[str] = []
        self.sizes: dict[str, int] = {}
        self.pins: dict[str, int] = {}

    @rule(name=NAMES, size=st.integers(0, 500))
    def add(self, name, size):
        if name in self.order:
            with pytest.raises(KeyError):
                self.policy.add(name, size)
            return
        self.policy.add(name, size)
        self.order.append(name)
        self.sizes[name], self.pins[name] = size, 0

    @rule(name=NAMES, size=st.integers(0, 500))
    def resize(self, name, size):
        if name in self.order:
            self.policy.resize(name, size)
            self.sizes[name] = size

    @rule(name=NAMES, last=st.booleans())
    def move(self, name, last):
        if name in self.order:
            self.policy.touch(name) if last else self.policy.demote(name)
            self.order.remove(name)
            self.order.insert(len(self.order) if last else 0, name)

    @rule(name=NAMES)
    def pin(self, name):
        if name in self.order:
            self.policy.pin(name)
            self.pins[name] += 1

    @rule(name=NAMES)
    def unpin(self, name):
        if name in self.order and not self.pins[name]:
            with pytest.raises(ValueError, match=name):
                self.policy.unpin(name)
        elif name in self.order:
            self.policy.unpin(name)
            self.pins[name] -= 1

    @rule(need=st.integers(0, 800))
    def evict(self, need):
        victims = self.policy.victims(need)
        free = [name for name in self.order if not self.pins[name]]
        # In the order of use, and never one that is in use.
        assert [name for name in free if name in victims] == victims
        left = len(self.order) - len(victims)
        used = sum(self.sizes[name] for name in self.order if name not in victims)
        unused = [name for name in free if name not in victims and self.sizes[name]]
        assert (used + need <= BUDGET) or not unused
        assert left <= 5 or all(self.pins[name] for name in self.order if name not in victims)
        if victims:
            # Without the last one it would not have been enough.
            last = victims[-1]
            assert used + self.sizes[last] + need > BUDGET or left + 1 > 5
        for name in victims:
            self.policy.remove(name)
            self.order.remove(name)

    @invariant()
    def agrees(self):
        assert list(self.policy) == self.order
        assert self.policy.used_bytes == sum(self.sizes[name] for name in self.order)
        assert self.policy.pinned_bytes == sum(self.sizes[name] for name in self.order if self.pins[name])
        assert self.policy.excess_bytes == max(0, self.policy.used_bytes - BUDGET)


TestEvictionPolicy = Machine.TestCase
TestEvictionPolicy.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
