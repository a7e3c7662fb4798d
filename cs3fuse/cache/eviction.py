"""Which cached versions go when room is needed: least recently used first, never one that is in use. Pure policy, no I/O.

Owns the order of use, the sizes and the pins of all cached versions, by file name. ``cache.content`` tells it what happens
and carries out what it decides. Used from the trio thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Item:
    """``size_bytes`` is what it takes on disk, ``pins`` how many use it now."""

    size_bytes: int
    pins: int = 0


class EvictionPolicy:
    """LRU by bytes with a budget and a bound on the number of versions."""

    def __init__(self, budget_bytes: int, *, max_items: int = 100_000) -> None:
        """Start empty.

        Args: ``budget_bytes`` may be changed at any time; ``max_items`` bounds the memory of this table (some 250 bytes each).
        """
        self.budget_bytes = budget_bytes
        self._max_items = max_items
        # INVARIANT: from the least to the most recently used.
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self.used_bytes = 0

    def __len__(self) -> int:
        """Number of versions."""
        return len(self._items)

    def __contains__(self, name: str) -> bool:
        """Whether a version is known."""
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Names from the least to the most recently used."""
        return iter(self._items)

    def add(self, name: str, size_bytes: int = 0) -> None:
        """Take in a version as the most recently used. Raises: KeyError if it is known already."""
        if name in self._items:
            raise KeyError(name)
        self._items[name] = _Item(size_bytes)
        self.used_bytes += size_bytes

    def remove(self, name: str) -> None:
        """It is gone from the disk. Raises: KeyError."""
        self.used_bytes -= self._items.pop(name).size_bytes

    def touch(self, name: str) -> None:
        """It was used just now."""
        self._items.move_to_end(name)

    def demote(self, name: str) -> None:
        """It goes first: a newer version of the same file is known."""
        self._items.move_to_end(name, last=False)

    def resize(self, name: str, size_bytes: int) -> None:
        """It takes this much on disk now."""
        item = self._items[name]
        self.used_bytes += size_bytes - item.size_bytes
        item.size_bytes = size_bytes

    def size_of(self, name: str) -> int:
        """What it takes on disk."""
        return self._items[name].size_bytes

    def pin(self, name: str) -> None:
        """It is in use once more."""
        self._items[name].pins += 1

    def unpin(self, name: str) -> None:
        """It is in use once less. Raises: ValueError if it was not in use."""
        item = self._items[name]
        if item.pins == 0:
            raise ValueError(f"{name} was not pinned")
        item.pins -= 1

    def is_pinned(self, name: str) -> bool:
        """Whether it is in use."""
        return self._items[name].pins > 0

    @property
    def pinned_bytes(self) -> int:
        """Bytes of the versions in use."""
        return sum(item.size_bytes for item in self._items.values() if item.pins)

    @property
    def excess_bytes(self) -> int:
        """Bytes above the budget, 0 if it is kept."""
        return max(0, self.used_bytes - self.budget_bytes)

    def victims(self, need_bytes: int = 0) -> list[str]:
        """What to delete so that ``need_bytes`` more fit into the budget: the fewest of the least recently used.

        Returns: names, to be deleted in this order; too few if the rest is in use.
        """
        excess = self.used_bytes + need_bytes - self.budget_bytes
        surplus = len(self._items) - self._max_items
        chosen = []
        for name, item in self._items.items():
            if excess <= 0 and surplus <= 0:
                break
            if item.pins == 0 and (item.size_bytes or surplus > 0):
                chosen.append(name)
                excess -= item.size_bytes
                surplus -= 1
        return chosen
