"""The report says what was measured: medians, ratios within a run, broken promises."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

from rich.console import Console

from bench import chart, report
from bench.items.base import Verdict
from bench.measure import Sample
from bench.runner import LIMIT, OURS, Row

_MIB = 1 << 20


def row(*, holds: bool | None = True, peak_bytes: int = 80 * _MIB) -> Row:
    """Three runs: the machine was twice as slow in the second."""
    ours = [Sample(seconds, cpu_s=0.5, calls=3, peak_bytes=peak_bytes) for seconds in (1.0, 2.2, 1.2)]
    limit = [Sample(seconds, cpu_s=0.2, calls=1) for seconds in (1.0, 2.0, 1.0)]
    found = Row("ls", "ls -l <all>", "one ListContainer", "reva", samples={OURS: ours, LIMIT: limit})
    found.verdict = Verdict("≤ 2x", holds)
    return found


def test_ratio_is_that_of_the_runs() -> None:
    """A busy moment meets both contenders of a run; a ratio of medians would blame one of them."""
    assert row().ratio(OURS) == 1.1
    median = row().median(OURS)
    assert median is not None
    assert (median.seconds, median.calls, median.growth_bytes) == (1.2, 3, None)


def test_broken_promises_and_failures_are_told() -> None:
    """The exit status depends on this."""
    assert report.Results([row()], 3).everything_holds
    assert not report.Results([row(holds=False)], 3).everything_holds
    assert not report.Results([row(peak_bytes=251 * _MIB)], 3).everything_holds
    broken = row()
    broken.failures[OURS] = "OSError: no"
    assert not report.Results([broken], 3).everything_holds
    peer = row()
    peer.failures["davfs2"] = "OSError: no"
    assert report.Results([peer], 3).everything_holds


def test_files_can_be_read_back(tmp_path: Path) -> None:
    """JSON for programs, a page with the row, a chart that is XML although a title has brackets."""
    failed = row()
    failed.samples.pop(OURS)
    failed.failures[OURS] = "OSError: no"
    report.write(report.Results([row(), failed], 3), tmp_path)
    read = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert read["rows"][0]["ratio"] == 1.1
    assert read["rows"][0]["medians"][OURS]["seconds"] == 1.2
    assert "| reva | ls -l <all> | 1.200 | 1.000 | 1.10 |" in (tmp_path / "benchmark.md").read_text(encoding="utf-8")
    root = ET.fromstring((tmp_path / "benchmark.svg").read_text(encoding="utf-8"))
    assert "1.10x" in [element.text for element in root]


def test_bars_stay_on_the_chart() -> None:
    """Ratios beyond the scale end at its edge."""
    extreme = row()
    extreme.samples[OURS] = [Sample(500.0), Sample(500.0), Sample(500.0)]
    width = float(ET.fromstring(chart.svg([extreme])).attrib["viewBox"].split()[2])
    bars = [element for element in ET.fromstring(chart.svg([extreme])) if element.tag.endswith("rect")][1:]
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width for bar in bars)


def test_table_shows_peers() -> None:
    """A peer that took part has a column, and its failure is visible there."""
    with_peer = row()
    with_peer.failures["rclone"] = "OSError: [Errno 5]"
    console = Console(file=io.StringIO(), width=250)
    report.show(report.Results([with_peer], 3), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "rclone [s]" in shown
    assert "fails" in shown
