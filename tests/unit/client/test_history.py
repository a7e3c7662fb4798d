"""Old versions and the trash against a gateway that answers what no emulator would: hostile keys, lost answers, other sizes."""

from __future__ import annotations

import pytest
import trio
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse.client import decode
from cs3fuse.client.calls import Calls
from cs3fuse.client.data import Cs3Data
from cs3fuse.client.history import Cs3History
from cs3fuse.client.tree import Cs3Tree
from cs3fuse.errors import (
    BadRequestError,
    CrossStorageError,
    ExistsError,
    LockedError,
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    TooLargeError,
    UnsupportedError,
)
from cs3fuse.model import FileVersion, IdRoot, Kind, Location, PathRoot, ResourceId, TrashItem
from tests.unit.client.fakes import NEVER, FakeStub, answer, broken, folder, info

HOME = Location(PathRoot("/home/e"))
AT = HOME.child("f.txt")
SPACE = Location(IdRoot(ResourceId("s", "sp", "sp")))
ITEM = TrashItem("key-1", "d/f.txt", Kind.FILE, 3, 1000.0)


@pytest.fixture
async def history(calls: Calls, tree: Cs3Tree, data: Cs3Data) -> Cs3History:
    return Cs3History(calls, tree, data.downloading)


def listed(*versions: tuple[str, int, int]) -> provider_api_pb2.ListFileVersionsResponse:
    response = answer("ListFileVersions")
    for key, size, mtime in versions:
        response.versions.add(key=key, size=size, mtime=mtime)
    return response


def binned(*items: tuple[str, str]) -> provider_api_pb2.ListRecycleResponse:
    response = answer("ListRecycle")
    for key, path in items:
        item = response.recycle_items.add(key=key, type=resources_pb2.RESOURCE_TYPE_FILE, size=3)
        item.ref.path = path
        item.deletion_time.seconds = 1000
    return response


@given(st.text(max_size=1100))
def test_a_key_that_is_taken_is_one_component(key: str) -> None:
    """Sent back it can mean neither everything nor something elsewhere."""
    if decode.is_safe_key(key):
        assert key not in {"", ".", ".."}
        assert "/" not in key
        assert "\0" not in key
        assert len(key) <= 1024


async def test_unusable_versions_are_left_out(history: Cs3History, stub: FakeStub) -> None:
    """Doubles and keys with slashes, dots alone, control characters or too many letters; milliseconds become seconds."""
    bad = [("", 1, 1), ("..", 1, 1), ("a/b", 1, 1), ("a\0b", 1, 1), ("a\nb", 1, 1), ("k" * 1025, 1, 1)]
    stub.on("ListFileVersions", listed(*bad, ("old", 1, 10), ("new", 2, 20), ("new", 3, 30), ("ms", 4, 1_795_460_353_123)))
    found = await history.versions(AT)
    assert [(each.key, each.mtime_ns) for each in found] == [
        ("ms", 1_795_460_353_123_000_000),
        ("new", 20_000_000_000),
        ("old", 10_000_000_000),
    ]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("2023-11-14T22:13:22Z", 1_700_000_002_000_000_000),
        ("2023-11-14T22:13:22.083Z", 1_700_000_002_083_000_000),
        ("2023-11-14T22:13:22.5Z", 1_700_000_002_500_000_000),
        ("2023-13-14T22:13:22Z", 7_000_000_000),
        ("9999-11-14T22:13:22Z", 7_000_000_000),
        ("then", 7_000_000_000),
    ],
)
async def test_open_clouds_key_knows_when(history: Cs3History, stub: FakeStub, tail: str, expected: int) -> None:
    """Its list tells something else of a version that a restore made, and an etag that no download has."""
    stub.on("ListFileVersions", listed((f"node.REV.{tail}", 1, 7)))
    (version,) = await history.versions(AT)
    assert (version.mtime_ns, version.etag) == (expected, "")


