"""Topic 2: a project space, seen by a stranger, a viewer and an editor, and its quota.

The project is admin's; alan is the stranger, then the viewer, then the editor. Membership is given by CreateShare on the root
(the recorded server was asked by its other API, which CS3 does not see).
"""

from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb
from cs3.types.v1beta1 import types_pb2

from tests.emulator.caller import Caller, endpoints, lock, simple
from tests.emulator.closer.desk import (
    Desk,
    absolute,
    below,
    download_fact,
    get,
    headers_fact,
    id_text,
    on,
    opaque_fact,
    permission_names,
    plain,
    ways_fact,
)
from tests.emulator.closer.sharing import EDITOR, VIEWER, share_with
from tests.emulator.closer.users import of_type, spaces
from tests.emulator.recorded import Fact

_QUOTA = 1_000_000
_CONTENT = b"hello project"
_HELLO = b"hello"
_FILE = "/dir/f.txt"


def make(desk: Desk) -> None:
    """Admin's project, and one of alan's own."""
    admin, alan = desk.admin, desk.alan
    answer = _create(admin, "Lab Project", _QUOTA)
    desk.project = id_text(answer.message.storage_space.root)
    _describe(desk, "facts")
    desk.note("cs3_create_project_as_alan", _create(alan, "alan project", 1000).status)
    with _inside(desk, admin) as member:
        made = member.on("CreateContainer", "/dir")
        desk.note("project_content_by_admin", mk=made.status, up=_upload(member, _FILE, _CONTENT))
    listed = spaces(admin, of_type("project"))
    desk.note("project_spaces_admin", listed.status, spaces=[plain(space) for space in listed.message.storage_spaces])


def _create(caller: Caller, name: str, quota: int) -> Any:
    limit = storage_pb.Quota(quota_max_bytes=quota)
    return caller.call("CreateStorageSpace", spaces_pb.CreateStorageSpaceRequest(type="project", name=name, quota=limit))


def _describe(desk: Desk, text: str) -> None:
    """Give the project its description, for which CS3 has no field."""
    space_id = desk.project.partition("$")[2].partition("!")[0]

    def describe() -> None:
        desk.gateway.storage.spaces.get(space_id).description = text

    desk.gateway.call(describe)


def _inside(desk: Desk, caller: Caller) -> Caller:
    """The same user, speaking relative to the project."""
    member = Caller(caller.target, desk.project)
    member.token = caller.token
    return member


def _upload(caller: Caller, path: str, data: bytes) -> Fact:
    transfer = caller.upload(path, data)
    fact: Fact = {"init": transfer.init.status}
    if transfer.http is None:
        return fact
    answer = transfer.http
    shape = {"put": answer.status, "hdr": headers_fact(answer), "body": answer.body.decode()}
    return fact | {"protocols": ways_fact(transfer.endpoints)} | shape


def stranger(desk: Desk) -> None:
    """Who is no member finds nothing."""
    listed = spaces(desk.alan)
    types = [f"{space.space_type}:{space.name}" for space in listed.message.storage_spaces]
    desk.note("spaces_alan_not_member", listed.status, types=types)
    with _inside(desk, desk.alan) as alan:
        desk.note("stat_project_not_member", alan.stat("").status)
        desk.note("list_project_not_member", alan.on("ListContainer", "").status)
        desk.note("upload_project_not_member", alan.initiate_upload(alan.reference("/x"), {"Upload-Length": "5"}).status)


def viewer(desk: Desk) -> None:
    """A viewer reads and is refused everything else."""
    share_with(desk.admin, desk.alan, desk.project, VIEWER)
    _member(desk, "pviewer")


def editor(desk: Desk) -> None:
    """An editor changes everything but the members."""
    share_with(desk.admin, desk.alan, desk.project, EDITOR)
    _member(desk, "peditor")


def _member(desk: Desk, who: str) -> None:
    with _inside(desk, desk.alan) as alan:
        _seen(desk, alan, who)
        for name, path in (("upload_new", f"/dir/new-{who}.txt"), ("upload_new_root", f"/new-{who}.txt"), ("upload_over", _FILE)):
            desk.note(f"{who}_{name}", _upload(alan, path, _HELLO))
        _changed(desk, alan, who)


def _seen(desk: Desk, alan: Caller, who: str) -> None:
    listed = spaces(alan)
    space = next(space for space in listed.message.storage_spaces if space.name == "Lab Project")
    perms = permission_names(space.root_info.permission_set)
    desk.note(f"{who}_spaces", listed.status, space=plain(space), perms=perms)
    answer = alan.stat("")
    info = answer.message.info
    shown = {"name": info.name, "path": info.path, "size": info.size, "opaque": opaque_fact(info.opaque)}
    desk.note(f"{who}_stat_root", answer.status, shown, perms=permission_names(info.permission_set), owner=plain(info.owner))
    answer = alan.stat(_FILE)
    info = answer.message.info
    desk.note(f"{who}_stat_file", answer.status, perms=permission_names(info.permission_set), owner=plain(info.owner))
    answer = alan.on("ListContainer", "")
    desk.note(f"{who}_list", answer.status, names=[[info.name, info.path] for info in answer.message.infos])
    desk.note(f"{who}_download", download_fact(get(alan, alan.reference(_FILE))))


