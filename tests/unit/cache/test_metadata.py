"""The metadata cache: what is known, for how long, and that late answers never win."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from cs3fuse.cache.metadata import MetadataCache
from cs3fuse.capabilities import CapabilityBook
from cs3fuse.errors import NotFoundError, UnavailableError
from cs3fuse.model import Entry, IdRoot, Kind, Location, ResourceId
from tests.unit.cache.fakes import HOME, FakeServer

A = HOME.child("a")


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(server: FakeServer | None = None, **options) -> tuple[FakeServer, MetadataCache, Time]:
    server, time = server or FakeServer(), Time()
    return server, MetadataCache(server, now=time, **options), time


async def test_second_stat_within_the_timeout_is_free():
    """One call within the time-out, a second one after it."""
    server, cache, time = make()
    entry = server.write(A, b"1")
    assert await cache.stat(A) == entry
    time.now += 0.9
    assert await cache.stat(A) == entry
    assert server.calls["stat"] == 1
    time.now += 0.2
    await cache.stat(A)
    assert server.calls["stat"] == 2
    assert cache.statistics()["stat_hits"] == 1
    assert cache.statistics()["stat_misses"] == 2


async def test_absence_is_remembered():
    """A missing name costs one call, and a sentence with the path."""
    server, cache, time = make()
    for _ in range(2):
        with pytest.raises(NotFoundError, match="/home/a"):
            await cache.stat(A)
    assert server.calls["stat"] == 1
    server.write(A, b"1")
    time.now += 1.1
    assert (await cache.stat(A)).size == 1


async def test_fresh_always_asks():
    """A fresh question never answers from the cache and never joins a call that began before it."""
    server, cache, _ = make()
    server.write(A, b"1")
    await cache.stat(A)
    gate = server.hold("stat")
    answers: list[int] = []

    async def ask(*, fresh: bool) -> None:
        answers.append((await cache.stat(A, fresh=fresh)).size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask(fresh=True))
        await wait_all_tasks_blocked()
        server.write(A, b"22")
        nursery.start_soon(lambda: ask(fresh=True))
        await wait_all_tasks_blocked()
        assert gate.arrived == 2
        gate.open()
    assert sorted(answers) == [1, 2]
    assert cache.peek(A).size == 2, "the answer of the call that began later stays"


async def test_one_listing_answers_everything_about_a_directory():
    """Names have attributes and other names are absent without further calls while the listing is valid."""
    server, cache, time = make()
    for name in "abc":
        server.write(HOME.child(name), name.encode())
    assert {entry.name for entry in await cache.list(HOME)} == {"a", "b", "c"}
    assert (await cache.stat(A)).size == 1
    with pytest.raises(NotFoundError):
        await cache.stat(HOME.child("z"))
    await cache.list(HOME)
    assert server.calls == {"list": 1}
    time.now += 1.1
    assert cache.peek(A) is None
    await cache.list(HOME)
    assert server.calls == {"list": 2}


async def test_put_and_removed_change_the_listing():
    """After our own mutation neither Stat nor list ask the server, and both show it."""
    server, cache, _ = make()
    server.write(A, b"1")
    await cache.list(HOME)
    entry = Entry("new", Kind.FILE, size=5)
    cache.put(HOME.child("new"), entry)
    cache.removed(A)
    assert list(await cache.list(HOME)) == [entry]
    assert await cache.stat(HOME.child("new")) == entry
    with pytest.raises(NotFoundError):
        await cache.stat(A)
    assert server.calls == {"list": 1}


@pytest.mark.parametrize("mutation", ["put", "removed", "forget", "moved"])
async def test_late_stat_never_overwrites_a_mutation(mutation):
    """An answer that was on its way when we mutated is not believed."""
    server, cache, _ = make()
    server.write(A, b"old")
    gate = server.hold("stat")
    outcome: list[int | None] = []

    async def ask() -> None:
        try:
            outcome.append((await cache.stat(A)).size)
        except NotFoundError:
            outcome.append(None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if mutation in {"removed", "moved"}:
            server.remove(A)
        new = server.write(A, b"newer") if mutation in {"put", "forget"} else None
        if mutation == "put":
            cache.put(A, new)
        elif mutation == "removed":
            cache.removed(A)
        elif mutation == "forget":
            cache.forget(A)
        else:
            cache.moved(A, HOME.child("b"), Entry("b", Kind.FILE, size=3))
        gate.open()
    expected = None if mutation in {"removed", "moved"} else 5
    assert outcome == [expected]
    known = cache.peek(A)
    assert (known.size if known else None) == expected
    assert server.calls["stat"] == (2 if mutation == "forget" else 1)


async def test_late_listing_is_patched_with_mutations():
    """A listing that was on its way keeps its other names and shows our mutations."""
    server, cache, _ = make()
    for name in "abcd":
        server.write(HOME.child(name), b"old")
    gate = server.hold("list")
    answers = []

    async def ask() -> None:
        answers.append({entry.name: entry.size for entry in await cache.list(HOME)})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        cache.put(HOME.child("a"), Entry("a", Kind.FILE, size=50))
        cache.put(HOME.child("e"), Entry("e", Kind.FILE, size=60))
        cache.removed(HOME.child("b"))
        gate.open()
    assert answers == [{"a": 50, "c": 3, "d": 3, "e": 60}]
    assert {entry.name: entry.size for entry in await cache.list(HOME)} == answers[0]
    assert server.calls["list"] == 1


async def test_late_listing_asks_again_for_what_was_forgotten():
    """A name forgotten while the listing was on its way makes the listing be asked for anew."""
    server, cache, _ = make()
    server.write(A, b"old")
    gate = server.hold("list")
    answers = []

    async def ask() -> None:
        answers.append({entry.name: entry.size for entry in await cache.list(HOME)})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        server.write(A, b"newer")
        cache.forget(A)
        gate.open()
    assert answers == [{"a": 5}]
    assert server.calls["list"] == 2


async def test_stat_that_began_after_a_listing_wins_over_it():
    """A listing that arrives late does not bring back what a younger Stat had replaced."""
    server, cache, _ = make()
    server.write(A, b"old")
    gate = server.hold("list")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.list, HOME)
        await wait_all_tasks_blocked()
        server.write(A, b"newer")
        await cache.stat(A)
        gate.open()
    assert cache.peek(A).size == 5
    assert [entry.size for entry in await cache.list(HOME)] == [5]


async def test_stat_updates_the_listing_it_is_younger_than():
    """After a fresh Stat saw another size, the cached listing shows that size."""
    server, cache, _ = make()
    server.write(A, b"old")
    await cache.list(HOME)
    server.write(A, b"newer")
    await cache.stat(A, fresh=True)
    assert [entry.size for entry in await cache.list(HOME)] == [5]
    server.remove(A)
    with pytest.raises(NotFoundError):
        await cache.stat(A, fresh=True)
    assert list(await cache.list(HOME)) == []
    assert server.calls["list"] == 1


async def test_forget_makes_a_name_unknown_and_leaves_the_others():
    """A forgotten name is asked for; the other names of the listing still answer; the listing itself is asked anew."""
    server, cache, _ = make()
    for name in "ab":
        server.write(HOME.child(name), b"1")
    await cache.list(HOME)
    cache.forget(A)
    await cache.stat(HOME.child("b"))
    assert server.calls["stat"] == 0
    await cache.stat(A)
    assert server.calls["stat"] == 1
    assert len(await cache.list(HOME)) == 2
    assert server.calls["list"] == 1, "the Stat completed the listing"
    cache.forget(A)
    await cache.list(HOME)
    assert server.calls["list"] == 2


@pytest.mark.parametrize("kind", ["stat", "list"])
async def test_late_answer_below_a_forgotten_subtree_is_dropped(kind):
    """Calls on their way below a forgotten directory, and its own listing, are made anew."""
    server, cache, _ = make()
    folder = HOME.child("d")
    server.folders.add(folder)
    server.write(folder.child("f"), b"old")
    gate = server.hold(kind)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(*((cache.stat, folder.child("f")) if kind == "stat" else (cache.list, folder)))
        await wait_all_tasks_blocked()
        server.write(folder.child("f"), b"newer")
        cache.forget(folder, subtree=True)
        gate.open()
    assert server.calls[kind] == 2
    assert cache.peek(folder.child("f")).size == 5


async def test_listing_of_a_forgotten_directory_is_made_anew():
    """Forgetting a directory itself drops the listing that is on its way."""
    server, cache, _ = make()
    server.write(A, b"old")
    gate = server.hold("list")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.list, HOME)
        await wait_all_tasks_blocked()
        server.write(A, b"newer")
        cache.forget(HOME)
        gate.open()
    assert server.calls["list"] == 2
    assert cache.peek(A).size == 5


async def test_stat_that_began_before_a_listing_does_not_win_over_it():
    """A Stat that arrives late does not bring back what a younger listing had replaced."""
    server, cache, _ = make()
    server.write(A, b"old")
    gate = server.hold("stat")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.stat, A)
        await wait_all_tasks_blocked()
        server.write(A, b"newer")
        await cache.list(HOME)
        gate.open()
    assert cache.peek(A).size == 5


async def test_removed_directory_takes_its_subtree_along():
    """Nothing below a directory that went is answered from the cache, siblings with the same beginning are."""
    server, cache, _ = make()
    folder, sibling = HOME.child("d"), HOME.child("d2")
    server.folders |= {folder, sibling, folder.child("sub")}
    for parent in (folder, sibling, folder.child("sub")):
        server.write(parent.child("f"), b"1")
        await cache.list(parent)
    await cache.stat(folder)
    cache.removed(folder)
    assert cache.peek(folder) is None
    assert cache.peek(folder.child("f")) is None
    assert cache.peek(folder.child("sub").child("f")) is None
    assert cache.peek(sibling.child("f")) is not None


async def test_moved_without_entry_is_asked_for():
    """Where the caller has no entry for the destination it is unknown, not absent; the source is absent."""
    server, cache, _ = make()
    server.write(A, b"1")
    destination = HOME.child("b")
    await cache.list(HOME)
    server.files[destination] = server.files.pop(A)
    cache.moved(A, destination, None)
    with pytest.raises(NotFoundError):
        await cache.stat(A)
    assert (await cache.stat(destination)).name == "b"
    assert server.calls["stat"] == 1


async def test_anchored_entry_is_known_at_its_anchor_too():
    """A share that lives under a root of its own answers at both addresses."""
    server, cache, _ = make()
    root = IdRoot(ResourceId("s", "", "share"))
    entry = Entry("shared", Kind.DIRECTORY, anchor=root)
    cache.put(HOME.child("shared"), entry)
    assert cache.peek(Location(root)) == entry
    assert cache.peek(HOME.child("shared")) == entry
    cache.removed(HOME.child("shared"))
    assert cache.peek(Location(root)) is None
    assert server.calls == {}


async def test_error_is_not_remembered():
    """A server that is away is asked again."""
    server, cache, _ = make()
    server.write(A, b"1")
    server.failures = [UnavailableError("away")]
    with pytest.raises(UnavailableError):
        await cache.stat(A)
    assert (await cache.stat(A)).size == 1


async def test_cancelled_first_asker_does_not_cancel_the_second():
    """The second asker is answered although the call was the first one's."""
    server, cache, _ = make()
    server.write(A, b"1")
    gate = server.hold("stat")
    sizes = []

    async def ask() -> None:
        sizes.append((await cache.stat(A)).size)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as first:
                first.start_soon(ask)
                await wait_all_tasks_blocked()
                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
                scope.cancel()
        gate.open()
    assert sizes == [1]
    assert cache.statistics()["in_flight"] == 0


