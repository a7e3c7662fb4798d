"""Which rights stand behind a root."""

from __future__ import annotations

import pytest

from cs3fuse.errors import AccessDeniedError
from cs3fuse.mesh.roots import Grant, RootTable
from cs3fuse.model import Entry, Kind, Location, PathRoot

DOCS = PathRoot("/local/einstein/docs")
VIEWER = frozenset({"stat", "list_container", "initiate_file_download"})


class Client:
    """A client that is never called."""

    tree = data = locks = None


def entry(*permissions: str) -> Entry:
    return Entry("f", Kind.FILE, permissions=frozenset(permissions))


def test_rights_are_those_of_the_share_and_of_the_server():
    """Reva's driver local shows everything to everybody; the share says less."""
    grant = Grant(Client(), VIEWER)
    assert grant.restricted(entry("stat", "initiate_file_upload")).permissions == {"stat"}
    assert grant.restricted(Entry("f", Kind.FILE)).permissions == VIEWER
    with pytest.raises(AccessDeniedError):
        grant.require("delete", Location(DOCS, "a"))
    Grant(Client()).require("delete", Location(DOCS, "a"))


def test_rights_of_another_site_are_the_shares_alone():
    """OCM never shows an editor that he may delete, although he may."""
    assert Grant(Client(), VIEWER | {"delete"}, is_whole=True).restricted(entry("stat")).permissions == VIEWER | {"delete"}


def test_unknown_roots_are_our_own():
    """The home, and what a journal leads to before the lists were read."""
    own = Client()
    assert RootTable(own).of(Location(DOCS)).remote is own


def test_withdrawn_root_is_refused_until_it_is_shared_again():
    """Also where the server would go on serving it."""
    table = RootTable(Client())
    table.enter("shares", {DOCS: Grant(Client(), VIEWER)})
    table.enter("shares", {})
    with pytest.raises(AccessDeniedError, match="not shared with you any more"):
        table.of(Location(DOCS, "a"))
    table.enter("shares", {DOCS: Grant(Client(), VIEWER)})
    assert table.of(Location(DOCS, "a")).allowed == VIEWER


def test_root_in_two_folders_has_the_rights_of_both():
    """And keeps those of the other when one ends."""
    table = RootTable(Client())
    table.enter("shares", {DOCS: Grant(Client(), VIEWER)})
    table.enter("links", {DOCS: Grant(Client(), frozenset({"stat", "delete"}))})
    assert table.of(Location(DOCS)).allowed == VIEWER | {"delete"}
    table.enter("links", {})
    assert table.of(Location(DOCS)).allowed == VIEWER
