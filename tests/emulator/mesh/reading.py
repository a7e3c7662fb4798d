"""The mesh: downloads from received shares, and changes that others make. Called by `round`."""

import time

from cs3fuse.emulator.ocm_webdav import read_multistatus
from tests.emulator.caller import Endpoint, endpoints
from tests.emulator.mesh.desk import BASE, DATA, MeshDesk, get, http_shape, put
from tests.emulator.probe_transfers import sha

_RANGES = {
    "single": "bytes=100-299",
    "whole": "bytes=0-",
    "suffix": "bytes=-100",
    "multi": "bytes=0-9,100-109",
    "beyond": "bytes=2000000-2000010",
}


def downloads(desk: MeshDesk) -> None:
    """GET and HEAD, ranges, what cannot be read."""
    marie = desk.marie

    def reference(name: str, relative: str = "") -> object:
        return marie.reference(desk.at(name, relative))

    data = reference("ed", "/data.root")
    desk.note("download", get(marie, data), want=sha(DATA))
    desk.note("download_viewer", get(marie, reference("vi", "/read.txt"), data=True))
    desk.note("download_single", get(marie, reference("single-vi.txt"), data=True))
    desk.note("download_empty", get(marie, reference("ed", "/empty")))
    for name, value in _RANGES.items():
        desk.note(f"range_{name}", get(marie, data, {"Range": value}))
    desk.note("head", get(marie, data, method="HEAD"))
    desk.note("download_missing", get(marie, reference("ed", "/none")))
    desk.note("download_dir", get(marie, reference("ed", "/sub")))
    desk.note("download_if_none_match", get(marie, reference("ed", "/small.txt"), {"If-None-Match": '"x"'}))
    ways = endpoints(marie.initiate_download(reference("ed", "/small.txt")))
    codes = [marie.http("GET", ways[0]).status for _ in range(3)]
    without = marie.http("GET", ways[0], token="").status
    desk.note("download_token_reuse", endpoint=ways[0].url, codes=codes, without_access_token=without)


def around_the_site(desk: MeshDesk) -> None:
    """A client talks to the sender's WebDAV itself, with what stands in the share."""
    marie = desk.marie
    share = desk.get_received(desk.received["ed"]).message.share
    way = share.protocols[0].webdav_options
    secret = {"Authorization": f"Bearer {way.shared_secret}"}
    file = Endpoint("", f"{way.uri}/data.root", "")
    found = marie.http("PROPFIND", file, headers={**secret, "Depth": "0"}, token="")
    assert len(read_multistatus(found.body)) == 1
    desk.note(
        "direct_webdav_propfind",
        status=found.status,
        has_etag=b"getetag" in found.body,
        has_checksum=b"checksum" in found.body,
        has_quota=b"quota-available" in found.body,
    )
    desk.note("direct_webdav_get", http_shape(marie.http("GET", file, headers=secret, token="")))
    desk.note("direct_webdav_range", http_shape(marie.http("GET", file, headers={**secret, "Range": "bytes=0-9"}, token="")))


def changes_by_the_owner(desk: MeshDesk) -> None:
    """What einstein changes is seen in the next Stat, unless size and second are the same."""
    einstein, marie = desk.einstein, desk.marie
    path, seen = f"{BASE}/ed/watched", desk.at("ed", "/watched")
    mine = einstein.reference(path)

    def owner() -> dict[str, object]:
        return {key: einstein.info(path).get(key) for key in ("etag", "mtime", "size")}

    put(einstein, mine, b"one")
    before, owner_before = marie.info(seen), owner()
    put(einstein, mine, b"three")
    after = marie.info(seen)
    desk.note(
        "change_seen",
        polls=1,
        before=before,
        after=after,
        owner_before=owner_before,
        owner_after=owner(),
        content=desk.cat(seen, marie),
    )
    _early_in_a_second()
    put(einstein, mine, b"three")
    before = marie.info(seen)
    put(einstein, mine, b"threX")
    after = marie.info(seen)
    desk.note(
        "change_same_size_same_second",
        before=before.get("mtime"),
        after=after.get("mtime"),
        looks_same={key: before.get(key) == after.get(key) for key in ("etag", "mtime", "size")},
        content=desk.cat(seen, marie),
        owner_etag=einstein.info(path).get("etag"),
    )
    first = marie.info(desk.at("ed")).get("mtime")
    put(einstein, einstein.reference(f"{BASE}/ed/another"), b"x")
    second = marie.info(desk.at("ed")).get("mtime")
    put(einstein, einstein.reference(f"{BASE}/ed/sub/deeper"), b"x")
    folder, sub = marie.info(desk.at("ed")), marie.info(desk.at("ed", "/sub"))
    listed = [info.name for info in marie.on("ListContainer", desk.at("ed")).get("infos")]
    desk.note(
        "dir_mtime",
        before=first,
        after_child_added=second,
        after_grandchild_added=folder.get("mtime"),
        sub=sub.get("mtime"),
        etag=folder.get("etag"),
        listed=listed,
    )
    einstein.on("Delete", path)
    desk.note("deleted_by_owner", marie.stat(seen).status, get=get(marie, marie.reference(seen)))


def _early_in_a_second() -> None:
    """Wait until a second has most of its time before it, and file systems have noticed that it began."""
    passed = time.time() % 1.0
    if not 0.05 < passed < 0.5:
        time.sleep((1.05 - passed) % 1.0)
