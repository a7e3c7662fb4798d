"""What the demonstration says on stdout. No state; one writer at a time."""

from __future__ import annotations


def say(text: str) -> None:
    """A step, so that it stands out from what it shows."""
    print(f"==> {text}", flush=True)
