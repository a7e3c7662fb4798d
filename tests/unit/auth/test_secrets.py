"""Where secrets come from, and that nothing shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cs3fuse.auth import secrets
from cs3fuse.auth.secrets import SECRET_VARIABLE, FileSecret, FixedSecret, find_secret, terminal_prompt
from cs3fuse.errors import SignInError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("relativity\n")
    path.chmod(0o600)
    return path


def test_no_secret_is_ever_shown(file: Path) -> None:
    """Neither repr nor str, which logs and tracebacks use."""
    for secret in (FixedSecret("relativity", "prompt"), FileSecret(file)):
        assert secret.reveal() == "relativity"
        assert "relativity" not in f"{secret!r} {secret} {secret!s}"


@pytest.mark.parametrize(
    ("content", "expected"), [(b"a b \n", "a b "), (b"p\r\n", "p"), (b" \tp", " \tp"), ("pässword".encode(), "pässword")]
)
def test_only_the_line_end_is_cut(file: Path, content: bytes, expected: str) -> None:
    """A password may begin or end with a blank."""
    file.write_bytes(content)
    assert FileSecret(file).reveal() == expected


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_files_that_others_may_touch_are_refused(file: Path, mode: int) -> None:
    """The sentence has the command that mends it."""
    file.chmod(mode)
    with pytest.raises(SignInError, match="chmod 600"):
        FileSecret(file).reveal()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_files_that_hold_no_secret_are_refused(file: Path, content: bytes) -> None:
    """Empty, binary, or another file by mistake."""
    file.write_bytes(content)
    with pytest.raises(SignInError):
        FileSecret(file).reveal()


def test_files_that_are_none(tmp_path: Path) -> None:
    """Missing, a folder, a pipe that would block for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("missing", "pipe", "folder"):
        with pytest.raises(SignInError):
            FileSecret(tmp_path / name).reveal()


def test_a_file_is_read_each_time(file: Path) -> None:
    """Token files are renewed by somebody else."""
    secret = FileSecret(file)
    assert secret.reveal() == "relativity"
    file.write_text("newer")
    assert secret.reveal() == "newer"


def test_the_order_of_places(file: Path) -> None:
    """File from the command line, environment, configuration, prompt."""
    environment = {SECRET_VARIABLE: "from-env"}
    assert find_secret(environment=environment, file=file, value="v", prompt=lambda: "p").reveal() == "relativity"
    assert find_secret(environment=environment, value="v", prompt=lambda: "p").reveal() == "from-env"
    assert find_secret(environment={}, value="v", prompt=lambda: "p").reveal() == "v"
    assert find_secret(environment={SECRET_VARIABLE: ""}, prompt=lambda: "p").reveal() == "p"


def test_nowhere_a_secret(file: Path) -> None:
    """One sentence that says where one would be looked for; a bad file is told at once, not at the first call."""
    with pytest.raises(SignInError, match=SECRET_VARIABLE):
        find_secret(environment={}, prompt=lambda: "")
    file.chmod(0o644)
    with pytest.raises(SignInError, match="chmod"):
        find_secret(environment={}, file=file)


def test_the_prompt_needs_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service has none and must fail instead of waiting."""

    class NoTerminal(type(tmp_path)):  # type: ignore[misc]
        def open(self, *args: object, **kwargs: object) -> object:
            raise OSError(6, "No such device or address")

    monkeypatch.setattr(secrets, "Path", NoTerminal)
    assert terminal_prompt("einstein", "server") is None


def test_the_prompt_names_user_and_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever types a password should see for whom."""
    asked: list[str] = []
    monkeypatch.setattr(secrets, "Path", lambda _name: tmp_path / "tty")
    (tmp_path / "tty").touch()
    monkeypatch.setattr(secrets.getpass, "getpass", lambda text: asked.append(text) or "typed")
    prompt = terminal_prompt("einstein", "cs3://host:1")
    assert prompt is not None
    assert prompt() == "typed"
    assert "einstein" in asked[0]
    assert "cs3://host:1" in asked[0]
