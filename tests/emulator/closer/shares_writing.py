"""Topic 3, second part: what a viewer is refused and an editor may do, and locks between two users.

The share is addressed by resource id and relative path.
"""

from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from google.protobuf.json_format import MessageToDict

from tests.emulator.caller import Caller, endpoints, lock, simple
from tests.emulator.closer.desk import (
    Desk,
    bare,
    below,
    download_fact,
    get,
    head,
    id_text,
    on,
    opaque_fact,
    permission_names,
)
from tests.emulator.closer.shares_reading import give
from tests.emulator.closer.sharing import EDITOR, Shared, user_id
from tests.emulator.recorded import Fact

_MTIME = storage_pb.ArbitraryMetadata(metadata={"mtime": "1600000000"})


def upload(caller: Caller, reference: Any, data: bytes, **conditions: Any) -> Fact:
    """Initiation, PUT, and whether the endpoints carry the transfer token in their address."""
    answer = caller.initiate_upload(reference, {"Upload-Length": str(len(data))}, **conditions)
    ways = endpoints(answer)
    put = caller.put(simple(ways), data) if ways and data else None
    return {
        "init": answer.status,
        "put": put.status if put else None,
        "body": put.body.decode() if put else None,
        "endpoint_has_token": [not way.token for way in ways],
    }


def short(fact: Fact) -> Fact:
    """An upload of which only the codes were noted."""
    return {key: fact[key] for key in ("init", "put") if fact[key] is not None}


def viewer(desk: Desk) -> None:
    """Every change is refused, an upload already at its initiation."""
    alan, view = desk.alan, desk.shared["view"].rid
    file = below(view, "./v.txt")
    desk.note("viewer_id_upload_new", upload(alan, below(view, "./n.txt"), b"hello"))
    desk.note("viewer_id_upload_over", upload(alan, file, b"hello"))
    desk.note("viewer_id_upload_over_zero", upload(alan, file, b""))
    desk.note("viewer_id_mkdir", on(alan, "CreateContainer", below(view, "./d")).status)
    desk.note("viewer_id_touch", on(alan, "TouchFile", below(view, "./t")).status)
    desk.note("viewer_id_delete", on(alan, "Delete", file).status)
    desk.note("viewer_id_move", move(alan, file, below(view, "./w.txt")))
    desk.note("viewer_id_setlock", on(alan, "SetLock", file, lock=lock("V")).status)
    desk.note("viewer_id_setmd", on(alan, "SetArbitraryMetadata", file, arbitrary_metadata=_MTIME).status)
    desk.note("viewer_single_upload_over", upload(alan, below(desk.shared["single.txt"].rid), b"hello"))


def move(caller: Caller, source: Any, destination: Any) -> Fact:
    """Move between two ready references."""
    return caller.call("Move", provider_pb.MoveRequest(source=source, destination=destination)).status


def editor_uploads(desk: Desk) -> None:
    """An editor's uploads, with and without conditions."""
    alan, edit = desk.alan, desk.shared["edit"].rid
    new = below(edit, "./n-id.txt")
    desk.note("editor_id_upload_new", upload(alan, new, b"hello"))
    transfer = get(alan, new)
    assert transfer.http is not None
    desk.note("editor_id_download", init=transfer.init.status, status=transfer.http.status, head=head(transfer.http))
    info = on(alan, "Stat", new).message.info
    desk.note("editor_id_stat_new", id=id_text(info.id), owner=info.owner.opaque_id, path=info.path, etag=info.etag)
    length = {"Upload-Length": "5"}
    desk.note("editor_id_if_match_wrong", alan.initiate_upload(new, length, if_match='"wrong"').status)
    desk.note("editor_id_if_match_right", alan.initiate_upload(new, length, if_match=info.etag).status)
    desk.note("editor_id_if_not_exist", alan.initiate_upload(new, length, if_not_exist=True).status)
    zero = below(edit, "./z-id.txt")
    desk.note("editor_id_zero", alan.initiate_upload(zero, {"Upload-Length": "0"}).status, stat=on(alan, "Stat", zero).status)


