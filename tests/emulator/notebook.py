"""Where the answers of one round of questions are noted.

Called by the probe and by the closer look. One notebook, one thread.
"""

from collections.abc import Callable
from typing import Any

from tests.emulator.recorded import Fact


class Notebook:
    """Facts by name, and what kept a step from being asked to its end."""

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.failures: list[str] = []

    def note(self, name: str, /, *parts: Fact, **fields: Any) -> None:
        """Write down one fact; a name that is there already gets a number, as in the records."""
        fact: Fact = {}
        for part in (*parts, fields):
            fact |= part
        key, number = name, 1
        while key in self.facts:
            number += 1
            key = f"{name}#{number}"
        self.facts[key] = fact

    def step(self, name: str, ask: Callable[[], None]) -> None:
        """Ask one group of questions; if it cannot go on, what was noted stays and the next group is asked."""
        try:
            ask()
        except Exception as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
