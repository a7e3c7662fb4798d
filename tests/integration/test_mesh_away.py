"""Another site that is silent or took a share back, seen by a whole mount without a kernel: what waits, what is sent, what is lost."""

from __future__ import annotations

import errno
import functools
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing

from cs3fuse.app import Mount
from cs3fuse.client.sharing import ShareState
from cs3fuse.commit import engine, sender, watching
from cs3fuse.commit.protocol import RetryPolicy
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.support.mesh import OCM_MOUNT, A, B
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount, signed_in

_WITHIN_S = 30.0
_AWAY = {errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EIO}
SHARE = "mesh/work"


@dataclass
class Desk:
    """marie at site B with einstein's share, ``disk`` is what he sees of it."""

    a: EmulatorThread
    b: EmulatorThread
    mount: Mount
    disk: Path
    share_id: str

    @property
    def calls(self) -> Syscalls:
        return Syscalls(self.mount.vfs)

    def way(self, state: str) -> None:
        self.b.link(A, state)

    def served(self, emulator: EmulatorThread) -> Counter[str]:
        return Counter(entry.name for entry in emulator.log.entries())

    @asynccontextmanager
    async def silent_from_the_next_upload(self) -> AsyncIterator[None]:
        """Site A does not answer from the moment on at which the bytes of an upload have come to it."""
        held = self.a.faults.add(method="PUT", freeze=True)

        async def go_silent() -> None:
            await self.eventually(lambda: held.fired > 0)
            self.way("frozen")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_silent)
            yield

    async def eventually(self, is_so: Callable[[], bool]) -> None:
        with trio.fail_after(_WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - another thread makes it so
                await trio.sleep(0.02)

    async def is_back(self) -> None:
        """The share can be used again."""
        self.a.faults.clear()
        self.way("ok")
        with trio.fail_after(_WITHIN_S):
            while True:
                try:
                    await self.calls.listdir(SHARE)
                except OSError:
                    await trio.sleep(0.1)
                else:
                    return

    def is_all_sent(self) -> bool:
        return not self.mount.commits.queue() and not self.mount.commits._running.journal.records()

    async def fails(self, call: Callable[[], object], numbers: set[int]) -> None:
        with pytest.raises(OSError) as caught:
            await call()
        assert caught.value.errno in numbers, errno.errorcode[caught.value.errno or 0]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[EmulatorThread, EmulatorThread]]:
    for site in "ab":
        for user in ("einstein", "marie"):
            (tmp_path / site / user).mkdir(parents=True)
    with (
        EmulatorThread(EmulatorConfig(root=tmp_path / "a", seed=1, site_name=A)) as a,
        EmulatorThread(EmulatorConfig(root=tmp_path / "b", seed=2, site_name=B)) as b,
    ):
        a.meet(b)
        b.change("accept_invite", "marie", a.change("invite", "einstein"), A)
        yield a, b
        b.link(A, "ok")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again when the site is back and not by itself, however long the test takes."""
    quick = RetryPolicy(budget_s=2.0, first_delay_s=0.02, longest_delay_s=0.2)
    monkeypatch.setattr("cs3fuse.app.EngineOptions", functools.partial(engine.EngineOptions, retry=quick, recovery_retry=quick))
    monkeypatch.setattr(sender, "RETRY_FIRST_S", 600.0)
    monkeypatch.setattr(engine, "SNAPSHOT_EVERY_S", 0.05)
    monkeypatch.setattr(watching, "LOOK_AFTER_S", (0.2, 0.4, 0.6))


@asynccontextmanager
async def at_desk(sites: tuple[EmulatorThread, EmulatorThread], folder: Path, **options: object) -> AsyncIterator[Desk]:
    a, b = sites
    disk = folder / "a" / "einstein" / "work"
    disk.mkdir()
    for number in range(40):
        (disk / f"f{number:02}").write_text(f"file {number}")
    share_id = a.change("mesh_share", "/einstein/work", "einstein", "marie", B)["share"]
    async with signed_in(b, "marie") as marie:
        (share,) = await marie.sharing.received_ocm()
        await marie.sharing.answer_ocm(share.id, ShareState.ACCEPTED)
    settings = {"view": "mesh", "ocm_mount": OCM_MOUNT, "site_timeout_s": 1.0, "attribute_timeout_s": 0.0, **options}
    async with running_mount(b, folder / "mount", "marie", **settings) as mount:
        yield Desk(a, b, mount, disk, share_id)


async def test_folder_of_other_sites_is_listed_without_asking_them(sites, tmp_path: Path) -> None:
    """One call of our own site; the other one hears nothing of it, however often it is listed and its names are looked up."""
    async with at_desk(sites, tmp_path) as desk:
        calls = desk.calls
        await calls.listdir("mesh")
        desk.a.log.clear()
        desk.b.log.clear()
        for _ in range(3):
            assert await calls.listdir("mesh") == ["work"]
            async with calls.at("mesh/work"):  # what ls -l asks of each name
                pass
        assert not desk.served(desk.a)
        assert set(desk.served(desk.b)) == {"ListReceivedOCMShares"} and desk.served(desk.b)["ListReceivedOCMShares"] <= 3


async def test_hanging_share_leaves_the_home_its_transfers(sites, tmp_path: Path) -> None:
    """Forty readers and twelve writers of a frozen share hang; in the home files are read and written all the same."""
    async with at_desk(sites, tmp_path, site_timeout_s=600.0) as desk:
        calls = desk.calls
        (tmp_path / "b" / "marie" / "mine").write_text("mine")
        assert len(await calls.listdir(SHARE)) == 40

        async def read(number: int) -> None:
            async with calls.opened(f"{SHARE}/f{number:02}") as fh:
                opened.append(number)
                await frozen.wait()
                assert await calls.pread(fh, 100, 0) == f"file {number}".encode()
            have_read.append(number)

        async def write(number: int) -> None:
            async with calls.opened(f"{SHARE}/new{number}", os.O_WRONLY | os.O_CREAT) as fh:
                await calls.pwrite(fh, b"new", 0)
                opened.append(number)
                await frozen.wait()
            have_written.append(number)

        have_read: list[int] = []
        have_written: list[int] = []
        opened: list[int] = []
        frozen = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(read, number)
            for number in range(12):
                nursery.start_soon(write, number)
            await desk.eventually(lambda: len(opened) == 52)
            desk.way("frozen")
            frozen.set()
            await trio.testing.wait_all_tasks_blocked(0.3)
            for number in range(8):
                with trio.fail_after(_WITHIN_S):
                    assert await calls.read("home/mine") == b"mine"
                    await calls.write(f"home/mine{number}", b"written")
            # A few may have been fetched ahead; what hangs is more than any limit.
            assert len(have_read) < 15 and have_written == []
            desk.way("ok")
        assert (len(have_read), len(have_written)) == (40, 12)
        assert {path.read_text() for path in desk.disk.glob("new*")} == {"new"}


@pytest.mark.usefixtures("hurried")
async def test_upload_that_was_given_up_is_carried_out_late(sites, tmp_path: Path) -> None:
    """Its state is unknown until a Stat: the bytes are there once, and nothing is sent again over them."""
    async with at_desk(sites, tmp_path) as desk:
        calls = desk.calls

        async def save() -> None:
            async with calls.opened(f"{SHARE}/f00", os.O_WRONLY | os.O_TRUNC) as fh:
                await calls.pwrite(fh, b"written while it was silent", 0)

        async with desk.silent_from_the_next_upload():
            await desk.fails(save, _AWAY)
        (item,) = desk.mount.commits.queue()
        assert item.size == 27 and (desk.disk / "f00").read_text() == "file 0"
        assert desk.served(desk.b)["PUT"] == 1
        await desk.is_back()
        await desk.eventually(lambda: (desk.disk / "f00").read_bytes() == b"written while it was silent")
        await desk.eventually(desk.is_all_sent)
        assert desk.served(desk.b)["PUT"] == 1
        assert len(list(desk.disk.iterdir())) == 40


@pytest.mark.usefixtures("hurried")
async def test_late_upload_is_no_conflict_with_what_was_saved_since(sites, tmp_path: Path) -> None:
    """The older bytes arrive first: they are ours, and what the program saved later goes over them."""
    async with at_desk(sites, tmp_path) as desk:
        calls = desk.calls

        async def save_twice() -> None:
            async with calls.opened(f"{SHARE}/f00", os.O_WRONLY | os.O_TRUNC) as fh:
                await calls.pwrite(fh, b"the first version", 0)
                async with desk.silent_from_the_next_upload():
                    await desk.fails(functools.partial(calls.fsync, fh), _AWAY)
                await calls.pwrite(fh, b"the second, longer version", 0)

        await desk.fails(save_twice, _AWAY)
        await desk.is_back()
        await desk.eventually(desk.is_all_sent)
        assert (desk.disk / "f00").read_bytes() == b"the second, longer version"
        assert len(list(desk.disk.iterdir())) == 40 and not desk.mount.commits.conflicts()


@pytest.mark.usefixtures("hurried")
async def test_mount_with_unsent_bytes_for_a_silent_site(sites, tmp_path: Path) -> None:
    """The next mount knows whose they are: it is there soon, sends what waits for the home, and the rest when the site is back."""
    async with at_desk(sites, tmp_path) as desk:
        desk.b.faults.add(method="PUT", path="/marie/mine", http_status=503)

        async def save(path: str, flags: int) -> None:
            async with desk.calls.opened(path, flags) as fh:
                await desk.calls.pwrite(fh, b"written before", 0)
                if path.startswith(SHARE):
                    desk.way("frozen")

        await desk.fails(lambda: save(f"{SHARE}/f00", os.O_WRONLY | os.O_TRUNC), _AWAY)
        await desk.fails(lambda: save("home/mine", os.O_WRONLY | os.O_CREAT), {errno.EIO, errno.EHOSTDOWN})
        assert len(desk.mount.commits.queue()) == 2
        disk = desk.disk
    desk.b.faults.clear()
    settings = {"view": "mesh", "ocm_mount": OCM_MOUNT, "site_timeout_s": 1.0, "attribute_timeout_s": 0.0}
    with trio.fail_after(_WITHIN_S):
        async with running_mount(desk.b, tmp_path / "mount", "marie", **settings) as mount:
            desk.mount = mount
            await desk.eventually((tmp_path / "b" / "marie" / "mine").exists)
            await desk.eventually(lambda: len(mount.commits.queue()) == 1)
            await desk.is_back()
            await desk.eventually(desk.is_all_sent)
    assert (disk / "f00").read_bytes() == b"written before"


@pytest.mark.usefixtures("hurried")
async def test_folder_and_deletion_that_were_given_up_happen_late(sites, tmp_path: Path) -> None:
    """They are errors to the program; what is there afterwards is what the site says then."""
    async with at_desk(sites, tmp_path) as desk:
        calls = desk.calls
        await calls.listdir(SHARE)

        held = desk.a.faults.add(method="MKCOL|DELETE", freeze=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.fails, lambda: calls.mkdir(f"{SHARE}/late"), _AWAY)
            nursery.start_soon(desk.fails, lambda: calls.unlink(f"{SHARE}/f01"), _AWAY)
        assert held.fired == 2
        assert not (desk.disk / "late").exists() and (desk.disk / "f01").exists()
        await desk.is_back()
        await desk.eventually(lambda: (desk.disk / "late").is_dir() and not (desk.disk / "f01").exists())
        names = await calls.listdir(SHARE)
        assert "late" in names and "f01" not in names
        await desk.fails(lambda: calls.mkdir(f"{SHARE}/late"), {errno.EEXIST})
        await desk.fails(lambda: calls.unlink(f"{SHARE}/f01"), {errno.ENOENT})


@pytest.mark.usefixtures("hurried")
async def test_upload_to_a_share_that_was_taken_back_is_eacces(sites, tmp_path: Path) -> None:
    """The PUT is answered 401 although the token is good: no new sign-in, no loop; the bytes stay in the journal."""
    async with at_desk(sites, tmp_path) as desk:
        calls = desk.calls

        async def save() -> None:
            async with calls.opened(f"{SHARE}/new", os.O_WRONLY | os.O_CREAT) as fh:
                await calls.pwrite(fh, b"too late", 0)
                desk.b.faults.add(call="Stat", path="/ocm-received/.*/new", status="NOT_FOUND")
                desk.a.change("mesh_unshare", desk.share_id, "einstein")
                desk.b.log.clear()

        await desk.fails(save, {errno.EACCES})
        served = desk.served(desk.b)
        assert served["PUT"] == 1 and served["Authenticate"] == 0, served
        (item,) = desk.mount.commits.queue()
        assert (item.state, item.size) == ("failed", 8)