@pytest.mark.parametrize("propagates", [True, False])
async def test_outdated_listing_is_revalidated_by_one_stat(propagates):
    """Where etags propagate, an unchanged directory costs one Stat instead of a listing and keeps its children's attributes."""
    book = CapabilityBook()
    server, cache, time = make(book=book, attr_ttl_s=1.0, listing_ttl_s=1.0)
    book.of(server.storage_id).etag_propagation = propagates
    server.write(A, b"1")
    await cache.stat(HOME)
    await cache.list(HOME)
    time.now += 5
    assert [entry.name for entry in await cache.list(HOME)] == ["a"]
    assert server.calls["list"] == (1 if propagates else 2)
    assert cache.peek(A) is not None


async def test_many_stats_of_a_directory_become_one_listing():
    """``ls -l`` of a large directory whose attributes ran out costs a few Stats and a listing, not thousands of Stats."""
    server, cache, time = make()
    names = [HOME.child(f"f{number}") for number in range(3000)]
    for at in names:
        server.write(at, b"1")
    await cache.list(HOME)
    for _ in range(3):
        time.now += 1.5
        for at in names:
            await cache.stat(at)
    assert server.calls["stat"] <= 50 + 2 * 4
    assert server.calls["list"] == 4


async def test_directory_that_cannot_be_listed_is_asked_name_by_name():
    """Where the listing is refused the Stats go on, and it is not tried with each of them."""
    server, cache, _ = make()
    names = [HOME.child(f"f{number}") for number in range(100)]
    for at in names:
        server.write(at, b"1")
    server.folders.remove(HOME)
    for at in names:
        assert (await cache.stat(at)).size == 1
    assert server.calls["list"] == 1
    assert server.calls["stat"] == 100


