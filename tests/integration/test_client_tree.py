"""The contract of RemoteTree and RemoteLocks, kept by the client on every kind of server."""

from __future__ import annotations

import pytest

from cs3fuse import errors
from cs3fuse.model import IdRoot, Kind, Location, PathRoot
from tests.integration.clients import Bench, only


async def test_identity_and_home(bench: Bench) -> None:
    """Who is signed in, and a root that can be listed: by path on Reva and EOS, by id on OpenCloud."""
    assert (await bench.client.identity()).username == "einstein"
    home = await bench.client.home()
    assert isinstance(home, IdRoot if bench.profile == "opencloud" else PathRoot)
    assert bench.folder.name in {entry.name for entry in await bench.client.tree.list(Location(home))}


async def test_root_at_a_path(bench: Bench) -> None:
    """What SOURCE names, also where everything is addressed by id."""
    path = (await bench.client._home_path()) + "/" + bench.folder.rel
    root = await bench.client.root_at(path)
    await bench.put("f", b"x")
    assert [entry.name for entry in await bench.client.tree.list(Location(root))] == ["f"]
    with pytest.raises(errors.NotFoundError):
        await bench.client.root_at(path + "/missing")
    with pytest.raises(errors.NotDirectoryError):
        await bench.client.root_at(path + "/f")


async def test_mkdir_and_list(bench: Bench) -> None:
    """A folder is made once, has its kind, and shows up."""
    at = bench.folder.child("ünïcode name #%?+&")
    await bench.client.tree.mkdir(at)
    entry = await bench.client.tree.stat(at)
    assert (entry.kind, entry.name) == (Kind.DIRECTORY, at.name)
    assert await bench.names() == {at.name}
    assert entry.may("list_container")


async def test_stat_and_list_agree(bench: Bench) -> None:
    """The same id, version and kind: else what was learnt from a listing would be fetched twice."""
    await bench.put("f", b"hello")
    await bench.client.tree.mkdir(bench.folder.child("d"))
    for listed in await bench.client.tree.list(bench.folder):
        entry = await bench.client.tree.stat(bench.folder.child(listed.name))
        assert (listed.id, listed.version, listed.kind) == (entry.id, entry.version, entry.kind)


async def test_what_is_missing(bench: Bench) -> None:
    """NotFoundError for every call on a missing name, and for a missing parent."""
    tree, missing = bench.client.tree, bench.folder.child("missing")
    below = missing.child("x")
    for step in (
        tree.stat(missing),
        tree.stat(below),
        tree.list(missing),
        tree.delete(missing),
        tree.move(missing, bench.folder.child("y")),
        tree.set_metadata(missing, {"k": "v"}),
    ):
        with pytest.raises(errors.NotFoundError):
            await step
    if bench.profile != "eos":  # EOS makes the parents
        for step in (tree.mkdir(below), tree.create(below)):
            with pytest.raises(errors.NotFoundError):
                await step


async def test_what_exists(bench: Bench) -> None:
    """ExistsError for the second of two creations, of either kind."""
    tree = bench.client.tree
    folder, file = bench.folder.child("d"), bench.folder.child("f")
    await tree.mkdir(folder)
    await tree.create(file)
    assert (await tree.stat(file)).size == 0
    if bench.profile != "eos":  # EOS answers OK
        for at in (folder, file):
            with pytest.raises(errors.ExistsError):
                await tree.mkdir(at)
    with pytest.raises(errors.ExistsError):
        await tree.create(file)


async def test_a_file_is_not_a_folder(bench: Bench) -> None:
    """Listing it, or putting something below it."""
    await bench.put("f", b"x")
    with pytest.raises(errors.NotDirectoryError):
        await bench.client.tree.list(bench.folder.child("f"))
    with pytest.raises((errors.NotDirectoryError, errors.NotFoundError)):
        await bench.client.tree.mkdir(bench.folder.child("f").child("x"))


async def test_delete(bench: Bench) -> None:
    """Files, also right after they were written, and folders with everything in them."""
    await bench.put("f", b"x")
    await bench.client.tree.delete(bench.folder.child("f"))
    await bench.client.tree.mkdir(bench.folder.child("d"))
    await bench.put("d/f", b"x")
    await bench.client.tree.delete(bench.folder.child("d"))
    assert await bench.names() == set()


async def test_move(bench: Bench) -> None:
    """Files and folders, within and between folders."""
    tree = bench.client.tree
    before = await bench.put("f", b"hello")
    await tree.mkdir(bench.folder.child("d"))
    await tree.move(bench.folder.child("f"), bench.folder.child("d").child("g"))
    after = await tree.stat(bench.folder.child("d").child("g"))
    assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
    await tree.move(bench.folder.child("d"), bench.folder.child("e"))
    assert await bench.names() == {"e"}
    assert (await tree.stat(bench.folder.child("e").child("g"))).size == 5


