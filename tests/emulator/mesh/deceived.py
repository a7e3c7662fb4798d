"""The mesh: what the receiving site makes of a broken or hostile one. Called by `round`, last."""

import threading

from tests.emulator.mesh.absent import dropping
from tests.emulator.mesh.desk import SITE_A, SITE_B, MeshDesk, get, put
from tests.emulator.mesh.impostor import Impostor, plant

_FAKE, _HOLE = "fake-1", "fake-1-bh"
_STATUSES = ("403", "404", "423", "429", "500", "503", "507")


def deceived(desk: MeshDesk) -> None:
    """Shares whose content is at an impostor's."""
    with Impostor() as impostor:
        for tag, name in ((_FAKE, "../a/b\nc"), (_HOLE, "blackhole")):
            status = plant(desk.b.url, tag, name, f"marie@{SITE_B}", f"einstein@{SITE_A}", impostor.url)
            share = desk.find(tag)
            desk.received[tag] = share.id.opaque_id
            if tag == _FAKE:
                desk.note("fake:name_as_received", status=status, name=share.name)
        _listing(desk, impostor)
        _downloads(desk, impostor)
        _statuses(desk, impostor)
        impostor.mode, impostor.wait = "ok", threading.Event()
        threading.Timer(0.1, impostor.wait.set).start()
        desk.note("fake:slow_15s", desk.marie.stat(desk.at(_FAKE, "/plain")).status)
    dropping(desk, _FAKE, _HOLE)


def _listing(desk: MeshDesk, impostor: Impostor) -> None:
    marie, share_id = desk.marie, desk.received[_FAKE]
    desk.note("fake:stat", marie.stat(desk.at(_FAKE)).status, info=marie.info(desk.at(_FAKE)))
    answer = marie.on("ListContainer", desk.at(_FAKE))
    entries = [
        [info.path.split(share_id)[-1], info.name, info.id.opaque_id.partition(":")[2], info.size] for info in answer.get("infos")
    ]
    desk.note("fake:hostile_listing", answer.status, entries=entries)
    escaped = marie.stat(desk.at(_FAKE, "/../../x")).status
    desk.note("fake:escape_by_path", code=escaped, asked=f"{impostor.asked[-1].rstrip('/')}/")


def _downloads(desk: MeshDesk, impostor: Impostor) -> None:
    marie = desk.marie
    plain = marie.reference(desk.at(_FAKE, "/plain"))
    for name, mode in (
        ("truncated", "truncate"),
        ("longer", "longer"),
        ("shorter", "shorter"),
        ("truncated_8MiB", "truncate8"),
    ):
        impostor.mode = mode
        desk.note(f"fake:get_{name}", get(marie, plain))


def _statuses(desk: MeshDesk, impostor: Impostor) -> None:
    marie = desk.marie
    plain = desk.at(_FAKE, "/plain")
    for status in _STATUSES:
        impostor.mode = status
        desk.note(
            f"fake:remote_{status}",
            stat=marie.stat(plain).status.get("code"),
            ls=marie.on("ListContainer", desk.at(_FAKE)).status.get("code"),
            get=get(marie, marie.reference(plain)).get("status"),
            put=put(marie, marie.reference(plain), b"x").get("status"),
            mkdir=marie.on("CreateContainer", desk.at(_FAKE, "/d")).status.get("code"),
            rm=marie.on("Delete", plain).status.get("code"),
        )