async def test_very_many_versions_are_cut(history: Cs3History, stub: FakeStub) -> None:
    """A list without end shows its youngest part; numbers that are no times and no sizes do no harm."""
    stub.on("ListFileVersions", listed(*((f"k{number}", 2**64 - 1, 2**64 - 1) for number in range(decode.MOST_VERSIONS + 5))))
    found = await history.versions(AT)
    assert len(found) == decode.MOST_VERSIONS
    assert {(each.size, each.mtime_ns) for each in found} == {(0, 0)}


async def test_no_versions_of_a_missing_file(history: Cs3History, stub: FakeStub) -> None:
    """Driver local answers an empty list for anything."""
    stub.on("ListFileVersions", listed()).on("Stat", answer("Stat", "NOT_FOUND"))
    with pytest.raises(NotFoundError):
        await history.versions(AT)


async def test_storage_without_versions(history: Cs3History, stub: FakeStub) -> None:
    """OCM and cephfs answer INTERNAL."""
    stub.on("ListFileVersions", answer("ListFileVersions", "INTERNAL")).on("Stat", answer("Stat", info=info()))
    with pytest.raises(UnsupportedError):
        await history.versions(AT)


async def test_driver_local_gets_its_v_back(history: Cs3History, stub: FakeStub) -> None:
    """Keys are listed without the letter that restoring needs; should that be mended, the key alone is tried as well."""
    stub.on("RestoreFileVersion", answer("RestoreFileVersion", "NOT_FOUND"), answer("RestoreFileVersion"))
    await history.restore_version(AT, "1795460353123")
    assert [request.key for request in stub.requests("RestoreFileVersion")] == ["v1795460353123", "1795460353123"]


async def test_locked_is_said_with_the_holder(history: Cs3History, stub: FakeStub) -> None:
    """EOS says INTERNAL for it; a failure without a lock stays a failure."""
    stub.on("RestoreFileVersion", answer("RestoreFileVersion", "INTERNAL"))
    locked = answer("Stat", info=info())
    locked.info.lock.lock_id, locked.info.lock.app_name = "L", "Collabora"
    stub.on("Stat", locked)
    with pytest.raises(LockedError, match="Collabora"):
        await history.restore_version(AT, "k")
    stub.on("Stat", answer("Stat", info=info()))
    with pytest.raises(ServerError):
        await history.restore_version(AT, "k")


@pytest.mark.parametrize("key", ["", "..", "a/b", "a\0"])
async def test_bad_keys_are_never_sent(history: Cs3History, stub: FakeStub, key: str) -> None:
    """An empty one would empty the trash of everybody."""
    item = TrashItem(key, "f", Kind.FILE, 0, 0.0)
    for call in (
        lambda: history.restore_version(AT, key),
        lambda: history.fetch_version(AT, FileVersion(key, 1, 1), None, None),  # type: ignore[arg-type]
        lambda: history.restore_trash(HOME, item, AT),
        lambda: history.purge_trash(HOME, item),
    ):
        with pytest.raises(BadRequestError):
            await call()
    assert stub.made == []


async def test_trash_shows_what_lay_below_the_root(history: Cs3History, stub: FakeStub) -> None:
    """Driver local has one trash for all users; paths that cannot be are left out."""
    stub.on(
        "ListRecycle",
        binned(
            ("mine", "/home/e/d/f.txt"), ("other", "/home/m/f.txt"), ("like", "/home/e2/f"), ("root", "/home/e"), ("up", "/home/e/../m/f"),
            ("", "/home/e/x"), ("a/b", "/home/e/y"), ("empty", "/home/e//z"), ("long", "/home/e/" + "n" * 256),
        ),
    )  # fmt: skip
    assert [(item.key, item.rel) for item in await history.trash(HOME)] == [("mine", "d/f.txt")]
    stub.on("ListRecycle", binned(("k", "/a/b"), ("r", "./c"), ("s", "/")))
    assert sorted((item.key, item.rel) for item in await history.trash(SPACE)) == [("k", "a/b"), ("r", "c")]


