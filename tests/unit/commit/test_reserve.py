"""The room that is kept for the journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cs3fuse.commit.reserve import Reserve


def test_room_is_held_and_given_once(tmp_path: Path) -> None:
    """Held room is real blocks, not a hole; what was given is gone until it is held again."""
    reserve = Reserve(tmp_path / "reserve", size=200_000)
    assert not reserve.give()
    reserve.hold()
    reserve.hold()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 200_000
    assert reserve.give()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.give()
    reserve.hold()
    assert (tmp_path / "reserve").exists()


def test_full_disk_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that is not there now is no error and leaves no file that pretends."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    reserve = Reserve(tmp_path / "reserve")
    monkeypatch.setattr(os, "posix_fallocate", full)
    reserve.hold()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.give()
    monkeypatch.undo()
    reserve.hold()
    assert reserve.give()
