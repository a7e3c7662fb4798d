"""Sparse files: holes, reads that do not block, copies."""

from __future__ import annotations

import os

import pytest

from cs3fuse.cache.files import SparseFile


def test_hole_gives_room_back_and_reads_as_zeros(tmp_path):
    """A punched range occupies nothing; what is around it stays."""
    file = SparseFile(tmp_path / "f", 1 << 20, is_new=True)
    file.write(0, memoryview(b"x" * (1 << 20)))
    os.fsync(file.fd)
    before = file.allocated_bytes
    if not file.punch(1 << 18, 1 << 19):
        pytest.skip("this file system has no holes")
    assert file.allocated_bytes <= before - (1 << 19) + 8192
    assert file.read(0, 1 << 20) == b"x" * (1 << 18) + bytes(1 << 19) + b"x" * (1 << 18)


def test_read_now_gives_all_or_nothing(tmp_path):
    """Fresh bytes are in the page cache; beyond the end there is nothing to give."""
    file = SparseFile(tmp_path / "f", 10_000, is_new=True)
    file.write(0, memoryview(b"ab" * 5000))
    now = file.read_now(1, 3)
    assert now is None or now == b"bab"
    assert file.read_now(9_999, 2) is None
    assert file.read(9_999, 2) == b"b"


def test_copy_goes_to_the_same_offset(tmp_path):
    """A range arrives at its place; a file that is too short is an error."""
    file = SparseFile(tmp_path / "f", 3 << 20, is_new=True)
    file.write(0, memoryview(os.urandom(3 << 20)))
    with (tmp_path / "g").open("w+b") as target:
        file.copy_to(target.fileno(), 5, (2 << 20) + 7)
        target.seek(0)
        assert target.read() == bytes(5) + file.read(5, (2 << 20) + 7)
        with pytest.raises(EOFError):
            file.copy_to(target.fileno(), (3 << 20) - 5, 10)


def test_file_of_another_length_is_refused(tmp_path):
    """Somebody cut it: it is not what was kept. A symbolic link is not followed."""
    (tmp_path / "f").write_bytes(b"123")
    with pytest.raises(ValueError, match="3 bytes, not 4"):
        SparseFile(tmp_path / "f", 4, is_new=False)
    (tmp_path / "l").symlink_to(tmp_path / "f")
    with pytest.raises(OSError, match="l"):
        SparseFile(tmp_path / "l", 3, is_new=False)


def test_descriptor_is_closed_with_the_last_user(tmp_path):
    """No descriptor stays when nobody uses the file any more."""
    before = len(os.listdir("/proc/self/fd"))
    files = [SparseFile(tmp_path / str(number), 10, is_new=True) for number in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del files
    assert len(os.listdir("/proc/self/fd")) == before


def test_brought_range_can_be_read_now(tmp_path):
    """Whole, also at the end of the file; beyond it there is nothing to wait for."""
    data = bytes(range(256)) * 8192
    file = SparseFile(tmp_path / "f", len(data), is_new=True)
    file.write(0, memoryview(data))
    for offset, size in ((0, len(data)), (5, 300_000), (len(data) - 10, 10)):
        os.fsync(file.fd)
        os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        file.bring(offset, size)
        now = file.read_now(offset, size) if size <= 1 << 20 else None
        assert now is None or now == data[offset : offset + size]
    file.bring(len(data) - 10, 100)
