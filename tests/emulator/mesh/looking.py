"""The mesh: Stat and ListContainer of received shares, by path and by id. Called by `round`."""

from typing import Any

from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb

from tests.emulator.mesh.desk import BASE, MOUNT, MeshDesk, by_id, get, messages, names, plain, put

_SHOWN = ("ed", "vi", "single-ed.txt", "single-vi.txt", "Mes résultats é+&")


def mount(desk: MeshDesk) -> None:
    """The mount itself, and mounts that do not exist."""
    marie, share_id = desk.marie, desk.received["ed"]
    desk.note("root_stat", marie.stat("/").status, info=marie.info("/"))
    desk.note("root_list", names(marie.on("ListContainer", "/")))
    desk.note("mount_stat", marie.stat(MOUNT).status, info=marie.info(MOUNT))
    desk.note("mount_list", names(marie.on("ListContainer", MOUNT)))
    desk.note("mount_stat_unknown_share", marie.stat(f"{MOUNT}/nonesuch").status)
    desk.note("mount_list_unknown_share", marie.on("ListContainer", f"{MOUNT}/nonesuch").status)
    elsewhere = storage_pb.ResourceId(storage_id="no-such-id", opaque_id=f"{share_id}:/")
    desk.note(
        "mount_wrong",
        stat=marie.stat(f"/no-such-mount/{share_id}").status,
        stat_bare=marie.stat("/no-such-mount").status,
        ls=marie.on("ListContainer", "/no-such-mount").status,
        storage_id=marie.call("Stat", provider_pb.StatRequest(ref=by_id(elsewhere))).status,
    )
    desk.note("mount_mkdir", marie.on("CreateContainer", f"{MOUNT}/newdir").status)
    desk.note("mount_upload", put(marie, marie.reference(f"{MOUNT}/newfile"), b"x"))


def shares(desk: MeshDesk) -> None:
    """Folders and files that are shared, and what is in them."""
    marie = desk.marie
    for name in _SHOWN:
        desk.note(f"share_stat:{name}", marie.stat(desk.at(name)).status, info=marie.info(desk.at(name)))
        answer = marie.on("ListContainer", desk.at(name))
        desk.note(f"share_list:{name}", answer.status, infos=messages(answer, "infos"))
    desk.note("share_stat_slash", marie.stat(desk.at("ed", "/")).status)
    for name, relative in (("share_stat_sub", "/sub"), ("share_stat_deep", "/sub/deep.txt")):
        desk.note(name, marie.stat(desk.at("ed", relative)).status, info=marie.info(desk.at("ed", relative)))
    desk.note("owner_stat_deep", info=desk.einstein.info(f"{BASE}/ed/sub/deep.txt"))
    desk.note("share_list_sub", names(marie.on("ListContainer", desk.at("ed", "/sub"))))
    desk.note("share_list_file", marie.on("ListContainer", desk.at("ed", "/small.txt")).status)
    desk.note("share_stat_missing", marie.stat(desk.at("ed", "/none")).status)
    desk.note("share_stat_missing_deep", marie.stat(desk.at("ed", "/none/x")).status)
    desk.note("share_stat_below_file", marie.stat(desk.at("ed", "/small.txt/x")).status)
    desk.note("share_list_missing", marie.on("ListContainer", desk.at("ed", "/none")).status)
    single = "single-ed.txt"
    desk.note("single_child_stat", marie.stat(desk.at(single, f"/{single}")).status)
    other = desk.at(single, "/anything")
    desk.note("single_other_child_stat", marie.stat(other).status, info=marie.info(other))
    desk.note("single_deep_child_stat", marie.stat(desk.at(single, "/a/b")).status)


