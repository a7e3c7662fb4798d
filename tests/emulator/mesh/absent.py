"""The mesh: the same calls while the other site is stopped, frozen, or behind a line that drops packets. Called by `round`.

Stopped is really stopped: its ports refuse. Frozen accepts connections and requests and answers none of them.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cs3.ocm.invite.v1beta1 import resources_pb2 as invite_pb
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb

from tests.emulator.caller import Caller
from tests.emulator.mesh.desk import BASE, EDIT, HOME_B, MOUNT, MeshDesk, get, put
from tests.emulator.mesh.inviting import forward
from tests.emulator.recorded import Fact

_PATIENCE_S = 0.1
"""How long a client waits for a frozen site; no answer is no answer, however long one waits."""
_LONG_S = 20.0


def stopped(desk: MeshDesk) -> None:
    """Site A is stopped and started again."""
    _stage(desk)
    desk.a.__exit__(None, None, None)
    _the_same_calls(desk, "down", _LONG_S)
    desk.note("down:create_invite", forward(desk, invite_pb.InviteToken(token="x")).status)
    desk.a = desk.start_a()
    _afterwards(desk, "down")


def frozen(desk: MeshDesk) -> None:
    """Site A is frozen and thaws."""
    _stage(desk)
    desk.a.faults.add(freeze=True)
    marie, share = desk.marie, desk.at("ed")
    _the_same_calls(desk, "frozen", _PATIENCE_S)
    desk.note("frozen:stat_long", marie.on("Stat", share, timeout_s=3 * _PATIENCE_S).status)
    desk.b.quirks["ocm_timeout_s"] = _PATIENCE_S
    desk.note("frozen:stat_must_exchange_long", marie.on("Stat", desk.at("code.txt")).status)
    desk.note("frozen:forward_invite", forward(desk, invite_pb.InviteToken(token="x")).status)
    desk.b.quirks["ocm_timeout_s"] = 10.0
    with ThreadPoolExecutor(100) as pool:
        hung = [pool.submit(marie.on, "Stat", share, timeout_s=0.5) for _ in range(100)]
        home = [marie.stat(HOME_B).code for _ in range(5)]
        codes = Counter(call.result().code for call in hung)
    assert home == ["OK"] * 5
    desk.note("frozen:hundred_hung", hung=dict(codes))
    desk.a.faults.clear()
    _afterwards(desk, "frozen")


def dropping(desk: MeshDesk, share: str, cold: str) -> None:
    """The way to site A drops packets, for a share that was looked at before and one that was not."""
    marie = desk.marie
    desk.b.quirks["ocm_dropped_s"] = _PATIENCE_S
    desk.b.link(desk.a.config.site_name, "dropped")
    desk.note("fake:blackhole_stat_warm", marie.stat(desk.at(share, "/plain")).status)
    desk.note("fake:blackhole_stat_cold", marie.stat(desk.at(cold)).status)
    desk.note("fake:blackhole_get", get(marie, marie.reference(desk.at(share, "/plain"))))
    desk.note("fake:blackhole_stat_home", marie.stat(HOME_B).status)
    desk.b.link(desk.a.config.site_name, "ok")


def _stage(desk: MeshDesk) -> None:
    """Make ready what the absent site is asked for, and a share that nobody has looked at."""
    einstein = desk.einstein
    put(einstein, einstein.reference(f"{BASE}/ed/late-delete"), b"x")
    for name in ("late-put", "late-mkdir", "late-touch"):
        einstein.on("Delete", f"{BASE}/ed/{name}")
    sent = einstein.call("ListOCMShares", ocm_api_pb.ListOCMSharesRequest()).get("shares")
    for share in sent:
        if share.name == "cold":
            desk.revoke(share.id.opaque_id)
    einstein.on("CreateContainer", f"{BASE}/cold")
    desk.share(f"{BASE}/cold", EDIT)
    desk.marie.stat(desk.at("ed"))


def _the_same_calls(desk: MeshDesk, label: str, patience_s: float) -> None:
    marie, at = desk.marie, desk.at

    def note(name: str, *facts: Fact, **fields: Any) -> None:
        desk.note(f"{label}:{name}", *facts, **fields)

    def on(name: str, rpc: str, path: str) -> None:
        # What is answered without the other site is waited for.
        own = path in {HOME_B, MOUNT}
        note(name, marie.on(rpc, path, timeout_s=_LONG_S if own else patience_s).status)

    note("authenticate", marie.authenticate("marie", "radioactivity").status)
    on("stat_home", "Stat", HOME_B)
    received = desk.all_received()
    note("list_received", received.status, n=len(received.get("shares")))
    on("stat_mount", "Stat", MOUNT)
    on("stat_share_warm", "Stat", at("ed"))
    on("stat_share_cold", "Stat", at("cold"))
    on("stat_must_exchange", "Stat", at("code.txt"))
    on("stat_file", "Stat", at("ed", "/small.txt"))
    on("list", "ListContainer", at("ed"))
    note("get", get(marie, marie.reference(at("ed", "/small.txt")), timeout_s=patience_s))
    note("put", put(marie, marie.reference(at("ed", "/late-put")), b"late", timeout_s=patience_s))
    on("mkdir", "CreateContainer", at("ed", "/late-mkdir"))
    on("touch", "TouchFile", at("ed", "/late-touch"))
    on("delete", "Delete", at("ed", "/late-delete"))
    note("move", marie.move(at("ed", "/small.txt"), at("ed", "/small2.txt"), patience_s).status)
    on("stat_home_after", "Stat", HOME_B)
    note("accept", desk.set_state(desk.received["ed"], ocm_pb.SHARE_STATE_ACCEPTED).status)


def _afterwards(desk: MeshDesk, label: str) -> None:
    marie = desk.marie
    stat, cold = marie.stat(desk.at("ed")).status, marie.stat(desk.at("cold")).status
    desk.note(f"{label}:back", stat=stat, cold=cold, get=get(marie, marie.reference(desk.at("ed", "/small.txt"))).get("status"))
    desk.einstein = Caller(f"127.0.0.1:{desk.a.grpc_port}")
    desk.sign_in(desk.einstein, "einstein", "relativity")

    def left(name: str) -> str:
        return str(desk.einstein.info(f"{BASE}/ed/{name}").get("code") or "exists")

    if label == "frozen":
        _until(lambda: left("late-delete") != "exists" and left("late-put") == left("late-mkdir") == "exists")
    effects = {name: left(name) for name in ("late-put", "late-mkdir", "late-touch")}
    late_delete = "still there" if left("late-delete") == "exists" else "gone"
    desk.note(f"{label}:late_effects", effects, late_delete=late_delete)


def _until(holds: Callable[[], bool]) -> None:
    """Ask again until it holds, or often enough."""
    for _ in range(200):
        if holds():
            return
