"""The completion thread is kept between calls, and ends without a sound."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from cs3fuse.client import completion

_SOON_S = 10.0


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    """A channel to a server that answers what it is asked."""
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    yield channel
    channel.close()
    server.stop(None).wait()


def say(channel: grpc.Channel) -> threading.Thread:
    """One call; returns the thread in which its end was told."""
    told: list[threading.Thread] = []
    done = threading.Event()

    def note(_future: Any) -> None:
        told.append(threading.current_thread())
        done.set()

    future = channel.unary_unary("/test.Echo/Say").future(b"hello", timeout=_SOON_S)
    future.add_done_callback(note)
    assert future.result() == b"hello"
    assert done.wait(_SOON_S)
    return told[0]


def test_calls_one_after_the_other_share_a_thread(channel: grpc.Channel) -> None:
    """Without ``keep`` each of them starts a thread of its own."""
    assert completion.keep(channel)
    threads = {say(channel) for _ in range(5)}
    completion.let_go(channel)
    assert len(threads) == 1


def test_thread_ends_with_the_channel(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a channel under its thread would make the thread complain on stderr."""
    complaints: list[object] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    completion.keep(channel)
    thread = say(channel)
    completion.let_go(channel)
    channel.close()
    thread.join(_SOON_S)
    assert not thread.is_alive()
    assert not complaints


def test_unused_channel_is_let_go(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that was never spoken to is closed like any other."""
    complaints: list[object] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    before = set(threading.enumerate())
    completion.keep(channel)
    kept = set(threading.enumerate()) - before
    completion.let_go(channel)
    channel.close()
    for thread in kept:
        thread.join(_SOON_S)
        assert not thread.is_alive()
    assert not complaints


def test_grpc_with_other_names_is_left_alone() -> None:
    """A later grpc may do this differently."""
    assert not completion.keep(object())  # type: ignore[arg-type]
