"""Shares between two users of site A, kept by the sql manager. Called by `round`."""

from typing import Any

from cs3.identity.user.v1beta1 import resources_pb2 as user_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as share_api_pb
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict

from tests.emulator.caller import Answer
from tests.emulator.mesh.desk import BASE, EDIT, VIEW, MeshDesk, by_id, get, names, put
from tests.emulator.recorded import Fact

_HOME_OF_RICHARD = "/local/richard"
_UNKNOWN = "999999"


def user_sharing(desk: MeshDesk) -> None:
    """A folder, a file and a folder to read are given to richard."""
    einstein, richard = desk.einstein, desk.richard
    for folder in ("us", "us/sub", "us-view"):
        einstein.on("CreateContainer", f"{BASE}/{folder}")
    for file, content in (("us/a.txt", b"a"), ("us-file.txt", b"file")):
        put(einstein, einstein.reference(f"{BASE}/{file}"), content)
    answer = _received(desk)
    desk.note("us_received_before", answer.status, n=len(answer.get("shares")))
    answer = _share(desk, "us", EDIT)
    desk.note("us_create", answer.status, share=MessageToDict(answer.message.share))
    share = answer.message.share.id
    desk.note("us_create_again", _share(desk, "us", EDIT).status)
    file = _share(desk, "us-file.txt", VIEW)
    desk.note("us_create_file", file.status)
    view = _share(desk, "us-view", VIEW)
    desk.note("us_create_viewer", view.status)
    nobody = user_pb.UserId(opaque_id="nobody", idp=desk.ids["richard"].idp)
    desk.note("us_create_unknown_user", _share(desk, "us-view", VIEW, nobody).status)
    desk.note("us_create_child", _share(desk, "us/sub", VIEW).status)
    desk.note("us_create_to_remote_user", _share(desk, "us", VIEW, desk.ids["marie"]).status)
    answer = _received(desk)
    mine = {share.opaque_id, file.message.share.id.opaque_id, view.message.share.id.opaque_id}
    shares = [MessageToDict(item) for item in answer.get("shares") if item.share.id.opaque_id in mine]
    desk.note("us_received", answer.status, n=len(answer.get("shares")), shares=shares)
    rid = next(item.share.resource_id for item in answer.get("shares") if item.share.id.opaque_id == share.opaque_id)
    _access(desk, rid)
    _states(desk, share, rid)
    _ends(desk, share, file.message.share.id, rid)
    answer = richard.call("ListExistingReceivedShares", share_api_pb.ListReceivedSharesRequest())
    desk.note("us_list_existing_with_stale", answer.status, n=len(answer.get("share_infos")))


def _share(desk: MeshDesk, name: str, permissions: tuple[str, ...], grantee: Any = None) -> Answer:
    info = desk.einstein.stat(f"{BASE}/{name}").message.info
    who = storage_pb.Grantee(type=storage_pb.GRANTEE_TYPE_USER, user_id=grantee or desk.ids["richard"])
    granted = share_pb.SharePermissions(permissions=storage_pb.ResourcePermissions(**dict.fromkeys(permissions, True)))
    request = share_api_pb.CreateShareRequest(resource_info=info, grant=share_pb.ShareGrant(grantee=who, permissions=granted))
    return desk.einstein.call("CreateShare", request)


def _received(desk: MeshDesk) -> Answer:
    return desk.richard.call("ListReceivedShares", share_api_pb.ListReceivedSharesRequest())


def _stat(desk: MeshDesk, rid: Any, path: str = "") -> Answer:
    return desk.richard.call("Stat", provider_pb.StatRequest(ref=by_id(rid, path)))


