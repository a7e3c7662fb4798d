"""What calls on names mean, and how silent and lost answers are settled by Stat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from cs3.storage.provider.v1beta1 import resources_pb2

from cs3fuse import errors
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.model import IdRoot, Kind, Location, Lock, PathRoot, ResourceId
from tests.unit.client.fakes import REFUSED, FakeStub, answer, broken, folder, info, stat_by_path

HOME = Location(PathRoot("/home"))
A, B = HOME.child("a"), HOME.child("b")
LOST = broken("UNAVAILABLE", "Socket closed")
MISSING = answer("Stat", "NOT_FOUND", "path not found when statting")


async def test_stat_names_the_entry_as_asked(tree: Cs3Tree, stub: FakeStub) -> None:
    """OpenCloud answers "." for a root and paths of its own; the dentry has the name that was looked up."""
    stub.on("Stat", answer("Stat", info=info("./elsewhere")))
    assert (await tree.stat(A)).name == "a"
    stub.on("Stat", answer("Stat", info=folder(".")))
    assert (await tree.stat(HOME)).name == ""


async def test_stat_of_something_odd(tree: Cs3Tree, stub: FakeStub) -> None:
    """A type that is no file, folder or link is not shown."""
    stub.on("Stat", answer("Stat", info=info(type=resources_pb2.RESOURCE_TYPE_INTERNAL)))
    with pytest.raises(errors.BadDataError):
        await tree.stat(A)


async def test_list_of_a_file_is_not_a_directory(tree: Cs3Tree, stub: FakeStub) -> None:
    """Driver local says INTERNAL."""
    stub.on("ListContainer", answer("ListContainer", "INTERNAL", "error listing container")).on("Stat", answer("Stat", info=info()))
    with pytest.raises(errors.NotDirectoryError):
        await tree.list(A)


async def test_list_of_a_missing_folder_that_is_internal(tree: Cs3Tree, stub: FakeStub) -> None:
    """OCM and cephmount say INTERNAL for it; an empty folder it must never be."""
    stub.on("ListContainer", answer("ListContainer", "INTERNAL")).on("Stat", MISSING)
    with pytest.raises(errors.NotFoundError):
        await tree.list(A)


async def test_list_survives_a_vanishing_entry(tree: Cs3Tree, stub: FakeStub) -> None:
    """Driver local fails the whole listing when an entry goes meanwhile."""
    good = answer("ListContainer", infos=[info("/home/a/x")])
    stub.on("ListContainer", answer("ListContainer", "INTERNAL"), good).on("Stat", answer("Stat", info=folder()))
    assert [entry.name for entry in await tree.list(A)] == ["x"]


async def test_large_listings_are_complete(tree: Cs3Tree, stub: FakeStub) -> None:
    """Those that are converted in a thread come out the same."""
    stub.on("ListContainer", answer("ListContainer", infos=[info(f"/home/a/{number}") for number in range(3000)]))
    assert len({entry.name for entry in await tree.list(A)}) == 3000


async def test_too_large_listings_say_so(tree: Cs3Tree, stub: FakeStub) -> None:
    """The message limit is not the server's failure, and no Stat can explain it."""
    stub.on("ListContainer", broken("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (10500001 vs. 10500000)"))
    with pytest.raises(errors.TooLargeError):
        await tree.list(A)


Step = Callable[[Cs3Tree], Awaitable[None]]
CREATIONS = [("CreateContainer", lambda tree: tree.mkdir(A), folder()), ("TouchFile", lambda tree: tree.create(A), info())]


@pytest.mark.parametrize(("method", "step", "made"), CREATIONS)
async def test_a_lost_creation_is_settled(tree: Cs3Tree, stub: FakeStub, method: str, step: Step, made: object) -> None:
    """There now: done. Not there: unknown, for it may still come. Not to be learnt: unknown as well, never "nothing was done"."""
    before = [MISSING] if method == "TouchFile" else []
    stub.on(method, LOST).on("Stat", *before, answer("Stat", info=made))
    await step(tree)
    stub.on("Stat", MISSING)
    with pytest.raises(errors.OutcomeUnknownError):
        await step(tree)
    stub.on("Stat", *before, answer("Stat", "INTERNAL"))
    with pytest.raises(errors.OutcomeUnknownError):
        await step(tree)
    assert stub.methods().count(method) == 3


