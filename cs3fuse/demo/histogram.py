"""A histogram as lines of text.

Owns counting and drawing; called by ``demo.run``. Pure functions; numbers in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in equal bins from ``low`` (inclusive) to ``high`` (exclusive)."""

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def bin_width(self) -> float:
        """Width of one bin in the unit of the values."""
        return (self.high - self.low) / len(self.counts)

    def edge(self, number: int) -> float:
        """Lower edge of a bin."""
        return self.low + number * self.bin_width

    @property
    def peak(self) -> float:
        """Centre of the fullest bin, the first of several equal ones."""
        return self.edge(self.counts.index(max(self.counts))) + self.bin_width / 2


def fill(values: Iterable[float], *, low: float, high: float, bins: int) -> Histogram:
    """Count values; those outside (and NaN) are left out.

    Raises: ValueError unless low < high and bins > 0.
    """
    if not low < high or bins < 1:
        raise ValueError(f"no histogram has {bins} bins from {low} to {high}")
    counts = [0] * bins
    scale = bins / (high - low)
    for value in values:
        if low <= value < high:
            # Rounding may lift a value just below the upper edge into a bin that is not there.
            counts[min(int((value - low) * scale), bins - 1)] += 1
    return Histogram(low, high, tuple(counts))


def draw(histogram: Histogram, *, width: int = 50, only_ascii: bool = False) -> list[str]:
    """One line a bin: its range, a bar of at most ``width`` columns, its count. The fullest bin has the longest bar."""
    most = max(histogram.counts) or 1
    digits = len(str(most))
    lines = []
    for number, count in enumerate(histogram.counts):
        low, high = histogram.edge(number), histogram.edge(number + 1)
        lines.append(f"{low:6.1f} - {high:6.1f} |{_bar(count, most, width, only_ascii=only_ascii):<{width}} {count:>{digits}}")
    return lines


def _bar(count: int, most: int, width: int, *, only_ascii: bool) -> str:
    eighths = round(count * width * 8 / most)
    if only_ascii:
        return "#" * ((eighths + 4) // 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")) or ("▏" if count else "")


def can_show_blocks(encoding: str | None, sample: Sequence[str] = _EIGHTHS) -> bool:
    """Whether a stream of this encoding can carry the bars."""
    try:
        "".join(sample).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
