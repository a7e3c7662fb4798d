"""Tests of the control endpoints and their client."""

import pytest

from cs3fuse.emulator import proto
from cs3fuse.emulator.control_client import ControlClient, ControlError, EmulatorProcess
from tests.unit.emulator.running import RawClient


@pytest.fixture
def controlled(run_gateway):
    gateway, client = run_gateway("opencloud", control=True)
    gateway.change("home", "einstein")
    gateway.change("home", "marie")
    return gateway, client, ControlClient(f"http://127.0.0.1:{gateway.http_port}")


def test_faults_log_and_knobs(controlled) -> None:
    """What a test in another process needs."""
    gateway, client, control = controlled
    control.clear_log()
    control.fault(call="Stat", status="INTERNAL", nth=2)
    home = f"/users/{gateway.storage.directory.named('einstein').opaque_id}"
    assert [client.stat(home).status.code for _ in range(3)] == [proto.OK, proto.INTERNAL, proto.OK]
    assert control.faults()[0]["fired"] == 1
    assert control.names() == ["Stat"] * 3
    assert [entry["code"] for entry in control.log()] == ["OK", "INTERNAL", "OK"]
    control.clear_faults()
    assert control.faults() == []
    control.expire_tokens()
    assert client.stat(home).status.code == proto.NOT_FOUND
    control.skew_clock(60)
    assert gateway.clock.skew_s == 60.0
    control.quirks(processing_s=0)
    assert gateway.quirks["processing_s"] == 0.0


def test_changes_of_another_client(controlled) -> None:
    """Through the profile, as a user; refused as a client would be."""
    gateway, _, control = controlled
    control.quirks(processing_s=0)
    control.mkdir("/einstein/d", "einstein")
    control.write("/einstein/d/x", b"data", "einstein")
    control.write("/einstein/d/empty", b"", "einstein")
    assert (gateway.config.root / "einstein/d/x").read_bytes() == b"data"
    with pytest.raises(ControlError) as stranger:
        control.write("/einstein/d/x", b"hers", "marie")
    assert stranger.value.code == "PERMISSION_DENIED"
    control.share("/einstein/d", "einstein", "marie")
    control.change("lock", "einstein", "/einstein/d/x", lock_id="L", app_name="office")
    with pytest.raises(ControlError) as locked:
        control.write("/einstein/d/x", b"hers", "marie")
    assert locked.value.code == "LOCKED"
    control.write("/einstein/d/x", b"hers", "marie", lock_id="L")
    control.change("unlock", "einstein", "/einstein/d/x", lock_id="L", app_name="office")
    control.rename("/einstein/d/x", "/einstein/d/y", "einstein")
    control.delete("/einstein/d/empty", "marie")
    assert {path.name: path.read_bytes() for path in (gateway.config.root / "einstein/d").iterdir()} == {"y": b"hers"}


def test_nonsense_is_refused_with_a_sentence(controlled) -> None:
    """A typing error in a test shows at once."""
    control = controlled[2]
    with pytest.raises(ControlError, match="no field nht"):
        control.fault(nht=1)
    with pytest.raises(ControlError, match="no quirk"):
        control.quirks(nonsense=1)
    with pytest.raises(ControlError, match="no change"):
        control.change("explode", "einstein", "/einstein")
    with pytest.raises(ControlError, match="no user"):
        control.mkdir("/einstein/d", "nobody")


def test_without_permission_there_is_no_control(run_gateway) -> None:
    """A gateway started without it answers 404."""
    gateway, client = run_gateway()
    assert client.send("GET", f"http://127.0.0.1:{gateway.http_port}/_control/log", "")[0] == 404


def test_a_process_can_be_killed_and_started_again(tmp_path) -> None:
    """On the same ports and root; tokens and files are still good."""
    with EmulatorProcess("reva", tmp_path / "root", "--token-life", "1000") as gateway:
        client = RawClient(gateway.grpc_port)
        try:
            assert client.put("/local/einstein/x", b"data") == 200
            ports = gateway.grpc_port, gateway.http_port
            gateway.kill()
            gateway.restart()
            assert (gateway.grpc_port, gateway.http_port) == ports
            request_again = RawClient(gateway.grpc_port)
            request_again.token = client.token
            assert request_again.get("/local/einstein/x")[2] == b"data"
            request_again.close()
        finally:
            client.close()