@pytest.mark.parametrize(("method", "step", "made"), CREATIONS)
async def test_a_lost_creation_over_another_kind_is_not_ours(
    tree: Cs3Tree, stub: FakeStub, method: str, step: Step, made: resources_pb2.ResourceInfo
) -> None:
    """A file where a folder was to be made is somebody else's."""
    other = info() if made.type == resources_pb2.RESOURCE_TYPE_CONTAINER else folder()
    before = [MISSING] if method == "TouchFile" else []
    stub.on(method, LOST).on("Stat", *before, answer("Stat", info=other))
    with pytest.raises(errors.OutcomeUnknownError):
        await step(tree)


@pytest.mark.parametrize(("method", "step", "made"), CREATIONS)
async def test_internal_at_a_creation_is_explained(tree: Cs3Tree, stub: FakeStub, method: str, step: Step, made: object) -> None:
    """Lost race, no parent, parent is a file; else what it is."""
    stub.on(method, answer(method, "INTERNAL", "error"))
    stub.on("Stat", stat_by_path(a=made))
    with pytest.raises(errors.ExistsError):
        await step(tree)
    stub.on("Stat", stat_by_path())
    with pytest.raises(errors.NotFoundError):
        await step(tree)
    stub.on("Stat", stat_by_path(home=info("/home")))
    with pytest.raises(errors.NotDirectoryError):
        await step(tree)
    stub.on("Stat", stat_by_path(home=folder()))
    with pytest.raises(errors.ServerError if method == "CreateContainer" else errors.UnsupportedError):
        await step(tree)


async def test_touch_never_touches_what_is_there(tree: Cs3Tree, stub: FakeStub) -> None:
    """EOS and cephmount answer OK for it, OCM would empty it."""
    stub.on("Stat", stat_by_path(a=info()))
    with pytest.raises(errors.ExistsError):
        await tree.create(A)
    assert stub.methods() == ["Stat"]


async def test_touch_without_a_reason_is_unsupported(tree: Cs3Tree, stub: FakeStub) -> None:
    """OCM cannot touch: the caller uploads an empty file instead."""
    stub.on("TouchFile", answer("TouchFile", "INTERNAL", "error touching file")).on("Stat", stat_by_path(home=folder()))
    with pytest.raises(errors.UnsupportedError):
        await tree.create(A)


@pytest.mark.parametrize("failure", [LOST, answer("Delete", "INTERNAL", "error deleting file")])
async def test_delete_is_done_when_it_is_gone(tree: Cs3Tree, stub: FakeStub, failure: object) -> None:
    """Gone is what was asked for; still there is what the server said."""
    stub.on("Delete", failure).on("Stat", stat_by_path())
    await tree.delete(A)
    stub.on("Stat", stat_by_path(a=info()))
    with pytest.raises((errors.OutcomeUnknownError, errors.ServerError)):
        await tree.delete(A)
    assert stub.methods().count("Delete") == 2