async def test_trash_that_is_too_much_is_asked_for_in_part(history: Cs3History, stub: FakeStub) -> None:
    """EOS refuses to list more than it wants to: then the last days."""
    stub.on(
        "ListRecycle", answer("ListRecycle", "INVALID_ARGUMENT", "too many days or too many entries"), binned(("k", "/home/e/f"))
    )  # fmt: skip
    assert len(await history.trash(HOME)) == 1
    assert stub.requests("ListRecycle")[0].from_ts.seconds == 0 or stub.requests("ListRecycle")[-1].from_ts.seconds > 0
    stub.on("ListRecycle", answer("ListRecycle", "INVALID_ARGUMENT", "too many entries"))
    with pytest.raises(TooLargeError):
        await history.trash(HOME)


@pytest.mark.parametrize(
    "refusal",
    [answer("ListRecycle", "NOT_FOUND"), broken("UNKNOWN", "error unwrapping path"),
     answer("ListRecycle", "UNIMPLEMENTED")],
    ids=["share", "outside", "unimplemented"],
)  # fmt: skip
async def test_no_trash_here(history: Cs3History, stub: FakeStub, refusal: object) -> None:
    """One kind of failure for all ways in which servers say that there is none."""
    stub.on("ListRecycle", refusal).on("WhoAmI", answer("WhoAmI"))
    with pytest.raises(UnsupportedError):
        await history.trash(SPACE)


async def test_never_into_another_space(history: Cs3History, stub: FakeStub) -> None:
    """OpenCloud answers OK to that, and the item is gone (measured)."""
    with pytest.raises(CrossStorageError):
        await history.restore_trash(SPACE, ITEM, Location(IdRoot(ResourceId("s", "other", "other")), "f"))
    assert stub.made == []


async def test_never_over_what_is_there(history: Cs3History, stub: FakeStub) -> None:
    """Seen before the call, or told by the server when somebody was faster."""
    stub.on("Stat", answer("Stat", info=info()))
    with pytest.raises(ExistsError):
        await history.restore_trash(SPACE, ITEM, SPACE.child("f"))
    assert "RestoreRecycleItem" not in stub.methods()
    stub.on("Stat", answer("Stat", "NOT_FOUND"), answer("Stat", info=info())).on("WhoAmI", answer("WhoAmI"))
    stub.on("RestoreRecycleItem", answer("RestoreRecycleItem", "INTERNAL")).on("ListRecycle", binned(("key-1", "/d/f.txt")))
    with pytest.raises(ExistsError):
        await history.restore_trash(SPACE, ITEM, SPACE.child("f"))


async def test_restored_with_a_lost_answer(history: Cs3History, stub: FakeStub) -> None:
    """Gone from the trash and there at its place: done. Else it is not known."""
    lost = broken("UNAVAILABLE", "Socket closed")
    stub.on("Stat", answer("Stat", "NOT_FOUND"), answer("Stat", info=info())).on("WhoAmI", answer("WhoAmI"))
    stub.on("RestoreRecycleItem", lost).on("ListRecycle", binned())
    await history.restore_trash(SPACE, ITEM, SPACE.child("f"))
    stub.on("Stat", answer("Stat", "NOT_FOUND")).on("ListRecycle", binned(("key-1", "/d/f.txt")))
    with pytest.raises(OutcomeUnknownError):
        await history.restore_trash(SPACE, ITEM, SPACE.child("f"))


async def test_what_cannot_be_learnt_stays_unknown(history: Cs3History, stub: FakeStub) -> None:
    """A server that is away after a lost answer does not make it a failure."""
    lost = broken("UNAVAILABLE", "Socket closed")
    stub.on("Stat", answer("Stat", "NOT_FOUND")).on("WhoAmI", answer("WhoAmI"))
    stub.on("RestoreRecycleItem", lost).on("PurgeRecycle", lost).on("ListRecycle", answer("ListRecycle", "INTERNAL"))
    for call in (lambda: history.restore_trash(SPACE, ITEM, SPACE.child("f")), lambda: history.purge_trash(HOME, ITEM)):
        with pytest.raises(OutcomeUnknownError):
            await call()


