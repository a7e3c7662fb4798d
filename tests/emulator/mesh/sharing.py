"""The mesh: shares are created, listed, accepted, changed, revoked. Called by `round`."""

import time

from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb

from tests.emulator.mesh.desk import (
    BASE,
    DATA,
    EDIT,
    HOME,
    SITE_B,
    VIEW,
    MeshDesk,
    federated,
    get,
    messages,
    names,
    plain,
    put,
)

_FOLDERS = ("ed", "ed/sub", "ed/full", "ed/full/in", "vi", "vi/sub", "victim", "victim/keep", "Mes résultats é+&", "ren")
_FILES = {
    "ed/small.txt": b"small file\n",
    "ed/data.root": DATA,
    "ed/empty": b"",
    "ed/sub/deep.txt": b"deep",
    "ed/full/in/x": b"x",
    "vi/read.txt": b"read me",
    "vi/sub/deep.txt": b"deep",
    "victim/keep/x": b"x",
    "single-ed.txt": b"single editor",
    "single-vi.txt": b"single viewer",
    "Mes résultats é+&/fichier ünï #1 100%?.txt": "données".encode(),
    "ren/in.txt": b"in",
}
_SHARES = {
    "ed": EDIT,
    "vi": VIEW,
    "single-ed.txt": EDIT,
    "single-vi.txt": VIEW,
    "victim": EDIT,
    "Mes résultats é+&": EDIT,
    "ren": EDIT,
}


def preparing(desk: MeshDesk) -> None:
    """What is going to be shared."""
    for folder in _FOLDERS:
        desk.einstein.on("CreateContainer", f"{BASE}/{folder}")
    for file, content in _FILES.items():
        fact = put(desk.einstein, desk.einstein.reference(f"{BASE}/{file}"), content)
        desk.note(f"prepare:{file}", status=fact.get("status"))


def creating(desk: MeshDesk) -> None:
    """Shares of folders and files, and shares that cannot be."""
    for name, permissions in _SHARES.items():
        answer, got = desk.share(f"{BASE}/{name}", permissions)
        desk.note(f"ocm_create:{name}", answer.status, sent=plain(answer.message.share), got=plain(got))
    desk.note("ocm_create_again", desk.offer(f"{BASE}/ed", EDIT).status)
    nobody = federated("nobody", SITE_B)
    desk.note("ocm_create_unknown_user", desk.offer(f"{BASE}/ed", EDIT, grantee=nobody).status)
    home_id = desk.einstein.stat(HOME).message.info.id
    missing = storage_pb.ResourceId(storage_id=home_id.storage_id, opaque_id="nonesuch")
    desk.note("ocm_create_missing_file", desk.offer("", VIEW, rid=missing).status)
    for name, caller in (("ocm_list_sent", desk.einstein), ("ocm_list_sent_other_user", desk.richard)):
        answer = caller.call("ListOCMShares", ocm_api_pb.ListOCMSharesRequest())
        desk.note(name, answer.status, n=len(answer.get("shares")))
    answer = desk.all_received()
    first = next(share for share in messages(answer, "shares") if share["name"] == "ed")
    desk.note("ocm_list_received", answer.status, n=len(answer.get("shares")), first=first)
    orders = {tuple(share.id.opaque_id for share in desk.all_received().get("shares")) for _ in range(10)}
    desk.note("ocm_list_order", distinct_orders_in_10_calls=len(orders))


