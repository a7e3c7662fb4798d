"""What came out: a table for the terminal, JSON for programs, a page and a chart for ``docs/``. Pure but for ``write``."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import chart
from bench.content import MIB
from bench.measure import Sample
from bench.mounts import MinimalMount
from bench.runner import LIMIT, OURS, Row
from cs3fuse import __version__

_MOST_MEMORY_BYTES = 250 * MIB
_HOLDS = {True: "yes", False: "NO", None: ""}


@dataclass
class Results:
    """All rows of one run of the benchmark."""

    rows: list[Row]
    runs: int
    scale: float = 1.0
    latency_ms: float = 0.0

    @property
    def peak_bytes(self) -> int:
        """The most memory that a daemon of ours had resident in any item [bytes]."""
        return max((sample.peak_bytes or 0 for row in self.rows for sample in row.samples.get(OURS, [])), default=0)

    @property
    def memory_holds(self) -> bool:
        """Whether it stayed below what is promised."""
        return self.peak_bytes < _MOST_MEMORY_BYTES

    @property
    def everything_holds(self) -> bool:
        """Whether nothing failed and no promise was broken."""
        return self.memory_holds and all(row.verdict.holds is not False and not row.failures.get(OURS) for row in self.rows)

    @property
    def peers(self) -> list[str]:
        """The other clients that took part."""
        found = {label for row in self.rows for label in (*row.samples, *row.failures)}
        return sorted(found - {LIMIT, OURS})


def line(row: Row) -> str:
    """One finished item as a line of the terminal."""
    ours, limit = row.median(OURS), row.median(LIMIT)
    if ours is None:
        return f"[red]{escape(row.profile)}  {escape(row.title)}: {escape(row.failures.get(OURS, ''))}[/red]"
    parts = [f"{ours.seconds:.3f} s"]
    if limit is not None and (ratio := row.ratio(OURS)) is not None:
        parts.append(f"{ratio:.2f}x of {limit.seconds:.3f} s")
    if row.verdict.bound:
        parts.append(f"{row.verdict.bound}: {_HOLDS[row.verdict.holds] or 'not judged'}")
    color = "red" if row.verdict.holds is False else "green" if row.verdict.holds else "default"
    return f"{escape(row.profile)}  {escape(row.title)}: [{color}]{escape(', '.join(parts))}[/{color}]"


def show(results: Results, console: Console) -> None:
    """The whole as a table."""
    table = Table(title=f"cs3fuse {__version__}, medians of {results.runs}.{_told_if_special(results)}")
    for heading in _headings(results):
        table.add_column(escape(heading), justify="left" if heading in {"gateway", "work", "bound", "holds"} else "right")
    for row in results.rows:
        table.add_row(*map(escape, _cells(row, results)), style="red" if row.verdict.holds is False else None)
    console.print(table)
    console.print(_memory_sentence(results), highlight=False)
    for row in results.rows:
        for label, complaint in row.failures.items():
            console.print(f"{row.profile}, {row.title}: {label} failed: {complaint}", style="red", markup=False, highlight=False)


def write(results: Results, folder: Path) -> str:
    """A JSON file, a page and a chart. Returns: what they are called, which tells the latency where there is one."""
    stem = f"benchmark-{results.latency_ms:g}ms" if results.latency_ms else "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps(_as_json(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / f"{stem}.md").write_text(_page(results, f"{stem}.svg"), encoding="utf-8")
    (folder / f"{stem}.svg").write_text(chart.svg(results.rows), encoding="utf-8")
    return stem


def _memory_sentence(results: Results) -> str:
    peak, most = results.peak_bytes / MIB, _MOST_MEMORY_BYTES // MIB
    return f"Resident memory of the daemon, at most: {peak:.0f} MiB (bound {most} MiB, holds: {_HOLDS[results.memory_holds]})."


def _headings(results: Results) -> list[str]:
    ours = ["cs3fuse [s]", "limit [s]", "ratio", "bound", "holds", "peak [MiB]", "CPU [s]", "limit CPU [s]", "calls", "limit calls"]
    return ["gateway", "work", *ours, *(f"{peer} [s]" for peer in results.peers)]


def _cells(row: Row, results: Results) -> list[str]:
    ours, limit, ratio = row.median(OURS), row.median(LIMIT), row.ratio(OURS)
    cells = [row.profile, row.title, _seconds(ours), _seconds(limit), "" if ratio is None else f"{ratio:.2f}"]
    cells += [row.verdict.bound, _HOLDS[row.verdict.holds]]
    cells.append("" if ours is None or ours.peak_bytes is None else f"{ours.peak_bytes / MIB:.0f}")
    for sample in (ours, limit):
        cells.append("" if sample is None or sample.cpu_s is None else f"{sample.cpu_s:.2f}")
    for sample in (ours, limit):
        cells.append("" if sample is None or sample.calls is None else f"{sample.calls:.0f}")
    cells += ["fails" if peer in row.failures else _seconds(row.median(peer)) for peer in results.peers]
    return cells


def _seconds(sample: Sample | None) -> str:
    return "" if sample is None else f"{sample.seconds:.3f}"


def _environment() -> dict[str, Any]:
    today = datetime.now(UTC).date().isoformat()
    return {
        "date": today,
        "cs3fuse": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def _as_json(results: Results) -> dict[str, Any]:
    return {
        "environment": _environment(),
        "runs": results.runs,
        "scale": results.scale,
        "latency_ms": results.latency_ms,
        "peak_bytes": results.peak_bytes,
        "rows": [
            {
                "profile": row.profile,
                "item": row.item,
                "title": row.title,
                "limit": row.limit_title,
                "bound": row.verdict.bound,
                "holds": row.verdict.holds,
                "ratio": row.ratio(OURS),
                "failures": row.failures,
                "medians": {label: dataclasses.asdict(sample) for label in row.samples if (sample := row.median(label))},
                "samples": {label: [dataclasses.asdict(sample) for sample in samples] for label, samples in row.samples.items()},
            }
            for row in results.rows
        ],
    }


def _told_if_special(results: Results) -> str:
    scaled = f" Sizes and counts times {results.scale:g}." if results.scale != 1.0 else ""
    slowed = f" Each call to the gateway takes {results.latency_ms:g} ms more." if results.latency_ms else ""
    return scaled + slowed


def _page(results: Results, chart_name: str) -> str:
    """The page for docs/."""
    made_of = ", ".join(f"{name} {value}" for name, value in _environment().items())
    headings = _headings(results)
    lines = [
        "# Benchmark",
        "",
        "Written by `make bench PUBLISH=1`. Seconds depend on the machine; the ratio to bare calls of the same run is what is promised.",
        "Cold means a new mount, an empty cache folder, nothing in the page cache. The limit is what the same work costs without a file",
        "system: gRPC stub and curl or urllib3, one call after the other. CPU is that of the daemon, for the limit that of the caller.",
        "",
        f"Medians of {results.runs}; {made_of}.{_told_if_special(results)}",
        "",
        f"![ratios to bare calls]({chart_name})",
        "",
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(_cells(row, results))} |" for row in results.rows),
        "",
        _memory_sentence(results),
    ]
    if MinimalMount.label in results.peers:
        lines += [
            "",
            f"`{MinimalMount.label}` is `bench/minimal`: pyfuse3, trio and grpcio moving names and bytes, without any promise: it checks, locks, settles and stores",
            "nothing, and believes one answer for ever. It is short, not tuned: listings are slower than ours.",
        ]
    limits = {row.title: row.limit_title for row in results.rows if row.limit_title}
    lines += ["", "What the limit is:", "", *(f"- {title}: {limit}" for title, limit in limits.items())]
    complaints = [f"- {row.profile}, {row.title}: {label}: {text}" for row in results.rows for label, text in row.failures.items()]
    if complaints:
        lines += ["", "Failures:", "", *complaints]
    return "\n".join(lines) + "\n"