def editor_changes(desk: Desk) -> None:
    """An editor's folders, moves, times; versions, trash and quota."""
    alan, edit = desk.alan, desk.shared["edit"].rid
    folder, touched = below(edit, "./d-id"), below(edit, "./t-id")
    desk.note("editor_id_mkdir", on(alan, "CreateContainer", folder).status)
    desk.note("editor_id_mkdir_again", on(alan, "CreateContainer", folder).status)
    desk.note("editor_id_touch", on(alan, "TouchFile", touched).status)
    desk.note("editor_id_move_into_dir", move(alan, touched, below(edit, "./d-id/t-id")))
    file = below(edit, "./n-id.txt")
    desk.note("editor_id_setmtime", on(alan, "SetArbitraryMetadata", file, arbitrary_metadata=_MTIME).status)
    desk.note("editor_id_versions", on(alan, "ListFileVersions", file).status)
    answer = on(alan, "ListRecycle", below(edit))
    desk.note("editor_id_recycle", answer.status, n=len(answer.message.recycle_items))
    answer = alan.call("GetQuota", gateway_pb.GetQuotaRequest(ref=below(edit)))
    quota = {"total": answer.message.total_bytes, "used": answer.message.used_bytes}
    desk.note("editor_id_quota", answer.status, quota, opaque=opaque_fact(answer.message.opaque))
    desk.note("editor_id_delete_dir", on(alan, "Delete", folder).status)


def locked_by_owner(desk: Desk) -> None:
    """The owner's lock, as an editor meets it: its id is enough to upload, but not to unlock."""
    alan, admin, edit = desk.alan, desk.admin, desk.shared["edit"].rid
    file = below(edit, "./e.txt")
    idp = on(alan, "Stat", file).message.info.owner.idp
    mine = lock("LADM", app_name="adminapp", user=user_id(admin, idp))
    admin.on("SetLock", "/sh/edit/e.txt", lock=mine)
    answer = on(alan, "GetLock", file)
    desk.note("editor_id_getlock_of_admin", answer.status, lock=MessageToDict(answer.message.lock))
    info = on(alan, "Stat", file).message.info
    desk.note("editor_id_stat_locked_by_admin", lock=MessageToDict(info.lock), opaque=opaque_fact(info.opaque))
    desk.note("editor_id_upload_locked_by_admin", upload(alan, file, b"zz"))
    desk.note("editor_id_upload_with_admins_lockid", upload(alan, file, b"zz", lock_id="LADM"))
    desk.note("editor_id_setlock_over", on(alan, "SetLock", file, lock=lock("other")).status)
    desk.note("editor_id_move_locked", move(alan, file, below(edit, "./e2.txt")))
    desk.note("editor_id_delete_locked", on(alan, "Delete", file).status)
    desk.note("editor_id_unlock_others", on(alan, "Unlock", file, lock=lock("LADM", app_name="adminapp")).status)
    admin.on("Unlock", "/sh/edit/e.txt", lock=mine)


def moves(desk: Desk) -> None:
    """Out of a share, and from one share of an owner to another."""
    alan, edit = desk.alan, desk.shared["edit"].rid
    desk.note("move_share_to_own_space", move(alan, below(edit, "./n-id.txt"), alan.reference("/moved.txt")))
    desk.admin.on("CreateContainer", "/sh/edit2")
    give(desk, "/sh/edit2", EDITOR)
    other: Shared = desk.shared.pop("edit2")
    desk.note("move_between_shares_same_owner_id", move(alan, below(edit, "./n-id.txt"), below(other.rid, "./n-id.txt")))
    move(alan, below(other.rid, "./n-id.txt"), below(edit, "./n-id.txt"))
    desk.admin.call("RemoveShare", collaboration_pb.RemoveShareRequest(ref=other.reference()))