async def test_move_that_cannot_be(bench: Bench) -> None:
    """Into itself, and into a folder that is not there."""
    tree = bench.client.tree
    await tree.mkdir(bench.folder.child("d"))
    await bench.put("f", b"x")
    with pytest.raises(errors.BadRequestError):
        await tree.move(bench.folder.child("d"), bench.folder.child("d").child("e"))
    with pytest.raises(errors.NotFoundError) as caught:
        await tree.move(bench.folder.child("f"), bench.folder.child("missing").child("f"))
    assert "missing" in str(caught.value)
    with pytest.raises(errors.ExistsError):
        await tree.move(bench.folder.child("f"), bench.folder.child("d"))
    assert await bench.names() == {"d", "f"}


async def test_quota(bench: Bench) -> None:
    """Every profile tells what is used."""
    quota = await bench.client.tree.quota(bench.folder)
    assert quota.used >= 0
    assert (quota.total is None) == (bench.profile == "opencloud")


async def test_metadata(bench: Bench) -> None:
    """Set, seen by Stat, unset; an absent key is no error."""
    tree, at = bench.client.tree, bench.folder.child("f")
    await bench.put("f", b"x")
    await tree.set_metadata(at, {"user.a": "ä", "user.b": "2"})
    assert {"user.a": "ä", "user.b": "2"}.items() <= (await tree.stat(at)).metadata.items()
    await tree.unset_metadata(at, ["user.a", "user.absent"])
    assert "user.a" not in (await tree.stat(at)).metadata


async def test_names_that_are_refused_here(bench: Bench) -> None:
    """No call is made for them."""
    tree = bench.client.tree
    since = len(bench.emulator.log.entries())
    for name in ("a" * 256, "nul\0", "..", "line\n", "x-chunking-1-2-0"):
        with pytest.raises(errors.BadRequestError):
            await tree.mkdir(bench.folder.child(name))
    assert len(bench.emulator.log.entries()) == since


async def test_locks(bench: Bench) -> None:
    """Take, see, extend, release; where there are none, it is said."""
    locks, at, lock = bench.client.locks, bench.folder.child("f"), bench.lock()
    await bench.put("f", b"x")
    if bench.profile == "reva":
        for step in (locks.set_lock(at, lock), locks.get_lock(at)):
            with pytest.raises(errors.UnsupportedError):
                await step
        return
    assert await locks.get_lock(at) is None
    await locks.set_lock(at, lock)
    found = await locks.get_lock(at)
    assert found is not None
    assert (found.lock_id, found.app_name, found.kind) == (lock.lock_id, lock.app_name, "write")
    assert found.expires_at == pytest.approx(lock.expires_at, abs=1)
    with pytest.raises(errors.LockedError, match="cs3fuse-test") as caught:
        await locks.set_lock(at, bench.lock("other", "somebody"))
    assert caught.value.lock is not None
    with pytest.raises(errors.LockedError):
        await locks.set_lock(at, lock)
    await locks.refresh_lock(at, bench.lock(life_s=900))
    for step in (locks.refresh_lock(at, bench.lock("other", "somebody")), locks.unlock(at, bench.lock("other", "somebody"))):
        with pytest.raises(errors.LockLostError):
            await step
    await locks.unlock(at, lock)
    with pytest.raises(errors.LockLostError):
        await locks.unlock(at, lock)
    with pytest.raises(errors.LockLostError):
        await locks.refresh_lock(at, lock)
    assert await locks.get_lock(at) is None


async def test_locks_of_missing_files(bench: Bench) -> None:
    """Not "unsupported": that would be remembered for the storage."""
    with pytest.raises(errors.NotFoundError):
        await bench.client.locks.set_lock(bench.folder.child("missing"), bench.lock())


@only("opencloud", "eos")
async def test_a_locked_file_is_busy(bench: Bench) -> None:
    """Delete, move and metadata by who does not hold the lock, with its holder named."""
    tree, at = bench.client.tree, bench.folder.child("f")
    await bench.put("f", b"x")
    await bench.client.locks.set_lock(at, bench.lock(app_name="Collabora"))
    for step in (tree.delete(at), tree.move(at, bench.folder.child("g")), tree.set_metadata(at, {"k": "v"})):
        with pytest.raises(errors.LockedError, match="Collabora"):
            await step
    assert await bench.names() == {"f"}
