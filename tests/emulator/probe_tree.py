"""The questions of the probe about everything but bytes: sign-in, tree, etags, metadata, locks, names.

Called by `probe`, in the order given there.
"""

import time
from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb
from google.protobuf.json_format import MessageToDict

from tests.emulator.caller import lock
from tests.emulator.probe import Probe, count, upload_fact
from tests.emulator.recorded import Fact

_MOVE_TIMEOUT_S = 1.0
"""OpenCloud never answers a move of a folder into itself; it was given 20 s when that was recorded."""

_OTHER_SECOND_S = 1.1
ODD_NAMES = ("nul\x00", "a" * 300, "nl\n", "back\\slash", "..", "co:lon", "-chunking-1-2-3")


def first_of(answer: Any, field: str) -> Fact | None:
    """The first message of a repeated field as JSON."""
    items = answer.get(field)
    return MessageToDict(items[0]) if items else None


def signing_in(probe: Probe, user: str, secret: str) -> None:
    """The right secret, a wrong one, a wrong type, no token, a spoiled token."""
    caller = probe.caller
    probe.note("authenticate", caller.sign_in(user, secret).status)
    probe.note("auth_bad", caller.authenticate(user, "wrong").status)
    probe.note("auth_badtype", caller.authenticate(user, "wrong", kind="nonesuch").status)
    request = provider_pb.StatRequest(ref=caller.reference(probe.home))
    probe.note("stat_notoken", caller.call("Stat", request, token="").status)
    probe.note("stat_badtoken", caller.call("Stat", request, token=f"{caller.token[:-4]}AAAA").status)


def looking_around(probe: Probe) -> None:
    """Home, root, what is not there."""
    caller, home = probe.caller, probe.home
    answer = caller.call("GetHome", provider_pb.GetHomeRequest())
    probe.note("get_home", answer.status, path=answer.get("path"))
    probe.note("stat_root", caller.stat("/").status, info=caller.info("/"))
    probe.note("stat_home", caller.stat(home).status, info=caller.info(home))
    probe.note("stat_missing", caller.stat(f"{home}/missing").status)
    probe.note("stat_missing_deep", caller.stat(f"{home}/no/such/dir").status)


def making(probe: Probe) -> None:
    """Folders and empty files."""
    caller, base = probe.caller, probe.base
    probe.note("mkdir", caller.on("CreateContainer", base).status)
    probe.note("mkdir_again", caller.on("CreateContainer", base).status)
    probe.note("mkdir_noparent", caller.on("CreateContainer", f"{base}/a/b").status)
    probe.note("touch", caller.on("TouchFile", f"{base}/touched").status, info=caller.info(f"{base}/touched"))
    probe.note("touch_again", caller.on("TouchFile", f"{base}/touched").status)


def listing(probe: Probe) -> None:
    """ListContainer of a folder, a file, nothing, the root."""
    caller, base = probe.caller, probe.base
    for number in range(3):
        caller.upload(f"{base}/n{number}", b"x")
    answer = caller.on("ListContainer", base)
    probe.note("list", answer.status, n=count(answer, "infos"), first=_first_by_name(answer))
    probe.note("list_file", caller.on("ListContainer", f"{base}/n0").status)
    probe.note("list_missing", caller.on("ListContainer", f"{base}/zzz").status)
    answer = caller.on("ListContainer", "/")
    probe.note("list_root", answer.status, names=[info.path for info in answer.get("infos")])


def _first_by_name(answer: Any) -> Fact | None:
    """The entry "victim", which OpenCloud happened to list first, or (a server that sorts) the very first."""
    infos = answer.get("infos") or []
    chosen = next((info for info in infos if info.name == "victim"), infos[0] if infos else None)
    return None if chosen is None else MessageToDict(chosen)


def moving(probe: Probe) -> None:
    """Move of a file and of folders, over all kinds of things."""
    caller, base = probe.caller, probe.base
    before = caller.info(f"{base}/n0").get("id")
    status = caller.move(f"{base}/n0", f"{base}/m0").status
    probe.note("move", status, id_before=before, id_after=caller.info(f"{base}/m0").get("id"))
    probe.note("move_over", caller.move(f"{base}/n1", f"{base}/n2").status, after=caller.info(f"{base}/n2"))
    probe.note("move_missing", caller.move(f"{base}/zzz", f"{base}/yyy").status)
    caller.on("CreateContainer", f"{base}/d1")
    caller.on("CreateContainer", f"{base}/d2")
    caller.upload(f"{base}/d2/in", b"x")
    probe.note("move_dir_over_nonempty", caller.move(f"{base}/d1", f"{base}/d2").status)
    probe.note("move_file_over_dir", caller.move(f"{base}/n2", f"{base}/d2").status)
    probe.note("move_dir_into_self", caller.move(f"{base}/d2", f"{base}/d2/sub", _MOVE_TIMEOUT_S).status)


def by_id(probe: Probe) -> None:
    """The same folder addressed by its id."""
    caller = probe.caller
    answer = caller.stat(f"{probe.base}/d2")
    if answer.code != "OK":
        return
    bare = storage_pb.Reference(resource_id=answer.message.info.id)
    below = storage_pb.Reference(resource_id=answer.message.info.id, path="./in")
    for name, reference in (("stat_by_id", bare), ("stat_relative", below)):
        found = caller.call("Stat", provider_pb.StatRequest(ref=reference))
        probe.note(name, found.status, path=found.message.info.path if found.message else None)
    found = caller.call("ListContainer", provider_pb.ListContainerRequest(ref=bare))
    probe.note("list_by_id", found.status, names=[info.path for info in found.get("infos")])