def locks_without_user(desk: Desk) -> None:
    """A lock that names no user: anybody who knows its id and its application releases it."""
    alan, admin = desk.alan, desk.admin
    file, path = below(desk.shared["edit"].rid, "./e.txt"), "/sh/edit/e.txt"
    mine = lock("LAL", app_name="cs3fuse")
    desk.note("lock_nouser_set", on(alan, "SetLock", file, lock=mine).status)
    answer = admin.on("GetLock", path)
    desk.note("lock_nouser_seen_by_admin", answer.status, lock=MessageToDict(answer.message.lock))
    desk.note("lock_nouser_admin_upload_without_id", short(upload(admin, admin.reference(path), b"zz")))
    desk.note("lock_nouser_unlock_by_admin_same_id", admin.on("Unlock", path, lock=mine).status)
    desk.note("lock_nouser_set2", on(alan, "SetLock", file, lock=mine).status)
    other = lock("LAL", app_name="other")
    desk.note("lock_nouser_unlock_by_alan_other_app", on(alan, "Unlock", file, lock=other).status)
    desk.note("lock_nouser_unlock_by_alan", on(alan, "Unlock", file, lock=mine).status)


def locks_with_user(desk: Desk) -> None:
    """A lock that names a user: he must be named again, and must be the one who asks."""
    alan, admin = desk.alan, desk.admin
    file, path = below(desk.shared["edit"].rid, "./e.txt"), "/sh/edit/e.txt"
    idp = on(alan, "Stat", file).message.info.owner.idp
    mine, nobodys = lock("LAL", app_name="", user=user_id(alan, idp)), lock("LAL", app_name="")
    desk.note("lock_user_set", on(alan, "SetLock", file, lock=mine).status)
    answer = admin.on("GetLock", path)
    desk.note("lock_user_seen_by_admin", answer.status, lock=MessageToDict(answer.message.lock))
    desk.note("lock_user_unlock_without_user", on(alan, "Unlock", file, lock=nobodys).status)
    desk.note("lock_user_refresh_without_user", on(alan, "RefreshLock", file, lock=nobodys).status)
    desk.note("lock_user_admin_unlock_claiming_alan", admin.on("Unlock", path, lock=mine).status)
    desk.note("unlock_own_with_user", on(alan, "Unlock", file, lock=mine).status)
    foreign = lock("LX", app_name="", user=user_id(admin, idp))
    desk.note("setlock_naming_somebody_else_as_user", on(alan, "SetLock", file, lock=foreign).status)
    answer = on(alan, "GetLock", file)
    desk.note("getlock_naming_somebody_else", answer.status, lock=MessageToDict(answer.message.lock))
    desk.note("unlock_naming_somebody_else", on(alan, "Unlock", file, lock=foreign).status)
    desk.note("unlock_naming_somebody_else_by_him", admin.on("Unlock", path, lock=foreign).status)


def locks_of_other_things(desk: Desk) -> None:
    """A folder's lock protects nothing in it; a viewer sees locks."""
    alan, admin, edit = desk.alan, desk.admin, desk.shared["edit"].rid
    folder = below(edit, "./locked")
    on(alan, "CreateContainer", folder)
    desk.note("lock_folder", on(alan, "SetLock", folder, lock=lock("LF")).status)
    desk.note("upload_in_locked_folder", short(upload(alan, below(edit, "./locked/f"), b"hello")))
    desk.note("unlock_folder", on(alan, "Unlock", folder, lock=lock("LF")).status)
    admin.on("SetLock", "/sh/view/v.txt", lock=lock("LVV", app_name=""))
    answer = on(alan, "GetLock", below(desk.shared["view"].rid, "./v.txt"))
    desk.note("viewer_getlock", answer.status, lock=MessageToDict(answer.message.lock))
    admin.on("Unlock", "/sh/view/v.txt", lock=lock("LVV", app_name=""))


