"""Two embedded sites of a mesh as processes, as the tests with real mounts need them.

Owns nothing beyond its context managers, which end what they started. Used by one test process at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cs3fuse.emulator.control_client import ControlClient
from tests.support.processes import GatewayProcess

A, B = "a.example.org", "b.example.org"
USERS = ("einstein", "marie", "richard")
OCM_MOUNT = "/ocm-received"


@dataclass
class Sites:
    """Site A and site B, which know each other; everybody has a home on both."""

    gateway_a: GatewayProcess
    gateway_b: GatewayProcess
    a: ControlClient
    b: ControlClient

    def way(self, state: str) -> None:
        """How site B reaches site A: ok, refused, frozen or dropped."""
        self.b.peers(**{A: {"state": state}})


@contextmanager
def two_sites(folder: Path, profile: str = "reva") -> Iterator[Sites]:
    """Both sites, each with a folder of its own below ``folder``."""
    with (
        GatewayProcess(folder / "a", profile, "--site", A) as gateway_a,
        GatewayProcess(folder / "b", profile, "--site", B) as gateway_b,
    ):
        urls = {A: f"http://127.0.0.1:{gateway_a.http_port}", B: f"http://127.0.0.1:{gateway_b.http_port}"}
        a, b = ControlClient(urls[A]), ControlClient(urls[B])
        a.peers(**{B: urls[B]})
        b.peers(**{A: urls[A]})
        for control in (a, b):
            for user in USERS:
                control.change("home", user)
        yield Sites(gateway_a, gateway_b, a, b)
