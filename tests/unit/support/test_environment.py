"""Which tests run where: tests/support/environment.py and the hooks of tests/conftest.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environment import why_no_live_gateway, why_no_mount

ROOT = Path(__file__).resolve().parents[3]

SAMPLE = """
import pytest

def test_plain():
    pass

@pytest.mark.mount
def test_with_a_mount():
    pass

@pytest.mark.mount
@pytest.mark.live
def test_live():
    pass

@pytest.mark.slow
def test_long():
    pass
"""


@pytest.fixture
def project(tmp_path):
    """A small project with our conftest and one sample test of each kind."""
    shutil.copytree(ROOT / "tests" / "support", tmp_path / "tests" / "support")
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "tests" / "test_sample.py").write_text(SAMPLE)
    return tmp_path


def run(project: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CS3FUSE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=project, env=clean | environment, capture_output=True, text=True, timeout=60, check=False)


def test_missing_device_is_the_reason(tmp_path):
    """Without the device the reason names it."""
    assert why_no_mount(device=tmp_path / "fuse") == f"there is no {tmp_path / 'fuse'}"


def test_device_that_may_not_be_opened_is_the_reason(tmp_path):
    """A device that is there and cannot be opened does not count as there (a folder stands in for it)."""
    assert why_no_mount(device=tmp_path) == f"{tmp_path} cannot be opened: Is a directory"


def test_missing_fusermount3_is_the_reason(tmp_path):
    """The device alone is not enough."""
    device = tmp_path / "fuse"
    device.touch()
    assert why_no_mount(device=device, search_path=str(tmp_path)) == "fusermount3 is not installed (package fuse3)"


def test_live_gateway_needs_a_file_that_is_there(tmp_path):
    """CS3FUSE_LIVE must name an existing file."""
    there = tmp_path / "live.toml"
    there.touch()
    assert why_no_live_gateway({"CS3FUSE_LIVE": str(there)}) is None
    assert why_no_live_gateway({}) == "CS3FUSE_LIVE names no TOML file of a live gateway"
    assert why_no_live_gateway({"CS3FUSE_LIVE": "/nowhere.toml"}) == "CS3FUSE_LIVE names /nowhere.toml, which is not a file"


def test_run_without_fuse_skips_and_counts(project):
    """Mount tests are skipped with their reason and counted once; live ones are not counted; slow ones are left out."""
    result = run(project, PATH=str(project))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-2].startswith("mount tests: 0 ran, 1 skipped (")
    assert "1 passed, 2 skipped, 1 deselected" in result.stdout.splitlines()[-1]


def test_run_that_requires_mounts_fails_when_they_are_skipped(project):
    """CS3FUSE_REQUIRE_MOUNT=1 turns a skipped mount test into a failed run."""
    assert run(project, PATH=str(project), CS3FUSE_REQUIRE_MOUNT="1").returncode == 1
    assert run(project, "-k", "plain", PATH=str(project), CS3FUSE_REQUIRE_MOUNT="1").returncode == 0


@pytest.mark.mount
def test_run_with_fuse_runs_the_mount_tests(project):
    """Where mounts are possible none is skipped, and the required run passes."""
    result = run(project, CS3FUSE_REQUIRE_MOUNT="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "mount tests: 1 ran, 0 skipped" in result.stdout


@pytest.mark.parametrize("how", [("--slow",), ("-m", "slow")])
def test_slow_tests_run_when_asked_for(project, how):
    """Both ways of asking select the long campaigns."""
    result = run(project, *how, "-v")
    assert "test_long PASSED" in result.stdout, result.stdout
