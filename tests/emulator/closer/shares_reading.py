"""Topic 3, first part: what alan sees of what admin shares with him.

Admin's folder `sh` holds what is shared; every file there contains its own path. The content is addressed by resource id and
relative path, the only way that the emulator has besides the lists (see NOT_ASKED for the jail).
"""

import time
from typing import Any

from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb

from tests.emulator.caller import Answer, Caller
from tests.emulator.closer.desk import (
    Desk,
    absolute,
    bare,
    below,
    download_fact,
    get,
    id_text,
    names,
    on,
    permission_names,
    plain,
)
from tests.emulator.closer.sharing import EDITOR, FILE_EDITOR, VIEWER, Shared, share_with
from tests.emulator.closer.users import of_type, spaces
from tests.emulator.recorded import Fact

_ACCEPTING_S = 0.05
"""More than the emulator takes until a share accepts itself [s]."""

_FOLDERS = ("", "/view", "/view/sub", "/edit", "/Docs", "/other", "/other/Docs", "/pend")
_FILES = (
    "/view/v.txt",
    "/view/sub/deep.txt",
    "/edit/e.txt",
    "/single.txt",
    "/fedit.txt",
    "/Docs/a.txt",
    "/other/Docs/b.txt",
    "/pend/p.txt",
)
_SHARES = {
    "/edit": EDITOR,
    "/single.txt": VIEWER,
    "/fedit.txt": FILE_EDITOR,
    "/Docs": VIEWER,
    "/other/Docs": VIEWER,
    "/pend": VIEWER,
}
REACHABLE = {"view": ("", "/v.txt", "/sub/deep.txt"), "single.txt": ("",), "Docs (1)": ("/b.txt",)}


def fill(desk: Desk) -> None:
    """What is shared."""
    admin = desk.admin
    for folder in _FOLDERS:
        admin.on("CreateContainer", f"/sh{folder}")
    for file in _FILES:
        admin.upload(f"/sh{file}", f"sh{file}".encode())


def give(desk: Desk, path: str, permissions: tuple[str, ...], mount: str = "") -> Answer:
    """Share a path of admin's with alan and remember how alan may address it."""
    rid = id_text(desk.admin.stat(path).message.info.id)
    answer = share_with(desk.admin, desk.alan, rid, permissions)
    if answer.code == "OK":
        name = mount or path.rpartition("/")[2]
        desk.shared[name] = Shared(rid, answer.message.share.id.opaque_id, name, path)
        time.sleep(_ACCEPTING_S)
    return answer


def received(caller: Caller) -> Answer:
    """ListReceivedShares."""
    return caller.call("ListReceivedShares", collaboration_pb.ListReceivedSharesRequest())


def state_name(share: Any) -> str:
    """The state of a received share in the words of the protocol."""
    return str(share_pb.ShareState.Name(share.state))


def creation(desk: Desk) -> None:
    """CreateShare, and what comes to the receiver."""
    answer = give(desk, "/sh/view", VIEWER)
    desk.note("createshare_folder_viewer_cs3", answer.status, share=plain(answer.message.share))
    rid = desk.shared["view"].rid
    idp = answer.message.share.owner.idp
    desk.note("createshare_again", share_with(desk.admin, desk.alan, rid, VIEWER, idp).status)
    answer = received(desk.alan)
    desk.note("received_after_create_cs3", answer.status, shares=[plain(share) for share in answer.message.shares])
    for path, permissions in _SHARES.items():
        mount = "Docs (1)" if path == "/other/Docs" else ""
        desk.note(f"createshare:sh{path}", give(desk, f"/sh{path}", permissions, mount).status)
    answer = received(desk.alan)
    shares = [
        [
            share.share.id.opaque_id,
            id_text(share.share.resource_id),
            state_name(share),
            plain(share.mount_point),
            share.hidden,
        ]
        for share in answer.message.shares
    ]
    desk.note("received_all", answer.status, shares=shares)