async def test_delete_waits_for_the_processing(tree: Cs3Tree, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """OpenCloud refuses to delete a file just written; the user's rm must not fail for that."""
    busy = answer("Delete", "TOO_EARLY", "file is processing")
    stub.on("Delete", busy, busy, busy, answer("Delete"))
    await tree.delete(A)
    assert len(stub.made) == 4


async def test_delete_gives_up_on_endless_processing(tree: Cs3Tree, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """EBUSY within seconds, and at once where the scope ends first."""
    stub.on("Delete", answer("Delete", "TOO_EARLY", "file is processing"))
    with trio.fail_after(10), pytest.raises(errors.BusyError):
        await tree.delete(A)
    with trio.fail_after(0.01), pytest.raises(errors.BusyError):
        await tree.delete(A)


async def test_roots_are_neither_deleted_nor_moved(tree: Cs3Tree, stub: FakeStub) -> None:
    """The root of a share is its owner's folder: the owner would lose it."""
    with pytest.raises(errors.NotPermittedError):
        await tree.delete(HOME)
    with pytest.raises(errors.NotPermittedError):
        await tree.move(HOME, B)
    assert not stub.made


async def test_the_holder_of_a_lock_is_named(tree: Cs3Tree, stub: FakeStub) -> None:
    """A lock without a name helps nobody."""
    lock = resources_pb2.Lock(lock_id="L1", app_name="Collabora")
    stub.on("Delete", answer("Delete", "LOCKED", "locked by L1")).on("Stat", answer("Stat", info=info(lock=lock)))
    with pytest.raises(errors.LockedError, match="Collabora") as caught:
        await tree.delete(A)
    assert caught.value.lock is not None
    assert caught.value.lock.lock_id == "L1"


async def test_our_lock_goes_along(tree: Cs3Tree, stub: FakeStub) -> None:
    """OpenCloud refuses changes of a locked file without its lock's id."""
    lock = Lock("ours", "cs3fuse", 2000.0)
    stub.on("Delete", answer("Delete")).on("Move", answer("Move")).on("Stat", answer("Stat", info=info()))
    stub.on("SetArbitraryMetadata", answer("SetArbitraryMetadata")).on("UnsetArbitraryMetadata", answer("UnsetArbitraryMetadata"))
    await tree.delete(A, lock=lock)
    await tree.move(A, B, lock=lock)
    await tree.set_metadata(A, {"k": "v"}, lock=lock)
    await tree.unset_metadata(A, ["k"], lock=lock)
    assert [made.request.lock_id for made in stub.made if made.method != "Stat"] == ["ours"] * 4


async def test_move_of_a_missing_source(tree: Cs3Tree, stub: FakeStub) -> None:
    """Reva says INTERNAL; the Stat before tells the truth and Move is not even tried."""
    stub.on("Stat", stat_by_path())
    with pytest.raises(errors.NotFoundError):
        await tree.move(A, B)
    assert stub.methods() == ["Stat"]


@pytest.mark.parametrize("failure", [LOST, answer("Move", "INTERNAL", "error moving")])
async def test_a_move_that_was_carried_out_is_done(tree: Cs3Tree, stub: FakeStub, failure: object) -> None:
    """Source gone and the same file there: done, though the server said INTERNAL or nothing."""
    stub.on("Move", failure)
    stub.on("Stat", answer("Stat", info=info("/home/a")), MISSING, answer("Stat", info=info("/home/b")))
    await tree.move(A, B)
    assert stub.methods().count("Move") == 1


@pytest.mark.parametrize("failure", [LOST, answer("Move", "INTERNAL", "error moving")])
async def test_a_strangers_file_does_not_make_a_move_done(tree: Cs3Tree, stub: FakeStub, failure: object) -> None:
    """What stands at the destination must be what was moved."""
    stranger = info("/home/b", size=99, etag='"other"')
    stub.on("Move", failure).on("Stat", answer("Stat", info=info("/home/a")), MISSING, answer("Stat", info=stranger))
    with pytest.raises((errors.OutcomeUnknownError, errors.ServerError)):
        await tree.move(A, B)


async def test_a_lost_move_that_did_not_happen_is_unknown(tree: Cs3Tree, stub: FakeStub) -> None:
    """It may still happen: the source being there now proves nothing."""
    stub.on("Move", LOST).on("Stat", stat_by_path(a=info("/home/a")))
    with pytest.raises(errors.OutcomeUnknownError):
        await tree.move(A, B)


async def test_internal_at_a_move_is_explained(tree: Cs3Tree, stub: FakeStub) -> None:
    """Destination taken, no parent, parent is a file; else what it is."""
    stub.on("Move", answer("Move", "INTERNAL", "error moving"))
    stub.on("Stat", stat_by_path(a=info(), b=info()))
    with pytest.raises(errors.ExistsError):
        await tree.move(A, B)
    stub.on("Stat", stat_by_path(a=info()))
    with pytest.raises(errors.NotFoundError):
        await tree.move(A, B)
    stub.on("Stat", stat_by_path(a=info(), home=info()))
    with pytest.raises(errors.NotDirectoryError):
        await tree.move(A, B)
    stub.on("Stat", stat_by_path(a=info(), home=folder()))
    with pytest.raises(errors.ServerError):
        await tree.move(A, B)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (A, A.child("b")),
        (A, Location(PathRoot("/home/a"), "deep/b")),
        (Location(IdRoot(ResourceId("s", "p", "o")), "a"), Location(IdRoot(ResourceId("s", "p", "o")), "a/b")),
    ],
)
async def test_a_folder_is_never_moved_into_itself(tree: Cs3Tree, stub: FakeStub, source: Location, destination: Location) -> None:
    """OpenCloud never answers and loses the folder."""
    with pytest.raises(errors.BadRequestError):
        await tree.move(source, destination)
    assert not stub.made


