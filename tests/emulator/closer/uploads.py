"""Topic 8, first part: what becomes of uploads that are not as they should be.

Wrong lengths, no length, checksums, conditions, times. Asked in a folder of admin's.
"""

import hashlib
import zlib

from cs3.types.v1beta1 import types_pb2

from tests.emulator.caller import Endpoint, endpoints, lock, simple
from tests.emulator.closer.desk import (
    Desk,
    content,
    download_fact,
    get,
    initiate,
    names,
)

_ANNOUNCED = 10
_FOLDER = "/up"
_CHECKED = b"checked content"


def sha1(data: bytes) -> str:
    """A sha1 as OpenCloud writes it."""
    return hashlib.sha1(data).hexdigest()


def wrong_lengths(desk: Desk) -> None:
    """A body that is shorter or longer than announced."""
    admin = desk.admin
    admin.on("CreateContainer", _FOLDER)
    for fact, name, sent in (
        ("download_after_short_put", "short.bin", b"y" * 4),
        ("download_after_long_put", "big3.bin", b"y" * 1_500_000),
    ):
        _, way = initiate(admin, f"{_FOLDER}/{name}", _ANNOUNCED)
        admin.put(way, sent)
        transfer = get(admin, admin.reference(f"{_FOLDER}/{name}"))
        desk.note(fact, download_fact(transfer), announced=_ANNOUNCED, sent=len(sent))
    checksum = admin.stat(f"{_FOLDER}/short.bin").message.info.checksum.sum
    desk.note("checksum_after_short_put", sum=checksum, want_sha1_of_4y=sha1(b"yyyy"))


def initiations_alone(desk: Desk) -> None:
    """What an initiation does without a PUT: nothing, unless its length is 0 or missing."""
    admin, file = desk.admin, f"{_FOLDER}/ex.txt"
    admin.upload(file, b"existing content")
    before = admin.stat(file).message.info
    answer = admin.initiate_upload(admin.reference(file), {})
    after = admin.stat(file).message.info
    desk.note(
        "init_without_upload_length_on_existing_file",
        answer.status,
        size_before=before.size,
        size_after_init_only=after.size,
        etag_changed=after.etag != before.etag,
        protocols=[way.protocol for way in endpoints(answer)],
        download=download_fact(get(admin, admin.reference(file))),
    )
    versions = admin.on("ListFileVersions", file)
    desk.note("versions_after_that", versions.status, sizes=[version.size for version in versions.message.versions])
    file = f"{_FOLDER}/ex2.txt"
    admin.upload(file, b"existing content")
    answer = admin.initiate_upload(admin.reference(file), {"Upload-Length": "0"})
    protocols = [way.protocol for way in endpoints(answer)]
    size = admin.stat(file).message.info.size
    desk.note("init_upload_length_0_on_existing_file", answer.status, size_after_init_only=size, protocols=protocols)
    file = f"{_FOLDER}/ex3.txt"
    admin.upload(file, b"existing content")
    before = admin.stat(file).message.info
    answer, _ = initiate(admin, file, 5)
    after = admin.stat(file).message.info
    changed = (after.etag, after.size) != (before.etag, before.size)
    desk.note("init_only_existing", answer.status, changed=changed, size=after.size, download=content(admin, file)[0])
    answer, _ = initiate(admin, f"{_FOLDER}/never.txt", 5)
    listed = "never.txt" in names(admin, _FOLDER)
    desk.note("init_only_new", answer.status, stat=admin.stat(f"{_FOLDER}/never.txt").status, listed=listed)


def odd_puts(desk: Desk) -> None:
    """PUT without its extra headers, in chunks, without a token."""
    admin = desk.admin
    _, way = initiate(admin, f"{_FOLDER}/p1.txt", 5)
    answer = admin.http("PUT", way, body=b"12345")
    size = admin.stat(f"{_FOLDER}/p1.txt").message.info.size
    desk.note("put_without_upload_length_header", status=answer.status, size=size)
    _, way = initiate(admin, f"{_FOLDER}/p2.txt", 5)
    answer = admin.http("PUT", way, body=iter([b"123", b"45"]))
    stat = admin.stat(f"{_FOLDER}/p2.txt")
    desk.note("put_chunked", status=answer.status, body=answer.body.decode(), stat=stat.status, size=stat.message.info.size or None)
    answer = admin.put(way, b"12345")
    desk.note(
        "put_twice_same_token", status=answer.status, body=answer.body.decode(), content=content(admin, f"{_FOLDER}/p2.txt")[2]
    )
    _, way = initiate(admin, f"{_FOLDER}/p3.txt", 5)
    for fact, spoiled in (
        ("put_without_access_token", admin.http("PUT", way, body=b"12345", token="")),
        ("put_without_transfer_token", admin.http("PUT", Endpoint(way.protocol, way.url, ""), body=b"12345")),
    ):
        hdr = {"Content-Length": spoiled.headers.get("Content-Length")}
        desk.note(fact, status=spoiled.status, hdr=hdr, body=spoiled.body.decode())


