"""Whether a process has a file open once more, by its own /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cs3fuse.kernel import descriptors
from cs3fuse.kernel.descriptors import can_write_elsewhere


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def asked(path: Path, *, pid: int | None = None, ino: int | None = None, name: str | None = None) -> bool:
    return can_write_elsewhere(os.getpid() if pid is None else pid, path.stat().st_ino if ino is None else ino, name or path.name)


def test_second_descriptor_is_seen_while_it_is_there(path: Path) -> None:
    assert not asked(path)
    first = os.open(path, os.O_WRONLY)
    second = os.dup(first)
    os.close(first)
    assert asked(path)
    os.close(second)
    assert not asked(path)


def test_reader_counts_for_nothing(path: Path) -> None:
    """Its close would send nothing."""
    reading = os.open(path, os.O_RDONLY)
    try:
        assert not asked(path)
    finally:
        os.close(reading)


def test_number_and_name_must_agree(path: Path) -> None:
    """Another file system may have the number, another folder the name."""
    with path.open("wb"):
        assert asked(path)
        assert not asked(path, ino=path.stat().st_ino + 1)
        assert not asked(path, name="other")


@pytest.mark.parametrize("pid", [0, -1, 2**30])
def test_unknown_process_is_no(path: Path, pid: int) -> None:
    with path.open("wb"):
        assert not asked(path, pid=pid)


def test_process_with_many_descriptors_is_not_looked_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_MOST_DESCRIPTORS", 2)
    with path.open("wb"):
        assert not asked(path)