async def test_moves_between_storages(tree: Cs3Tree, stub: FakeStub) -> None:
    """UNIMPLEMENTED (Reva), NOT_FOUND although both are there (OpenCloud), or a root of another sort: mv copies."""
    one, two = (Location(IdRoot(ResourceId("s", space, "o")), "a") for space in ("p", "q"))
    stub.on("Stat", answer("Stat", info=info())).on("Move", answer("Move", "UNIMPLEMENTED"))
    with pytest.raises(errors.CrossStorageError):
        await tree.move(A, B)
    stub.on("Move", broken("UNIMPLEMENTED", "method not implemented"))
    with pytest.raises(errors.CrossStorageError):
        await tree.move(A, B)
    stub.on("Move", answer("Move", "NOT_FOUND", "move: error: not found")).on("Stat", answer("Stat", info=folder()))
    with pytest.raises(errors.CrossStorageError):
        await tree.move(one, two)
    with pytest.raises(errors.CrossStorageError):
        await tree.move(A, two)
    with pytest.raises(errors.NotFoundError):
        await tree.move(A, B)


@pytest.mark.parametrize(("total", "expected"), [(1000, 1000), (0, None), (2**64 - 1, None)])
async def test_quota(tree: Cs3Tree, stub: FakeStub, total: int, expected: int | None) -> None:
    """0 and absurd totals mean "without limit"."""
    stub.on("GetQuota", answer("GetQuota", total_bytes=total, used_bytes=7))
    quota = await tree.quota(HOME)
    assert (quota.total, quota.used) == (expected, 7)


@pytest.mark.parametrize(
    "failure", [answer("GetQuota", "INTERNAL"), answer("GetQuota", "PERMISSION_DENIED", "no"), broken("UNIMPLEMENTED")]
)
async def test_quota_that_is_not_told(tree: Cs3Tree, stub: FakeStub, failure: object) -> None:
    """OCM and public links do not say."""
    stub.on("GetQuota", failure)
    with pytest.raises(errors.UnsupportedError):
        await tree.quota(HOME)


async def test_metadata_that_a_storage_does_not_keep(tree: Cs3Tree, stub: FakeStub) -> None:
    """INTERNAL with the file there means "not supported"; without it, "no such file"."""
    stub.on("SetArbitraryMetadata", answer("SetArbitraryMetadata", "INTERNAL")).on("Stat", stat_by_path(a=info()))
    with pytest.raises(errors.UnsupportedError):
        await tree.set_metadata(A, {"k": "v"})
    stub.on("Stat", stat_by_path())
    with pytest.raises(errors.NotFoundError):
        await tree.set_metadata(A, {"k": "v"})


async def test_metadata_must_be_text(tree: Cs3Tree, stub: FakeStub) -> None:
    """A protobuf string cannot hold other bytes; nothing is sent."""
    with pytest.raises(errors.BadRequestError):
        await tree.set_metadata(A, {"k": "\udcff"})
    with pytest.raises(errors.BadRequestError):
        await tree.unset_metadata(A, ["\udcff"])
    assert not stub.made


async def test_an_unreachable_server_is_said_as_such(tree: Cs3Tree, stub: FakeStub, autojump_clock: trio.testing.MockClock) -> None:
    """Nothing was done, and that is certain."""
    stub.on("CreateContainer", broken("UNAVAILABLE", REFUSED))
    with pytest.raises(errors.UnavailableError):
        await tree.mkdir(A)


async def test_kinds(tree: Cs3Tree, stub: FakeStub) -> None:
    """Folder and link are told apart."""
    stub.on("Stat", answer("Stat", info=folder()), answer("Stat", info=info(type=resources_pb2.RESOURCE_TYPE_SYMLINK)))
    assert (await tree.stat(A)).kind is Kind.DIRECTORY
    assert (await tree.stat(A)).kind is Kind.SYMLINK