async def test_walk_is_listed_ahead():
    """While a program walks a tree the next directories are listed already, in parallel, each once."""
    server, cache, _ = make()
    folders = [HOME.child(f"d{number}") for number in range(30)]
    server.folders.update(folders)
    for at in folders:
        server.write(at.child("f"), b"1")
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        for entry in await cache.list(HOME):
            await cache.list(HOME.child(entry.name))
            await wait_all_tasks_blocked()
        assert cache.statistics()["list_hits"] >= 25
        assert server.calls["list"] == 31
        nursery.cancel_scope.cancel()


async def test_error_of_a_listing_ahead_is_told_to_who_comes_there():
    """A directory that vanished is no trouble until somebody asks for it."""
    server, cache, _ = make()
    folders = [HOME.child(f"d{number}") for number in range(5)]
    server.folders.update(folders)
    async with trio.open_nursery() as nursery:
        await nursery.start(cache.run)
        await cache.list(HOME)
        server.folders -= set(folders[1:])
        await cache.list(folders[0])
        await wait_all_tasks_blocked()
        with pytest.raises(NotFoundError):
            await cache.list(folders[1])
        nursery.cancel_scope.cancel()


async def test_slow_listing_serves_twice_as_long_as_it_took():
    """A directory whose listing takes longer than the time-out is not listed all the time."""
    server, cache, time = make()
    server.write(A, b"1")
    gate = server.hold("list")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.list, HOME)
        await wait_all_tasks_blocked()
        time.now += 2.0
        gate.open()
    server.release("list")
    time.now += 3.5
    assert cache.peek(A) is not None
    await cache.list(HOME)
    assert server.calls["list"] == 1
    time.now += 1.0
    assert cache.peek(A) is None
    await cache.list(HOME)
    assert server.calls["list"] == 2


