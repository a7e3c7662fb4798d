"""Two sites of every profile: a share from one to the other, and the ways in which the line between them fails."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import urllib3
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.control_client import ControlClient, ControlError, EmulatorProcess, befriend
from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Caller, endpoints, signed_in

A, B = "a.example.org", "b.example.org"
CONTENT = b"hello"
LARGE = 4 << 20


@dataclass
class Pair:
    """einstein at A has shared a folder `d`, with `x` in it, with marie at B, who speaks here."""

    a: EmulatorThread
    b: EmulatorThread
    marie: Caller
    mount: str
    share: str

    def owner_has(self, name: str) -> bool:
        """Whether something is in the folder on einstein's disk."""
        return (self.a.config.root / "einstein" / "d" / name).exists()

    def wait_for(self, holds: Callable[[], bool]) -> bool:
        """Whether it holds soon."""
        for _ in range(100):
            if holds():
                return True
            time.sleep(0.02)
        return False


def site(folder: Path, name: str, profile: str = "reva", **details: object) -> EmulatorThread:
    """One site, not started."""
    return EmulatorThread(EmulatorConfig(root=folder / name, profile=profile, site_name=name, seed=1, control=True, **details))


def share_folder(a: EmulatorThread, b: EmulatorThread) -> dict[str, str]:
    """Let einstein share `d` with marie."""
    a.meet(b)
    b.change("accept_invite", "marie", a.change("invite", "einstein"), A)
    a.change("home", "einstein")
    a.change("mkdir", "/einstein/d", "einstein")
    a.change("write", "/einstein/d/x", CONTENT, "einstein")
    return dict(a.change("mesh_share", "/einstein/d", "einstein", "marie", B))


