"""Topic 9: what was deleted and how it comes back, and old versions of files.

Asked in alan's space, but for the end, where a project and a share of admin's are needed.
"""

from typing import Any

from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.types.v1beta1 import types_pb2
from google.protobuf.json_format import MessageToDict

from tests.emulator.caller import Answer, Caller, lock
from tests.emulator.closer.desk import (
    Desk,
    absolute,
    bare,
    below,
    get,
    head,
    home_path,
    id_text,
    names,
    on,
    trash_paths,
    version_sizes,
)

_FOLDER = "/t9"
_FILE, _DIR = f"{_FOLDER}/a", f"{_FOLDER}/d"
_VERSIONED = "/t11/v.txt"


def _fill(caller: Caller) -> tuple[str, str]:
    """A file and a folder with things in it. Returns: their node ids."""
    for folder in (_FOLDER, _DIR, f"{_DIR}/e"):
        caller.on("CreateContainer", folder)
    for path in (_FILE, f"{_DIR}/b", f"{_DIR}/e/c"):
        caller.upload(path, f"v1 {path.removeprefix(_FOLDER + '/')}".encode())
    file, folder = (caller.stat(path).message.info.id.opaque_id for path in (_FILE, _DIR))
    return file, folder


def _restore(caller: Caller, key: str, target: str | None, reference: Any = None) -> Answer:
    """RestoreRecycleItem; `target` is a path below the root, None leaves the target out."""
    request = provider_pb.RestoreRecycleItemRequest(ref=reference or caller.reference(""), key=key)
    if target is not None:
        request.restore_ref.CopyFrom(caller.reference(target))
    return caller.call("RestoreRecycleItem", request)


def _key_of(caller: Caller, path: str) -> str:
    """The key of what was deleted last from a path."""
    items = [item for item in caller.on("ListRecycle", "").message.recycle_items if item.ref.path == path]
    return str(max(items, key=lambda item: item.deletion_time.seconds).key)


def _text(caller: Caller, path: str) -> str:
    answer = caller.download(path).http
    return head(answer) if answer is not None else ""


def listings(desk: Desk) -> None:
    """ListRecycle with every kind of reference, and into a deleted folder."""
    alan = desk.alan
    file, folder = _fill(alan)
    desk.note("delete_file_for_trash", alan.on("Delete", _FILE).status)
    desk.note("delete_dir_for_trash", alan.on("Delete", _DIR).status)
    root = str(alan.root)
    subfolder = id_text(alan.stat(_FOLDER).message.info.id)
    for name, reference in {
        "space_root_rel": below(root),
        "space_root_bare": bare(root),
        "subfolder_rel": below(root, f".{_FOLDER}"),
        "path_home": absolute(home_path(alan)),
        "path_sub": absolute(f"{home_path(alan)}{_FOLDER}"),
        "id_of_subfolder": below(subfolder),
        "missing_folder": below(root, "./nothere"),
    }.items():
        answer = on(alan, "ListRecycle", reference)
        items = None if answer.message is None else [MessageToDict(item) for item in answer.message.recycle_items]
        desk.note(f"listrecycle:{name}", answer.status, items=items, n=None if items is None else len(items))
    keys = {item.key for item in alan.on("ListRecycle", "").message.recycle_items}
    desk.note("recycle_key_equals_node_id", file=file in keys, folder=folder in keys)
    for name, key in (("key", folder), ("key_slash", f"{folder}/"), ("key_sub", f"{folder}/e"), ("key_file", file)):
        answer = alan.on("ListRecycle", "", key=key)
        items = [[item.key.replace(folder, "<key>"), item.ref.path, item.type, item.size] for item in answer.get("recycle_items")]
        desk.note(f"listrecycle_into_folder:{name}", answer.status, items=items)
    future = types_pb2.Timestamp(seconds=4_000_000_000)
    answer = alan.on("ListRecycle", "", from_ts=future)
    desk.note("listrecycle_time_window_future", answer.status, n=len(answer.message.recycle_items))