async def test_put_ends_revalidation():
    """After a mutation of ours the directory's etag from before it proves nothing any more."""
    book = CapabilityBook()
    server, cache, time = make(book=book)
    book.of(server.storage_id).etag_propagation = True
    server.write(A, b"1")
    await cache.stat(HOME)
    await cache.list(HOME)
    cache.put(A, server.write(A, b"22"))
    time.now += 5
    await cache.list(HOME)
    assert server.calls["list"] == 2


async def test_directory_larger_than_the_cache_is_answered_and_not_kept():
    """The bound on entries holds; the answer is whole all the same."""
    server, cache, _ = make(max_entries=10)
    for number in range(50):
        server.write(HOME.child(f"f{number}"), b"1")
    assert len(await cache.list(HOME)) == 50
    assert cache.statistics()["listings"] == 0


async def test_default_clock_is_trio(autojump_clock: MockClock):
    """Without a clock of its own the cache follows trio's."""
    server = FakeServer()
    server.write(A, b"1")
    cache = MetadataCache(server)
    await cache.stat(A)
    await trio.sleep(2)
    await cache.stat(A)
    assert server.calls["stat"] == 2


NAMES = ["a", "b", "d/a", "d/b", "d/e/a"]
WEIGHTS = {
    "write": 4,
    "remove": 3,
    "foreign": 2,
    "stat": 5,
    "list": 5,
    "fresh": 3,
    "tick": 3,
    "open": 3,
    "hold": 3,
    "forget": 1,
    "move": 2,
}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_own_mutations_are_never_unseen(seed):
    """Random mutations, foreign changes and calls answered late, in any order: what we did ourselves is never answered otherwise.

    The model knows per name the last thing we did and whether somebody else changed it since. Steps come from a seeded
    generator: lists drawn by hypothesis are too short to build up several calls on their way.
    """
    chance = random.Random(seed)
    kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=80)
    trio.run(_play, [(kind, chance.choice(NAMES)) for kind in kinds], seed)


