"""Download tickets: which protocol, how long they are kept, one initiation at a time."""

from __future__ import annotations

import pytest
import trio
from cs3.gateway.v1beta1 import gateway_api_pb2

from cs3fuse.client.tickets import DownloadTickets, Ticket, choose_download, choose_upload, data_headers
from cs3fuse.errors import BadDataError, NotFoundError, UnsupportedError
from cs3fuse.model import Location, PathRoot
from tests.unit.client.fakes import download_at, upload_at

A = Location(PathRoot("/home"), "a")


def offers(*entries: tuple[str, str, str]) -> list[object]:
    message = gateway_api_pb2.InitiateFileDownloadResponse()
    for protocol, url, token in entries:
        message.protocols.add(protocol=protocol, download_endpoint=url, token=token)
    return list(message.protocols)


def test_the_protocol_is_chosen_by_name() -> None:
    """Reva's order is random, and public links put nameless offers with useless tokens first."""
    entries = offers(
        ("", "http://gate", "useless"), ("tus", "http://t", "t"), ("spaces", "http://s", "s"), ("simple", "http://x", "x")
    )
    assert choose_download(entries, "a") == Ticket("http://x", "x", "simple")
    assert choose_download(entries[:3], "a").protocol == "spaces"
    assert choose_upload(upload_at("http://u").protocols, "a").protocol == "simple"


@pytest.mark.parametrize("entries", [(), (("tus", "http://t", "t"),), (("simple", "", ""),)])
def test_no_usable_offer(entries: tuple[tuple[str, str, str], ...]) -> None:
    """TUS alone cannot be used here."""
    with pytest.raises(UnsupportedError):
        choose_download(offers(*entries), "a")


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "ü"])
def test_tokens_that_are_no_header_are_refused(token: str) -> None:
    """A server must not be able to write headers of ours."""
    with pytest.raises(BadDataError):
        choose_download(download_at("http://x", token=token).protocols, "a")


def test_an_empty_transfer_token_is_not_sent() -> None:
    """Exposed data servers and public links have none."""
    assert "X-Reva-Transfer" not in data_headers("access", Ticket("http://x/secret", "", "simple"))
    assert data_headers("access", Ticket("http://x", "t", "simple"))["X-Reva-Transfer"] == "t"


def test_the_address_is_not_shown() -> None:
    """On public links the token is part of it."""
    assert "secret" not in repr(Ticket("http://x/secret", "secret", "simple"))


class Initiations:
    def __init__(self) -> None:
        self.count = 0
        self.gate = trio.Event()
        self.failure: Exception | None = None

    async def __call__(self, at: Location) -> Ticket:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Ticket(f"http://{number}", "", "simple")


async def test_many_ranges_cost_one_initiation(autojump_clock: trio.testing.MockClock) -> None:
    """Those who come meanwhile wait for the first, those who come within a minute use the same."""
    initiate = Initiations()
    tickets = DownloadTickets(initiate)
    got: list[bool] = []

    async def get() -> None:
        got.append((await tickets.get(A))[1])

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(get)
        await trio.testing.wait_all_tasks_blocked()
        assert initiate.count == 1
        initiate.gate.set()
    assert sorted(got) == [False] + [True] * 7
    await trio.sleep(59)
    assert (await tickets.get(A))[1]
    await trio.sleep(2)
    assert not (await tickets.get(A))[1]
    assert initiate.count == 2


async def test_a_cancelled_initiation_is_taken_over() -> None:
    """Nobody waits for ever for somebody who went away."""
    initiate = Initiations()
    tickets = DownloadTickets(initiate)
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            await tickets.get(A)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(tickets.get, A)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert initiate.count == 2
        initiate.gate.set()


async def test_a_failed_initiation_fails_only_who_made_it() -> None:
    """The next one tries itself."""
    initiate = Initiations()
    initiate.gate.set()
    tickets = DownloadTickets(initiate)
    initiate.failure = NotFoundError("gone")
    with pytest.raises(NotFoundError):
        await tickets.get(A)
    initiate.failure = None
    assert (await tickets.get(A))[0].url == "http://2"


async def test_a_dropped_ticket_is_not_used_again_but_a_newer_one_is() -> None:
    """A late refusal of the old ticket does not cost the new one."""
    initiate = Initiations()
    initiate.gate.set()
    tickets = DownloadTickets(initiate)
    old, _ = await tickets.get(A)
    tickets.drop(A, old)
    new, is_reused = await tickets.get(A)
    assert not is_reused
    tickets.drop(A, old)
    assert await tickets.get(A) == (new, True)


async def test_the_store_is_bounded() -> None:
    """A walk over a million files does not keep a million tickets."""
    initiate = Initiations()
    initiate.gate.set()
    tickets = DownloadTickets(initiate)
    for number in range(1100):
        await tickets.get(A.child(str(number)))
    assert len(tickets._kept) == 1024
