"""System calls through a real mount, on every profile."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import MountProcess

pytestmark = pytest.mark.mount


def refused(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


def test_written_bytes_come_back(work: Path) -> None:
    """The first thing of all, with sizes around block and request boundaries."""
    for size in (0, 1, 4095, 4096, 131071, 131072, 131073, 1 << 20, (3 << 20) + 17):
        data = os.urandom(size)
        path = work / f"f{size}"
        path.write_bytes(data)
        assert path.stat().st_size == size
        assert path.read_bytes() == data


def test_directories_are_listed_with_what_was_made(work: Path) -> None:
    """readdir shows files, folders and odd names, and stat agrees with it."""
    names = {"plain", "with space", "ünï #%?", " lead", "trail ", "a" * 230, "quote\"'", "back\\slash"}
    for name in names:
        (work / name).write_text(name)
    (work / "folder").mkdir()
    assert {entry.name for entry in os.scandir(work)} == names | {"folder"}
    assert (work / "folder").is_dir()
    assert all((work / name).read_text() == name for name in names)


def test_missing_names_are_missing(work: Path) -> None:
    """ENOENT for stat, open, unlink, rmdir, rename and a path below nothing; ENOTDIR below a file."""
    path = work / "none"
    for call in (
        path.stat,
        path.read_bytes,
        path.unlink,
        path.rmdir,
        lambda: path.rename(work / "x"),
        lambda: (path / "y").write_text(""),
    ):
        refused(errno.ENOENT, call)
    (work / "file").write_text("x")
    refused(errno.ENOTDIR, lambda: (work / "file" / "x").stat())
    refused(errno.ENOTDIR, lambda: (work / "file").rmdir())


def test_exclusive_creation_refuses_what_exists(work: Path) -> None:
    """O_EXCL: EEXIST for a file on the server and for one that is only open here."""
    path = work / "f"
    path.write_text("x")
    refused(errno.EEXIST, lambda: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    fd = os.open(work / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    refused(errno.EEXIST, lambda: os.open(work / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.close(fd)
    refused(errno.EEXIST, lambda: (work / "new").mkdir())


def test_truncation(work: Path) -> None:
    """O_TRUNC, truncate and ftruncate, shorter and longer; holes are zeros."""
    path = work / "f"
    path.write_bytes(b"0123456789")
    os.truncate(path, 4)
    assert path.read_bytes() == b"0123"
    os.truncate(path, 8)
    assert path.read_bytes() == b"0123\0\0\0\0"
    with path.open("r+b") as file:
        file.truncate(2)
        file.seek(6)
        file.write(b"x")
        file.flush()
        assert os.fstat(file.fileno()).st_size == 7
    assert path.read_bytes() == b"01\0\0\0\0x"
    path.write_bytes(b"")
    assert path.stat().st_size == 0


def test_appends_go_to_the_end(work: Path) -> None:
    """Two descriptors with O_APPEND never overwrite each other."""
    path = work / "log"
    path.write_bytes(b"start\n")
    first, second = (os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(2))
    for number in range(20):
        os.write(first, b"first %02d\n" % number)
        os.write(second, b"second %02d\n" % number)
    os.close(first)
    os.close(second)
    lines = path.read_text().splitlines()
    assert lines[0] == "start"
    assert sorted(lines[1:]) == sorted([f"first {n:02}" for n in range(20)] + [f"second {n:02}" for n in range(20)])


def test_two_handles_see_each_others_bytes_at_once(work: Path) -> None:
    """A reader that opened before the write reads it without a close in between."""
    path = work / "f"
    path.write_bytes(b"a" * 10)
    reader = os.open(path, os.O_RDONLY)
    writer = os.open(path, os.O_WRONLY)
    os.pwrite(writer, b"BB", 4)
    assert os.pread(reader, 10, 0) == b"aaaaBBaaaa"
    os.close(writer)
    assert os.pread(reader, 10, 0) == b"aaaaBBaaaa"
    os.close(reader)


def test_rename_in_all_its_forms(work: Path) -> None:
    """As rename(2) says: over files and empty folders, not over full ones, not into itself."""
    a, b = work / "a", work / "b"
    a.write_text("A")
    b.write_text("B")
    a.rename(b)
    assert b.read_text() == "A"
    assert not a.exists()
    d, e = work / "d", work / "e"
    (d / "sub").mkdir(parents=True)
    (d / "sub" / "x").write_text("x")
    e.mkdir()
    d.rename(e)
    assert (e / "sub" / "x").read_text() == "x"
    assert not d.exists()
    d.mkdir()
    refused(errno.ENOTEMPTY, lambda: d.rename(e))
    refused(errno.EISDIR, lambda: b.rename(e))
    refused(errno.ENOTDIR, lambda: d.rename(b))
    refused(errno.EINVAL, lambda: e.rename(e / "sub" / "inside"))
    b.rename(e / "sub" / "moved")
    assert (e / "sub" / "moved").read_text() == "A"


def test_an_open_file_follows_its_rename(work: Path) -> None:
    """Bytes written after the rename arrive under the new name."""
    path = work / "old"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        path.rename(work / "new")
        file.write(b"after")
    assert (work / "new").read_bytes() == b"before after"
    assert not path.exists()


def test_an_unlinked_open_file_stays_readable(work: Path) -> None:
    """Both one that was only read and one that was being written; afterwards the name is free."""
    path = work / "f"
    data = os.urandom(300_000)
    path.write_bytes(data)
    reader = os.open(path, os.O_RDONLY)
    path.unlink()
    assert os.pread(reader, len(data), 0) == data
    refused(errno.ENOENT, path.stat)
    path.write_bytes(b"another file")
    assert os.pread(reader, 10, 0) == data[:10]
    os.close(reader)
    assert path.read_bytes() == b"another file"
    writer = os.open(work / "w", os.O_RDWR | os.O_CREAT)
    os.write(writer, b"never sent")
    (work / "w").unlink()
    assert os.pread(writer, 10, 0) == b"never sent"
    os.close(writer)
    assert not (work / "w").exists()


def test_replacing_an_open_file_keeps_the_old_bytes_for_its_reader(work: Path) -> None:
    """The way editors save must not change what a running job reads."""
    path = work / "f"
    path.write_bytes(b"old" * 100_000)
    reader = os.open(path, os.O_RDONLY)
    assert os.pread(reader, 3, 0) == b"old"
    (work / "tmp").write_bytes(b"new" * 100_000)
    (work / "tmp").rename(path)
    assert os.pread(reader, 6, 200_000 // 3 * 3) == b"oldold"
    assert path.read_bytes()[:3] == b"new"
    os.close(reader)


def test_rmdir_refuses_a_full_directory(work: Path) -> None:
    """CS3's Delete would take all of it."""
    (work / "d").mkdir()
    (work / "d" / "f").write_text("x")
    refused(errno.ENOTEMPTY, lambda: (work / "d").rmdir())
    refused(errno.EISDIR, lambda: os.unlink(work / "d"))
    (work / "d" / "f").unlink()
    (work / "d").rmdir()
    assert not (work / "d").exists()


