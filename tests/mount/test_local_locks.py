"""flock, fcntl and lockf between the programs of one host: the kernel keeps them for the mount, whatever the server can."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.mount

_KINDS = {"flock": fcntl.flock, "lockf": fcntl.lockf}

_HOLDER = """
import fcntl, sys
kind, path, exclusive = sys.argv[1:]
file = open(path, "r+b")
getattr(fcntl, kind)(file, fcntl.LOCK_EX if exclusive == "1" else fcntl.LOCK_SH)
print("held", flush=True)
sys.stdin.read()
"""

_RANGE_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 10, 100)
print("held", flush=True)
sys.stdin.read()
"""

_COUNTER = """
import fcntl, sys
path = sys.argv[1]
for _ in range(int(sys.argv[2])):
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        number = int(file.read())
        file.seek(0)
        file.write(b"%08d" % (number + 1))
        file.flush()
"""

_INSERTER = """
import sqlite3, sys
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = sqlite3.connect(path, timeout=60)
for number in range(count):
    with connection:
        connection.execute("insert into entry values (?, ?)", (who, number))
connection.close()
"""


@contextmanager
def holder(script: str, *arguments: str) -> Iterator[None]:
    """Another program that holds a lock while the block runs."""
    with subprocess.Popen([sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def is_free(kind: str, path: Path, operation: int, *where: int) -> bool:
    with path.open("r+b") as file:
        try:
            _KINDS[kind](file, operation | fcntl.LOCK_NB, *where)
        except BlockingIOError:
            return False
        return True


def run_together(*programs: list[str]) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", *program]) for program in programs]
    assert [process.wait(100) for process in processes] == [0] * len(programs)


@pytest.fixture
def path(work: Path) -> Path:
    path = work / "locked"
    path.write_bytes(b"00000000")
    return path


@pytest.mark.parametrize("kind", _KINDS)
def test_exclusive_lock_excludes(kind: str, path: Path) -> None:
    """Neither an exclusive nor a shared lock is had while another program holds an exclusive one."""
    with holder(_HOLDER, kind, str(path), "1"):
        assert not is_free(kind, path, fcntl.LOCK_EX)
        assert not is_free(kind, path, fcntl.LOCK_SH)
    assert is_free(kind, path, fcntl.LOCK_EX)


@pytest.mark.parametrize("kind", _KINDS)
def test_shared_locks_share(kind: str, path: Path) -> None:
    """Readers with each other, against a writer."""
    with holder(_HOLDER, kind, str(path), "0"):
        assert is_free(kind, path, fcntl.LOCK_SH)
        assert not is_free(kind, path, fcntl.LOCK_EX)


def test_ranges_are_locked_apart(path: Path) -> None:
    """fcntl locks bytes, not files."""
    with holder(_RANGE_HOLDER, str(path)):
        assert not is_free("lockf", path, fcntl.LOCK_EX, 1, 105)
        assert is_free("lockf", path, fcntl.LOCK_EX, 10, 0)
        assert is_free("lockf", path, fcntl.LOCK_EX, 10, 110)


def test_lock_ends_with_its_program(path: Path) -> None:
    """Killed or not."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, "flock", str(path), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait(30)
    assert is_free("flock", path, fcntl.LOCK_EX)


def test_two_programs_count_under_a_lock(path: Path) -> None:
    """Read, add, write: no count is lost."""
    run_together([_COUNTER, str(path), "15"], [_COUNTER, str(path), "15"])
    assert int(path.read_bytes()) == 30


def test_sqlite_of_two_programs(work: Path) -> None:
    """Both insert into one database, with its rollback journal beside it; every row is there and the file is sound."""
    database = work / "notes.sqlite"
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("create table entry (who text, number integer)")
    connection.close()
    run_together([_INSERTER, str(database), "one", "8"], [_INSERTER, str(database), "two", "8"])
    connection = sqlite3.connect(database)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert connection.execute("select who, count(*) from entry group by who order by who").fetchall() == [("one", 8), ("two", 8)]
    connection.close()
    assert sorted(os.listdir(work)) == ["notes.sqlite"]
