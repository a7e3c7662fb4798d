"""Programs that people use, through a real mount, on every profile: copies, git, databases, analysis files, notebooks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.rootfiles import large_root_file

pytestmark = [pytest.mark.mount, pytest.mark.timeout(300)]


WITHOUT_TIMES = {"eos"}
"""EOS behind Reva has no call that sets a time."""


def run(*arguments: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
    return done.stdout


def make_tree(folder: Path) -> None:
    """A few levels, empty files and folders, sizes around the block size, odd names; modes that CS3 can show."""
    for name, size in {
        "a.txt": 10,
        "empty": 0,
        "b/c/deep ünï.bin": 200_000,
        "b/block": 131072,
        "b/block+1": 131073,
        "big": 3_000_000,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    (folder / "hollow").mkdir()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def digest(folder: Path) -> dict[str, str]:
    """Checksums of all files and a mark for folders, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def copy_with_cp(source: Path, destination: Path) -> None:
    run("cp", "-a", source, destination)


def copy_with_rsync(source: Path, destination: Path) -> None:
    run("rsync", "-a", f"{source}/", f"{destination}/")


def copy_with_tar(source: Path, destination: Path) -> None:
    destination.mkdir()
    packed = subprocess.run(["tar", "-C", str(source), "-cf", "-", "."], capture_output=True, check=True, timeout=120)
    subprocess.run(["tar", "-C", str(destination), "-xf", "-"], input=packed.stdout, check=True, timeout=120)


@pytest.mark.parametrize("copy", [copy_with_cp, copy_with_rsync, copy_with_tar], ids=["cp", "rsync", "tar"])
def test_a_tree_is_copied_in_and_out(copy: Callable[[Path, Path], None], work: Path, tmp_path: Path, profile: str) -> None:
    """Every byte survives both ways, and every time of a file where the storage can set times."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    make_tree(source)
    copy(source, work / "in")
    assert digest(work / "in") == digest(source)
    if profile not in WITHOUT_TIMES:
        assert int((work / "in" / "b" / "block").stat().st_mtime) == 1_600_000_000
    copy(work / "in", back)
    assert digest(back) == digest(source)


def test_rsync_finds_nothing_to_do_the_second_time(work: Path, tmp_path: Path, profile: str) -> None:
    """Sizes and times are kept, so a mirror stays cheap; where times cannot be set, --size-only does."""
    source = tmp_path / "source"
    source.mkdir()
    make_tree(source)
    copy_with_rsync(source, work / "in")
    again = run(
        "rsync",
        "-a",
        "--itemize-changes",
        "--omit-dir-times",
        *(["--size-only", "--no-times"] if profile in WITHOUT_TIMES else []),
        f"{source}/",
        f"{work / 'in'}/",
    )
    assert again == ""


def test_git_works_in_the_mount(work: Path, tmp_path: Path) -> None:
    """Clone, commit, check: git's renames, locks and mappings hold."""
    origin = tmp_path / "origin"
    author = ("-c", "user.name=einstein", "-c", "user.email=einstein@example.org")
    run("git", "init", "-q", origin)
    for number in range(5):
        (origin / f"file{number}").write_text(f"{number}\n" * 100)
        run("git", "add", ".", cwd=origin)
        run("git", *author, "commit", "-q", "-m", f"commit {number}", cwd=origin)
    run("git", "clone", "-q", origin, work / "clone")
    clone = work / "clone"
    (clone / "new").write_text("made in the mount\n")
    run("git", "add", "new", cwd=clone)
    run("git", *author, "commit", "-q", "-m", "in the mount", cwd=clone)
    run("git", "fsck", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert run("git", "log", "--oneline", cwd=clone).count("\n") == 6


def test_sqlite_writes_and_reads(work: Path) -> None:
    """A database with its rollback journal, opened again."""
    path = work / "data.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table t (n integer primary key, s text)")
        database.executemany("insert into t (s) values (?)", [("x" * 100,) for _ in range(1000)])
    database.close()
    with sqlite3.connect(path) as database:
        database.execute("update t set s = 'y' where n % 2")
    database.close()
    database = sqlite3.connect(path)
    assert database.execute("select count(*), sum(s = 'y') from t").fetchone() == (1000, 500)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()
    assert {entry.name for entry in work.iterdir()} == {"data.sqlite"}