def etags(probe: Probe) -> None:
    """Whether a change shows in the folders above, and in the file itself within one second."""
    caller, base, home = probe.caller, probe.base, probe.home
    before = caller.info(base).get("etag"), caller.info(home).get("etag")
    time.sleep(_OTHER_SECOND_S)
    caller.upload(f"{base}/d2/deep", b"y")
    after = caller.info(base).get("etag"), caller.info(home).get("etag")
    probe.note("etag_propagates", parent_changed=after[0] != before[0], home_changed=after[1] != before[1])
    first = caller.info(f"{base}/d2/deep").get("etag")
    caller.upload(f"{base}/d2/deep", b"z")
    probe.note("etag_same_second_same_size", changed=caller.info(f"{base}/d2/deep").get("etag") != first)


def metadata(probe: Probe) -> None:
    """Arbitrary metadata, and the mtime that is set through them."""
    caller, file = probe.caller, probe.file
    values = storage_pb.ArbitraryMetadata(metadata={"cs3fuse.test": "v1"})
    status = caller.on("SetArbitraryMetadata", file, arbitrary_metadata=values).status
    probe.note("set_md", status, after=caller.info(file))
    answer = caller.on("Stat", file, arbitrary_metadata_keys=["*"])
    probe.note("get_md", answer.status, md=MessageToDict(answer.message.info).get("arbitraryMetadata"))
    values = storage_pb.ArbitraryMetadata(metadata={"mtime": "1600000000.123456789"})
    status = caller.on("SetArbitraryMetadata", file, arbitrary_metadata=values).status
    probe.note("set_mtime", status, mtime=caller.info(file).get("mtime"))


def locking(probe: Probe) -> None:
    """A lock from SetLock to Unlock, and what it keeps others from."""
    caller, file = probe.caller, probe.file
    probe.note("get_lock_none", caller.on("GetLock", file).status)
    probe.note("set_lock", caller.on("SetLock", file, lock=lock("L1")).status)
    answer = caller.on("GetLock", file)
    probe.note("get_lock", answer.status, lock=MessageToDict(answer.message.lock) if answer.message else None)
    probe.note("set_lock_other", caller.on("SetLock", file, lock=lock("L2")).status)
    probe.note("stat_locked", info=caller.info(file))
    probe.note("upload_locked_nolock", upload_fact(caller.upload(file, b"nolock")), after=caller.info(file))
    probe.note("upload_locked_wrong", upload_fact(caller.upload(file, b"wrong!", lock_id="L2")))
    probe.note("upload_locked_right", upload_fact(caller.upload(file, b"right!", lock_id="L1")))
    probe.note("move_locked", caller.move(file, f"{file}.mv").status)
    caller.move(f"{file}.mv", file)
    probe.note("refresh_wrong", caller.on("RefreshLock", file, lock=lock("L2")).status)
    probe.note("refresh", caller.on("RefreshLock", file, lock=lock("L1", life_s=120)).status)
    probe.note("unlock_wrong", caller.on("Unlock", file, lock=lock("L2")).status)
    probe.note("unlock", caller.on("Unlock", file, lock=lock("L1")).status)
    probe.note("unlock_again", caller.on("Unlock", file, lock=lock("L1")).status)
    for name, kind in (("lock_shared", storage_pb.LOCK_TYPE_SHARED), ("lock_excl", storage_pb.LOCK_TYPE_EXCL)):
        probe.note(name, caller.on("SetLock", file, lock=lock("S", kind)).status)
        caller.on("Unlock", file, lock=lock("S", kind))


def versions_and_quota(probe: Probe) -> None:
    """Versions, recycle bin, quota."""
    caller = probe.caller
    answer = caller.on("ListFileVersions", probe.file)
    probe.note("versions", answer.status, n=count(answer, "versions"), v=first_of(answer, "versions"))
    answer = caller.on("ListRecycle", probe.home)
    probe.note("recycle", answer.status, n=count(answer, "recycle_items"))
    answer = caller.call("GetQuota", gateway_pb.GetQuotaRequest(ref=caller.reference(probe.home)))
    probe.note("quota", answer.status, total=answer.get("total_bytes"), used=answer.get("used_bytes"))


def spaces_and_shares(probe: Probe) -> None:
    """Spaces, received shares of both kinds."""
    caller = probe.caller
    answer = caller.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())
    probe.note("spaces", answer.status, spaces=[MessageToDict(space) for space in answer.get("storage_spaces") or []])
    answer = caller.call("ListReceivedShares", collaboration_pb.ListReceivedSharesRequest())
    probe.note("received_shares", answer.status, n=count(answer, "shares"), s=first_of(answer, "shares"))
    probe.note("received_ocm", caller.call("ListReceivedOCMShares", ocm_pb.ListReceivedOCMSharesRequest()).status)


def deleting(probe: Probe) -> None:
    """A folder that is not empty, a file that is not there."""
    probe.note("delete_nonempty_dir", probe.caller.on("Delete", f"{probe.base}/d2").status)
    probe.note("delete_missing", probe.caller.on("Delete", f"{probe.base}/zzz").status)


def odd_names(probe: Probe) -> None:
    """Folders with names that servers may dislike; at the end everything goes."""
    for name in ODD_NAMES:
        probe.note(f"name:{repr(name)[:24]}", probe.caller.on("CreateContainer", f"{probe.base}/{name}").status)
    probe.note("cleanup", probe.caller.on("Delete", probe.base).status)