def accepting(desk: MeshDesk) -> None:
    """States, which change nothing, and update masks."""
    share_id, marie = desk.received["ed"], desk.marie
    desk.note("state_now", state=plain(desk.get_received(share_id).message.share).get("state"))
    desk.note("pending_stat", marie.stat(desk.at("ed")).status)
    listing = names(marie.on("ListContainer", desk.at("ed")))
    desk.note("pending_list", {key: value for key, value in listing.items() if key != "entries"})
    accepted, rejected, pending = ocm_pb.SHARE_STATE_ACCEPTED, ocm_pb.SHARE_STATE_REJECTED, ocm_pb.SHARE_STATE_PENDING
    for name, state in (("accept", accepted), ("reject", rejected), ("pending", pending), ("accept", accepted)):
        status = desk.set_state(share_id, state).status
        after = desk.get_received(share_id).message.share.state
        desk.note(
            f"ocm_state:{name}",
            status,
            state_after=ocm_pb.ShareState.Name(after),
            still_listed=desk.is_listed(share_id),
            stat=marie.stat(desk.at("ed")).status,
            stat_in=marie.stat(desk.at("ed", "/small.txt")).status,
            get=get(marie, marie.reference(desk.at("ed", "/small.txt"))).get("status"),
        )
    desk.note("ocm_state:hidden", desk.set_state(share_id, accepted, ("hidden",), hidden=True).status)
    desk.note("ocm_state:mount_point", desk.set_state(share_id, accepted, ("mount_point",)).status)
    desk.note("ocm_state:unknown_mask", desk.set_state(share_id, accepted, ("nonesuch",)).status)
    desk.note("ocm_state:no_mask", desk.set_state(share_id, accepted, ()).status)
    desk.note("ocm_state:unknown_share", desk.set_state("nonesuch", accepted).status)
    desk.note("ocm_get_unknown", desk.get_received("nonesuch").status)


def changing_rights(desk: MeshDesk) -> None:
    """A viewer becomes an editor and a viewer again; the receiver's site is not told."""
    einstein, marie = desk.einstein, desk.marie
    desk.note("ocm_update_to_editor", _update(desk, "vi", EDIT))
    upload = put(marie, marie.reference(desk.at("vi", "/now.txt")), b"now")
    owner = einstein.info(f"{BASE}/vi/now.txt").get("size")
    shown = marie.info(desk.at("vi")).get("permissionSet")
    desk.note("viewer_made_editor", permission_set=shown, upload=upload, owner=owner)
    desk.note("ocm_update_to_viewer", _update(desk, "vi", VIEW))
    upload = put(marie, marie.reference(desk.at("vi", "/now2.txt")), b"now")
    desk.note("editor_made_viewer", upload=upload, owner=einstein.info(f"{BASE}/vi/now2.txt").get("code"))


def _update(desk: MeshDesk, name: str, permissions: tuple[str, ...]) -> dict[str, object]:
    sent = desk.einstein.call("ListOCMShares", ocm_api_pb.ListOCMSharesRequest()).get("shares")
    share = next(share for share in sent if share.name == name)
    way = ocm_pb.WebDAVAccessMethod(permissions=storage_pb.ResourcePermissions(**dict.fromkeys(permissions, True)))
    field = ocm_api_pb.UpdateOCMShareRequest.UpdateField(access_methods=ocm_pb.AccessMethod(webdav_options=way))
    request = ocm_api_pb.UpdateOCMShareRequest(ref=ocm_pb.ShareReference(id=share.id), field=[field])
    return desk.einstein.call("UpdateOCMShare", request).status


def expiring(desk: MeshDesk) -> None:
    """A share whose time has passed; both clocks are put forward instead of waiting."""
    einstein, marie = desk.einstein, desk.marie
    put(einstein, einstein.reference(f"{BASE}/expiring.txt"), b"x")
    answer, got = desk.share(f"{BASE}/expiring.txt", VIEW, expires_s=time.time() + 3)
    desk.note("ocm_create_expiring", answer.status, expiration=plain(got).get("expiration"))
    before = marie.stat(desk.at("expiring.txt")).status
    for site in (desk.a, desk.b):
        site.clock.skew_s = 10.0
    desk.note(
        "after_expiry",
        before=before,
        still_listed=desk.is_listed(got.id.opaque_id),
        stat=marie.stat(desk.at("expiring.txt")).status,
        get=get(marie, marie.reference(desk.at("expiring.txt"))).get("status"),
    )
    for site in (desk.a, desk.b):
        site.clock.skew_s = 0.0


