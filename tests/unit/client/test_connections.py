"""Connections that can be stopped: who owns one, and what stopping may touch."""

from __future__ import annotations

import logging
import threading

import pytest

from cs3fuse.client.connections import ConnectionPool, StoppedError, Transfer
from tests.unit.client.fakes import FakeDataServer, replying


def test_a_finished_transfer_does_not_touch_its_connection(pool: ConnectionPool, server: FakeDataServer) -> None:
    """It went back to the pool and may carry somebody else's request: a late stop must not break that."""
    server.on(replying(200, b"hello"))
    first, second = Transfer(), Transfer()
    pool.request(first, "GET", server.url, {}).drain_conn()
    response = pool.request(second, "GET", server.url, {})
    first.stop()
    assert response.read() == b"hello"
    second.finish()
    second.stop()
    assert pool.request(Transfer(), "GET", server.url, {}).read() == b"hello"
    assert server.connections == 1


def test_a_stopped_transfer_does_not_start(pool: ConnectionPool, server: FakeDataServer) -> None:
    """The thread may begin after its caller has gone."""
    transfer = Transfer()
    transfer.stop()
    with pytest.raises(StoppedError):
        pool.request(transfer, "GET", server.url, {})
    with pytest.raises(StoppedError):
        transfer.run_unless_stopped(lambda: 1)
    assert server.connections == 0


def test_stop_wakes_a_thread_that_waits(pool: ConnectionPool, server: FakeDataServer) -> None:
    """Not at the read time-out, a minute later."""
    reached, release = threading.Event(), threading.Event()

    def stall(handler: object) -> None:
        reached.set()
        release.wait(10)

    server.on(stall)
    transfer = Transfer()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            pool.request(transfer, "GET", server.url, {})
        except Exception as exc:
            failures.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(10)
    transfer.stop()
    thread.join(5)
    release.set()
    assert not thread.is_alive()
    assert failures


def test_whether_anything_was_sent_is_known(pool: ConnectionPool, server: FakeDataServer) -> None:
    """It decides between "nothing was done" and "unknown"."""
    server.on(replying(200))
    sent, unsent = Transfer(), Transfer()
    pool.request(sent, "GET", server.url, {}).drain_conn()
    with pytest.raises(Exception, match="refused"):
        pool.request(unsent, "GET", "http://127.0.0.1:1/", {})
    assert sent.has_sent
    assert not unsent.has_sent


def test_addresses_are_not_logged(pool: ConnectionPool, server: FakeDataServer, caplog: pytest.LogCaptureFixture) -> None:
    """They hold the token on public links; urllib3 logs each at DEBUG."""
    server.on(replying(200))
    with caplog.at_level(logging.DEBUG):
        pool.request(Transfer(), "GET", server.url + "/secret-token", {}).drain_conn()
    assert "secret-token" not in caplog.text
