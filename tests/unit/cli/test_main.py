"""All commands together: what is offered is documented, and failures become sentences and exit statuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from cs3fuse.cli import main
from cs3fuse.cli.words import Unsent
from cs3fuse.errors import UnavailableError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "commands.md"
GROUP: Any = typer.main.get_command(main.app)


@pytest.mark.parametrize("name", sorted(GROUP.commands), ids="cs3fuse-{}".format)
def test_every_command_is_on_the_page(name: str) -> None:
    """A new command also stands in docs/commands.md, in bold where it is explained, and has a sentence of help."""
    assert f"**`cs3fuse {name}" in PAGE.read_text()
    assert GROUP.commands[name].help.strip()


def test_no_command_on_the_page_is_gone() -> None:
    """What the page explains can be typed."""
    explained = {line.split("`")[1].split()[1] for line in PAGE.read_text().splitlines() if line.startswith("**`cs3fuse")}
    assert explained == set(GROUP.commands)


@pytest.mark.parametrize("name", sorted(GROUP.commands), ids="cs3fuse-{}".format)
def test_every_option_explains_itself(name: str) -> None:
    """--help is where people look first."""
    for parameter in GROUP.commands[name].params:
        assert parameter.name == "help" or getattr(parameter, "hidden", False) or parameter.help, parameter.name


@pytest.mark.parametrize("name", sorted(GROUP.commands), ids="cs3fuse-{}".format)
def test_help_can_be_shown(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A text with brackets in it is text: `[/path]` once ended the help of mount with a traceback."""
    monkeypatch.setattr(sys, "argv", ["cs3fuse", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Unsent("Two files are left."), 3), (UnavailableError("Nothing is mounted."), 1)],
    ids=["left", "failed"],
)
def test_a_failure_is_a_sentence_and_a_status(
    failure: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback; scripts tell the kinds apart by the status."""

    def fail() -> None:
        raise failure

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == status
    assert capsys.readouterr().err == f"cs3fuse: {failure}\n"


def test_wrong_usage_is_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setattr(sys, "argv", ["cs3fuse", "umount"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
