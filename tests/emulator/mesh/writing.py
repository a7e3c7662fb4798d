"""The mesh: uploads, folders, renames and deletes in received shares, and what is not there. Called by `round`."""

import time

from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.types.v1beta1 import types_pb2
from google.protobuf.json_format import MessageToDict

from tests.emulator.caller import endpoints
from tests.emulator.mesh.desk import BASE, DATA, HOME, HOME_B, MOUNT, MeshDesk, get, put, quota
from tests.emulator.recorded import Fact

_LARGE = b"\0" * (32 << 20)


def uploads(desk: MeshDesk) -> None:
    """PUT by an editor: new, over, empty, in odd places, broken off, with conditions."""

    def upload(relative: str, data: bytes, headers: dict[str, str] | None = None, **details: object) -> Fact:
        return put(desk.marie, desk.marie.reference(desk.at("ed", relative)), data, headers, **details)

    new = f"{BASE}/ed/new.bin"
    desk.note("upload_new", upload("/new.bin", DATA), desk.seen("/new.bin"), info=desk.marie.info(desk.at("ed", "/new.bin")))
    desk.note("upload_over", upload("/new.bin", b"shorter"), desk.seen("/new.bin"), content=desk.cat(new))
    desk.note("upload_empty", upload("/zero", b""), desk.seen("/zero"))
    desk.note("upload_no_length", upload("/nolen", b"12345", length=False), desk.seen("/nolen"))
    desk.note("upload_missing_parent", upload("/p1/p2/f", b"x"), desk.seen("/p1/p2/f"))
    over = upload("/full", b"x")
    desk.note("upload_over_dir", over, desk.seen("/full"), child=desk.einstein.info(f"{BASE}/ed/full/in/x").get("size"))
    _broken_upload(desk)
    desk.note("upload_below_file", upload("/small.txt/x", b"x"))
    desk.note("upload_if_not_exist", upload("/new.bin", b"if-not-exist", if_not_exist=True), content=desk.cat(new))
    desk.note("upload_if_match_wrong", upload("/new.bin", b"if-match", if_match='"wrong"'), content=desk.cat(new))
    dated = upload("/mt", b"mt", {"X-OC-Mtime": "1600000000"})
    desk.note("upload_mtime_header", dated, mtime=desk.einstein.info(f"{BASE}/ed/mt").get("mtime"))
    large = upload("/big32", _LARGE)
    desk.note("upload_32MiB", {key: large.get(key) for key in ("init", "status")}, desk.seen("/big32"))
    large = get(desk.marie, desk.marie.reference(desk.at("ed", "/big32")))
    desk.note("download_32MiB", {key: large.get(key) for key in ("init", "status", "len")})


def _broken_upload(desk: MeshDesk) -> None:
    marie, path = desk.marie, desk.at("ed", "/trunc")
    put(marie, marie.reference(path), b"old content")
    ways = endpoints(marie.initiate_upload(marie.reference(path), {}))
    marie.put_and_break_off(ways[0], b"x" * 400, 1000)
    owners = f"{BASE}/ed/trunc"
    desk.note("truncated_put", content=desk.cat(owners), size=desk.einstein.info(owners).get("size"))


def uploads_by_rights(desk: MeshDesk) -> None:
    """PUT by a viewer, and to files that are shared themselves."""

    def upload(name: str, relative: str, data: bytes) -> Fact:
        return put(desk.marie, desk.marie.reference(desk.at(name, relative)), data)

    refused = upload("vi", "/no.txt", b"no")
    desk.note("upload_viewer", refused, owner=desk.einstein.info(f"{BASE}/vi/no.txt").get("code"))
    desk.note("upload_over_viewer", upload("vi", "/read.txt", b"no"), content=desk.cat(f"{BASE}/vi/read.txt"))
    single = f"{BASE}/single-ed.txt"
    desk.note("upload_single", upload("single-ed.txt", "", b"from receiver"), content=desk.cat(single))
    child = upload("single-ed.txt", "/other", b"via child")
    desk.note("upload_single_child", child, content=desk.cat(single), type=desk.einstein.info(single).get("type"))
    refused = upload("single-vi.txt", "", b"no")
    desk.note("upload_single_viewer", refused, content=desk.cat(f"{BASE}/single-vi.txt"))


def making(desk: MeshDesk) -> None:
    """TouchFile and CreateContainer."""
    marie = desk.marie
    desk.note("touch_new", marie.on("TouchFile", desk.at("ed", "/touched")).status, desk.seen("/touched"))
    put(marie, marie.reference(desk.at("ed", "/content")), b"precious")
    status = marie.on("TouchFile", desk.at("ed", "/content")).status
    desk.note("touch_existing", status, desk.seen("/content"), content=desk.cat(f"{BASE}/ed/content"))
    desk.note("touch_viewer", marie.on("TouchFile", desk.at("vi", "/t")).status)
    for name, relative in (
        ("mkdir", "/d1"),
        ("mkdir_again", "/d1"),
        ("mkdir_over_file", "/small.txt"),
        ("mkdir_parents", "/m1/m2/m3"),
    ):
        status = marie.on("CreateContainer", desk.at("ed", relative)).status
        desk.note(name, status, {} if name == "mkdir_again" else desk.seen(relative))
    status = marie.on("CreateContainer", desk.at("vi", "/d")).status
    desk.note("mkdir_viewer", status, owner=desk.einstein.info(f"{BASE}/vi/d").get("code"))


