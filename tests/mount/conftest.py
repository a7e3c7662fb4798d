"""Fixtures for tests with the real kernel: a gateway per profile and mounts of it; the live gateway as one more profile."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environment import why_no_live_gateway
from tests.support.processes import GatewayProcess, MountProcess

_LIVE = "live"
PROFILES = [
    "reva",
    "opencloud",
    "eos",
    pytest.param(
        _LIVE,
        marks=[
            pytest.mark.live,
            pytest.mark.skipif(bool(why_no_live_gateway(os.environ)), reason=str(why_no_live_gateway(os.environ))),
        ],
    ),
]


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    """The server whose answers are given."""
    return str(request.param)


@pytest.fixture(scope="module")
def gateway(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess | None]:
    """The gateway of this module's tests; None for the live one, which runs already."""
    if profile == _LIVE:
        yield None
        return
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), profile) as process:
        yield process


@pytest.fixture(scope="module")
def mounted(gateway: GatewayProcess | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountProcess]:
    """einstein's home, mounted once for all tests of a module."""
    folder = tmp_path_factory.mktemp("mount")
    if gateway is None:
        mount = MountProcess(os.environ["CS3FUSE_LIVE"], folder, is_live=True)
    else:
        mount = MountProcess(gateway.source(), folder)
    with mount:
        yield mount


@pytest.fixture
def work(mounted: MountProcess) -> Iterator[Path]:
    """An empty folder in the mount for one test."""
    folder = mounted.path / f"cs3fuse-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
