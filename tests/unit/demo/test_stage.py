"""Starting and ending of the demonstration's processes: cs3fuse/demo/stage.py and processes.py."""

from __future__ import annotations

import signal
import sys

import pytest

from cs3fuse.demo import processes
from cs3fuse.demo.processes import DemoError
from cs3fuse.demo.stage import SITES, Mount, Stage, together


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    return Stage("reva", folder=folder)


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Put another program in the place of Python: gateway and commands are run by it."""

    def put(text: str) -> None:
        fake = tmp_path / "program"
        fake.write_text(f"#!{sys.executable}\nimport sys\n{text}\n")
        fake.chmod(0o755)
        monkeypatch.setattr(processes.sys, "executable", str(fake))

    return put


def test_folder_goes_away_at_the_end(stage):
    """Nothing is left behind."""
    with stage:
        assert all(stage.root_of(site).is_dir() for site in SITES)
    assert not stage.folder.exists()


def test_folder_stays_after_a_failure(stage, capsys):
    """Who looks for the reason finds the logs, and is told where."""
    with pytest.raises(DemoError), stage:
        raise DemoError("no")
    assert stage.folder.exists()
    assert str(stage.folder) in capsys.readouterr().err


def test_gateway_that_says_nonsense_is_an_error_with_its_words(stage, program):
    """Its last words on stderr are the reason; none of the two is left running."""
    program("print('no such port', file=sys.stderr)\nprint('hello')")
    with pytest.raises(DemoError, match="did not start: no such port"), stage:
        stage.start_gateways()
    assert len(stage.gateways) == 2 and not stage.gateways_run()


def test_failing_command_is_an_error_with_its_words(stage, program):
    """What ``cs3fuse`` said to a person is what the demonstration says."""
    program("sys.exit('nobody is called so')")
    with pytest.raises(DemoError, match="cs3fuse share failed: nobody is called so"), stage:
        stage.command("share", "x")


def test_command_says_its_words_and_is_about_its_mount(stage, program):
    """Several mounts are there: each command names its own."""
    program("print(*sys.argv[3:])")
    with stage:
        mount = Mount("marie", SITES[1], stage.folder / "marie")
        assert stage.command("accept", "shared", mount=mount) == f"accept shared --mount {stage.folder}/marie"
        assert stage.command("share", "path") == "share path"


def test_one_failure_of_several_at_once_is_raised():
    """After all of them ended."""
    ended = []

    def fail() -> None:
        raise DemoError("no")

    with pytest.raises(DemoError):
        together([fail, lambda: ended.append(1)])
    assert ended == [1]
    assert together([lambda: 1, lambda: 2]) == [1, 2]


def test_second_interrupt_does_not_stop_the_tidying_up(stage):
    """Ctrl-C twice leaves no mount behind: the second is ignored until all is done."""
    seen = []

    class Gateway:
        def end(self) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            seen.append("ended")

    with stage:
        stage.gateways["a"] = Gateway()
    assert seen == ["ended"]
    assert not stage.folder.exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_lost_edit_is_noticed(stage):
    """The bytes on the gateway decide, not what the mounts showed."""
    with stage:
        minutes = stage.root_of(SITES[0]) / "einstein" / "shared" / "minutes.md"
        minutes.parent.mkdir(parents=True)
        minutes.write_text("before")
        stage.edited_to = "before and after"
    with pytest.raises(DemoError, match="does not hold what was written"):
        stage.verify_afterwards()
