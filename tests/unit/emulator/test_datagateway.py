"""Tests of the HTTP side: tokens, streaming, ranges, faults."""

import http.client
import time
from email.utils import parsedate_to_datetime

import pytest

from cs3fuse.emulator import proto

DATA = bytes(range(256)) * 4096
BROKEN = (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError)


def test_bytes_go_both_ways(run_gateway) -> None:
    """A large file and an empty one; the answer to a PUT is empty."""
    _, client = run_gateway()
    assert client.put("/local/einstein/x", DATA) == 200
    assert client.put("/local/einstein/empty", b"") == 200
    status, headers, body = client.get("/local/einstein/x")
    assert (status, headers["content-length"], body) == (200, str(len(DATA)), DATA)
    assert client.get("/local/einstein/empty")[2] == b""
    assert "etag" not in headers
    assert "server" not in headers


def test_both_tokens_are_needed(run_gateway) -> None:
    """403 without the transfer token, 401 without the access token, 501 for other methods."""
    _, client = run_gateway()
    client.put("/local/einstein/x", b"x")
    entry = client.initiate_download("/local/einstein/x")
    url, token = entry.download_endpoint, entry.token
    assert client.send("GET", url, "")[0] == 403
    assert client.send("GET", url, "junk")[0] == 403
    status, headers, body = client.send("GET", url, token, x_access_token="junk")
    assert (status, body) == (401, b"")
    assert "www-authenticate" in headers
    assert client.send("POST", url, token)[0] == 501
    assert client.send("GET", f"{url}/{token}", "")[0] == 200
    assert client.send("GET", url.replace("datagateway", "nowhere"), token)[0] == 404


def test_an_exposed_data_server_needs_no_transfer_token(run_gateway) -> None:
    """The real URL instead, with the name percent-encoded."""
    _, client = run_gateway(expose=True)
    entry = client.initiate_upload("/local/einstein/a b#?.txt", 3)
    assert entry.token == ""
    assert client.send("PUT", entry.upload_endpoint, "", b"abc")[0] == 200
    download = client.initiate_download("/local/einstein/a b#?.txt")
    assert download.download_endpoint.endswith("/data/simple/einstein/a%20b%23%3F.txt")
    assert client.send("GET", download.download_endpoint, "")[2] == b"abc"
    assert client.send("GET", download.download_endpoint, "", x_access_token="")[0] == 401


def test_ranges_by_profile(run_gateway) -> None:
    """Reva local 416, EOS 206 with whole multiparts."""
    _, client = run_gateway("eos")
    path = "/eos/user/e/einstein/x"
    client.put(path, DATA)
    status, headers, body = client.get(path, Range="bytes=100-299")
    assert (status, headers["content-range"], body) == (206, f"bytes 100-299/{len(DATA)}", DATA[100:300])
    assert client.get(path, Range=f"bytes={len(DATA) - 500_000}-")[2] == DATA[-500_000:]
    status, headers, body = client.get(path, Range="bytes=0-9,100-109")
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    assert body.count(b"--" + boundary) == 3
    assert DATA[100:110] in body
    assert client.get(path, Range=f"bytes={len(DATA)}-")[0] == 416


def test_reva_has_no_ranges(run_gateway) -> None:
    """The headers by which clients know."""
    _, client = run_gateway()
    client.put("/local/einstein/x", b"0123456789")
    status, headers, _ = client.get("/local/einstein/x", Range="bytes=0-3")
    assert (status, headers["accept-ranges"], "content-range" in headers) == (416, "bytes", False)
    status, headers, _ = client.get("/local/einstein/x", Range="bytes=20-")
    assert (status, headers["content-range"]) == (416, "bytes */10")


def test_opencloud_answers_with_etag(run_gateway) -> None:
    """On PUT and on GET; If-None-Match is honoured without a range; multiparts are cut."""
    gateway, client = run_gateway("opencloud", quirks={"processing_s": 0.0})
    gateway.change("home", "einstein")
    path = f"/users/{gateway.storage.directory.named('einstein').opaque_id}/x"
    entry = client.initiate_upload(path, len(DATA))
    status, headers, _ = client.send("PUT", entry.upload_endpoint, entry.token, DATA)
    etag = client.stat(path).info.etag
    assert (status, headers["etag"]) == (200, etag)
    status, headers, body = client.get(path)
    assert (status, headers["etag"], body) == (200, etag, DATA)
    assert client.get(path, If_None_Match=etag)[0] == 304
    assert client.get(path, If_None_Match=etag, Range="bytes=0-9")[2] == DATA[:10]
    status, headers, body = client.get(path, Range="bytes=0-9,100-109")
    assert (status, len(body)) == (206, int(headers["content-length"]))
    assert not body.endswith(b"--\r\n")


def test_head_announces_and_sends_nothing(run_gateway) -> None:
    """With the expiry of the transfer token, through the data gateway."""
    _, client = run_gateway()
    client.put("/local/einstein/x", b"abc")
    entry = client.initiate_download("/local/einstein/x")
    status, headers, body = client.send("HEAD", entry.download_endpoint, entry.token)
    assert (status, headers["content-length"], body) == (200, "3", b"")
    assert headers["upload-expires"].endswith("UTC")


