"""Topic 6, the part that is no matter of speed: listings, and what may be done with a file while it is in post-processing.

Asked in a folder of admin's. The emulator's post-processing is made long for the time of the questions, and ended by hand.
"""

import contextlib
from collections.abc import Iterator

from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb

from tests.emulator.caller import endpoints, lock, simple
from tests.emulator.closer.desk import Desk, content, version_sizes
from tests.emulator.closer.uploads import sha1

_FOLDER = "/ps"
_FILES = ("mv", "rm", "ow", "lk", "md", "ver")
_LONG_S = 30.0
_MANY = 100


@contextlib.contextmanager
def slow_processing(desk: Desk) -> Iterator[None]:
    """Let the post-processing of uploads take longer than anybody waits."""
    quirks = desk.gateway.quirks
    before = quirks["processing_s"]
    quirks["processing_s"] = _LONG_S
    try:
        yield
    finally:
        quirks["processing_s"] = before


def end_processing(desk: Desk) -> None:
    """Let every post-processing be over now."""

    def end() -> None:
        for node in desk.gateway.storage.tree.nodes.values():
            node.processing_until = 0.0

    desk.gateway.call(end)


def listings(desk: Desk) -> None:
    """What an entry of a listing has, and in which order entries come."""
    admin = desk.admin
    admin.on("CreateContainer", _FOLDER)
    admin.on("CreateContainer", f"{_FOLDER}/list")
    for number in range(_MANY):
        admin.on("TouchFile", f"{_FOLDER}/list/f{number:03d}")
    listed = [admin.on("ListContainer", f"{_FOLDER}/list").message.infos for _ in range(3)]
    desk.note("list100", entries=len(listed[0]))
    orders = [[info.name for info in infos] for infos in listed]
    in_order = any(order == sorted(order) for order in orders)
    desk.note("list1000_order", same_each_time=orders[0] == orders[1] == orders[2], sorted=in_order)
    first = listed[0][0]
    fields = [field.name for field, _ in first.ListFields()]
    sizes = {"space_bytes": first.space.ByteSize(), "permission_bytes": first.permission_set.ByteSize()}
    presence = {"has_space": first.HasField("space"), "has_parent": first.HasField("parent_id")}
    desk.note("list_entry_fields", presence, sizes, fields=fields)
    answer = admin.on("ListContainer", f"{_FOLDER}/list", arbitrary_metadata_keys=["*"])
    desk.note("list_with_metadata_keys", fields=[field.name for field, _ in answer.message.infos[0].ListFields()])


def checksum_at_once(desk: Desk) -> None:
    """The checksum is told from the moment of the PUT."""
    admin, path = desk.admin, f"{_FOLDER}/sum"
    with slow_processing(desk):
        admin.upload(path, b"checksum")
        info = admin.stat(path).message.info
    equal = info.checksum.sum == sha1(b"checksum")
    desk.note("checksum_right_after_put", sha1_equal=equal, type=info.checksum.type, opaque=sorted(info.opaque.map))


def while_processing(desk: Desk) -> None:
    """Everything but reading and deleting works meanwhile."""
    admin = desk.admin
    with slow_processing(desk):
        for name in _FILES:
            admin.upload(f"{_FOLDER}/x-{name}", f"first-{name}".encode())
        before = {name: _status(desk, name) for name in _FILES}
        path = f"{_FOLDER}/x-ow"
        etag = admin.stat(path).message.info.etag
        answer = admin.initiate_upload(admin.reference(path), {"Upload-Length": "6"}, if_match=etag)
        put = admin.put(simple(endpoints(answer)), b"second")
        mtime = storage_pb.ArbitraryMetadata(metadata={"mtime": "1600000000"})
        versions = admin.on("ListFileVersions", f"{_FOLDER}/x-ver")
        got = admin.download(f"{_FOLDER}/x-ver").http
        ops = {
            "move": admin.move(f"{_FOLDER}/x-mv", f"{_FOLDER}/x-mv2").status,
            "delete": admin.on("Delete", f"{_FOLDER}/x-rm").status,
            "overwrite_if_match": {"init": answer.status, "put": put.status},
            "setlock": admin.on("SetLock", f"{_FOLDER}/x-lk", lock=lock("P")).status,
            "setmtime": admin.on("SetArbitraryMetadata", f"{_FOLDER}/x-md", arbitrary_metadata=mtime).status,
            "listversions": versions.status | {"n": len(versions.message.versions)},
            "get": {"status": got.status if got else None},
        }
        listed = admin.on("ListContainer", _FOLDER).message.infos
        ops["list_shows_status"] = sorted(info.name for info in listed if "status" in info.opaque.map and info.name[:2] == "x-")
    desk.note("operations_while_processing", status_before=before, ops=ops)
    files = ("mv2", "ow", "lk", "md", "ver")
    end_processing(desk)
    desk.note(
        "after_processing",
        moved=content(admin, f"{_FOLDER}/x-mv2")[2],
        overwritten=content(admin, f"{_FOLDER}/x-ow")[2],
        deleted=admin.on("Delete", f"{_FOLDER}/x-rm").code,
        md_mtime=admin.stat(f"{_FOLDER}/x-md").message.info.mtime.seconds,
        lock_still=admin.on("GetLock", f"{_FOLDER}/x-lk").code == "OK",
        statuses={name: _status(desk, name) for name in files},
    )


def _status(desk: Desk, name: str) -> str:
    opaque = desk.admin.stat(f"{_FOLDER}/x-{name}").message.info.opaque
    return str(opaque.map["status"].value.decode()) if "status" in opaque.map else ""


def overwritten_often(desk: Desk) -> None:
    """Thirty overwrites one after the other: each etag is the one that the PUT told."""
    admin, path, rounds = desk.admin, f"{_FOLDER}/often", 30
    mismatches = 0
    for number in range(rounds):
        put = admin.upload(path, f"{number:03d}".encode()).http
        mismatches += put is None or admin.stat(path).message.info.etag != put.headers.get("Etag")
    versions = len(version_sizes(admin, path))
    desk.note("overwrite_same_file_30x", etag_mismatch=mismatches, final=content(admin, path)[2], versions=versions)


def folder_of_processing_files(desk: Desk) -> None:
    """A folder may be deleted although a file in it is in post-processing; a file may be renamed and then read."""
    admin, rounds = desk.admin, 15
    deleted, renamed = [], []
    for number in range(rounds):
        folder = f"{_FOLDER}/folder{number}"
        admin.on("CreateContainer", folder)
        with slow_processing(desk):
            admin.upload(f"{folder}/f", b"inside")
            deleted.append(admin.on("Delete", folder).code)
        admin.upload(f"{_FOLDER}/r{number}", b"renamed")
        admin.move(f"{_FOLDER}/r{number}", f"{_FOLDER}/s{number}")
        found = content(admin, f"{_FOLDER}/s{number}")
        renamed.append(f"({found[0]}, {found[2] == 'renamed'})")
    desk.note("delete_folder_right_after_put_inside_15x", results={code: deleted.count(code) for code in set(deleted)})
    desk.note("rename_right_after_put_15x_then_read", results={text: renamed.count(text) for text in set(renamed)})


STEPS = (
    listings,
    checksum_at_once,
    while_processing,
    overwritten_often,
    folder_of_processing_files,
)
