"""``cs3fuse gateway``: what its options make of the embedded gateway."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from cs3fuse.cli import main
from cs3fuse.emulator import server
from cs3fuse.emulator.config import EmulatorConfig


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[EmulatorConfig]:
    """The configurations of the gateways that would run."""
    found: list[EmulatorConfig] = []
    monkeypatch.setattr(server, "run", found.append)
    return found


def typed(*words: str) -> Any:
    return CliRunner().invoke(main.app, ["gateway", *words])


def test_gateway_alone_takes_part_in_no_mesh(started: list[EmulatorConfig]) -> None:
    """As a server without OCM."""
    assert typed("--profile", "eos").exit_code == 0
    (config,) = started
    assert (config.profile, config.site_name, dict(config.peers)) == ("eos", "", {})


def test_site_and_peers(started: list[EmulatorConfig], tmp_path: Any) -> None:
    """A name of its own, and the other sites with their data servers."""
    peers = ("--peer", "b.example.org=http://127.0.0.1:9202", "--peer", "c.example.org=https://c.example.org/x?y=z")
    done = typed(str(tmp_path), "--site", "a.example.org", *peers, "--ocm-mount", "/ocm")
    assert done.exit_code == 0, done.output
    (config,) = started
    assert (config.root, config.site_name, config.ocm_mount) == (tmp_path, "a.example.org", "/ocm")
    assert dict(config.peers) == {"b.example.org": "http://127.0.0.1:9202", "c.example.org": "https://c.example.org/x?y=z"}


@pytest.mark.parametrize(
    "words",
    [
        ("--peer", "b.example.org=http://127.0.0.1:1"),
        ("--site", "a@b"),
        ("--site", "a", "--peer", "http://127.0.0.1:1"),
        ("--site", "a", "--peer", "b=127.0.0.1:1"),
        ("--site", "a", "--ocm-mount", "/x/y"),
        ("--profile", "nextcloud"),
    ],
    ids=["peer of nobody", "site with @", "peer without name", "peer without http", "mount too deep", "profile"],
)
def test_what_cannot_be_is_wrong_usage(words: tuple[str, ...], started: list[EmulatorConfig]) -> None:
    """A sentence and exit status 2; no gateway starts."""
    assert typed(*words).exit_code == 2
    assert started == []