def moving(desk: MeshDesk) -> None:
    """Move, which never works."""
    marie, owner, at = desk.marie, desk.einstein.info, desk.at
    for name in ("mv1", "mv2"):
        put(marie, marie.reference(at("ed", f"/{name}")), name.encode())

    def move(source: str, target: str) -> Fact:
        return marie.move(source, target).status

    status = move(at("ed", "/mv1"), at("ed", "/mv9"))
    desk.note("move", status, desk.seen("/mv9"), old=owner(f"{BASE}/ed/mv1").get("size"))
    desk.note("move_over", move(at("ed", "/mv1"), at("ed", "/mv2")), content=desk.cat(f"{BASE}/ed/mv2"))
    desk.note("move_dir", move(at("ed", "/d1"), at("ed", "/d9")), desk.seen("/d9"))
    desk.note("move_to_sub", move(at("ed", "/mv1"), at("ed", "/sub/mv1")), desk.seen("/sub/mv1"))
    desk.note("move_missing", move(at("ed", "/none"), at("ed", "/none2")))
    desk.note("move_across_shares", move(at("ed", "/mv1"), at("victim", "/mv1")))
    desk.note("move_to_home", move(at("ed", "/mv1"), f"{HOME_B}/mv1"))
    put(marie, marie.reference(f"{HOME_B}/fromhome"), b"h")
    desk.note("move_from_home", move(f"{HOME_B}/fromhome", at("ed", "/fromhome")))
    desk.note("move_share_root", move(at("ed"), f"{MOUNT}/renamed"))
    status = move(at("vi", "/read.txt"), at("vi", "/read2.txt"))
    desk.note("move_viewer", status, owner=owner(f"{BASE}/vi/read.txt").get("size"))


def deleting(desk: MeshDesk) -> None:
    """Delete, of a share's root too."""
    marie, owner = desk.marie, desk.einstein.info

    def delete(name: str, relative: str = "") -> Fact:
        return marie.on("Delete", desk.at(name, relative)).status

    desk.note("delete_file", delete("ed", "/mv2"), desk.seen("/mv2"))
    desk.note("delete_missing", delete("ed", "/none"))
    desk.note("delete_nonempty_dir", delete("ed", "/full"), desk.seen("/full"))
    desk.note("delete_viewer", delete("vi", "/read.txt"), owner=owner(f"{BASE}/vi/read.txt").get("size"))
    answer = desk.einstein.on("ListRecycle", HOME)
    desk.note("owner_recycle", answer.status, n=len(answer.get("recycle_items")))
    status, victim = delete("victim"), desk.received["victim"]
    desk.note(
        "delete_share_root",
        status,
        owner_folder=owner(f"{BASE}/victim"),
        still_listed=desk.is_listed(victim),
        stat_after=marie.stat(desk.at("victim")).status,
        list_after=marie.on("ListContainer", desk.at("victim")).status,
    )


def missing_features(desk: MeshDesk) -> None:
    """Locks, quota, metadata, versions, trash: none of it."""
    marie, path = desk.marie, desk.at("ed", "/small.txt")
    ends = types_pb2.Timestamp(seconds=int(time.time()) + 60)
    lock = storage_pb.Lock(lock_id="L1", type=storage_pb.LOCK_TYPE_WRITE, app_name="probe", expiration=ends)
    desk.note("get_lock", marie.on("GetLock", path).status)
    for name, rpc in (("set_lock", "SetLock"), ("refresh_lock", "RefreshLock"), ("unlock", "Unlock")):
        desk.note(name, marie.on(rpc, path, lock=lock).status)
    for name, where in (("share", desk.at("ed")), ("mount", MOUNT)):
        answer = quota(marie, where)
        desk.note(f"quota:{name}", answer.status, total=answer.get("total_bytes"))
    for name, values in (("set_md", {"k": "v"}), ("set_mtime", {"mtime": "1600000000.5"})):
        metadata = storage_pb.ArbitraryMetadata(metadata=values)
        desk.note(name, marie.on("SetArbitraryMetadata", path, arbitrary_metadata=metadata).status)
    desk.note("unset_md", marie.on("UnsetArbitraryMetadata", path, arbitrary_metadata_keys=["k"]).status)
    answer = marie.on("Stat", path, arbitrary_metadata_keys=["*"])
    desk.note("stat_md", answer.status, md=MessageToDict(answer.message.info).get("arbitraryMetadata"))
    desk.note("versions", marie.on("ListFileVersions", path).status)
    desk.note("recycle", marie.on("ListRecycle", desk.at("ed")).status)