def restorations(desk: Desk) -> None:
    """Back to another place, out of a deleted folder, onto something, without a target."""
    alan = desk.alan
    _restore_both(desk, "1")
    desk.note("restore_without_restore_ref", _restore(alan, _key_of(alan, _DIR), None).status)
    desk.note("restore_wrong_key", _restore(alan, "no", "/t9/nonsense").status)
    _fill(alan)
    alan.on("Delete", _FILE)
    alan.upload(_FILE, b"occupied")
    answer = _restore(alan, _key_of(alan, _FILE), _FILE)
    desk.note("restore_onto_existing", answer.status, head=_text(alan, _FILE))
    alan.on("PurgeRecycle", "", key=_key_of(alan, _DIR))
    alan.on("Delete", _DIR)
    _restore_both(desk, "2")
    alan.on("PurgeRecycle", "", key="")
    _fill(alan)
    before = alan.stat(_DIR).message.info.id.opaque_id
    alan.on("Delete", _DIR)
    answer = _restore(alan, _key_of(alan, _DIR), f"{_FOLDER}/back")
    same = alan.stat(f"{_FOLDER}/back").message.info.id.opaque_id == before
    desk.note("restore_dir", answer.status, tree=names(alan, f"{_FOLDER}/back"), same_id=same)
    _fill(alan)
    alan.on("Delete", f"{_DIR}/b")
    alan.on("Delete", _DIR)
    key = _key_of(alan, f"{_DIR}/b")
    desk.note("restore_parent_gone", _restore(alan, key, f"{_DIR}/b").status)
    desk.note("restore_parent_gone_elsewhere", _restore(alan, key, f"{_FOLDER}/orphan").status)
    _fill(alan)
    alan.on("Delete", _FILE)
    answer = _restore(alan, _key_of(alan, _FILE), f"{_FOLDER}/by-path", absolute(home_path(alan)))
    desk.note("restore_by_path_ref", answer.status, back=alan.stat(f"{_FOLDER}/by-path").code)


def _restore_both(desk: Desk, place: str) -> None:
    alan = desk.alan
    key = _key_of(alan, _FILE)
    answer = _restore(alan, key, f"{_FOLDER}/elsewhere{place}")
    same = alan.stat(f"{_FOLDER}/elsewhere{place}").message.info.id.opaque_id == key
    desk.note("restore_elsewhere", answer.status, head=_text(alan, f"{_FOLDER}/elsewhere{place}"), same_id=same)
    key = _key_of(alan, _DIR)
    answer = _restore(alan, f"{key}/e/c", f"{_FOLDER}/sub{place}")
    desk.note("restore_sub_item", answer.status, head=_text(alan, f"{_FOLDER}/sub{place}"))
    answer = alan.on("ListRecycle", "", key=f"{key}/e")
    desk.note("after_sub_restore_listed", answer.status, n=len(answer.message.recycle_items))


def other_space(desk: Desk) -> None:
    """Into another space: the server says OK, and the item is gone."""
    alan, project = desk.alan, desk.project
    _fill(alan)
    alan.on("Delete", _FILE)
    key = _key_of(alan, _FILE)
    request = provider_pb.RestoreRecycleItemRequest(ref=alan.reference(""), key=key, restore_ref=below(project, "./from-alan"))
    desk.note("restore_to_other_space", alan.call("RestoreRecycleItem", request).status)
    in_project = on(alan, "Stat", below(project, "./from-alan")).code
    in_own_space = alan.stat("/from-alan").code
    desk.note("restored_to_other_space_where", in_project=in_project, in_own_space=in_own_space)


def purges(desk: Desk) -> None:
    """One item, the same again, a wrong key, everything."""
    alan = desk.alan
    for name in ("p1", "p2", "p3"):
        alan.upload(f"{_FOLDER}/{name}", b"purge me")
    alan.on("PurgeRecycle", "", key="")
    for name in ("p1", "p2", "p3"):
        alan.on("Delete", f"{_FOLDER}/{name}")
    before, key = len(trash_paths(alan)), _key_of(alan, f"{_FOLDER}/p1")
    answer = alan.on("PurgeRecycle", "", key=key)
    desk.note("purge_one", answer.status, before=before, after=len(trash_paths(alan)))
    desk.note("purge_again", alan.on("PurgeRecycle", "", key=key).status)
    desk.note("purge_wrong_key", alan.on("PurgeRecycle", "", key="nonsense").status)
    answer = alan.on("PurgeRecycle", "", key="")
    desk.note("purge_all_empty_key", answer.status, after=len(trash_paths(alan)))


def project_trash(desk: Desk) -> None:
    """What an editor of a project may do with its trash."""
    alan, project = desk.alan, below(desk.project)
    with Caller(alan.target, desk.project) as editor:
        editor.token = alan.token
        editor.upload("/tr.txt", b"to be deleted")
        editor.on("Delete", "/tr.txt")
        answer = on(alan, "ListRecycle", project)
        desk.note("project_trash_as_editor", answer.status, items=[item.ref.path for item in answer.message.recycle_items])
        desk.note("project_restore_as_editor", _restore(editor, _key_of(editor, "/tr.txt"), "/tr-back.txt").status)
        editor.on("Delete", "/tr-back.txt")
        desk.note("project_purge_as_editor", editor.on("PurgeRecycle", "", key=_key_of(editor, "/tr-back.txt")).status)