def test_a_client_that_hangs_up_leaves_a_short_file_on_reva_only(run_gateway) -> None:
    """Reva commits what came; EOS keeps the old content."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", b"good")
    client.put_part("/local/einstein/x", 1000, b"y" * 400)
    while len([entry for entry in gateway.log.entries() if entry.name == "PUT"]) < 2:
        client.stat("/local/einstein/x")
    assert client.stat("/local/einstein/x").info.size == 400


def test_a_folder_announces_a_size_and_breaks_off(run_gateway) -> None:
    """The client must see a short body, not a wait."""
    _, client = run_gateway()
    with pytest.raises(BROKEN):
        client.get("/local/einstein")


def test_connections_break_after_so_many_bytes(run_gateway) -> None:
    """In the answer exactly that many arrive; in the request the server has got that many."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", DATA)
    rule = gateway.faults.add(method="GET", reset_after_bytes=300_000, how="close")
    with pytest.raises(http.client.IncompleteRead) as short:
        client.get("/local/einstein/x")
    assert len(short.value.partial) == 300_000
    gateway.faults.remove(rule)
    gateway.faults.add(method="PUT", reset_after_bytes=1000, direction="request", times=1)
    with pytest.raises(BROKEN):
        client.put("/local/einstein/y", DATA)
    assert client.stat("/local/einstein/y").info.size == 1000
    assert client.get("/local/einstein/x")[2] == DATA


def test_other_answers_than_the_server_would_give(run_gateway) -> None:
    """A status with headers and body instead of the transfer, or in the middle of the body; a lost answer."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", b"old")
    gateway.faults.add(method="GET", http_status=200, body="<html>error</html>", headers={"Content-Type": "text/html"}, times=1)
    status, headers, body = client.get("/local/einstein/x")
    assert (status, headers["content-type"], body) == (200, "text/html", b"<html>error</html>")
    gateway.faults.add(method="PUT", http_status=503, headers={"Retry-After": "1"}, times=1)
    entry = client.initiate_upload("/local/einstein/x", 3)
    status, headers, _ = client.send("PUT", entry.upload_endpoint, entry.token, b"new")
    assert (status, headers["retry-after"]) == (503, "1")
    assert client.get("/local/einstein/x")[2] == b"old"
    gateway.faults.add(method="PUT", http_status=502, after_bytes=2, times=1)
    assert client.send("PUT", entry.upload_endpoint, entry.token, b"new")[0] == 502
    # What came before the 502 is kept by the server; the retry with the same token appends to it.
    assert client.send("PUT", entry.upload_endpoint, entry.token, b"new")[0] == 200
    assert client.get("/local/einstein/x")[2] == b"nenew"
    gateway.faults.add(method="PUT", drop_answer=True, times=1)
    with pytest.raises(BROKEN):
        client.put("/local/einstein/z", b"done")
    assert client.get("/local/einstein/z")[2] == b"done"


def test_a_file_shorter_than_announced_ends_the_connection(run_gateway, monkeypatch) -> None:
    """As when it is truncated between the driver's stat and its open."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", DATA)
    original = type(gateway.storage).download

    def announcing_more(profile, call):
        download = original(profile, call)
        download.size += 1000
        return download

    monkeypatch.setattr(type(gateway.storage), "download", announcing_more)
    with pytest.raises(http.client.IncompleteRead) as short:
        client.get("/local/einstein/x")
    assert len(short.value.partial) == len(DATA)


def test_a_complete_answer_of_too_few_bytes_and_a_slow_one(run_gateway) -> None:
    """For clients that must compare with Stat, and for those that must not give up on a slow server."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", DATA)
    rule = gateway.faults.add(method="GET", shorten_to=1000)
    status, headers, body = client.get("/local/einstein/x")
    assert (status, headers["content-length"], body) == (200, "1000", DATA[:1000])
    gateway.faults.remove(rule)
    gateway.faults.add(bytes_per_s=len(DATA) / 0.3)
    for transfer in (lambda: client.get("/local/einstein/x")[2] == DATA, lambda: client.put("/local/einstein/y", DATA) == 200):
        begun = time.monotonic()
        assert transfer()
        assert time.monotonic() - begun >= 0.25


def test_tokens_expire_between_initiation_and_transfer(run_gateway) -> None:
    """401 although the transfer token is good."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", b"x")
    gateway.faults.add(method="GET", expire_tokens=True, nth=1)
    assert client.get("/local/einstein/x")[0] == 401


def test_a_wrong_clock_shows_in_the_date(run_gateway) -> None:
    """Clients estimate the server's clock from this header."""
    gateway, client = run_gateway()
    client.put("/local/einstein/x", b"x")
    gateway.clock.skew_s = 86400.0 * 365
    client.token = client.call("Authenticate", _sign_in()).token
    shown = parsedate_to_datetime(client.get("/local/einstein/x")[1]["date"]).timestamp()
    assert abs(shown - time.time() - 86400 * 365) < 60
    assert client.stat("/local/einstein/x").status.code == proto.OK


def _sign_in():
    from cs3fuse.emulator.proto import gateway_pb

    return gateway_pb.AuthenticateRequest(type="basic", client_id="einstein", client_secret="relativity")