async def _play(steps, seed) -> None:
    server, cache, time = make()
    folders = {HOME, HOME.child("d"), HOME.child("d").child("e")}
    server.folders |= folders
    chance = random.Random(seed)
    certain: dict[Location, int | None] = {}

    async def ask(kind: str, at: Location) -> None:
        """Answers are compared too: mutations patch what was on its way."""
        if kind == "list":
            try:
                sizes = {at.parent.child(entry.name): entry.size for entry in await cache.list(at.parent)}
            except NotFoundError:
                return
            for location, size in certain.items():
                if location.parent == at.parent:
                    assert sizes.get(location) == size, ("list", location)
            return
        try:
            answer: int | None = (await cache.stat(at, fresh=kind == "fresh")).size
        except NotFoundError:
            answer = None
        assert at not in certain or answer == certain[at], (kind, at)

    async with trio.open_nursery() as nursery:
        for step, name in steps:
            at = Location(HOME.root, name)
            if step == "write":
                entry = server.write(at, bytes(chance.randrange(1000)))
                cache.put(at, entry)
                certain[at] = entry.size
            elif step == "remove" and at in server.files:
                server.remove(at)
                cache.removed(at)
                certain[at] = None
            elif step == "move" and at in server.files:
                target = Location(HOME.root, chance.choice(NAMES))
                if target != at and target not in server.files:
                    server.files[target] = server.files.pop(at)
                    cache.moved(at, target, server.entry(target))
                    certain[at], certain[target] = None, len(server.files[target].data)
            elif step == "foreign":
                server.write(at, bytes(chance.randrange(1000)))
                certain.pop(at, None)
            elif step == "forget":
                cache.forget(Location(HOME.root, name.rpartition("/")[0]), subtree=True)
            elif step in {"stat", "fresh", "list"}:
                nursery.start_soon(ask, step, at)
            elif step == "tick":
                time.now += 0.6
            elif step == "hold":
                for kind in ("stat", "list"):
                    if kind not in server.gates:
                        server.hold(kind)
            elif step == "open":
                for kind in list(server.gates):
                    server.release(kind)
            await wait_all_tasks_blocked()
            for location, size in certain.items():
                known = cache._find(location)
                assert known is None or (known.entry.size if known.entry else None) == size, (step, name, location)
        for kind in list(server.gates):
            server.release(kind)
    for location, size in certain.items():
        known = cache._find(location)
        assert known is None or (known.entry.size if known.entry else None) == size