def test_hdf5_writes_appends_and_reads(work: Path) -> None:
    """h5py writes headers back into the middle of the file."""
    h5py = pytest.importorskip("h5py")
    import numpy as np

    path = work / "data.h5"
    data = np.arange(300_000, dtype="f8").reshape(300, 1000)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=data, chunks=(10, 1000), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["a"][5] = -1
        file.create_dataset("b", data=[1, 2, 3])
    with h5py.File(path, "r") as file:
        assert (file["a"][5] == -1).all()
        assert (file["a"][6:] == data[6:]).all()
        assert list(file["b"]) == [1, 2, 3]


def test_parquet_writes_and_reads(work: Path) -> None:
    """pyarrow reads the footer first."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"n": list(range(100_000)), "s": [str(n) for n in range(100_000)]})
    pq.write_table(table, work / "data.parquet", row_group_size=10_000)
    assert pq.read_table(work / "data.parquet", columns=["n"])["n"].to_pylist() == list(range(100_000))


def test_root_files_write_and_read(work: Path) -> None:
    """uproot writes a tree in several baskets and rewrites its header as it goes."""
    uproot = pytest.importorskip("uproot")
    import numpy as np

    path = work / "data.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("events", {"x": "f8", "n": "i4"})
        for part in range(4):
            tree.extend({"x": np.full(10_000, part, dtype="f8"), "n": np.arange(10_000, dtype="i4")})
    with uproot.open(path) as file:
        assert file["events"].num_entries == 40_000
        assert file["events"]["x"].array(library="np").sum() == 60_000


def test_one_branch_of_a_large_root_file(work: Path) -> None:
    """A 300 MB file copied in, one of its 20 branches read by path: every value as it was made."""
    uproot = pytest.importorskip("uproot")
    large = large_root_file()
    assert large.path.stat().st_size >= 300_000_000
    assert large.branches == 20
    shutil.copyfile(large.path, work / "large.root")
    with uproot.open(work / "large.root") as file:
        values = file["events"]["branch07"].array(library="np")
    assert (values == large.expected(7)).all()


NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def save_as_jupyter(path: Path, text: str) -> None:
    """jupyter_server's atomic_writing: copy to a side file, truncate and write the notebook, fsync, remove the side file."""
    side = path.with_name(f".~{path.name}")
    if path.exists():
        shutil.copy2(path, side)
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    side.unlink(missing_ok=True)


def save_by_replacement(path: Path, text: str) -> None:
    """tmp + rename, as most editors do."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@pytest.mark.parametrize("save", [save_as_jupyter, save_by_replacement])
def test_notebooks_are_saved(save: Callable[[Path, str], None], work: Path) -> None:
    """Ten saves: the file is always whole, and nothing is left beside it."""
    path = work / "analysis.ipynb"
    for number in range(10):
        text = json.dumps({**NOTEBOOK, "cells": [{"cell_type": "raw", "metadata": {}, "source": "x" * 5000 * number}]})
        save(path, text)
        assert path.read_text() == text
    assert [entry.name for entry in work.iterdir()] == ["analysis.ipynb"]


def test_sed_in_place(work: Path) -> None:
    """sed -i writes a temporary file, copies its mode and renames it."""
    (work / "f").write_text("hello world\n")
    run("sed", "-i", "s/world/mesh/", work / "f")
    assert (work / "f").read_text() == "hello mesh\n"
    assert [entry.name for entry in work.iterdir()] == ["f"]
