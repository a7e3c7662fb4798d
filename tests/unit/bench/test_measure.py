"""What the meter reads of /proc, and what it makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import measure
from bench.content import MIB, Buffer, WrongBytesError, check_piece, pieces
from bench.measure import Meter


def test_meter_knows_this_process() -> None:
    """Memory that is taken while it looks on is seen; CPU time does not run backwards."""
    meter = Meter(pid=os.getpid())
    with meter.timed():
        taken = bytearray(os.urandom(8 * MIB))
    sample = meter.sample
    assert len(taken) == 8 * MIB
    assert sample.seconds > 0
    assert sample.cpu_s is not None and sample.cpu_s >= 0
    assert sample.peak_bytes is not None and sample.peak_bytes > 8 * MIB


def test_distance_ends_with_the_part_that_counts() -> None:
    """A measurement that fails must not leave a slow gateway behind."""
    told: list[str] = []
    meter = Meter(slow_down=lambda: told.append("slow"), speed_up=lambda: told.append("fast"))
    with pytest.raises(OSError, match="broken"), meter.timed():
        raise OSError("broken")
    assert told == ["slow", "fast"]


def test_calm_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is always busy the measurement is taken all the same."""
    clock = iter(range(1000))
    monkeypatch.setattr(measure.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(measure.time, "sleep", lambda _s: None)
    used = iter(range(0, 100_000, 10))
    monkeypatch.setattr(measure, "machine_cpu_seconds", lambda: float(next(used)))
    measure.wait_for_calm(20.0)


def test_pages_can_be_dropped(tmp_path: Path) -> None:
    """Also of a file that is not on disk yet."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    measure.drop_pages([path])
    assert path.read_bytes() == b"x" * 5000


def test_marks_prove_the_place() -> None:
    """A piece of another place is not taken for the right one, wherever reading begins."""
    data = b"".join(pieces(3 * MIB + 100))
    assert data == b"".join(bytes(piece) for piece in Buffer().pieces(3 * MIB + 100))
    assert len(data) == 3 * MIB + 100
    for offset in (0, 1, MIB - 1, MIB, 2 * MIB + 5):
        check_piece(offset, data[offset:])
    with pytest.raises(WrongBytesError):
        check_piece(MIB, data[2 * MIB :])
