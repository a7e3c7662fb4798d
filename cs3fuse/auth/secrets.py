"""Secrets: a password or a token, from where it is kept to the moment it is sent.

Owns the sources (environment, file, configuration, prompt) and that no ``repr`` or ``str`` shows what is in them. Called by ``app`` when
it puts the mount together and by ``auth.tokens`` at each sign-in, from the trio thread; reading a file takes well under a millisecond.
"""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cs3fuse.errors import SignInError

SECRET_VARIABLE = "CS3FUSE_SECRET"  # noqa: S105 -- the name of the variable, not a secret
# Nobody's password or token is longer; a log file given by mistake is not sent to the server.
_MAX_BYTES = 64 * 1024


class Secret(Protocol):
    """Something that can say the secret when it is needed. Its ``repr`` does not."""

    def reveal(self) -> str:
        """The secret as it is now. Raises: SignInError: it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSecret:
    """A secret that does not change while the program runs; ``origin`` says where it came from."""

    value: str = field(repr=False)
    origin: str = "given"

    def reveal(self) -> str:
        """The secret."""
        return self.value

    def __str__(self) -> str:
        """Where it came from."""
        return f"secret ({self.origin})"


@dataclass(frozen=True, slots=True)
class FileSecret:
    """A file that holds the secret; read again at each sign-in, because token files are renewed by others."""

    path: Path

    def reveal(self) -> str:
        """The content without the line end. Raises: SignInError: missing, readable by others, empty, too large, not text."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as exc:
            raise SignInError(f"The secret file {self.path} cannot be read: {exc.strerror}.") from exc
        try:
            self._check(os.fstat(descriptor))
            content = os.read(descriptor, _MAX_BYTES + 1)
        except OSError as exc:
            raise SignInError(f"The secret file {self.path} cannot be read: {exc.strerror}.") from exc
        finally:
            os.close(descriptor)
        if len(content) > _MAX_BYTES:
            raise SignInError(f"The secret file {self.path} is larger than {_MAX_BYTES} bytes; it is probably another file.")
        try:
            # Only the line end that editors add: a password may begin or end with blanks.
            secret = content.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as exc:
            raise SignInError(f"The secret file {self.path} is not text.") from exc
        if not secret:
            raise SignInError(f"The secret file {self.path} is empty.")
        return secret

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise SignInError(f"The secret file {self.path} is not a regular file.")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SignInError(f"The secret file {self.path} may be read by others; run: chmod 600 {self.path}")
        if status.st_uid not in {os.geteuid(), 0}:
            raise SignInError(f"The secret file {self.path} belongs to somebody else.")

    def __str__(self) -> str:
        """Where it is."""
        return f"secret (file {self.path})"


def find_secret(
    *,
    environment: Mapping[str, str],
    file: Path | None = None,
    value: str | None = None,
    prompt: Callable[[], str] | None = None,
) -> Secret:
    """The secret from the first place that has one: a file named on the command line, the environment, the configuration, a prompt.

    Args: ``value`` is what the configuration file holds; ``prompt`` asks a person and blocks, so call this before the event loop runs.

    Raises: SignInError: nowhere, or empty.
    """
    if file is not None:
        secret = FileSecret(file)
        secret.reveal()
        return secret
    if environment.get(SECRET_VARIABLE):
        return FixedSecret(environment[SECRET_VARIABLE], SECRET_VARIABLE)
    if value:
        return FixedSecret(value, "configuration")
    if prompt is not None:
        answer = prompt()
        if answer:
            return FixedSecret(answer, "prompt")
    raise SignInError(f"There is no secret to sign in with: set {SECRET_VARIABLE}, or name a file with --secret-file.")


def terminal_prompt(user: str, server: str) -> Callable[[], str] | None:
    """Asks at the terminal, without echo; None where there is no terminal to ask at."""
    try:
        with Path("/dev/tty").open("rb"):
            pass
    except OSError:
        return None
    return lambda: getpass.getpass(f"Secret of {user} at {server}: ")
