"""What the folders of the view cost, over the embedded gateway without a kernel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio
from pydantic import SecretStr

from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.client.sharing import Role
from cs3fuse.config.options import MountOptions
from cs3fuse.emulator.server import EmulatorThread
from cs3fuse.errors import NotFoundError
from cs3fuse.mesh.given import GivenBook
from cs3fuse.mesh.view import View, open_view
from cs3fuse.model import Location, VirtualRoot
from tests.integration import clients
from tests.support.vfs import signed_in

SHARES = Location(VirtualRoot("shares"))
COUNT = 200


async def opened(emulator: EmulatorThread, client, folder: Path) -> View:
    options = MountOptions(
        source=f"cs3+plain://127.0.0.1:{emulator.grpc_port}", user="marie", secret=SecretStr("radioactivity"), view="mesh"
    )
    return await open_view(client, options, folder)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    root = tmp_path_factory.mktemp("cost")
    for number in range(COUNT):
        (root / "einstein" / f"d{number:03}").mkdir(parents=True)
    (root / "marie").mkdir()
    with clients.emulated("reva", root) as running:
        yield running


async def share_all(emulator: EmulatorThread) -> None:
    async with signed_in(emulator, "einstein") as einstein:
        home = Location(await einstein.home())
        marie = await einstein.sharing.user_named("marie")
        for number in range(COUNT):
            await einstein.sharing.share(home.child(f"d{number:03}"), marie, Role.VIEWER, None)


def calls(emulator: EmulatorThread) -> Counter:
    return Counter(entry.name for entry in emulator.log.entries(0))


def most_at_once(emulator: EmulatorThread, name: str) -> int:
    """How many calls of a kind ran at the same time."""
    served = [entry for entry in emulator.log.entries(0) if entry.name == name]
    moments = [(entry.started, 1) for entry in served] + [(entry.started + entry.duration_s, -1) for entry in served]
    running = most = 0
    for _at, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


async def test_two_hundred_shares_cost_one_list_and_a_stat_each(emulator: EmulatorThread, tmp_path: Path) -> None:
    """The first look: one list call and 200 Stats at once; the second, within the time-out, none."""
    await share_all(emulator)
    async with signed_in(emulator, "marie") as client:
        view = await opened(emulator, client, tmp_path)
        cache = MetadataCache(view.tree, listing_ttl_s=5, attr_ttl_s=5)
        emulator.log.clear()
        emulator.faults.add(call="Stat", delay_s=0.05)
        try:
            assert len(await cache.list(SHARES)) == COUNT
        finally:
            emulator.faults.clear()
        counted = calls(emulator)
        assert counted["ListReceivedShares"] == 1
        assert counted["Stat"] <= COUNT
        assert set(counted) <= {"ListReceivedShares", "Stat"}
        assert most_at_once(emulator, "Stat") >= 16
        emulator.log.clear()
        assert len(await cache.list(SHARES)) == COUNT
        await cache.stat(SHARES.child("d007"))
        with pytest.raises(NotFoundError):
            await cache.stat(SHARES.child("nothing"))
        assert not calls(emulator)


async def test_server_without_spaces_has_no_folder_for_them(emulator: EmulatorThread, tmp_path: Path) -> None:
    """Absent, not an error; a list that fails otherwise is shown, and fails when it is read."""
    async with signed_in(emulator, "marie") as client:
        emulator.faults.add(call="ListStorageSpaces", grpc="UNIMPLEMENTED")
        try:
            view = await opened(emulator, client, tmp_path)
            top = {entry.name for entry in await view.tree.list(view.top)}
        finally:
            emulator.faults.clear()
        assert "spaces" not in top and {"home", "shares"} <= top
        with pytest.raises(NotFoundError):
            await view.tree.stat(view.top.child("spaces"))


async def test_share_that_cannot_be_described_is_shown_and_says_why(emulator: EmulatorThread, tmp_path: Path) -> None:
    """One broken share does not make the folder fail: it is there, nothing may be done with it."""
    async with signed_in(emulator, "marie") as client:
        view = await opened(emulator, client, tmp_path)
        emulator.faults.add(call="Stat", path="/einstein/d003", status="INTERNAL", message="broken")
        try:
            entries = await view.tree.list(SHARES)
        finally:
            emulator.faults.clear()
        broken = [entry for entry in entries if "cs3.error" in entry.metadata]
        assert len(broken) == 1 and broken[0].permissions == frozenset() and "broken" in broken[0].metadata["cs3.error"]
        assert len(entries) == COUNT


async def test_list_that_fails_leaves_what_was_known(emulator: EmulatorThread, tmp_path: Path) -> None:
    """Shares do not vanish because the server is busy."""
    async with signed_in(emulator, "marie") as client:
        view = await opened(emulator, client, tmp_path)
        assert len(await view.tree.list(SHARES)) == COUNT
        emulator.faults.add(call="ListReceivedShares", status="INTERNAL")
        try:
            assert len(await view.tree.list(SHARES)) == COUNT
        finally:
            emulator.faults.clear()


async def test_editor_of_a_file_gets_no_rights_of_folders(tmp_path: Path) -> None:
    """OpenCloud refuses them; the receiver sees the file with its size, and may write it."""
    (tmp_path / "root" / "einstein").mkdir(parents=True)
    (tmp_path / "root" / "einstein" / "one.txt").write_text("one")
    (tmp_path / "root" / "marie").mkdir()
    with clients.emulated("opencloud", tmp_path / "root") as emulator:
        async with signed_in(emulator, "einstein") as einstein, signed_in(emulator, "marie") as marie:
            home = Location(await einstein.home())
            person = await einstein.sharing.user_named("marie")
            await einstein.sharing.share(home.child("one.txt"), person, Role.EDITOR, None)
            assert [share.receiver for share in await GivenBook(einstein.sharing).all()] == ["marie"]
            view = await opened(emulator, marie, tmp_path)
            await trio.sleep(0.1)  # it accepts itself after a moment
            (entry,) = await view.tree.list(SHARES)
            (share,) = await marie.sharing.received()
    assert not share.permissions & {"create_container", "delete", "move"}
    assert entry.name == "one.txt" and entry.size == 3 and entry.may("initiate_file_upload")
