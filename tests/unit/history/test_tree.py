"""``.cs3`` in front of a view: what is found, what is refused, and that nothing of it ever reaches the view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio

from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import NotFoundError, NotPermittedError, ServerError, UnsupportedError
from cs3fuse.history.data import HistoryData, HistoryLocks
from cs3fuse.history.tree import NAME, ROOT, HistoryTree
from cs3fuse.model import (
    ByteRange,
    Entry,
    FileVersion,
    IdRoot,
    Kind,
    Location,
    Lock,
    ResourceId,
    TrashItem,
    VirtualRoot,
)
from cs3fuse.ports import Fetched, Sink

SPACE = IdRoot(ResourceId("s", "sp", "sp"))
TOP = Location(VirtualRoot(""))
OLD, OLDER = FileVersion("k2", 3, 2_000_000_000, '"e2"'), FileVersion("k1", 2, 1_000_000_000, '"e1"')
ITEM = TrashItem("t1", "d/gone.txt", Kind.FILE, 5, 3.0)
FOLDER = TrashItem("t2", "gone", Kind.DIRECTORY, 0, 4.0)
FILE = Entry("f.txt", Kind.FILE, 4, 9_000_000_000, '"e3"', ResourceId("s", "sp", "node"))


@dataclass
class FakeView:
    """A view with a home (by id) that has one folder with one file; every call is written down."""

    calls: list[tuple[str, Location]] = field(default_factory=list)
    entries: dict[Location, Entry] = field(
        default_factory=lambda: {
            TOP: Entry("", Kind.DIRECTORY, anchor=TOP.root),
            TOP.child("home"): Entry("home", Kind.DIRECTORY, anchor=SPACE),
            Location(SPACE): Entry("", Kind.DIRECTORY),
            Location(SPACE, "d"): Entry("d", Kind.DIRECTORY, mtime_ns=7),
            Location(SPACE, "d/f.txt"): FILE,
            Location(SPACE, "d/link"): Entry("link", Kind.SYMLINK),
        }
    )

    async def stat(self, at: Location) -> Entry:
        self.calls.append(("stat", at))
        if at.parent in self.entries and at.rel and self.entries[at.parent].kind is Kind.FILE:
            raise ServerError("INTERNAL, as driver local below a file")
        if at not in self.entries:
            raise NotFoundError(f"There is no {at}.")
        return self.entries[at]

    async def list(self, at: Location) -> Sequence[Entry]:
        self.calls.append(("list", at))
        return [entry for place, entry in self.entries.items() if place.rel and place.parent == at]

    def __getattr__(self, name: str):
        async def call(at: Location, *_rest: object, **_named: object) -> None:
            self.calls.append((name, at))

        return call


@dataclass
class FakeHistory:
    """Two versions and two deleted things; ``is_served`` False is driver local."""

    found: list[FileVersion] = field(default_factory=lambda: [OLD, OLDER])
    items: list[TrashItem] = field(default_factory=lambda: [FOLDER, ITEM])
    is_served: bool = True
    fetched: list[tuple[Location, str]] = field(default_factory=list)

    async def versions(self, at: Location) -> Sequence[FileVersion]:
        await trio.lowlevel.checkpoint()
        return self.found

    async def fetch_version(self, at: Location, version: FileVersion, wanted: ByteRange | None, sink: Sink) -> Fetched:
        await trio.lowlevel.checkpoint()
        self.fetched.append((at, version.key))
        if not self.is_served:
            raise UnsupportedError("404")
        sink.write(0, memoryview(version.key.encode()))
        return Fetched(None, version.size)

    async def trash(self, root: Location) -> Sequence[TrashItem]:
        await trio.lowlevel.checkpoint()
        return self.items


class Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, offset: int, data: memoryview) -> None:
        assert offset == len(self.data)
        self.data += bytes(data)


class Desk:
    def __init__(self, top: Location = TOP) -> None:
        self.view, self.history, self.book = FakeView(), FakeHistory(), CapabilityBook()

        async def with_trash() -> dict[str, Location]:
            return {"home": Location(SPACE), "spaces/a": Location(SPACE, "a")} if top == TOP else {"": top}

        self.tree = HistoryTree(self.view, self.history, top, with_trash, started_ns=1)
        self.tree.book = self.book
        self.data = HistoryData(self.view, self.history, self.tree)

    async def names(self, rel: str) -> list[str]:
        return [entry.name for entry in await self.tree.list(Location(ROOT, rel))]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_hidden_in_the_listing_of_the_top(desk: Desk) -> None:
    """It is among the entries, marked, because a name that a listing lacks counts as absent; a .cs3 of the server gives way."""
    desk.view.entries[TOP.child(NAME)] = Entry(NAME, Kind.FILE)
    (home, door) = await desk.tree.list(TOP)
    assert (home.name, door.name, door.is_hidden, door.anchor) == ("home", NAME, True, ROOT)
    assert await desk.tree.stat(TOP.child(NAME)) == door
    assert await desk.names("") == ["versions", "trash"]
    assert [entry.name for entry in await desk.tree.list(Location(SPACE))] == ["d"]


async def test_paths_lead_through_the_roots_of_the_view(desk: Desk) -> None:
    """home/ is a root of its own; folders look like folders, a file like a folder of its versions, a link like nothing."""
    assert await desk.names("versions") == ["home"]
    assert await desk.names("versions/home") == ["d"]
    assert await desk.names("versions/home/d") == ["f.txt"]
    assert await desk.names("versions/home/d/f.txt") == ["1970-01-01T00-00-02Z", "1970-01-01T00-00-01Z"]
    shown = await desk.tree.stat(Location(ROOT, "versions/home/d/f.txt"))
    assert (shown.kind, shown.mtime_ns, shown.may("delete")) == (Kind.DIRECTORY, FILE.mtime_ns, False)
    for rel in (
        "versions/home/d/link",
        "versions/home/x",
        "versions/home/d/f.txt/x",
        "versions/home/d/f.txt/x/y",
        "x",
        "versions/x",
    ):
        with pytest.raises((NotFoundError, ServerError)):
            await desk.tree.stat(Location(ROOT, rel))


async def test_a_version_is_a_file_that_is_only_itself(desk: Desk) -> None:
    """Size and time of the version, no right to change it, and a key of cached bytes that no other content has."""
    at = Location(ROOT, "versions/home/d/f.txt/1970-01-01T00-00-01Z")
    entry = await desk.tree.stat(at)
    assert (entry.size, entry.mtime_ns, entry.etag, entry.kind) == (2, 1_000_000_000, '"e1"', Kind.FILE)
    assert not any(entry.may(right) for right in ("initiate_file_upload", "delete", "move"))
    present = replace(FILE, size=2, mtime_ns=1_000_000_000, etag='"e1"')
    desk.history.found = [replace(OLD, key="other", size=2, mtime_ns=1_000_000_000, etag='"e1"')]
    again = await desk.tree.stat(at)
    keys = {entry.content_key(at), again.content_key(at), present.content_key(Location(SPACE, "d/f.txt"))}
    assert len(keys) == 3, "one version string, three contents"


async def test_bytes_come_from_the_version_that_was_described(desk: Desk) -> None:
    """Also for an entry of a listing, that was never looked at by itself; one that is gone is not replaced by another."""
    entries = {entry.name: entry for entry in await desk.tree.list(Location(ROOT, "versions/home/d/f.txt"))}
    at = Location(ROOT, "versions/home/d/f.txt/1970-01-01T00-00-01Z")
    sink = Kept()
    await desk.data.fetch(at, None, sink, expected=entries[at.name])
    assert sink.data == b"k1"
    assert desk.history.fetched[-1] == (Location(SPACE, "d/f.txt"), "k1")
    desk.history.found = [replace(OLDER, key="k9")]
    (other,) = await desk.tree.list(Location(ROOT, "versions/home/d/f.txt"))
    sink = Kept()
    await desk.data.fetch(at, None, sink, expected=other)
    assert sink.data == b"k9"
    gone = replace(other, id=ResourceId("s", "sp", "node@k8"))
    with pytest.raises(NotFoundError):
        await desk.data.fetch(at, None, Kept(), expected=gone)


async def test_storage_that_does_not_serve_them_is_found_out_once(desk: Desk) -> None:
    """The first look tries one; from then on every version says why it cannot be opened, in listings too."""
    desk.history.is_served = False
    at = Location(ROOT, "versions/home/d/f.txt/1970-01-01T00-00-01Z")
    assert (await desk.tree.stat(at)).refusal
    assert desk.book.of("s").old_versions is False
    assert all(entry.refusal for entry in await desk.tree.list(at.parent))
    tried = len(desk.history.fetched)
    with pytest.raises(UnsupportedError):
        await desk.data.fetch(at, None, Kept(), expected=await desk.tree.stat(at))
    assert len(desk.history.fetched) == tried


async def test_trying_is_not_believed_when_it_fails_otherwise(desk: Desk) -> None:
    """A server that is away says nothing about what its storage can."""

    async def away(*_arguments: object) -> Fetched:
        raise ServerError("away")

    desk.history.fetch_version = away  # type: ignore[method-assign]
    await desk.tree.stat(Location(ROOT, "versions/home/d/f.txt/1970-01-01T00-00-01Z"))
    assert desk.book.of("s").old_versions is None


async def test_trash_has_the_roots_of_the_view(desk: Desk) -> None:
    """home, and a folder that leads to the spaces; things in it can be looked at, not opened."""
    assert await desk.names("trash") == ["home", "spaces"]
    assert await desk.names("trash/spaces") == ["a"]
    names = await desk.names("trash/home")
    assert names == ["1970-01-01T00-00-04Z gone", "1970-01-01T00-00-03Z gone.txt"]
    entry = await desk.tree.stat(Location(ROOT, f"trash/home/{names[1]}"))
    assert (entry.kind, entry.size, entry.mtime_ns) == (Kind.FILE, 5, 3_000_000_000)
    assert entry.refusal
    assert entry.metadata == {"cs3.key": "t1", "cs3.from": "d/gone.txt"}
    for rel in (f"trash/home/{names[0]}", f"trash/home/{names[1]}"):
        with pytest.raises(UnsupportedError):
            await desk.tree.list(Location(ROOT, rel))
    with pytest.raises(UnsupportedError):
        await desk.tree.stat(Location(ROOT, f"trash/home/{names[0]}/below"))
    for rel in ("trash/home/x", "trash/x", "trash/spaces/b", "trash/spaces/a/x"):
        with pytest.raises(NotFoundError):
            await desk.tree.stat(Location(ROOT, rel))


async def test_home_alone(desk: Desk) -> None:
    """Without the view there is nothing between trash/ and what was deleted, and paths begin in the home."""
    alone = Desk(Location(SPACE))
    assert len(await alone.names("trash")) == 2
    assert await alone.names("versions/d/f.txt") == await desk.names("versions/home/d/f.txt")
    assert [entry.is_hidden for entry in await alone.tree.list(Location(SPACE))] == [False, True]
    assert await alone.names("versions") == ["d"]


async def test_every_change_is_refused_before_a_call(desk: Desk) -> None:
    """Below it, at its name, and into it; everything else goes on to the view."""
    inside, lock = Location(ROOT, "versions/home/d/f.txt/x"), Lock("l", "a", 1.0)
    tree, outside = desk.tree, Location(SPACE, "d/f.txt")
    for at in (inside, TOP.child(NAME), TOP.child(NAME).child("x")):
        for change in (
            lambda at=at: tree.mkdir(at),
            lambda at=at: tree.create(at),
            lambda at=at: tree.delete(at, lock=lock),
            lambda at=at: tree.move(at, outside),
            lambda at=at: tree.move(outside, at),
            lambda at=at: tree.set_metadata(at, {"a": "b"}),
            lambda at=at: tree.unset_metadata(at, ["a"]),
            lambda at=at: desk.data.upload(at, None, expect=None),
        ):
            with pytest.raises(NotPermittedError):
                await change()
    assert desk.view.calls == []
    await tree.delete(outside)
    await tree.quota(inside)
    assert desk.view.calls == [("delete", outside), ("quota", TOP)]


async def test_locks_are_those_of_the_view(desk: Desk) -> None:
    """Nothing below .cs3 has any."""
    locks, at, lock = HistoryLocks(desk.view), Location(ROOT, "versions"), Lock("l", "a", 1.0)
    assert await locks.get_lock(at) is None
    for call in (locks.set_lock, locks.refresh_lock, locks.unlock):
        with pytest.raises(UnsupportedError):
            await call(at, lock)
    assert desk.view.calls == []
    await locks.unlock(TOP, lock)
    assert desk.view.calls == [("unlock", TOP)]


async def test_cancelled_while_it_is_tried(desk: Desk) -> None:
    """At every wait: nothing is written down that was not found out, and the next look works."""
    at = Location(ROOT, "versions/home/d/f.txt/1970-01-01T00-00-01Z")
    for limit in range(4):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.tree.stat, at)
                for _ in range(limit):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert desk.book.of("s").old_versions in {None, True}
    assert (await desk.tree.stat(at)).size == OLDER.size
    assert desk.book.of("s").old_versions is True