def ids(desk: MeshDesk) -> None:
    """References by id, as they come and built by hand."""
    marie, share_id = desk.marie, desk.received["ed"]
    root, sub, deep = (marie.stat(desk.at("ed", relative)).message.info.id for relative in ("", "/sub", "/sub/deep.txt"))

    def built(opaque_id: str, space_id: str = "") -> Any:
        return storage_pb.ResourceId(storage_id=root.storage_id, opaque_id=opaque_id, space_id=space_id)

    asked = {
        "root": (root, ""),
        "root_dot": (root, "."),
        "root_rel": (root, "./sub/deep.txt"),
        "root_rel_nodot": (root, "sub/deep.txt"),
        "sub": (sub, ""),
        "sub_rel": (sub, "./deep.txt"),
        "file": (deep, ""),
        "rel_missing": (root, "./none"),
        "dotdot": (sub, "../small.txt"),
        "id_without_colon": (built(share_id), ""),
        "id_without_colon_rel": (built(share_id), "./small.txt"),
        "id_built_by_hand": (built(f"{share_id}:/small.txt"), ""),
        "id_with_space": (built(f"{share_id}:/small.txt", "x"), ""),
    }
    for name, (rid, path) in asked.items():
        answer = marie.call("Stat", provider_pb.StatRequest(ref=by_id(rid, path)))
        info = answer.message.info
        desk.note(f"by_id:{name}", answer.status, id=plain(rid), path_asked=path, path=info.path, id_back=plain(info.id))
    for name, path in (("list_by_id", ""), ("list_by_id_rel", "./sub")):
        answer = marie.call("ListContainer", provider_pb.ListContainerRequest(ref=by_id(root, path)))
        desk.note(name, answer.status, paths=[info.path for info in answer.get("infos")])
    answer = marie.call("GetPath", provider_pb.GetPathRequest(resource_id=deep))
    desk.note("get_path", answer.status, path=answer.get("path"))
    content = f"{BASE}/ed/sub/deep.txt"
    desk.note("get_by_id", get(marie, by_id(deep)))
    desk.note("get_by_id_dot", get(marie, by_id(deep, ".")))
    desk.note("put_by_id", put(marie, by_id(deep), b"full id"), content=desk.cat(content))
    desk.note("put_by_id_dot", put(marie, by_id(deep, "."), b"full id dot"), content=desk.cat(content))
    desk.note("get_by_id_rel", get(marie, by_id(root, "./sub/deep.txt")))
    upload = put(marie, by_id(root, "./byid.txt"), b"by id")
    desk.note("put_by_id_rel", upload, owner_sees=desk.einstein.info(f"{BASE}/ed/byid.txt").get("size"))
    answer = marie.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())
    desk.note("spaces", answer.status, spaces=messages(answer, "storage_spaces"))


def names_in_shares(desk: MeshDesk) -> None:
    """A share and a file with difficult names, then many names one by one."""
    marie, einstein, name = desk.marie, desk.einstein, "Mes résultats é+&"
    answer = marie.on("ListContainer", desk.at(name))
    entries = [[info.path.rpartition("/")[2], info.name, info.id.opaque_id.partition(":")[2]] for info in answer.get("infos")]
    desk.note("names_list", answer.status, entries=entries)
    file = desk.at(name, "/fichier ünï #1 100%?.txt")
    answer = marie.stat(file)
    desk.note("names_stat", answer.status, info=marie.info(file))
    desk.note("names_get", get(marie, marie.reference(file), data=True))
    found = marie.call("Stat", provider_pb.StatRequest(ref=by_id(answer.message.info.id)))
    desk.note("names_stat_by_id", found.status)
    for odd in _ODD:
        path, owners = desk.at("ed", f"/sub/{odd}"), f"{BASE}/ed/sub/{odd}"
        upload = put(marie, marie.reference(path), b"n")
        desk.note(
            f"name:{odd if len(odd) < 30 else f'a*{len(odd)}'}",
            put=upload.get("status"),
            stat=marie.stat(path).status.get("code"),
            get=get(marie, marie.reference(path)).get("status"),
            owner_size=einstein.info(owners).get("size"),
            rm=marie.on("Delete", path).status.get("code"),
            owner_after=einstein.info(owners).get("code"),
        )
    put(marie, marie.reference(desk.at("ed", "/sub/tab\tx")), b"n")
    desk.note("list_with_tab_name", names(marie.on("ListContainer", desk.at("ed", "/sub"))))
    marie.on("Delete", desk.at("ed", "/sub/tab\tx"))


_ODD = (
    "space in name",
    "ünï",
    "plus+sign",
    "per%cent",
    "per%20cent",
    "hash#tag",
    "quest?ion",
    "amp&ersand",
    "semi;colon",
    "co:lon",
    "quote'd",
    'dq"uote',
    "back\\slash",
    "trailing ",
    " leading",
    "dot.",
    "~tilde",
    "[br]",
    "日本",
    "e\u0301",
    "tab\tx",
    "nl\nx",
    "a" * 200,
    "a" * 255,
)