async def test_another_name_on_a_storage_whose_mount_is_not_told(history: Cs3History, stub: FakeStub) -> None:
    """The longest path first, because a wrong one leads nowhere; never shorter than below the first folder with an id; and then a look."""
    missing = answer("Stat", "NOT_FOUND")
    above = answer("Stat", info=info("/", id=None))
    stub.on(
        "Stat",
        missing,
        above,
        answer("Stat", info=info("/home")),
        missing,
        missing,
        answer("Stat", info=folder("/home/e")),
        answer("Stat", info=info()),
    )
    stub.on("RestoreRecycleItem", answer("RestoreRecycleItem", "INTERNAL"), answer("RestoreRecycleItem"))
    stub.on("ListRecycle", binned(("key-1", "/home/e/d/f.txt"))).on("WhoAmI", answer("WhoAmI"))
    await history.restore_trash(HOME, ITEM, HOME.child("g"))
    assert [request.restore_ref.path for request in stub.requests("RestoreRecycleItem")] == ["/home/e/g", "/e/g"]


async def test_restored_elsewhere_but_not_there(history: Cs3History, stub: FakeStub) -> None:
    """If a server ever puts it somewhere else, that is said."""
    stub.on("Stat", answer("Stat", "NOT_FOUND")).on("WhoAmI", answer("WhoAmI"))
    stub.on("RestoreRecycleItem", answer("RestoreRecycleItem")).on("ListRecycle", binned())
    with pytest.raises(OutcomeUnknownError, match="look for it"):
        await history.restore_trash(HOME, ITEM, HOME.child("g"))


async def test_place_is_told_where_the_server_wants_it(history: Cs3History, stub: FakeStub) -> None:
    """OpenCloud: always, by the space's id. Others: not at all, or from the root of a storage whose mount point must be guessed."""
    stub.on("Stat", answer("Stat", "NOT_FOUND")).on("WhoAmI", answer("WhoAmI"))
    stub.on("RestoreRecycleItem", answer("RestoreRecycleItem"))
    await history.restore_trash(SPACE, ITEM, SPACE.child("g"))
    (request,) = stub.requests("RestoreRecycleItem")
    assert request.restore_ref.path == "./g"
    assert request.restore_ref.resource_id.space_id == "sp"
    await history.restore_trash(HOME, ITEM, HOME.child("d").child("f.txt"))
    assert not stub.requests("RestoreRecycleItem")[-1].HasField("restore_ref")


async def test_purged_although_the_answer_was_lost(history: Cs3History, stub: FakeStub) -> None:
    """Gone is what was asked for; a folder that the server cannot purge is said so."""
    stub.on("PurgeRecycle", broken("UNAVAILABLE", "Socket closed")).on("ListRecycle", binned())
    await history.purge_trash(HOME, ITEM)
    folder = TrashItem("key-1", "d", Kind.DIRECTORY, 0, 0.0)
    stub.on("PurgeRecycle", answer("PurgeRecycle", "INTERNAL")).on("ListRecycle", binned(("key-1", "/home/e/d")))
    with pytest.raises(UnsupportedError):
        await history.purge_trash(HOME, folder)


async def test_cancelled_calls_leave_nothing(history: Cs3History, stub: FakeStub) -> None:
    """At the first wait of each call; the call is given up."""
    for method, call in {
        "ListFileVersions": lambda: history.versions(AT),
        "RestoreFileVersion": lambda: history.restore_version(AT, "k"),
        "ListRecycle": lambda: history.trash(HOME),
        "PurgeRecycle": lambda: history.purge_trash(HOME, ITEM),
    }.items():
        stub.on(method, NEVER)
        with trio.move_on_after(0.01) as scope:
            await call()
        assert scope.cancelled_caught
        assert stub.made[-1].future.is_cancelled