def _moment(stamp: str) -> tuple[str, str]:
    """What sorts the time of a version's key: its fraction has no trailing zeros, so `.28Z` would sort after `.281Z`."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


def versions(desk: Desk) -> None:
    """ListFileVersions by every kind of reference, and the content of a version."""
    alan = desk.alan
    alan.on("CreateContainer", "/t11")
    for number in range(4):
        alan.upload(_VERSIONED, f"version {number}".encode())
    info = alan.stat(_VERSIONED).message.info
    rid, folder = id_text(info.id), id_text(info.parent_id)
    for name, reference in {
        "rel": alan.reference(_VERSIONED),
        "bare_id": bare(rid),
        "id_dot": below(rid),
        "path": absolute(f"{home_path(alan)}{_VERSIONED}"),
        "folder": alan.reference("/t11"),
        "missing": alan.reference("/t11/none"),
    }.items():
        answer = on(alan, "ListFileVersions", reference)
        found = [[version.key, version.size, version.mtime, version.etag] for version in answer.get("versions")]
        desk.note(f"versions:{name}", answer.status, v=found)
    listed = list(alan.on("ListFileVersions", _VERSIONED).message.versions)
    stamps = [version.key.partition(".REV.")[2] for version in listed]
    in_order = stamps == sorted(stamps, key=_moment, reverse=True)
    current = any(version.etag == info.etag for version in listed)
    keys = stamps if in_order else ["not newest first"]
    desk.note("versions_order", sizes=[version.size for version in listed], keys=keys, contains_current=current)
    oldest = listed[-1].key
    place = rid.rpartition("!")[0]
    for name, reference in {
        "key_as_opaque_id_bare": bare(f"{place}!{oldest}"),
        "key_as_opaque_id_dot": below(f"{place}!{oldest}"),
        "rel_with_key": below(folder, f"./{oldest}"),
    }.items():
        stat, transfer = on(alan, "Stat", reference), get(alan, reference)
        desk.note(
            f"version_download:{name}",
            stat=stat.status,
            size=stat.message.info.size,
            init=transfer.init.status,
            status=transfer.http.status if transfer.http else None,
            head=head(transfer.http) if transfer.http else None,
            protocols=[way.protocol for way in transfer.endpoints],
        )
    request = provider_pb.InitiateFileDownloadRequest(ref=alan.reference(_VERSIONED))
    request.opaque.map["versionKey"].CopyFrom(types_pb2.OpaqueEntry(decoder="plain", value=oldest.encode()))
    answer = alan.call("InitiateFileDownload", request)
    got = alan.download(_VERSIONED).http
    assert got is not None
    desk.note("version_download:opaque_versionKey", answer.status, status=got.status, head=head(got))


def restored_versions(desk: Desk) -> None:
    """RestoreFileVersion."""
    alan = desk.alan
    listed = list(alan.on("ListFileVersions", _VERSIONED).message.versions)
    newest, oldest = listed[0], listed[-1]
    before = alan.stat(_VERSIONED).message.info
    answer = alan.on("RestoreFileVersion", _VERSIONED, key=oldest.key)
    after = alan.stat(_VERSIONED).message.info
    keys = [version.key for version in alan.on("ListFileVersions", _VERSIONED).message.versions]
    desk.note(
        "restore_version",
        answer.status,
        restored_was=oldest.size,
        head=_text(alan, _VERSIONED),
        n_versions_after=len(version_sizes(alan, _VERSIONED)),
        key_still_listed=oldest.key in keys,
        mtime_after=after.mtime.seconds,
        id_kept=after.id == before.id,
    )
    changed = {
        "changed": after.etag != before.etag,
        "etag_equals_version_etag": after.etag == oldest.etag,
        "mtime_changed": after.mtime != before.mtime,
    }
    desk.note("restore_version_etag", changed)
    desk.note("restore_version_wrong_key", alan.on("RestoreFileVersion", _VERSIONED, key="nonsense").status)
    answer = on(alan, "RestoreFileVersion", below(id_text(before.id)), key=newest.key)
    desk.note("restore_version_by_id", answer.status, head=_text(alan, _VERSIONED))
    key = alan.on("ListFileVersions", _VERSIONED).message.versions[0].key
    locked = alan.on("SetLock", _VERSIONED, lock=lock("V"))
    answer = alan.on("RestoreFileVersion", _VERSIONED, key=key)
    desk.note("restore_version_locked", answer.status, l=locked.code)
    alan.on("Unlock", _VERSIONED, lock=lock("V"))


STEPS = (
    listings,
    restorations,
    other_space,
    purges,
    project_trash,
    versions,
    restored_versions,
)
