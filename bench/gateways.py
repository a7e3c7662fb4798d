"""The gateway under the benchmark: the embedded one in a process of its own, or a live one.

Owns the process and the folder of the embedded gateway. One gateway at a time; blocking.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bare import Access, Bare, BareCallError
from bench.webdav import WebDav, served_folder
from cs3fuse.auth.secrets import find_secret
from cs3fuse.client.channel import parse_source
from cs3fuse.config.options import load
from cs3fuse.emulator.control_client import ControlClient, EmulatorProcess

LIVE = "live"
EMBEDDED = ("reva", "opencloud", "eos")
_USER, _SECRET = "einstein", "relativity"


@dataclass
class Gateway:
    """One running gateway. ``source`` is what ``cs3fuse mount`` takes; ``pid`` and ``control`` only where it is the embedded one.

    ``ranges``: whether its storage serves ranges, which decides between some bounds.
    """

    profile: str
    source: str
    access: Access
    ranges: bool
    pid: int | None = None
    control: ControlClient | None = None
    webdav: WebDav | None = None

    @property
    def is_live(self) -> bool:
        """Whether it is somebody's server, configured by a TOML file."""
        return self.profile == LIVE


@contextmanager
def running(profile: str, folder: Path, *, peers: bool) -> Iterator[Gateway]:
    """The gateway of a profile, ended and removed afterwards. With ``peers`` its files are served by WebDAV too, if possible."""
    with _live(peers=peers) if profile == LIVE else _embedded(profile, folder, peers=peers) as gateway:
        yield gateway


@contextmanager
def _embedded(profile: str, folder: Path, *, peers: bool) -> Iterator[Gateway]:
    root = folder / "gateway"
    try:
        with EmulatorProcess(profile, root) as process:
            access = Access(f"127.0.0.1:{process.grpc_port}", _USER, _SECRET)
            source = f"cs3+plain://127.0.0.1:{process.grpc_port}"
            gateway = Gateway(profile, source, access, _serves_ranges(access), process.pid, process.control)
            if not peers:
                yield gateway
                return
            with served_folder(root / _USER) as gateway.webdav:
                yield gateway
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _live(*, peers: bool) -> Iterator[Gateway]:
    named = os.environ.get("CS3FUSE_LIVE", "")
    if not named:
        raise SystemExit("PROFILE=live needs CS3FUSE_LIVE: the path of a TOML file as `cs3fuse mount` takes it.")
    options = load(named, {})
    endpoint, path = parse_source(options.source)
    secret = find_secret(
        environment=os.environ, file=options.secret_file, value=options.secret.get_secret_value(), prompt=None
    ).reveal()
    access = Access(
        endpoint.target,
        options.user,
        secret,
        auth=options.auth,
        path=path,
        is_tls=endpoint.is_tls,
        ca_file=options.tls_ca,
        is_insecure=options.tls_insecure,
    )
    gateway = Gateway(LIVE, named, access, _serves_ranges(access))
    url = os.environ.get("CS3FUSE_LIVE_WEBDAV", "")
    if peers and url:
        gateway.webdav = WebDav(url, options.user, secret)
    yield gateway


def _serves_ranges(access: Access) -> bool:
    """Ask for a range of a file of our own."""
    name = f"cs3fuse-bench-probe-{os.getpid()}"
    with Bare(access) as bare:
        bare.put(name, 4, b"cs3f")
        try:
            bare.wait_for(name, 4)
            return bare.get(name, 1, 3) == b"s3"
        except BareCallError:
            return False
        finally:
            bare.delete(name)