def checksums(desk: Desk) -> None:
    """Upload-Checksum in the initiation is verified, as a header it is not."""
    admin = desk.admin
    right = {"Upload-Checksum": f"sha1 {sha1(_CHECKED)}"}
    for fact, name, sent in (
        ("put_checksum_mismatch", "ck.txt", _CHECKED[::-1]),
        ("put_checksum_right", "ck1.txt", _CHECKED),
        ("put_short_with_checksum", "ck2.txt", _CHECKED[:4]),
    ):
        answer, way = initiate(admin, f"{_FOLDER}/{name}", len(_CHECKED), right)
        if fact == "put_checksum_mismatch":
            desk.note("init_with_upload_checksum", answer.status)
        put = admin.put(way, sent)
        desk.note(fact, status=put.status, body=put.body.decode(), stat=admin.stat(f"{_FOLDER}/{name}").status)
    _, way = initiate(admin, f"{_FOLDER}/ck3.txt", len(_CHECKED))
    put = admin.put(way, _CHECKED, **{"Upload-Checksum": f"sha1 {sha1(b'something else')}"})
    desk.note("put_checksum_header_only", status=put.status, body=put.body.decode())


def kinds_of_checksums(desk: Desk) -> None:
    """Which algorithms are known."""
    admin = desk.admin
    sums = {
        "sha1": sha1(_CHECKED),
        "SHA1": sha1(_CHECKED),
        "md5": hashlib.md5(_CHECKED).hexdigest(),
        "adler32": f"{zlib.adler32(_CHECKED):08x}",
        "sha256": hashlib.sha256(_CHECKED).hexdigest(),
    }
    for kind, value in sums.items():
        path = f"{_FOLDER}/kind-{kind}"
        opaque = {"Upload-Length": str(len(_CHECKED)), "Upload-Checksum": f"{kind} {value}"}
        answer = admin.initiate_upload(admin.reference(path), opaque)
        ways = endpoints(answer)
        desk.note(f"upload_checksum:{kind}", answer.status, put=admin.put(simple(ways), _CHECKED).status if ways else None)
    opaque = {"Upload-Length": "5", "Upload-Checksum": "nonsense"}
    desk.note("upload_checksum:malformed", admin.initiate_upload(admin.reference(f"{_FOLDER}/kind-bad"), opaque).status)


def conditions(desk: Desk) -> None:
    """Conditions of the initiation other than the usual ones."""
    admin, file = desk.admin, f"{_FOLDER}/cond.txt"
    admin.upload(file, b"condition")
    etag = admin.stat(file).message.info.etag
    length = {"Upload-Length": "5"}
    times = (("old", 1_000_000_000), ("future", 4_000_000_000))
    for word, seconds in times:
        since = types_pb2.Timestamp(seconds=seconds)
        answer = admin.initiate_upload(admin.reference(file), length, if_unmodified_since=since)
        desk.note(f"init_if_unmodified_since_{word}", answer.status)
    missing = admin.reference(f"{_FOLDER}/none.txt")
    desk.note("init_if_match_on_missing", admin.initiate_upload(missing, length, if_match=etag).status)
    desk.note("init_if_match_star", admin.initiate_upload(admin.reference(file), length, if_match="*").status)
    unquoted = admin.initiate_upload(admin.reference(file), length, if_match=etag.strip('"'))
    desk.note("init_if_match_unquoted", unquoted.status)


def times(desk: Desk) -> None:
    """The mtime that comes with an upload."""
    admin = desk.admin
    nanos = {"X-OC-Mtime": "1600000000.123456789"}
    _, way = initiate(admin, f"{_FOLDER}/t1", 5, nanos)
    admin.put(way, b"12345")
    mtime = admin.stat(f"{_FOLDER}/t1").message.info.mtime
    desk.note("init_mtime_nanos", seconds=mtime.seconds, nanos=mtime.nanos)
    answer, _ = initiate(admin, f"{_FOLDER}/t2", 0, nanos)
    desk.note("init_mtime_zero_bytes", answer.status, seconds=admin.stat(f"{_FOLDER}/t2").message.info.mtime.seconds)
    _, way = initiate(admin, f"{_FOLDER}/t3", 5)
    admin.put(way, b"12345", **nanos)
    desk.note("mtime_as_put_header", seconds=admin.stat(f"{_FOLDER}/t3").message.info.mtime.seconds)
    answer, _ = initiate(admin, f"{_FOLDER}/t4", 5, {"X-OC-Mtime": "yesterday"})
    desk.note("init_mtime_bad", answer.status)


def empty_files(desk: Desk) -> None:
    """An initiation of length 0 carries its work out at once, and minds every condition."""
    admin, file = desk.admin, f"{_FOLDER}/zero.txt"
    admin.upload(file, b"7 bytes")
    reference, none = admin.reference(file), {"Upload-Length": "0"}

    def note(fact: str, opaque: dict[str, str], **conditions: object) -> None:
        answer = admin.initiate_upload(reference, opaque, **conditions)
        desk.note(fact, answer.status, size=admin.stat(file).message.info.size)

    note("zero_init_if_match_wrong", none, if_match='"wrong"')
    note("zero_init_if_not_exist", none, if_not_exist=True)
    admin.on("SetLock", file, lock=lock("Z"))
    note("zero_init_locked", none)
    note("no_length_init_locked", {})
    admin.on("Unlock", file, lock=lock("Z"))
    answer = admin.initiate_upload(reference, none, if_match=admin.stat(file).message.info.etag)
    info = admin.stat(file).message.info
    desk.note("zero_init_if_match_right", answer.status, size=info.size, status="status" in info.opaque.map)
    desk.note("delete_right_after_zero_init", admin.on("Delete", file).status)
    admin.on("TouchFile", file)
    desk.note("delete_right_after_touch", admin.on("Delete", file).status)


STEPS = (
    wrong_lengths,
    initiations_alone,
    odd_puts,
    checksums,
    kinds_of_checksums,
    conditions,
    times,
    empty_files,
)
