"""scripts/bootstrap on machines that lack this or that, played by stand-ins for the commands that it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cp", "cut", "dirname", "env", "flock", "mkdir", "rm", "sh", "sha256sum", "tail", "true")

PYTHON = """#!/bin/sh
echo "python $*" >>"$CALLS"
case "$1 $2" in
    "-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip") exit ${PIP_STATUS:-0} ;;
    "-c import pyfuse3") ;;
    "-c import sys; print(sys.executable)") echo "$0" ;;
    "-c import sys; sys.exit(sys.version_info < (3, 11))") exit ${TOO_OLD:-0} ;;
    "-c import ensurepip, venv") exit ${NO_VENV:-0} ;;
    "--version ") echo "Python 3.9.2" ;;
    *) exec REAL "$@" ;;
esac
"""
LOGGED = '#!/bin/sh\necho "NAME $*" >>"$CALLS"\n'


class Machine:
    """A clone on a machine that has exactly the commands put into its ``bin``."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        (self.clone / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "scripts" / "bootstrap", self.clone / "scripts" / "bootstrap")
        shutil.copy(ROOT / "pyproject.toml", self.clone / "pyproject.toml")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.has("python3", PYTHON.replace("REAL", sys.executable))
        for name in ("gcc", "pkg-config", "fusermount3", "git", "rsync", "sqlite3", "apt-get"):
            self.has(name)
        self.is_user(0)

    def has(self, name: str, script: str = LOGGED) -> None:
        """Put a stand-in for a command there."""
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(script.replace("NAME", name))
        (self.bin / name).chmod(0o755)

    def lacks(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def is_user(self, number: int) -> None:
        self.has("id", f"#!/bin/sh\necho {number}\n")

    def bootstrap(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it; ``calls`` holds what this run called."""
        self.calls.write_text("")
        return subprocess.run(
            ["sh", "scripts/bootstrap", *args],
            cwd=self.clone,
            env={"PATH": str(self.bin), "CALLS": str(self.calls), "HOME": os.environ.get("HOME", "/")} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self, name: str) -> list[str]:
        """The calls of one command in the last run."""
        return [line for line in self.calls.read_text().splitlines() if line.split()[0] == name]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_complete_machine_gets_a_venv_and_no_package(machine):
    """Where nothing is missing the package manager is not touched."""
    result = machine.bootstrap()
    assert result.returncode == 0, result.stderr
    assert machine.called("apt-get") == []
    assert [call for call in machine.called("python") if "pip install" in call]
    assert "bootstrap: .venv is ready" in result.stdout


def test_second_run_does_nothing(machine):
    """And says nothing."""
    machine.bootstrap()
    result = machine.bootstrap()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not [call for call in machine.called("python") if "-m" in call]


def test_changed_dependencies_run_pip_and_keep_the_venv(machine):
    """A new line in pyproject.toml needs pip, not a new .venv."""
    machine.bootstrap()
    with (machine.clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert machine.bootstrap().returncode == 0
    modules = [call.split()[2] for call in machine.called("python") if call.startswith("python -m")]
    assert "venv" not in modules
    assert "pip" in modules


def test_moved_clone_gets_a_new_venv(machine):
    """The scripts in .venv hold its path."""
    machine.bootstrap()
    machine.clone = machine.clone.rename(machine.clone.with_name("elsewhere"))
    assert machine.bootstrap().returncode == 0
    assert [call for call in machine.called("python") if "-m venv" in call]


def test_failed_pip_is_tried_again(machine):
    """A half-made .venv is not taken for a good one."""
    result = machine.bootstrap(PIP_STATUS="1")
    assert result.returncode == 1
    assert "pip could not" in result.stderr or "could not make .venv" in result.stderr
    assert machine.bootstrap().returncode == 0
    assert [call for call in machine.called("python") if "pip install" in call]


def test_root_installs_what_is_missing_and_says_so(machine):
    """Only the missing packages, by name."""
    machine.lacks("gcc", "rsync")
    result = machine.bootstrap()
    assert result.returncode == 0, result.stderr
    assert "bootstrap: installing system packages: gcc libc6-dev rsync" in result.stdout
    assert machine.called("apt-get") == [
        "apt-get -qq update",
        "apt-get -qq -y --no-install-recommends install gcc libc6-dev rsync",
    ]


def test_user_installs_through_sudo(machine):
    """With the same packages."""
    machine.is_user(1000)
    machine.lacks("gcc")
    machine.has("sudo", '#!/bin/sh\necho "sudo $*" >>"$CALLS"\n[ "$1" = -n ] && shift\nexec "$@"\n')
    assert machine.bootstrap().returncode == 0
    assert machine.called("sudo")[1:] == [
        "sudo -n apt-get -qq update",
        "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install gcc libc6-dev",
    ]


@pytest.mark.parametrize(
    ("sudo", "reason"),
    [
        (None, "you are not root and there is no sudo"),
        ("#!/bin/sh\nexit 1\n", "sudo asks for a password and there is no terminal to ask on"),
    ],
)
def test_user_without_sudo_gets_the_command(machine, sudo, reason):
    """The exact command, to be run by somebody who may."""
    machine.is_user(1000)
    machine.lacks("gcc")
    machine.has("pkg-config", "#!/bin/sh\nexit 1\n")
    if sudo:
        machine.has("sudo", sudo)
    result = machine.bootstrap()
    assert result.returncode == 1
    assert reason in result.stderr
    assert "sudo apt-get update && sudo apt-get install --no-install-recommends gcc libc6-dev libfuse3-dev" in result.stderr
    assert machine.called("apt-get") == []


def test_other_distributions_get_the_names_of_the_packages(machine):
    """There is no guessing of foreign package managers."""
    machine.lacks("apt-get", "gcc")
    result = machine.bootstrap()
    assert result.returncode == 1
    assert "missing system packages: gcc libc6-dev" in result.stderr
    assert "there is no apt-get on this system" in result.stderr


def test_tests_go_on_without_what_only_some_of_them_need(machine):
    """Without fusermount3 and rsync most tests still run."""
    machine.is_user(1000)
    machine.lacks("fusermount3", "rsync")
    result = machine.bootstrap()
    assert result.returncode == 0
    assert "going on without" in result.stderr
    assert "install --no-install-recommends fuse3 rsync" in result.stderr


def test_mount_needs_fusermount3(machine):
    """A demonstration without a mount shows nothing."""
    machine.is_user(1000)
    machine.lacks("fusermount3")
    result = machine.bootstrap("mount")
    assert result.returncode == 1
    assert "install --no-install-recommends fuse3" in result.stderr


def test_failed_installation_is_an_error_with_the_command(machine):
    """apt-get's own words stand above it."""
    machine.lacks("gcc")
    machine.has("apt-get", "#!/bin/sh\necho 'E: no such thing' >&2\nexit 100\n")
    result = machine.bootstrap()
    assert result.returncode == 1
    assert "E: no such thing" in result.stderr
    assert "apt-get install failed for: gcc libc6-dev" in result.stderr
    assert "sudo apt-get update && sudo apt-get install" in result.stderr


def test_old_python_is_named(machine):
    """With what to do about it."""
    result = machine.bootstrap(TOO_OLD="1")
    assert result.returncode == 1
    assert "cs3fuse needs Python 3.11 or newer; found Python 3.9.2" in result.stderr
    assert "make PYTHON=" in result.stderr


def test_machine_without_python_gets_one(machine, tmp_path):
    """A bare image may have none; what apt brings is taken if it is new enough."""
    machine.lacks("python3")
    (tmp_path / "packed").write_text(PYTHON.replace("REAL", sys.executable))
    (tmp_path / "packed").chmod(0o755)
    machine.has("apt-get", f'#!/bin/sh\necho "apt-get $*" >>"$CALLS"\ncp {tmp_path}/packed {machine.bin}/python3\n')
    assert machine.bootstrap().returncode == 0
    assert machine.called("apt-get")[1] == "apt-get -qq -y --no-install-recommends install python3 python3-venv python3-dev"


def test_newer_python_beside_an_old_one_is_found(machine):
    """python3 may be old while python3.12 is there."""
    machine.has("python3", "#!/bin/sh\nexit 1\n")
    machine.has("python3.12", PYTHON.replace("REAL", sys.executable))
    assert machine.bootstrap().returncode == 0


def test_named_python_must_be_good(machine):
    """PYTHON=... is taken at its word or refused."""
    result = machine.bootstrap(PYTHON="no-such-python")
    assert result.returncode == 1
    assert "PYTHON=no-such-python is not a Python 3.11 or newer" in result.stderr


def test_python_without_venv_installs_the_package_of_its_version(machine):
    """Debian packs venv apart."""
    machine.bootstrap(NO_VENV="1", CS3FUSE_NO_INSTALL="1")
    result = machine.bootstrap(NO_VENV="1")
    assert "-venv" in "".join(machine.called("apt-get")), result.stderr
