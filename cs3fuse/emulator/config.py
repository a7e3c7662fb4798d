"""What one emulated gateway is told when it starts.

Owns the settings and their defaults. Read by every other module of the emulator, written by the command line and
by tests before the start; nothing changes a configuration after that, so it may be read from any thread.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROFILES = ("reva", "opencloud", "eos")
"""The servers that can be imitated."""

STATE_FOLDER = ".emulator"
"""Name of the folder below the root that holds everything which is not user content."""

DEFAULT_USERS: Mapping[str, str] = {"einstein": "relativity", "marie": "radioactivity", "richard": "superfluidity"}
"""User name to password (authentication type `basic`)."""


@dataclass
class EmulatorConfig:
    """Settings of one gateway.

    Args:
        root: folder with one folder per user; created when missing. State lives in `root/.emulator`.
        profile: which server to imitate, one of `PROFILES`.
        users: user name to password.
        host: loopback address to listen on.
        grpc_port: 0 lets the kernel choose.
        http_port: 0 lets the kernel choose.
        token_life_s: life of access tokens [s].
        transfer_life_s: life of transfer tokens [s].
        expose: hand out real data URLs instead of one data gateway URL with a transfer token.
        quota_bytes: quota of each user [bytes]; None is unlimited (profile reva: the size of the disk).
        seed: makes faults and generated ids repeatable.
        tls_cert: PEM file; with `tls_key` both gRPC and HTTP speak TLS only.
        tls_key: PEM file.
        control: serve the `/_control` endpoints (faults, log, changes of other clients) on the HTTP port.
        quirks: switchable habits by name, see `profiles.QUIRKS`.
        site_name: domain of this site in the mesh and `idp` of its users, "a.example.org"; empty: the site has no OCM.
        peers: site name to URL of the HTTP side of other sites; more can be named later, see `ocm_peers.Peers`.
        ocm_mount: where received OCM shares are mounted.
        ocm_storage_id: storage id of that mount.

    """

    root: Path
    profile: str = "reva"
    users: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_USERS))
    host: str = "127.0.0.1"
    grpc_port: int = 0
    http_port: int = 0
    token_life_s: float = 86400.0
    transfer_life_s: float = 6000.0
    expose: bool = False
    quota_bytes: int | None = None
    seed: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    control: bool = False
    quirks: Mapping[str, float] = field(default_factory=dict)
    site_name: str = ""
    peers: Mapping[str, str] = field(default_factory=dict)
    ocm_mount: str = "/ocm-received"
    ocm_storage_id: str = "ocm-received"

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"There is no gateway profile {self.profile!r}; choose one of {', '.join(PROFILES)}.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and a key; only one of them was given.")
        for name in self.users:
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"The user name {name!r} cannot be the name of a folder; choose another one.")

        if not re.fullmatch(r"/[^/]+", self.ocm_mount):
            raise ValueError(
                f"Received shares cannot be mounted at {self.ocm_mount!r}; choose one name below the root, as in /ocm-received."
            )
        if "@" in self.site_name or "/" in self.site_name:
            raise ValueError(f'The site name {self.site_name!r} cannot stand in user@site; leave out "@" and "/".')
        if self.peers and not self.site_name:
            raise ValueError("A gateway that has peers needs a site name; give it one.")

    @property
    def state_path(self) -> Path:
        """The folder for everything that is not user content."""
        return self.root / STATE_FOLDER
