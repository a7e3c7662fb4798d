"""Another site that is slow, frozen, away, and back."""

from __future__ import annotations

import pytest
import trio

from cs3fuse.errors import DeadlineError, NotFoundError, ServerError, SiteAwayError, SiteSilentError, UnavailableError
from cs3fuse.mesh.sites import Limits, Site, look_after
from cs3fuse.model import Entry, Kind, Location, PathRoot, Root

ROOT = PathRoot("/ocm/1")
AT = Location(ROOT, "f")
FILE = Entry("f", Kind.FILE, size=3, permissions=frozenset({"stat", "initiate_file_download", "initiate_file_upload"}))


class Tree:
    """The other site: ``state`` is "ok", "frozen" or "refused"."""

    def __init__(self) -> None:
        self.state = "ok"
        self.running = self.most = self.asked = 0

    async def stat(self, at: Location) -> Entry:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.state == "frozen":
                await trio.sleep_forever()
            await trio.sleep(0.01)
            if self.state == "refused":
                raise ServerError("INTERNAL")
            if self.state == "one bad" and at.rel:
                raise ServerError("INTERNAL")
            return FILE
        finally:
            self.running -= 1


@pytest.fixture
def tree() -> Tree:
    return Tree()


@pytest.fixture
def site(tree: Tree) -> Site:
    return Site(ROOT, "a.example.org", tree, Limits(call_s=10, probe_s=10))


async def ask(site: Site, tree: Tree) -> Entry:
    return await site.call(lambda: tree.stat(AT), AT)


async def test_frozen_site_answers_in_time_then_at_once(site, tree, autojump_clock):
    """The first call ends at its limit, the next ones without being made, each with the reason."""
    tree.state = "frozen"
    began = trio.current_time()
    with pytest.raises(DeadlineError):
        await ask(site, tree)
    assert trio.current_time() - began == pytest.approx(10)
    asked, began = tree.asked, trio.current_time()
    with pytest.raises(SiteSilentError, match=r"a\.example\.org did not answer"):
        await ask(site, tree)
    assert (tree.asked, trio.current_time()) == (asked, began)


async def test_refusing_site_is_away_when_its_root_fails_too(site, tree, autojump_clock):
    """Two failures without a reason: EHOSTDOWN from then on."""
    tree.state = "refused"
    with pytest.raises(UnavailableError):
        await ask(site, tree)
    assert site.breaker.is_open and tree.asked == 2
    with pytest.raises(SiteAwayError):
        await ask(site, tree)
    assert tree.asked == 2


async def test_one_bad_file_is_not_a_site_that_is_away(site, tree, autojump_clock):
    """The root answers: the failure was the file's own."""
    tree.state = "one bad"
    with pytest.raises(ServerError):
        await ask(site, tree)
    assert not site.breaker.is_open


async def test_crowd_at_a_frozen_site_ends_together(site, tree, autojump_clock):
    """A hundred callers: a few at once, all answered within one limit, none left behind."""
    tree.state = "frozen"
    failed = []

    async def one() -> None:
        with pytest.raises(DeadlineError):
            await ask(site, tree)
        failed.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    assert len(failed) == 100 and tree.most <= 8 and tree.running == 0
    assert max(failed) - began <= 10.1


async def test_returning_site_is_seen_within_thirty_seconds(site, tree, autojump_clock):
    """However long it was away; nothing runs on afterwards."""
    for away_s in (1, 20, 600):
        returned: list[Root] = []
        tree.state = "frozen"
        with trio.move_on_after(away_s + 60) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look_after, lambda: {site}, returned.append)
                with pytest.raises(DeadlineError):
                    await ask(site, tree)
                await trio.sleep(away_s)
                tree.state, back = "ok", trio.current_time()
                while site.breaker.is_open:  # noqa: ASYNC110 - the breaker has nobody to tell
                    await trio.sleep(0.1)
                assert trio.current_time() - back < 30
                await trio.sleep(2)
                assert returned == [ROOT]
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught and tree.running == 0
        assert (await ask(site, tree)).size == 3


async def test_memory_is_for_reading_only_and_gives_way_to_changes(site, tree):
    """What was seen can be read while the site is away, until we change it."""
    site.remember_listing(Location(ROOT), [FILE])
    remembered = site.remembered(AT)
    assert remembered is not None and not remembered.may("initiate_file_upload") and remembered.may("initiate_file_download")
    assert site.is_known
    site.forget(AT)
    assert site.remembered(AT) is None


async def test_missing_file_is_an_answer(site, autojump_clock):
    """Only failures without a reason are looked into."""

    async def missing() -> Entry:
        raise NotFoundError("no")

    with pytest.raises(NotFoundError):
        await site.call(missing, AT)
    assert not site.breaker.is_open


async def test_upload_to_a_frozen_site_is_given_up(site, tree, autojump_clock):
    """After the limit of a call the root is asked, after another the upload ends; what it did is unknown. Later ones are not made."""
    ended = []

    async def send() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_after, lambda: {site}, lambda root: None)
        tree.state = "frozen"
        with pytest.raises(DeadlineError, match="may still happen"):
            await site.upload(send, AT, 0)
        assert 20 <= ended[0] - began <= 23
        with pytest.raises(SiteSilentError):
            await site.upload(send, AT, 0)
        assert len(ended) == 1
        nursery.cancel_scope.cancel()


async def test_slow_upload_to_a_living_site_is_left_alone(site, tree, autojump_clock):
    """The root answers: the other site is only slow to take the bytes. A large one is not asked about for as long as its size explains."""

    async def send() -> str:
        await trio.sleep(600)
        return "done"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_after, lambda: {site}, lambda root: None)
        assert await site.upload(send, AT, 500_000_000) == "done"
        assert tree.asked <= 100
        nursery.cancel_scope.cancel()
    assert not site.breaker.is_open
