"""Topic 3, third part: a share from its decline to its end, and what becomes of it when the owner changes things.

Asked after the other parts; what is left of alan's shares is what the later topics expect.
"""

from typing import Any

from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from google.protobuf import field_mask_pb2

from tests.emulator.caller import Answer, endpoints, simple
from tests.emulator.closer.desk import Desk, below, id_text, on, permission_names, plain, trash_paths
from tests.emulator.closer.shares_reading import give, received, state_name
from tests.emulator.closer.shares_writing import move, short, upload
from tests.emulator.closer.sharing import EDITOR, VIEWER, Shared, share_with
from tests.emulator.closer.users import of_type, spaces

_ACCEPTING_S = 30.0
"""How long a share is kept from accepting itself, to be seen before it does [s]."""


def revoke(desk: Desk, shared: Shared) -> Answer:
    """RemoveShare."""
    return desk.admin.call("RemoveShare", collaboration_pb.RemoveShareRequest(ref=shared.reference()))


def update(desk: Desk, shared: Shared, *mask: str, **fields: Any) -> Answer:
    """UpdateReceivedShare: only the named fields."""
    share = share_pb.ReceivedShare(share=share_pb.Share(id=share_pb.ShareId(opaque_id=shared.share_id)), **fields)
    request = collaboration_pb.UpdateReceivedShareRequest(share=share, update_mask=field_mask_pb2.FieldMask(paths=mask))
    return desk.alan.call("UpdateReceivedShare", request)


def mounts(desk: Desk) -> list[str]:
    """The names of alan's mount points."""
    return sorted(space.name for space in spaces(desk.alan, of_type("mountpoint")).message.storage_spaces)


def received_names(desk: Desk) -> list[str]:
    """The mount names of everything alan received."""
    return sorted(share.mount_point.path for share in received(desk.alan).message.shares)


def _received(desk: Desk, shared: Shared) -> Any:
    return next(share for share in received(desk.alan).message.shares if share.share.id.opaque_id == shared.share_id)


def rename_mount_point(desk: Desk) -> None:
    """Alan gives a mount point another name (the recorded server was asked through the jail)."""
    update(desk, desk.shared["pend"], "mount_point", mount_point=storage_pb.Reference(path="pend-renamed"))


def deleted_by_editor(desk: Desk) -> None:
    """An editor who deletes the root of a share deletes the owner's folder."""
    admin, alan = desk.admin, desk.alan
    for name in ("v1", "v2"):
        admin.on("CreateContainer", f"/sh/{name}")
        give(desk, f"/sh/{name}", EDITOR)
    admin.on("Delete", "/sh/v1")
    answer = on(alan, "Delete", below(desk.shared["v2"].rid))
    desk.note(
        "delete_share_root_editor_id",
        answer.status,
        owner_folder=admin.stat("/sh/v2").status,
        still_received="v2" in received_names(desk),
    )
    answer = received(alan)
    desk.note("received_after_owner_content_deleted", answer.status, names=received_names(desk))
    desk.note("mountpoints_after_owner_content_deleted", names=mounts(desk))


def renamed_by_owner(desk: Desk) -> None:
    """A share cannot be moved through the owner's root; when the owner renames it, its mount point stays."""
    admin, alan, owner = desk.admin, desk.alan, str(desk.admin.root)
    admin.on("CreateContainer", "/sh/v3")
    give(desk, "/sh/v3", EDITOR)
    moved = move(alan, below(owner, "./sh/v3"), below(owner, "./sh/v3b"))
    new = admin.stat("/sh/v3b").code
    desk.note("move_of_share_root_addressed_through_owner_space_root", moved, owner_new=new)
    admin.move("/sh/v3", "/sh/v3c")
    listed = spaces(alan, of_type("mountpoint")).message.storage_spaces
    names = sorted([space.name, space.root_info.name] for space in listed)
    desk.note("mountpoint_after_owner_rename", names=names)


def declined(desk: Desk) -> None:
    """Declined, it is gone from the lists, but not out of reach; accepted again, everything is back."""
    alan, view = desk.alan, desk.shared["view"]
    answer = update(desk, view, "state", state=share_pb.SHARE_STATE_REJECTED)
    desk.note("decline", answer.status, share=plain(answer.message.share))
    share = _received(desk, view)
    state = {"state": state_name(share), "mount": plain(share.mount_point), "hidden": share.hidden}
    desk.note("received_after_decline", state)
    desk.note("stat_declined:id", on(alan, "Stat", below(view.rid, "./v.txt")).status)
    for name, filters in (("unfiltered", []), ("mountpoint", [of_type("mountpoint")]), ("grant", [of_type("grant")])):
        listed = spaces(alan, *filters).message.storage_spaces
        ids = {id_text(space.root) for space in listed} | {id_text(space.root_info.id) for space in listed}
        desk.note(f"declined_in_spaces_{name}", listed=view.rid in ids)
    answer = update(desk, view, "state", state=share_pb.SHARE_STATE_ACCEPTED)
    desk.note("accept_mask_state_only", answer.status, share=plain(answer.message.share))
    share = _received(desk, view)
    desk.note("received_after_accept", state=state_name(share), mount=plain(share.mount_point))