def exchanging_tokens(desk: MeshDesk) -> None:
    """A share whose secret must be exchanged first."""
    einstein, marie = desk.einstein, desk.marie
    put(einstein, einstein.reference(f"{BASE}/code.txt"), b"code flow")
    answer, got = desk.share(f"{BASE}/code.txt", EDIT, requirements=["must-exchange-token"])
    desk.note("ocm_create_must_exchange_token", answer.status, got=plain(got).get("protocols"))
    reference = marie.reference(desk.at("code.txt"))
    desk.note(
        "must_exchange_token",
        stat=marie.stat(desk.at("code.txt")).status,
        get=get(marie, reference, data=True),
        put=put(marie, reference, b"written"),
        content=desk.cat(f"{BASE}/code.txt"),
    )


def owner_moves_on(desk: MeshDesk) -> None:
    """The owner renames or deletes what is shared."""
    einstein, marie = desk.einstein, desk.marie
    before = marie.stat(desk.at("ren", "/in.txt")).status
    rename = einstein.move(f"{BASE}/ren", f"{BASE}/renamed").status
    desk.note(
        "owner_renames_shared_folder",
        rename=rename,
        before=before,
        stat=marie.stat(desk.at("ren")).status,
        stat_in=marie.stat(desk.at("ren", "/in.txt")).status,
        name=marie.info(desk.at("ren")).get("name"),
    )
    einstein.move(f"{BASE}/renamed", f"{BASE}/ren")
    einstein.on("CreateContainer", f"{BASE}/gone")
    answer, _ = desk.share(f"{BASE}/gone", EDIT)
    before = marie.stat(desk.at("gone")).status
    einstein.on("Delete", f"{BASE}/gone")
    desk.note(
        "owner_deletes_shared_folder",
        before=before,
        stat=marie.stat(desk.at("gone")).status,
        ls=marie.on("ListContainer", desk.at("gone")).status,
        upload=put(marie, marie.reference(desk.at("gone", "/x")), b"x").get("status"),
        still_listed=desk.find(answer.message.share.id.opaque_id) is not None,
    )
    existing = einstein.call("ListExistingOCMShares", ocm_api_pb.ListOCMSharesRequest())
    sent = einstein.call("ListOCMShares", ocm_api_pb.ListOCMSharesRequest())
    desk.note("ocm_list_existing_sent_with_stale", existing.status, n=len(existing.get("share_infos")), of=len(sent.get("shares")))


def revoking(desk: MeshDesk) -> None:
    """Shares are revoked, before and after the receiver first looked; one is given again."""
    einstein, marie = desk.einstein, desk.marie
    share_id = ""
    for name in ("rev-warm", "rev-cold"):
        einstein.on("CreateContainer", f"{BASE}/{name}")
        put(einstein, einstein.reference(f"{BASE}/{name}/f"), b"f")
        answer, got = desk.share(f"{BASE}/{name}", EDIT)
        share_id = answer.message.share.id.opaque_id
        if name == "rev-warm":
            marie.stat(desk.at(name))
            marie.on("ListContainer", desk.at(name))
        desk.note(f"revoke:{name}", desk.revoke(share_id).status)
        got = desk.find(share_id)
        desk.note(f"revoked_listed:{name}", still_listed=got is not None, state=plain(got).get("state"))
        desk.note(
            f"revoked:{name}",
            stat=marie.stat(desk.at(name)).status,
            stat_in=marie.stat(desk.at(name, "/f")).status,
            ls=marie.on("ListContainer", desk.at(name)).status,
            get=get(marie, marie.reference(desk.at(name, "/f"))),
            put=put(marie, marie.reference(desk.at(name, "/g")), b"g"),
            mkdir=marie.on("CreateContainer", desk.at(name, "/d")).status,
            rm=marie.on("Delete", desk.at(name, "/f")).status,
            owner_still_has=einstein.info(f"{BASE}/{name}/f").get("size"),
        )
    desk.note("revoke_again", desk.revoke(share_id).status)
    desk.note("reject_revoked", desk.set_state(desk.received["rev-warm"], ocm_pb.SHARE_STATE_REJECTED).status)
    answer = desk.offer(f"{BASE}/rev-warm", VIEW)
    found = desk.find(answer.message.share.id.opaque_id)
    desk.note("reshare_after_revoke", answer.status, new_id=found.id.opaque_id != desk.received["rev-warm"])