def lists_of_spaces(desk: Desk) -> None:
    """Shares in ListStorageSpaces, by every type."""
    alan = desk.alan
    for name, filters in {
        "unfiltered": [],
        "mountpoint": [of_type("mountpoint")],
        "grant": [of_type("grant")],
        "share": [of_type("share")],
        "virtual": [of_type("virtual")],
        "+mountpoint": [of_type("+mountpoint")],
        "+grant": [of_type("+grant")],
    }.items():
        answer = spaces(alan, *filters)
        found = [[space.space_type, space.name, space.id.opaque_id, id_text(space.root)] for space in answer.message.storage_spaces]
        desk.note(f"pending_spaces_{name}", answer.status, n=len(found), spaces=found)
    mounted = {space.name: space for space in spaces(alan, of_type("mountpoint")).message.storage_spaces}
    desk.note("mountpoint_space_full_view", space=plain(mounted["view"]))
    desk.note("mountpoint_space_full_single", space=plain(mounted["single.txt"]))
    desk.note("mountpoint_space_docs1", space=plain(mounted["Docs (1)"]))
    granted = spaces(alan, of_type("grant")).message.storage_spaces
    view = next(space for space in granted if id_text(space.root) == desk.shared["view"].rid)
    desk.note("grant_space_full_view", space=plain(view))
    for name in ("edit", "Docs (1)", "fedit.txt"):
        info = mounted[name].root_info
        fields = {"name": info.name, "path": info.path, "id": id_text(info.id)}
        desk.note(f"mountpoint_perms:{name}", fields, perms=permission_names(info.permission_set))


def stats(desk: Desk) -> None:
    """The same things by every way to address them."""
    alan = desk.alan
    for mount, places in REACHABLE.items():
        shared = desk.shared[mount]
        ways = shared.ways(desk.admin)
        for rel in places:
            for way, refer in ways.items():
                answer = on(alan, "Stat", refer(rel))
                desk.note(f"stat:{mount}|{rel.lstrip('/')}|{way}", answer.status, _seen(answer))
        if mount != "Docs (1)":
            answer = on(alan, "Stat", bare(shared.rid))
            desk.note(f"stat:{mount}||bare_resource_id", answer.status, _seen(answer))


def _seen(answer: Answer) -> Fact:
    if answer.code != "OK":
        return {}
    info = answer.message.info
    return {
        "id": id_text(info.id),
        "name": info.name,
        "path": info.path,
        "parent": id_text(info.parent_id),
        "size": info.size,
        "etag": info.etag,
        "owner": info.owner.opaque_id,
        "perms": permission_names(info.permission_set),
        "space": [info.space.space_type, id_text(info.space.root)],
    }


def listings(desk: Desk) -> None:
    """The content of a shared folder, and of a shared file."""
    alan = desk.alan
    for mount in ("view", "single.txt"):
        shared = desk.shared[mount]
        ways = shared.ways(desk.admin)
        references = {way: refer("") for way, refer in ways.items()} | {"bare_resource_id": bare(shared.rid)}
        for way, reference in references.items():
            answer = on(alan, "ListContainer", reference)
            entries = [[info.name, info.path, id_text(info.id)] for info in answer.message.infos]
            desk.note(f"list:{mount}|{way}", answer.status, entries=entries)


def surroundings(desk: Desk) -> None:
    """What lies around a share is out of sight."""
    alan, owner = desk.alan, str(desk.admin.root)
    answer = alan.on("ListContainer", "")
    shown = [name for name in names(alan, "") if name == "Shares"]
    desk.note("list_home_contains_shares", answer.status, names=shown)
    desk.note("stat_root_alan", on(alan, "Stat", absolute("/")).status)
    desk.note("list_users_alan", on(alan, "ListContainer", absolute("/users")).status)
    rid = on(alan, "Stat", below(desk.shared["view"].rid)).message.info.id
    answer = alan.call("GetPath", provider_pb.GetPathRequest(resource_id=rid))
    desk.note("getpath_shared_as_alan", answer.status, path=answer.get("path"))
    desk.note("stat_outside_share", on(alan, "Stat", below(owner, "./sh")).status)
    desk.note("list_owner_space_root", on(alan, "ListContainer", below(owner)).status)
    answer = on(alan, "Stat", below(owner))
    desk.note("stat_owner_space_root", answer.status, perms=permission_names(answer.message.info.permission_set))


def downloads(desk: Desk) -> None:
    """Content by every way to address it; a bare id of a file gives an endpoint that fails."""
    alan = desk.alan
    ways = desk.shared["view"].ways(desk.admin)
    for way, refer in ways.items():
        desk.note(f"download_view:{way}", download_fact(get(alan, refer("/v.txt"))))
    single = desk.shared["single.txt"]
    desk.note("download_single_id", download_fact(get(alan, bare(single.rid))))
    fact = download_fact(get(alan, below(single.rid)))
    fact.pop("hdr")
    desk.note("download_single_id_with_dot", fact)


STEPS = (
    fill,
    creation,
    lists_of_spaces,
    stats,
    listings,
    surroundings,
    downloads,
)