def test_modes_and_owners_are_not_pretended(work: Path) -> None:
    """EPERM for another mode or owner, success where nothing changes."""
    path = work / "f"
    path.write_text("x")
    mode = stat.S_IMODE(path.stat().st_mode)
    assert mode == 0o644
    path.chmod(mode)
    os.chown(path, os.getuid(), os.getgid())
    refused(errno.EPERM, lambda: path.chmod(0o600))
    refused(errno.EPERM, lambda: os.chown(path, 12345, -1))
    assert stat.S_IMODE(work.stat().st_mode) == 0o755


def test_what_cs3_cannot_carry_is_refused(work: Path) -> None:
    """Links, devices, pipes: EPERM; names that storages swallow: EINVAL, ENAMETOOLONG."""
    path = work / "f"
    path.write_text("x")
    refused(errno.EPERM, lambda: (work / "l").symlink_to("f"))
    refused(errno.EPERM, lambda: (work / "h").hardlink_to(path))
    refused(errno.EPERM, lambda: os.mkfifo(work / "p"))
    refused(errno.EINVAL, lambda: (work / "tab\t").write_text(""))
    refused(errno.EINVAL, lambda: (work / "x-chunking-1-2-0").write_text(""))
    refused(errno.ENAMETOOLONG, lambda: (work / ("ü" * 128)).write_text(""))
    refused(errno.EINVAL, lambda: os.mkdir(os.fsencode(work) + b"/\xff"))


