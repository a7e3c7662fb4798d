"""The benchmark runs, on a small scale, with real mounts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.mount

# One of each kind; each costs a mount and more.
_SOME = ["sequential", "restarted", "range", "ls", "small", "create-background", "notebook", "idle"]


def test_items_can_be_measured(tmp_path: Path) -> None:
    """On a gateway with ranges, where all items fit; nothing may fail, whatever the times are."""
    subprocess.run(
        [sys.executable, "-m", "bench", "--profile", "opencloud", "--runs", "1", "--scale", "0.01", "--idle-seconds", "0.2", "--minimal",
         "--items", ",".join(_SOME), "--folder", str(tmp_path), "--output", str(tmp_path)],
        check=True, capture_output=True, text=True, timeout=110, cwd=Path(__file__).resolve().parents[2], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    rows = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))["rows"]
    assert [row["item"] for row in rows] == _SOME
    assert not any(row["failures"] for row in rows)
    beside = [row["item"] for row in rows if "minimal" in row["samples"]]
    assert beside == ["sequential", "range", "ls", "small", "create-background"]
    assert not list(tmp_path.glob("cs3fuse-bench-*")), "the benchmark left its folder behind"