def _changed(desk: Desk, alan: Caller, who: str) -> None:
    desk.note(f"{who}_mkdir", alan.on("CreateContainer", f"/d-{who}").status)
    desk.note(f"{who}_touch", alan.on("TouchFile", f"/t-{who}").status)
    desk.note(f"{who}_move", alan.move(_FILE, f"{_FILE}.moved").status)
    alan.move(f"{_FILE}.moved", _FILE)
    desk.note(f"{who}_setlock", alan.on("SetLock", _FILE, lock=lock("P")).status)
    alan.on("Unlock", _FILE, lock=lock("P"))
    values = storage_pb.ArbitraryMetadata(metadata={"mtime": "1600000000"})
    desk.note(f"{who}_setmd", alan.on("SetArbitraryMetadata", _FILE, arbitrary_metadata=values).status)
    desk.note(f"{who}_quota", _quota(alan))
    answer = alan.on("ListFileVersions", _FILE)
    desk.note(f"{who}_versions", answer.status, n=len(answer.message.versions))
    answer = alan.on("ListRecycle", "")
    desk.note(f"{who}_recycle", answer.status, n=len(answer.message.recycle_items))
    desk.note(f"{who}_delete", alan.on("Delete", f"/dir/new-{who}.txt").status)
    if who == "pviewer":
        desk.note(f"{who}_delete_existing", alan.on("Delete", _FILE).status)


def _quota(caller: Caller) -> Fact:
    answer = caller.call("GetQuota", gateway_pb.GetQuotaRequest(ref=caller.reference("")))
    resp = plain(answer.message)
    resp["status"]["trace"] = "(trace)"
    return answer.status | {"resp": resp}


def quota(desk: Desk) -> None:
    """More than the quota is refused at the initiation, if a length is announced."""
    with _inside(desk, desk.alan) as alan:
        too_much = alan.initiate_upload(alan.reference("/big.bin"), {"Upload-Length": str(2 * _QUOTA)})
        desk.note("quota_exceed_init", init=too_much.status)
        desk.note("quota_exceed_no_length", alan.initiate_upload(alan.reference("/big.bin"), {}).status)
        for fact, path, sent in (
            ("quota_put_more_than_announced", "/big2.bin", b"y" * 1_500_000),
            ("put_less_than_announced", "/short.bin", b"y" * 4),
        ):
            answer = alan.initiate_upload(alan.reference(path), {"Upload-Length": "10"})
            put = alan.put(simple(endpoints(answer)), sent)
            after = alan.stat(path).message.info.size
            desk.note(fact, init=answer.status, status=put.status, body=put.body.decode(), after=after)
        answer = alan.initiate_upload(alan.reference("/nolen.bin"), {})
        ways = endpoints(answer)
        desk.note("init_without_upload_length", answer.status, protocols=[way.protocol for way in ways])
        put = alan.put(simple(ways), _HELLO)
        after = alan.stat("/nolen.bin").message.info.size
        desk.note("put_without_announced_length", status=put.status, body=put.body.decode(), after=after)
    with _inside(desk, desk.admin) as admin:
        desk.note("quota_project_admin", _quota(admin))


def by_path(desk: Desk) -> None:
    """A project by absolute path."""
    alan = desk.alan
    for fact, path in (("stat_project_by_path", ""), ("stat_project_file_by_path", _FILE)):
        answer = on(alan, "Stat", absolute(f"/projects/Lab Project{path}"))
        info = answer.message.info
        desk.note(fact, answer.status, name=info.name, path=info.path)
    answer = on(alan, "ListContainer", absolute("/projects"))
    desk.note("list_projects_parent", answer.status, names=[info.name for info in answer.message.infos])
    rid = on(alan, "Stat", below(desk.project, f".{_FILE}")).message.info.id
    answer = alan.call("GetPath", provider_pb.GetPathRequest(resource_id=rid))
    desk.note("getpath_project_file", answer.status, path=answer.get("path"))


def trashed(desk: Desk) -> None:
    """A deleted project stays listed until it is purged."""
    alan = desk.alan
    own = _own(alan)
    perms = permission_names(own.root_info.permission_set)
    desk.note("alan_project_space", space_type=own.space_type, quota=plain(own.quota), perms=perms)
    delete = spaces_pb.DeleteStorageSpaceRequest(id=own.id)
    desk.note("delete_own_project_cs3", alan.call("DeleteStorageSpace", delete).status)
    listed = _own(alan)
    perms = permission_names(listed.root_info.permission_set)
    desk.note("deleted_project_still_listed", listed=True, opaque=opaque_fact(listed.opaque), perms=perms)
    desk.note("stat_in_trashed_project", on(alan, "Stat", below(id_text(own.root))).status)
    delete.opaque.map["purge"].CopyFrom(types_pb2.OpaqueEntry(decoder="plain", value=b"true"))
    desk.note("purge_own_project_cs3", alan.call("DeleteStorageSpace", delete).status)


def _own(alan: Caller) -> Any:
    return next(space for space in spaces(alan).message.storage_spaces if space.name == "alan project")


STEPS = (
    make,
    stranger,
    viewer,
    editor,
    quota,
    by_path,
)
