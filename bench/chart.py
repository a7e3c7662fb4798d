"""The ratios as a chart: one bar per item and gateway, a mark where the bound is. SVG by hand, no library. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from bench.runner import OURS, Row

_ROW, _BAR, _TOP = 22, 14, 46
_LABELS, _WIDTH, _RIGHT = 420, 480, 70
_FIRST, _LAST = 0.1, 10.0
_COLORS = {True: "#2a9d5c", False: "#c8453b", None: "#7a8794"}


def svg(rows: Sequence[Row]) -> str:
    """The chart of all rows that have a ratio; logarithmic, 1 is the speed of the bare calls, left is faster."""
    bars = [(row, ratio) for row in rows if (ratio := row.ratio(OURS)) is not None]
    height = _TOP + _ROW * len(bars) + 30
    bottom = _TOP + _ROW * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LABELS + _WIDTH + _RIGHT} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_LABELS + _WIDTH + _RIGHT}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="20" font-size="14">Time of cs3fuse relative to bare calls; left is faster</text>',
    ]
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        x = _x(tick)
        color = "#444444" if tick == 1 else "#dddddd"
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{color}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#444444">{tick:g}x</text>')
    for number, (row, ratio) in enumerate(bars):
        parts += _bar(row, ratio, _TOP + _ROW * number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(row: Row, ratio: float, y: int) -> list[str]:
    start, end = sorted((_x(1), _x(ratio)))
    parts = [
        f'<text x="{_LABELS - 10}" y="{y + 11}" text-anchor="end">{escape(f"{row.title} ({row.profile})")}</text>',
        f'<rect x="{start:.1f}" y="{y}" width="{max(1.0, end - start):.1f}" height="{_BAR}" fill="{_COLORS[row.verdict.holds]}"/>',
        f'<text x="{_LABELS + _WIDTH + 8}" y="{y + 11}">{ratio:.2f}x</text>',
    ]
    bound = re.search(r"([\d.]+)x", row.verdict.bound)
    if bound:
        most = float(bound[1])
        x = _x(1 / most if row.verdict.bound.startswith("≥") else most)
        parts.append(f'<line x1="{x:.1f}" y1="{y - 3}" x2="{x:.1f}" y2="{y + _BAR + 3}" stroke="#000000" stroke-width="2"/>')
    return parts


def _x(ratio: float) -> float:
    """Where a ratio is, from 0.1 to 10, beyond that at the edge."""
    clipped = min(max(ratio, _FIRST), _LAST)
    return _LABELS + _WIDTH * (math.log10(clipped) - math.log10(_FIRST)) / (math.log10(_LAST) - math.log10(_FIRST))
