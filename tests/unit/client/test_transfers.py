"""What a transfer does in its thread, apart from what ``test_data`` sees of it."""

from __future__ import annotations

import os
import socket

import pytest
import urllib3

from cs3fuse.client.connections import ConnectionPool, StoppedError, Transfer
from cs3fuse.client.transfers import Download, Upload, bare_etag, describe, download, upload
from tests.unit.client.fakes import FakeDataServer, MemorySink, serving


def test_a_late_thread_does_not_touch_the_descriptor(pool: ConnectionPool) -> None:
    """The caller may have closed it, and its number may be somebody else's file by now."""
    reader, writer = os.pipe()
    transfer = Transfer()
    transfer.stop()
    order = Upload("http://127.0.0.1:1/", {}, reader, 1, "a")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(StoppedError):
        upload(pool, transfer, order)
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(reader)
    os.close(writer)
    with pytest.raises(StoppedError):
        upload(pool, transfer, order)


def test_a_late_thread_writes_nothing(pool: ConnectionPool, server: FakeDataServer) -> None:
    """Not even the first byte."""
    server.on(serving(b"hello"))
    transfer, sink = Transfer(), MemorySink()
    transfer.stop()
    with pytest.raises(StoppedError):
        download(pool, transfer, Download(server.url, {}, None, 5, "", "a"), sink)
    assert sink.writes == 0
    assert server.seen == []


def test_orders_do_not_show_their_tokens() -> None:
    """They may end up in a traceback."""
    headers = {"x-access-token": "secret"}
    for order in (Download("http://h/secret", headers, None, 1, "", "a"), Upload("http://h/secret", headers, 0, 1, "a")):
        assert "secret" not in repr(order)


@pytest.mark.parametrize(("etag", "bare"), [('"a"', "a"), ('W/"a"', "a"), ("a", "a"), (' "a" ', "a"), ("", "")])
def test_bare_etag(etag: str, bare: str) -> None:
    """Quotes and weakness do not make another version."""
    assert bare_etag(etag) == bare


def test_reasons_are_sentences() -> None:
    """The innermost reason, without addresses of objects."""
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        urllib3.PoolManager(retries=False).request("GET", "http://127.0.0.1:1/")
    assert describe(caught.value) == "Connection refused"
    assert describe(
        urllib3.exceptions.ProtocolError("Connection broken", ConnectionResetError(104, "Connection reset by peer"))
    ) == ("Connection reset by peer")
    assert "<" not in describe(
        urllib3.exceptions.NameResolutionError("h", object(), socket.gaierror(-2, "Name or service not known"))
    )
    assert describe(ValueError()) == "ValueError"
