"""What the demonstration says when it cannot work: cs3fuse/demo/run.py."""

from __future__ import annotations

import pytest

from cs3fuse.demo import run


def test_unknown_profile_is_refused(capsys):
    """With the ones that exist."""
    assert run.run_demo(check=True, profile="nextcloud") == 1
    assert capsys.readouterr().err == "demo: there is no profile 'nextcloud'; use one of reva, opencloud, eos\n"


def test_missing_libraries_are_one_sentence(monkeypatch, capsys):
    """And the command that installs them."""
    monkeypatch.setattr(run.content, "missing_libraries", lambda: ["h5py", "uproot"])
    assert run.run_demo(check=True) == 1
    assert "need h5py, uproot; install them with: pip install 'cs3fuse[demo]'" in capsys.readouterr().err


@pytest.mark.mount
@pytest.mark.parametrize("profile", run.PROFILES)
def test_demonstration_passes(profile, capfd):
    """From gateway to histogram to clean end, on each kind of server."""
    status = run.run_demo(check=True, profile=profile)
    told = capfd.readouterr()
    assert status == 0, told.err
    assert "Everything was as it should be" in told.out
