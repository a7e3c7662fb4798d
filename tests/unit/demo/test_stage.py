"""Starting and ending of the demonstration's processes: cs3fuse/demo/stage.py."""

from __future__ import annotations

import signal
import sys

import pytest

from cs3fuse.demo import stage as module
from cs3fuse.demo.stage import DemoError, Stage


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    return Stage("reva", folder=folder)


def test_folder_goes_away_at_the_end(stage):
    """Nothing is left behind."""
    with stage:
        assert stage.gateway_root.is_dir()
    assert not stage.folder.exists()


def test_folder_stays_after_a_failure(stage, capsys):
    """Who looks for the reason finds the logs, and is told where."""
    with pytest.raises(DemoError), stage:
        raise DemoError("no")
    assert stage.folder.exists()
    assert str(stage.folder) in capsys.readouterr().err


def test_gateway_that_says_nonsense_is_an_error_with_its_words(stage, monkeypatch, tmp_path):
    """Its last words on stderr are the reason."""
    fake = tmp_path / "gateway"
    fake.write_text(f"#!{sys.executable}\nimport sys\nprint('no such port', file=sys.stderr)\nprint('hello')\n")
    fake.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(fake))
    with pytest.raises(DemoError, match="did not start: no such port"), stage:
        stage.start_gateway()
    assert not stage.gateway_runs()


def test_failing_command_is_an_error_with_its_words(stage, monkeypatch, tmp_path):
    """What ``cs3fuse mount`` said to a person is what the demonstration says."""
    fake = tmp_path / "cs3fuse"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('wrong password for einstein')\n")
    fake.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(fake))
    with pytest.raises(DemoError, match="cs3fuse mount failed: wrong password for einstein"), stage:
        stage.mount("einstein", stage.source())


def test_second_interrupt_does_not_stop_the_tidying_up(stage, monkeypatch):
    """Ctrl-C twice leaves no mount behind: the second is ignored until all is done."""
    seen = []

    def end_gateway(_self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        seen.append("ended")

    monkeypatch.setattr(Stage, "_end_gateway", end_gateway)
    with stage:
        pass
    assert seen == ["ended"]
    assert not stage.folder.exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_lost_edit_is_noticed(stage):
    """The bytes on the gateway decide, not what the mounts showed."""
    with stage:
        minutes = stage.gateway_root / "einstein" / "shared" / "minutes.md"
        minutes.parent.mkdir(parents=True)
        minutes.write_text("before")
        stage.edited_to = "before and after"
    with pytest.raises(DemoError, match="does not hold what einstein wrote"):
        stage.verify_afterwards()
