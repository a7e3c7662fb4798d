"""Versions and trash of the view: each call goes to whoever serves the root, with the rights of the share, and never to another site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cs3fuse.errors import AccessDeniedError, UnsupportedError
from cs3fuse.mesh.remote import MeshHistory
from cs3fuse.mesh.roots import Grant, RootTable
from cs3fuse.model import FileVersion, Kind, Location, PathRoot, TrashItem, VirtualRoot

OWN, SHARED, FAR = Location(PathRoot("/home")), Location(PathRoot("/their")), Location(PathRoot("/far"))
VERSION, ITEM = FileVersion("k", 1, 1), TrashItem("t", "f", Kind.FILE, 1, 1.0)


class FakeRemote:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Location]] = []

    @property
    def history(self) -> FakeRemote:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(at: Location, *_rest: object) -> None:
            self.asked.append((name, at))

        return call


class Desk:
    def __init__(self) -> None:
        self.own, self.theirs, self.far = FakeRemote(), FakeRemote(), FakeRemote()
        table = RootTable(self.own)  # type: ignore[arg-type]
        viewer = frozenset({"stat", "list_container", "initiate_file_download"})
        table.enter("shares", {SHARED.root: Grant(self.theirs, viewer)})  # type: ignore[arg-type]
        table.enter("mesh", {FAR.root: Grant(self.far, None, site=object())})  # type: ignore[arg-type]
        self.history = MeshHistory(table)

    def calls(self, at: Location) -> dict[str, Callable[[], Any]]:
        history = self.history
        return {
            "versions": lambda: history.versions(at),
            "fetch_version": lambda: history.fetch_version(at, VERSION, None, None),  # type: ignore[arg-type]
            "trash": lambda: history.trash(at),
            "restore_version": lambda: history.restore_version(at, "k"),
            "restore_trash": lambda: history.restore_trash(at, ITEM, at),
            "purge_trash": lambda: history.purge_trash(at, ITEM),
        }


async def test_each_call_goes_to_its_own_server() -> None:
    """What no list named is the mount's own client's."""
    desk = Desk()
    for name, call in desk.calls(OWN).items():
        await call()
        assert desk.own.asked[-1] == (name, OWN)
    await desk.history.versions(SHARED)
    assert desk.theirs.asked == [("versions", SHARED)]


async def test_a_viewer_restores_nothing() -> None:
    """Some servers would do it."""
    desk = Desk()
    for name in ("restore_version", "restore_trash", "purge_trash"):
        with pytest.raises(AccessDeniedError):
            await desk.calls(SHARED)[name]()
    assert desk.theirs.asked == []


@pytest.mark.parametrize("at", [FAR, Location(VirtualRoot("shares"), "x")], ids=["site", "folder"])
async def test_other_sites_and_folders_of_the_view_have_none(at: Location) -> None:
    """Said at once: a site may be away, and has nothing to say about it."""
    desk = Desk()
    for call in desk.calls(at).values():
        with pytest.raises(UnsupportedError):
            await call()
    assert desk.far.asked == desk.own.asked == []