def mount_points(desk: Desk) -> None:
    """A mount point may be named anew, even like another one; a share may be hidden."""
    view = desk.shared["view"]
    accepted = share_pb.SHARE_STATE_ACCEPTED
    answer = update(desk, view, "state", "mount_point", state=accepted, mount_point=storage_pb.Reference(path="my view"))
    desk.note("accept_with_mount_point", answer.status, mount=plain(answer.message.share.mount_point))
    answer = update(desk, view, "mount_point", mount_point=storage_pb.Reference(path="Docs"))
    desk.note("mount_point_collision_by_update", answer.status, mount=plain(answer.message.share.mount_point))
    desk.note("mount_points_list_after_collision", mounts=received_names(desk))
    answer = update(desk, view, "mount_point", mount_point=storage_pb.Reference(path="view"))
    desk.note("mount_point_back", answer.status)
    answer = update(desk, view, "hidden", hidden=True)
    desk.note("hide", answer.status, hidden=answer.message.share.hidden)
    desk.note("hidden_listed_as_mountpoint", listed="view" in mounts(desk))
    update(desk, view, "hidden", hidden=False)
    desk.note("update_bad_mask", update(desk, view, "nonsense").status)
    desk.note("update_empty_mask", update(desk, view).status)


def other_receivers(desk: Desk) -> None:
    """The same folder for marie, a share without idp, a viewer who would share on."""
    admin, alan, marie, view = desk.admin, desk.alan, desk.marie, desk.shared["view"]
    desk.gateway.quirks["share_accept_s"] = _ACCEPTING_S
    share_with(admin, marie, view.rid, VIEWER)
    found = [[share.share.id.opaque_id, state_name(share)] for share in received(marie).message.shares]
    desk.note("marie_received", state=found)
    admin.on("CreateContainer", "/sh/noidp")
    rid = id_text(admin.stat("/sh/noidp").message.info.id)
    desk.note("createshare_grantee_without_idp", share_with(admin, marie, rid, VIEWER).status)
    desk.gateway.clock.skew_s = _ACCEPTING_S + 1
    found = [[share.mount_point.path, state_name(share)] for share in received(marie).message.shares]
    desk.gateway.clock.skew_s = 0.0
    desk.note("marie_received_later", state=found)
    desk.note("reshare_by_viewer", share_with(alan, marie, view.rid, VIEWER).status)
    for name, caller in (("alan", alan), ("admin", admin)):
        answer = caller.call("ListShares", collaboration_pb.ListSharesRequest())
        desk.note(f"listshares_{name}", answer.status, n=len(answer.message.shares))


def downgraded(desk: Desk) -> None:
    """Rights that end between an initiation and its PUT: the PUT still works."""
    alan, shared = desk.alan, desk.shared["v3"]
    target, length = below(shared.rid, "./late.txt"), {"Upload-Length": "5"}
    early = alan.initiate_upload(target, length)
    granted = share_pb.SharePermissions(permissions=storage_pb.ResourcePermissions(**dict.fromkeys(VIEWER, True)))
    share = share_pb.Share(id=share_pb.ShareId(opaque_id=shared.share_id), permissions=granted)
    mask = field_mask_pb2.FieldMask(paths=["permissions"])
    answer = desk.admin.call(
        "UpdateShare", collaboration_pb.UpdateShareRequest(ref=shared.reference(), share=share, update_mask=mask)
    )
    perms = permission_names(on(alan, "Stat", below(shared.rid)).message.info.permission_set)
    desk.note("updateshare_to_viewer", answer.status, perms=perms)
    desk.note("upload_after_downgrade_init", short(upload(alan, below(shared.rid, "./later.txt"), b"hello")))
    put = alan.put(simple(endpoints(early)), b"hello")
    exists = on(alan, "Stat", target).status
    desk.note("put_after_downgrade_initiated_before", status=put.status, body=put.body.decode(), exists=exists)


def revoked(desk: Desk) -> None:
    """The end of a share, met with a transfer token from before."""
    alan, pend = desk.alan, desk.shared["pend"]
    file = below(pend.rid, "./p.txt")
    answer = alan.initiate_download(file)
    desk.note("download_initiated_before_revoke", answer.status)
    desk.note("removeshare", revoke(desk, pend).status)
    desk.note("stat_after_revoke_id", on(alan, "Stat", file).status)
    desk.note("get_with_earlier_token_after_revoke", status=alan.http("GET", simple(endpoints(answer))).status)
    desk.note("received_after_revoke", names=received_names(desk))


def owners_trash(desk: Desk) -> None:
    """What a grantee deletes lies in the owner's trash."""
    alan, admin = desk.alan, desk.admin
    on(alan, "TouchFile", below(desk.shared["edit"].rid, "./tr2.txt"))
    on(alan, "Delete", below(desk.shared["edit"].rid, "./tr2.txt"))
    items = [path for path in trash_paths(admin) if path == "/sh/edit/tr2.txt"]
    desk.note("owner_trash_has_grantee_deleted", items=items)
    admin.on("PurgeRecycle", "", key="")


STEPS = (
    rename_mount_point,
    deleted_by_editor,
    renamed_by_owner,
    declined,
    mount_points,
    other_receivers,
    downgraded,
    revoked,
    owners_trash,
)