@contextmanager
def pair_of(folder: Path, profile: str) -> Iterator[Pair]:
    """Two sites of one profile with a share between them."""
    with site(folder, A, profile) as a, site(folder, B, profile) as b:
        ids = share_folder(a, b)
        with signed_in(f"127.0.0.1:{b.grpc_port}", "marie", "radioactivity") as marie:
            yield Pair(a, b, marie, f"/ocm-received/{ids['received']}", ids["share"])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two sites of profile reva."""
    with pair_of(tmp_path, "reva") as ready:
        yield ready


@pytest.mark.parametrize("profile", ["opencloud", "eos"])
def test_other_profiles_share_too(tmp_path: Path, profile: str) -> None:
    """Reading, writing, listing, deleting and revoking below the mount, whatever is behind it."""
    with pair_of(tmp_path, profile) as pair:
        marie, file = pair.marie, f"{pair.mount}/x"
        info = marie.info(file)
        assert (info["size"], info["owner"]["idp"], "etag" in info) == ("5", A, False)
        assert marie.download(file).http.body == CONTENT
        assert marie.upload(f"{pair.mount}/new/y", b"why").http.status == 200
        assert marie.upload(file, b"").http.status == 200
        answer = marie.on("ListContainer", pair.mount)
        assert [(item.name, item.size) for item in answer.message.infos] == [("new", 0), ("x", 0)]
        assert marie.download(f"{pair.mount}/new/y").http.body == b"why"
        assert marie.on("Delete", file).code == "OK"
        assert marie.stat(file).code == "NOT_FOUND"
        pair.a.change("mesh_unshare", pair.share, "einstein")
        assert marie.stat(pair.mount).code == "INTERNAL"
        assert marie.upload(file, b"x").http.status == 401


def test_without_a_site_name_there_is_no_mesh(tmp_path: Path) -> None:
    """No OCM calls, no mount, no notices of other sites, no control of peers."""
    with EmulatorThread(EmulatorConfig(root=tmp_path, control=True)) as gateway:
        with signed_in(f"127.0.0.1:{gateway.grpc_port}", "marie", "radioactivity") as marie:
            assert marie.stat("/ocm-received/x").code == "NOT_FOUND"
        pool = urllib3.PoolManager(retries=False)
        assert pool.request("POST", f"{gateway.url}/ocm/shares", body=b"{}").status == 404
        pool.clear()
        with pytest.raises(ControlError, match="no site name"):
            ControlClient(gateway.url).peers(**{A: "http://127.0.0.1:1"})


def test_calls_given_up_while_frozen_are_carried_out_later(pair: Pair) -> None:
    """The line freezes: no call is answered, the home is as fast as ever; it thaws, and all of them happen."""
    marie, mount = pair.marie, pair.mount
    pair.b.link(A, "frozen")
    assert marie.on("Stat", mount, timeout_s=0.1).code == "DEADLINE_EXCEEDED"
    assert marie.on("CreateContainer", f"{mount}/folder", timeout_s=0.1).code == "DEADLINE_EXCEEDED"
    assert marie.on("Delete", f"{mount}/x", timeout_s=0.1).code == "DEADLINE_EXCEEDED"
    ways = endpoints(marie.initiate_upload(marie.reference(f"{mount}/late"), {"Upload-Length": "4"}))
    assert marie.http("PUT", ways[0], body=b"late", timeout_s=0.1).error == "ReadTimeoutError"
    assert marie.stat("/local/marie").code == "OK"
    assert pair.owner_has("x")
    assert not pair.owner_has("late")
    pair.b.link(A, "ok")
    assert pair.wait_for(lambda: pair.owner_has("folder") and pair.owner_has("late") and not pair.owner_has("x"))
    assert marie.stat(f"{mount}/late").code == "OK"


def test_a_refused_line_fails_at_once_and_recovers(pair: Pair) -> None:
    """INTERNAL and 500 while it is refused; the first call after that works."""
    marie, mount = pair.marie, pair.mount
    pair.b.link(A, "refused")
    assert marie.stat(mount).code == "INTERNAL"
    assert marie.download(f"{mount}/x").http.status == 500
    assert marie.upload(f"{mount}/x", b"new").http.status == 500
    pair.b.link(A, "ok")
    assert marie.download(f"{mount}/x").http.body == CONTENT


def test_dropped_packets_cost_their_time_twice_at_first(pair: Pair) -> None:
    """The first call to a share tries to connect twice."""
    pair.b.quirks["ocm_dropped_s"] = 0.2
    pair.b.link(A, "dropped")
    started = time.monotonic()
    assert pair.marie.stat(pair.mount).code == "INTERNAL"
    assert time.monotonic() - started >= 0.4
    pair.b.link(A, "ok")
    assert pair.marie.stat(pair.mount).code == "OK"
    pair.b.link(A, "dropped")
    started = time.monotonic()
    assert pair.marie.stat(pair.mount).code == "INTERNAL"
    assert 0.2 <= time.monotonic() - started < 0.4


def test_a_download_breaks_off_when_the_line_is_refused(pair: Pair) -> None:
    """Fewer bytes than announced, seen by the reader."""
    (pair.a.config.root / "einstein" / "d" / "big").write_bytes(b"\0" * LARGE)
    pair.a.faults.add(method="GET", path="big", bytes_per_s=1 << 22)
    ways = endpoints(pair.marie.initiate_download(pair.marie.reference(f"{pair.mount}/big")))
    pool = urllib3.PoolManager(retries=False, timeout=5)
    headers = {"x-access-token": pair.marie.token, "X-Reva-Transfer": ways[0].token}
    response = pool.request("GET", ways[0].url, headers=headers, preload_content=False)
    first = response.read(1 << 16)
    pair.b.link(A, "refused")
    with pytest.raises(urllib3.exceptions.ProtocolError):
        while response.read(1 << 16):
            pass
    assert (len(first), response.headers["Content-Length"]) == (1 << 16, str(LARGE))
    response.close()
    pool.clear()


def test_faults_of_the_sending_site_match_the_user_of_the_other(pair: Pair) -> None:
    """A rule for marie@B spoils her calls, not those of the owner, and can add hostile entries of any size."""
    rule = pair.a.faults.add(user=f"marie@{B}", method="PROPFIND", extra_entries=["%2e%2e", "a%2Fb", "neg#-5", "dir/"])
    answer = pair.marie.on("ListContainer", pair.mount)
    sizes = {item.name: item.size for item in answer.message.infos}
    assert sizes == {"x": 5, "..": 1000, "b": 1000, "neg": 2**64 - 5, "dir": 0}
    assert rule.fired == 1
    pair.a.faults.clear()
    pair.a.faults.add(user=f"marie@{B}", method="GET", shorten_to=2)
    assert pair.marie.download(f"{pair.mount}/x").http.error == "ProtocolError"
    with signed_in(f"127.0.0.1:{pair.a.grpc_port}", "einstein", "relativity") as einstein:
        assert einstein.download("/local/einstein/d/x").http.body == CONTENT
    entry = pair.a.log.entries()[0]
    assert {(entry.name, entry.user) for entry in pair.a.log.entries()} >= {("PROPFIND", f"marie@{B}"), ("GET", f"marie@{B}")}, (
        entry
    )


def test_only_the_receiver_reaches_a_share(pair: Pair) -> None:
    """Another user of the receiving site sees neither the share nor its content."""
    with signed_in(f"127.0.0.1:{pair.b.grpc_port}", "richard", "superfluidity") as richard:
        assert richard.stat(pair.mount).code == "INTERNAL"
        assert richard.download(f"{pair.mount}/x").http.status == 500
        assert richard.upload(f"{pair.mount}/x", b"no").http.status == 500
    assert pair.marie.download(f"{pair.mount}/x").http.body == CONTENT


def test_shares_outlive_a_restart_of_both_sites(tmp_path: Path) -> None:
    """Other ports, the same books: what was shared is still shared."""
    with site(tmp_path, A) as a, site(tmp_path, B) as b:
        ids = share_folder(a, b)
    with site(tmp_path, A) as a, site(tmp_path, B) as b:
        a.meet(b)
        with signed_in(f"127.0.0.1:{b.grpc_port}", "marie", "radioactivity") as marie:
            assert marie.download(f"/ocm-received/{ids['received']}/x").http.body == CONTENT


def test_a_group_share_reaches_its_members(tmp_path: Path) -> None:
    """einstein gives a folder to the physicists; each of them has it among the received shares."""
    from cs3.identity.group.v1beta1 import group_api_pb2 as group_api_pb
    from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb

    with EmulatorThread(EmulatorConfig(root=tmp_path, profile="eos")) as gateway:
        gateway.change("home", "einstein")
        gateway.change("mkdir", "/einstein/d", "einstein")
        share_id = gateway.change("share", "/einstein/d", "einstein", "physicists")
        with signed_in(f"127.0.0.1:{gateway.grpc_port}", "richard", "superfluidity") as richard:
            received = richard.call("ListReceivedShares", share_api_pb.ListReceivedSharesRequest())
            assert [item.share.id.opaque_id for item in received.message.shares] == [share_id]
            rid = received.message.shares[0].share.resource_id
            assert richard.call("Stat", provider_pb.StatRequest(ref={"resource_id": rid})).code == "OK"
            request = group_api_pb.GetGroupByClaimRequest(claim="group_name", value="physicists")
            group = richard.call("GetGroupByClaim", request).message.group
            assert [user.opaque_id for user in group.members] == ["einstein", "marie", "richard"]
            request = group_api_pb.GetGroupRequest(group_id={"opaque_id": "nonesuch"})
            assert richard.call("GetGroup", request).code == "NOT_FOUND"


def test_two_processes_one_of_them_suspended(tmp_path: Path) -> None:
    """By the command line and the control endpoints: a site that is really frozen answers nothing, and late all the same."""
    options = ("--quirk", "ocm_timeout_s=0.2")
    with EmulatorProcess("reva", tmp_path / "a", "--site", A) as a:
        with EmulatorProcess("reva", tmp_path / "b", "--site", B, "--peer", f"{A}=http://127.0.0.1:{a.http_port}", *options) as b:
            a.control.peers(**{B: f"http://127.0.0.1:{b.http_port}"})
            befriend(a.control, "einstein", A, b.control, "marie")
            a.control.mkdir("/einstein/d", "einstein")
            ids = a.control.mesh_share("/einstein/d", "einstein", "marie", B)
            mount = f"/ocm-received/{ids['received']}"
            with signed_in(f"127.0.0.1:{b.grpc_port}", "marie", "radioactivity") as marie:
                assert marie.stat(mount).code == "OK"
                os.kill(a.pid, signal.SIGSTOP)
                try:
                    assert marie.on("CreateContainer", f"{mount}/late", timeout_s=0.2).code == "DEADLINE_EXCEEDED"
                    assert marie.stat("/local/marie").code == "OK"
                    with pytest.raises(ControlError, match="awaiting headers"):
                        b.control.accept_invite("marie", "any", A)
                finally:
                    os.kill(a.pid, signal.SIGCONT)
                assert marie.stat(mount).code == "OK"
                late = tmp_path / "a" / "einstein" / "d" / "late"
                assert any(late.exists() or time.sleep(0.02) for _ in range(100))
                a.kill()
                assert marie.stat(mount).code == "INTERNAL"
                a.restart()
                assert marie.stat(f"{mount}/late").code == "OK"


@pytest.mark.parametrize(
    "changes", [{"ocm_mount": "ocm"}, {"ocm_mount": "/a/b"}, {"site_name": "a@b"}, {"peers": {"b": "http://127.0.0.1:1"}}]
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """Mounts with more than one name, sites that cannot stand behind an @, peers of a site without a name."""
    with pytest.raises(ValueError, match=r"mounted|site name"):
        replace(EmulatorConfig(root=tmp_path), **changes)
