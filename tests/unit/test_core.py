"""Whose journal it is, and what a state folder says of itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from cs3fuse.commit.inspection import StateFolderContent
from cs3fuse.config.options import MountOptions
from cs3fuse.core import About, journal_identity
from cs3fuse.draining import check_owner
from cs3fuse.errors import BadRequestError
from cs3fuse.model import Identity
from tests.unit.commit.test_inspection import RECORD

EINSTEIN = Identity("einstein", "4c51-einstein", idp="https://idp.example.org", display_name="Albert Einstein")


@pytest.mark.parametrize(
    "source", ["cs3://gw.example.org:9142/home", "cs3+plain://GW.example.org:9142", "cs3://gw.example.org:9142/x/y"]
)
def test_a_journal_is_known_again(source: str) -> None:
    """Another path, TLS or not, a new name, another address of the identity provider: still the same user at the same gateway."""
    before = journal_identity("cs3://gw.example.org:9142", EINSTEIN)
    assert journal_identity(source, replace(EINSTEIN, username="albert", idp="http://127.0.0.1:5", display_name="")) == before


@pytest.mark.parametrize(
    ("source", "identity"),
    [
        ("cs3://gw.example.org:9143", EINSTEIN),
        ("cs3://other.example.org:9142", EINSTEIN),
        ("cs3://gw.example.org:9142", replace(EINSTEIN, opaque_id="f7fb-marie")),
    ],
)
def test_a_journal_of_others_is_not_ours(source: str, identity: Identity) -> None:
    """Another gateway or another user, whatever his name."""
    assert journal_identity(source, identity) != journal_identity("cs3://gw.example.org:9142", EINSTEIN)


def test_a_state_folder_describes_itself_without_the_secret(tmp_path: Path) -> None:
    """What recover needs to ask for the right secret, and never the secret."""
    options = MountOptions(source="cs3://gw.example.org:9142", user="einstein", secret="relativity", tls_ca=Path("/ca.pem"))
    about = About.of(options, Path("/mnt"), "gw.example.org:9142|4c51")
    about.write(tmp_path)
    assert About.read(tmp_path) == about
    assert "relativity" not in (tmp_path / "mount.json").read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": 1}', "\udcff"])
def test_a_damaged_description_is_none(tmp_path: Path, text: str) -> None:
    """Then recover asks for the source; a broken file never ends it."""
    (tmp_path / "mount.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert About.read(tmp_path) is None


def test_nothing_is_sent_as_another_user(tmp_path: Path) -> None:
    """The sentence says whose it is; one foreign record is enough to refuse."""
    options = MountOptions(source="cs3://gw.example.org:9142", user="marie")
    ours = replace(RECORD, identity=journal_identity(options.source, EINSTEIN))
    theirs = replace(RECORD, id=2, identity="gw.example.org:9142|f7fb-marie")
    check_owner(StateFolderContent(tmp_path, False, (ours,), ()), options, EINSTEIN)
    with pytest.raises(BadRequestError, match="f7fb-marie"):
        check_owner(StateFolderContent(tmp_path, False, (ours, theirs), ()), options, EINSTEIN)
    About.of(options, Path("/mnt"), theirs.identity).write(tmp_path)
    with pytest.raises(
        BadRequestError, match=r"unsent files of marie at cs3://gw\.example\.org:9142, and you signed in as einstein"
    ):
        check_owner(StateFolderContent(tmp_path, False, (theirs,), ()), options, EINSTEIN)
