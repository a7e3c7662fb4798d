"""``cs3fuse mount --all``: one process per server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cs3fuse.config.folders import socket_path
from cs3fuse.control.client import request
from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount


def test_every_configuration_is_mounted(tmp_path: Path) -> None:
    """Two servers, two processes; a third that is away does not keep the others from being mounted; again is no error."""
    with GatewayProcess(tmp_path / "a", "reva") as a, GatewayProcess(tmp_path / "b", "opencloud") as b:
        person = MountProcess(a.source(), tmp_path / "person")
        folder = tmp_path / "person" / "xdg-config" / "cs3fuse"
        folder.mkdir(parents=True)
        points = {}
        sources = {"one": a.source(), "two": b.source(), "away": "cs3+plain://127.0.0.1:9"}
        for name, source in sources.items():
            points[name] = tmp_path / "mnt" / name
            (folder / f"{name}.toml").write_text(f'source = "{source}"\nuser = "einstein"\nmount_point = "{points[name]}"\n')
        try:
            done = person.run("mount", "--all", check=False, timeout_s=110)
            assert done.returncode == 1 and "1 of 3" in done.stderr and "away.toml" in done.stderr
            pids = set()
            for name in ("one", "two"):
                (points[name] / "home" if (points[name] / "home").is_dir() else points[name]).joinpath("f").write_text(name)
                pids.add(request(socket_path(points[name]), "ping")["pid"])
            assert len(pids) == 2
            (folder / "away.toml").unlink()
            assert "is mounted already" in person.run("mount", "--all").stdout
            named = person.run("mount", "--all", "cs3://host:1", check=False)
            assert named.returncode == 1 and "--all" in named.stderr
        finally:
            for point in points.values():
                if os.path.ismount(point):
                    person.run("umount", str(point))
