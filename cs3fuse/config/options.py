"""Every option of a mount, declared once: name, type, unit, default, help.

The command line, the environment (``CS3FUSE_NAME``), a TOML file and docs/configuration.md derive from ``MountOptions``.
Order: defaults < profile < TOML file < environment < command line; unknown keys in a TOML file are errors. Pure values after loading.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from cs3fuse.errors import BadRequestError

MIB = 1 << 20
GIB = 1 << 30

AuthType = Literal["basic", "bearer", "appauth", "machine", "publicshares"]

PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "notebook": {},
        "analysis": {"attribute_timeout_s": 60.0, "read_window_bytes": 256 * MIB, "download_streams": 16},
        "shared": {"attribute_timeout_s": 0.2},
    }
)
"""What a profile sets where nobody says otherwise; "notebook" is what the defaults below are made for."""


class LinkOptions(BaseModel):
    """A public link: a table ``[links.NAME]`` of the TOML file."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: str
    password: SecretStr = SecretStr("")


class MountOptions(BaseSettings):
    """Options of one mount."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix="CS3FUSE_", env_ignore_empty=True, hide_input_in_errors=True)

    source: str = Field("", description="Gateway: cs3://HOST:PORT[/path] (TLS) or cs3+plain://HOST:PORT[/path].")
    profile: Literal["notebook", "analysis", "shared"] = Field(
        "notebook",
        description="Groups of options, each of which can still be set: for notebooks, for data that is mostly read, for folders "
        "that several people change.",
    )
    auth: AuthType = Field("basic", description="How to sign in: an auth type that the gateway offers.")
    user: str = Field("", description="User name (client id) to sign in with; default: the local user's name.")
    secret: SecretStr = Field(SecretStr(""), description="Password, token or key. Never on the command line.")
    secret_file: Path | None = Field(
        None, description="File with the secret, readable by its owner only; read again at each sign-in."
    )
    tls_ca: Path | None = Field(None, description="PEM file with the CA that signed the servers' certificates.")
    tls_insecure: bool = Field(False, description="Do not verify certificates, neither for gRPC nor for data. For tests only.")

    mount_point: Path | None = Field(
        None, description="Where a TOML file is mounted by ``cs3fuse mount --all``, or without MOUNTPOINT."
    )
    view: Literal["mesh", "home"] = Field(
        "mesh",
        description="What a SOURCE without a path shows: everything that is yours and was shared with you, in folders, or your home alone.",
    )
    links: dict[str, LinkOptions] = Field(
        {},
        description="Public links to show in links/: in the TOML file a table [links.NAME] with token and, if there is one, password.",
    )
    ocm_mount: str = Field(
        "",
        description="Path under which this gateway serves what other sites share (/ocm-received, /ocm); it cannot be found out. Without it "
        "the entries of mesh/ cannot be opened.",
    )
    site_timeout_s: float = Field(
        10.0,
        ge=1,
        le=600,
        description="Longest time that a call to another site may take; then it counts as away and is asked again in the background.",
    )
    list_timeout_s: float = Field(10.0, ge=1, le=600, description="Longest time that the list of a folder of shares may take.")

    cache_folder: Path | None = Field(None, description="Folder of cached content; default: one per mount in XDG_CACHE_HOME.")
    state_folder: Path | None = Field(None, description="Folder of the journal and unsent files; default: in XDG_STATE_HOME.")
    cache_bytes: int = Field(20 * GIB, ge=16 * MIB, description="Most bytes of cached content.")
    cache_min_free_bytes: int = Field(1 * GIB, ge=0, description="Cached content is dropped to leave this much of the disk free.")
    read_window_bytes: int = Field(
        64 * MIB, ge=1 * MIB, le=4 * GIB, description="Most bytes that one file is fetched ahead of its reader."
    )
    download_streams: int = Field(8, ge=1, le=24, description="Ranges of files that are fetched at the same time.")
    attribute_timeout_s: float = Field(1.0, ge=0, le=3600, description="Seconds until a remote change is seen without an open.")
    request_deadline_s: float = Field(60.0, ge=1, le=3600, description="Longest time that one request of a program may take.")
    locks: Literal["auto", "require", "off"] = Field("auto", description="CS3 locks on open for writing.")
    on_foreign_lock: Literal["busy", "wait", "readonly"] = Field(
        "busy", description="Opening for writing what somebody else has locked: EBUSY, wait for a while, or open for reading only."
    )
    foreign_lock_wait_s: float = Field(
        30.0, ge=0, le=3600, description="Seconds to wait for somebody else's lock; at most request_deadline_s."
    )
    lock_ttl_s: float = Field(300.0, ge=30, le=86400, description="Life of a lock without refresh, in seconds.")
    commit: Literal["close", "background"] = Field(
        "close", description="When close(2) returns: bytes on the server, or in the journal."
    )
    upload_workers: int = Field(4, ge=1, le=64, description="Uploads at the same time in the background.")
    drain_timeout_s: float = Field(
        60.0, ge=0, le=86400, description="How long SIGTERM waits for unsent bytes before it leaves them."
    )
    data_slots: int = Field(48, ge=4, le=512, description="Reads, writes and commits served at the same time.")

    read_only: bool = Field(False, description="Refuse every change.")
    allow_other: bool = Field(False, description="Let other local users in (needs user_allow_other in /etc/fuse.conf).")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity that is logged.")
    log_json: bool = Field(False, description="Log as JSON lines.")
    log_file: Path | None = Field(None, description="Log to this file; default for a background mount: in the state folder.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line and TOML arrive merged through ``load`` instead; see there."""
        return (init_settings,)


def config_folder() -> Path:
    """Where ``NAME.toml`` of a SOURCE is looked for."""
    return platformdirs.user_config_path("cs3fuse")


def load(source: str, command_line: dict[str, Any]) -> MountOptions:
    """Options for a SOURCE: a URL, or the name of a TOML file in the configuration folder (or a path to one).

    Args: ``command_line``: options given there, without those left out.

    Raises: BadRequestError with one sentence per wrong option.
    """
    from_file: dict[str, Any] = {}
    if "://" in source:
        command_line = {**command_line, "source": source}
    else:
        from_file = _read_toml(source)
    environment = EnvSettingsSource(MountOptions)()
    merged = {**from_file, **environment, **command_line}
    merged = {**PROFILES.get(str(merged.get("profile", "")), {}), **merged}
    try:
        options = MountOptions(**InitSettingsSource(MountOptions, merged)())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        raise BadRequestError(f"The options are wrong: {problems}.") from error
    if not options.source:
        raise BadRequestError(f'{source}.toml names no source: add a line like  source = "cs3://host:9142"')
    return options


def _read_toml(name: str) -> dict[str, Any]:
    path = Path(name) if name.endswith(".toml") else config_folder() / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadRequestError(
            f"{name} is neither a URL (cs3://HOST:PORT) nor a configuration: there is no {path}.", path=str(path)
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequestError(f"{path} cannot be read as TOML: {error}.", path=str(path)) from error
    holds_secret = "secret" in values or any(
        isinstance(link, dict) and "password" in link for link in dict(values.get("links") or {}).values()
    )
    if holds_secret and path.stat().st_mode & 0o077:
        raise BadRequestError(f"{path} holds a secret but others may read it: chmod 600 {path}", path=str(path))
    return values
