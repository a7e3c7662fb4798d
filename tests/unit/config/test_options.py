"""Where options come from, and which are refused."""

from pathlib import Path

import pytest

from cs3fuse.config.options import PROFILES, MountOptions, load
from cs3fuse.errors import BadRequestError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CS3FUSE_SECRET", "CS3FUSE_USER", "CS3FUSE_LOCKS", "CS3FUSE_PROFILE", "CS3FUSE_ATTRIBUTE_TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cs3fuse").mkdir()


def write(tmp_path: Path, name: str, text: str, mode: int = 0o600) -> None:
    path = tmp_path / "cs3fuse" / f"{name}.toml"
    path.write_text(text)
    path.chmod(mode)


def test_command_line_wins_over_environment_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that people expect."""
    write(tmp_path, "work", 'source = "cs3://host:9142"\nuser = "file"\nlocks = "off"\nlock_ttl_s = 60\n')
    assert load("work", {}).user == "file"
    monkeypatch.setenv("CS3FUSE_USER", "environment")
    assert load("work", {}).user == "environment"
    options = load("work", {"user": "line"})
    assert (options.user, options.locks, options.lock_ttl_s, options.commit) == ("line", "off", 60, "close")


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    """A typo must not silently mean the default."""
    write(tmp_path, "work", 'source = "cs3://host:9142"\nlook = "off"\n')
    with pytest.raises(BadRequestError, match="look"):
        load("work", {})


def test_a_wrong_value_names_the_option() -> None:
    """The sentence says which option and why."""
    with pytest.raises(BadRequestError, match="locks"):
        load("cs3://host:9142", {"locks": "perhaps"})


def test_a_file_with_a_secret_must_be_private(tmp_path: Path) -> None:
    """Others on the machine must not read it."""
    write(tmp_path, "work", 'source = "cs3://host:9142"\nsecret = "s3"\n', mode=0o644)
    with pytest.raises(BadRequestError, match="chmod 600"):
        load("work", {})


def test_secrets_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in repr nor in an error about another option."""
    monkeypatch.setenv("CS3FUSE_SECRET", "hunter2")
    assert "hunter2" not in repr(load("cs3://host:9142", {}))
    with pytest.raises(BadRequestError) as caught:
        load("cs3://host:9142", {"locks": "hunter2x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("source = ", "TOML"), ("user = 'x'\n", "names no source")])
def test_a_broken_file_is_explained(tmp_path: Path, text: str, words: str) -> None:
    """What is wrong, and in which file."""
    write(tmp_path, "work", text)
    with pytest.raises(BadRequestError, match=words):
        load("work", {})


def test_a_name_without_a_file_is_explained() -> None:
    """Neither URL nor configuration: say where it was looked for."""
    with pytest.raises(BadRequestError, match=r"nowhere\.toml"):
        load("nowhere", {})


def test_a_profile_sets_what_nobody_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands between the defaults and everything that a person wrote, wherever profile and option were written."""
    plain = load("cs3://host:9142", {})
    assert plain == load("cs3://host:9142", {"profile": "notebook"})
    analysis = load("cs3://host:9142", {"profile": "analysis"})
    assert (
        analysis.attribute_timeout_s
        > plain.attribute_timeout_s
        > load("cs3://host:9142", {"profile": "shared"}).attribute_timeout_s
    )
    assert analysis.read_window_bytes > plain.read_window_bytes
    write(tmp_path, "work", 'source = "cs3://host:9142"\nattribute_timeout_s = 7\n')
    assert load("work", {"profile": "analysis"}).attribute_timeout_s == 7
    monkeypatch.setenv("CS3FUSE_PROFILE", "analysis")
    assert load("cs3://host:9142", {"attribute_timeout_s": "3"}).attribute_timeout_s == 3
    assert load("cs3://host:9142", {}) == analysis


def test_an_unknown_profile_is_refused() -> None:
    """Not the defaults."""
    with pytest.raises(BadRequestError, match="profile"):
        load("cs3://host:9142", {"profile": "fast"})


def test_every_profile_is_made_of_options() -> None:
    """A renamed option must not be left in a profile, and each profile can be asked for."""
    for name, values in PROFILES.items():
        assert MountOptions(source="cs3://host:1", profile=name, **values).profile == name  # type: ignore[arg-type]