def _access(desk: MeshDesk, rid: Any) -> None:
    """By id and by path, in a folder to change and one to read; nothing is enforced."""
    einstein, richard = desk.einstein, desk.richard
    answer = _stat(desk, rid)
    desk.note("us_stat_by_id", answer.status, info=MessageToDict(answer.message.info))
    desk.note("us_list_by_id", names(richard.call("ListContainer", provider_pb.ListContainerRequest(ref=by_id(rid)))))
    desk.note("us_stat_rel", _stat(desk, rid, "./a.txt").status)
    desk.note("us_get_by_id_rel", get(richard, by_id(rid, "./a.txt"), data=True))
    upload = put(richard, by_id(rid, "./from-peer.txt"), b"peer")
    desk.note("us_put_by_id_rel", upload, owner=einstein.info(f"{BASE}/us/from-peer.txt").get("size"))
    desk.note("us_stat_by_path", richard.stat(f"{BASE}/us").status)
    desk.note("us_mkdir_path", richard.on("CreateContainer", f"{BASE}/us/made").status)
    desk.note("us_myshares", names(richard.on("ListContainer", f"{_HOME_OF_RICHARD}/MyShares")))
    desk.note("us_home_of_peer", names(richard.on("ListContainer", _HOME_OF_RICHARD)))
    upload = put(richard, richard.reference(f"{BASE}/us-view/w.txt"), b"w")
    desk.note("us_put_as_viewer", init=upload["init"], status=upload["status"])


def _look(desk: MeshDesk, share: Any, rid: Any) -> Fact:
    """What richard's list says of a share."""
    found = next((item for item in _received(desk).get("shares") if item.share.id.opaque_id == share.opaque_id), None)
    return {
        "listed": found is not None,
        "state": share_pb.ShareState.Name(found.state) if found is not None else None,
        "hidden": found.hidden if found is not None else None,
        "stat_by_id": _stat(desk, rid).status.get("code"),
    }


def _states(desk: MeshDesk, share: Any, rid: Any) -> None:
    def update(share_id: Any, state: int) -> Answer:
        received = share_pb.ReceivedShare(share=share_pb.Share(id=share_id), state=state)
        request = share_api_pb.UpdateReceivedShareRequest(share=received, update_mask=FieldMask(paths=["state"]))
        return desk.richard.call("UpdateReceivedShare", request)

    accepted, rejected, pending = share_pb.SHARE_STATE_ACCEPTED, share_pb.SHARE_STATE_REJECTED, share_pb.SHARE_STATE_PENDING
    for name, state in (("reject", rejected), ("accept", accepted), ("pending", pending), ("accept", accepted)):
        status = update(share, state).status
        desk.note(f"us_state:{name}", status, after=_look(desk, share, rid))
    desk.note("us_update_unknown", update(share_pb.ShareId(opaque_id=_UNKNOWN), accepted).status)
    reference = share_pb.ShareReference(id=share)
    desk.note(
        "us_get_received",
        desk.richard.call("GetReceivedShare", share_api_pb.GetReceivedShareRequest(ref=reference)).status,
    )
    answer = desk.richard.call("ListExistingReceivedShares", share_api_pb.ListReceivedSharesRequest())
    desk.note("us_list_existing_received", answer.status, n=len(answer.get("share_infos")))


def _ends(desk: MeshDesk, share: Any, file: Any, rid: Any) -> None:
    """The owner renames, takes back, deletes."""
    einstein, richard = desk.einstein, desk.richard
    rename = einstein.move(f"{BASE}/us", f"{BASE}/us-renamed").status
    answer = _stat(desk, rid)
    path, listed = answer.message.info.path, _look(desk, share, rid)
    desk.note("us_owner_renames", rename=rename, stat_by_id=answer.status, path=path, listed=listed)
    einstein.move(f"{BASE}/us-renamed", f"{BASE}/us")
    request = share_api_pb.RemoveShareRequest(ref=share_pb.ShareReference(id=share))
    status = einstein.call("RemoveShare", request).status
    desk.note("us_remove", status, after=_look(desk, share, rid), by_path=richard.stat(f"{BASE}/us").status)
    desk.note("us_remove_again", einstein.call("RemoveShare", request).status)
    einstein.on("Delete", f"{BASE}/us-file.txt")
    answer = _received(desk)
    stale = next(item.share.resource_id for item in answer.get("shares") if item.share.id.opaque_id == file.opaque_id)
    desk.note("us_target_deleted", answer.status, still_listed=True, stat=_stat(desk, stale).status)
    existing = einstein.call("ListExistingShares", share_api_pb.ListSharesRequest())
    desk.note("us_list_existing_sent_with_stale", existing.status, n=len(existing.get("share_infos")))
    sent = einstein.call("ListShares", share_api_pb.ListSharesRequest())
    desk.note("us_list_sent", sent.status, n=len(sent.get("shares")))