def expiring_locks(desk: Desk) -> None:
    """Locks without an end, and after their end. The gateway's clock is set, nobody waits."""
    alan = desk.alan
    file = below(desk.shared["edit"].rid, "./e.txt")
    endless = storage_pb.Lock(lock_id="LN", type=storage_pb.LOCK_TYPE_WRITE)
    desk.note("setlock_no_expiration", on(alan, "SetLock", file, lock=endless).status)
    answer = on(alan, "GetLock", file)
    desk.note("getlock_no_expiration", answer.status, lock=MessageToDict(answer.message.lock))
    desk.note("unlock_no_expiration", on(alan, "Unlock", file, lock=endless).status)
    clock = desk.gateway.clock
    desk.note("setlock_ttl1", on(alan, "SetLock", file, lock=lock("LT", life_s=1)).status)
    clock.skew_s = 3.0
    desk.note("stat_after_ttl_over", lock=on(alan, "Stat", file).message.info.HasField("lock"))
    desk.note("getlock_ttl_over", on(alan, "GetLock", file).status)
    desk.note("setlock_ttl1b", on(alan, "SetLock", file, lock=lock("LT", life_s=4)).status)
    clock.skew_s = 6.0
    desk.note("upload_after_ttl_over", short(upload(alan, file, b"after")))
    desk.note("refresh_after_ttl_over", on(alan, "RefreshLock", file, lock=lock("LT", life_s=60)).status)
    clock.skew_s = 0.0
    on(alan, "Unlock", file, lock=lock("LT"))


def lock_ids(desk: Desk) -> None:
    """Uploads with a right, a wrong and a superfluous lock id; shared locks."""
    alan, admin = desk.alan, desk.admin
    file, path = below(desk.shared["edit"].rid, "./e.txt"), "/sh/edit/e.txt"
    length = {"Upload-Length": "5"}
    mine = lock("LA")
    desk.note("setlock_a", on(alan, "SetLock", file, lock=mine).status)
    desk.note("setlock_same_id_again", on(alan, "SetLock", file, lock=mine).status)
    desk.note("upload_wrong_lock_id_share", alan.initiate_upload(file, length, lock_id="wrong").status)
    answer = alan.initiate_upload(file, length, lock_id="LA")
    desk.note("upload_right_lock_id_then_unlock_before_put", answer.status)
    on(alan, "Unlock", file, lock=mine)
    desk.note("put_after_unlock", status=alan.put(simple(endpoints(answer)), b"12345").status)
    desk.note("upload_with_lock_id_on_unlocked", alan.initiate_upload(file, length, lock_id="LA").status)
    shared = lock("LS", storage_pb.LOCK_TYPE_SHARED)
    desk.note("shared_lock_1", on(alan, "SetLock", file, lock=shared).status)
    second = lock("LS2", storage_pb.LOCK_TYPE_SHARED)
    desk.note("shared_lock_2_by_admin", admin.on("SetLock", path, lock=second).status)
    desk.note("upload_under_shared_lock_by_other", short(upload(admin, admin.reference(path), b"zz")))
    got = admin.download(path).http
    desk.note("download_under_lock_by_other", status=got.status if got else None)
    on(alan, "Unlock", file, lock=shared)


def file_editor(desk: Desk) -> None:
    """A single shared file, addressed by its id with a dot and by its bare id."""
    alan, rid = desk.alan, desk.shared["fedit.txt"].rid
    desk.note("file_editor_upload_over_dot", short(upload(alan, below(rid), b"new file content")))
    desk.note("file_editor_upload_over_bare_id", short(upload(alan, bare(rid), b"new file content2")))
    got = get(alan, below(rid)).http
    desk.note("file_editor_content", head=head(got) if got else None)
    perms = permission_names(on(alan, "Stat", below(rid)).message.info.permission_set)
    desk.note("file_editor_perms_mountpoint_vs_stat", stat=perms)
    fact = download_fact(get(alan, bare(rid)))
    fact.pop("hdr")
    desk.note("file_editor_download_bare_id", fact)


STEPS = (
    viewer,
    editor_uploads,
    editor_changes,
    locked_by_owner,
    moves,
    locks_without_user,
    locks_with_user,
    locks_of_other_things,
    expiring_locks,
    lock_ids,
    file_editor,
)
