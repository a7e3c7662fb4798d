"""What ``mount`` and ``recover`` share: the options that say who signs in where, and where the secret comes from."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs3fuse.errors import BadRequestError

if TYPE_CHECKING:
    from cs3fuse.auth.secrets import Secret
    from cs3fuse.config.options import MountOptions

Auth = Annotated[str | None, typer.Option(help="basic, bearer, appauth, machine or publicshares.")]
User = Annotated[str | None, typer.Option(help="User name to sign in with.")]
SecretFile = Annotated[Path | None, typer.Option(help="File with the secret (mode 0600).")]
TlsCa = Annotated[Path | None, typer.Option(help="PEM file with the CA of the servers.")]
TlsInsecure = Annotated[bool | None, typer.Option("--tls-insecure", help="Do not verify certificates. For tests only.")]
AnyOption = Annotated[
    list[str] | None, typer.Option("-o", "--option", help="Any other option as NAME=VALUE; see the documentation.")
]


def given(named: dict[str, Any], others: list[str] | None) -> dict[str, Any]:
    """The options that were given, by name, without those left out. Raises: BadRequestError: a secret on the command line."""
    return {name: value for name, value in named.items() if value is not None} | _parsed(others or [])


def _parsed(pairs: list[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        name = name.replace("-", "_")
        if name == "secret":
            raise BadRequestError("A secret on the command line can be read by everybody: use CS3FUSE_SECRET or --secret-file.")
        parsed[name] = value if sign else True
    return parsed


def load(source: str, options: dict[str, Any]) -> MountOptions:
    """All options for a SOURCE; the user is the local one where none is named. Raises: BadRequestError."""
    from cs3fuse.config import options as config

    loaded = config.load(source, options)
    if not loaded.user:
        loaded = loaded.model_copy(update={"user": getpass.getuser() if loaded.auth != "bearer" else ""})
    return loaded


def secret_for(options: MountOptions) -> Secret:
    """The secret, from the first place that has it; may ask at the terminal. Raises: SignInError."""
    from cs3fuse.auth.secrets import find_secret, terminal_prompt

    return find_secret(
        environment=os.environ,
        file=options.secret_file,
        value=options.secret.get_secret_value(),
        prompt=terminal_prompt(options.user, options.source),
    )