def test_times_can_be_set(work: Path, profile: str, mounted: MountProcess) -> None:
    """utimensat before and after the close; whole seconds hold everywhere. EOS takes a time with an upload only, without an error."""
    path = work / "f"
    path.write_text("x")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    with (work / "g").open("w") as file:
        file.write("y")
        file.flush()
        os.utime(file.fileno(), (1_500_000_000, 1_500_000_000))
    times = (int(path.stat().st_mtime), int((work / "g").stat().st_mtime))
    (storage,) = [s for s in mounted.status()["storages"].values() if s["times"] is not None]
    if profile == "eos":
        assert storage["times"] is False
        assert times[0] > 1_700_000_000
        assert "user.mtime" not in os.listxattr(path)
    else:
        assert storage["times"] is True
        assert times == (1_600_000_000, 1_500_000_000)
    assert (work / "f").read_text() + (work / "g").read_text() == "xy"


def test_extended_attributes(work: Path) -> None:
    """user.* is kept on the server; user.cs3.* tells about the file and cannot be set."""
    path = work / "f"
    path.write_text("x")
    os.setxattr(path, "user.note", "grün".encode())
    os.setxattr(path, "user.raw", b"\xff\x00")
    assert os.getxattr(path, "user.note") == "grün".encode()
    assert os.getxattr(path, "user.raw") == b"\xff\x00"
    assert {"user.note", "user.raw", "user.cs3.id", "user.cs3.etag"} <= set(os.listxattr(path))
    os.removexattr(path, "user.note")
    refused(errno.ENODATA, lambda: os.getxattr(path, "user.note"))
    refused(errno.EPERM, lambda: os.setxattr(path, "user.cs3.id", b"x"))
    refused(errno.EOPNOTSUPP, lambda: os.setxattr(path, "trusted.x", b"x"))
    assert os.getxattr(path, "user.cs3.etag")
    assert path.read_text() == "x"


def test_statfs_tells_the_quota(work: Path) -> None:
    """df shows something sensible: a total, and free space in it."""
    told = os.statvfs(work)
    assert told.f_namemax == 255
    assert 0 < told.f_bfree <= told.f_blocks


def test_shared_mappings_are_committed(work: Path) -> None:
    """mmap(MAP_SHARED) writes reach the server, also those after the last close of the descriptor."""
    path = work / "f"
    path.write_bytes(b"." * 10_000)
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 10_000) as mapping:
        mapping[5000:5005] = b"early"
        mapping.flush()
        os.close(fd)
        mapping[9000:9004] = b"late"
    data = path.read_bytes()
    assert data[5000:5005] == b"early"
    assert data[9000:9004] == b"late"


def test_concurrent_writers_of_different_files(work: Path) -> None:
    """Eight threads, each its own files: nothing mixed, nothing lost."""
    wrong: list[str] = []

    def run(number: int) -> None:
        for index in range(5):
            path = work / f"{number}-{index}"
            data = bytes([number]) * (1000 * (index + 1) * (number + 1))
            path.write_bytes(data)
            if path.read_bytes() != data:
                wrong.append(path.name)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list(work.iterdir())) == 40


def test_large_directories_are_listed_whole(work: Path, mounted: MountProcess) -> None:
    """More entries than one readdir reply holds, each once."""
    for number in range(300):
        (work / f"file-{number:04}-{'x' * 60}").write_bytes(b"")
    names = os.listdir(work)
    assert len(names) == len(set(names)) == 300
