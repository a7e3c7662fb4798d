"""Bytes of many roots: which client is asked, and whether at all."""

from __future__ import annotations

import pytest

from cs3fuse.errors import AccessDeniedError
from cs3fuse.mesh.remote import MeshData
from cs3fuse.mesh.roots import Grant, RootTable
from cs3fuse.model import Location, PathRoot

OWN, SHARED, AWAY, BLIND = (Location(PathRoot(f"/{name}"), "a") for name in ("own", "shared", "away", "blind"))


class Client:
    """Remembers what it was asked to prepare."""

    tree = locks = None

    def __init__(self) -> None:
        self.data = self
        self.prepared: list[Location] = []

    async def prepare_fetch(self, at: Location) -> None:
        self.prepared.append(at)


async def test_fetch_is_prepared_by_the_client_of_the_root_but_not_at_another_site():
    """There each call has a bound of its own, and an open that reads nothing should not wait for one."""
    own, shared, away = Client(), Client(), Client()
    table = RootTable(own)
    table.enter("shares", {SHARED.root: Grant(shared), BLIND.root: Grant(shared, frozenset({"stat"}))})
    table.enter("mesh", {AWAY.root: Grant(away, site=object())})
    data = MeshData(table)
    for at in (OWN, SHARED, AWAY):
        await data.prepare_fetch(at)
    assert (own.prepared, shared.prepared, away.prepared) == ([OWN], [SHARED], [])
    with pytest.raises(AccessDeniedError):
        await data.prepare_fetch(BLIND)
