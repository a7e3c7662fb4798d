"""The questions of the probe about uploads and downloads.

Called by `probe` in the order of this file, after the folder was made by `probe_tree`.
"""

import hashlib

from tests.emulator.caller import Transfer, endpoints, simple
from tests.emulator.probe import Probe, download_fact, protocols_fact, put_fact, upload_fact

CONTENT = bytes(range(256)) * 4096
"""1 MiB that no server compresses or takes for text."""


def sha(data: bytes) -> str:
    """The first ten digits of a sha1, as facts carry them."""
    return hashlib.sha1(data).hexdigest()[:10]


def first_upload(probe: Probe) -> None:
    """A new file with a difficult name."""
    transfer = probe.caller.upload(probe.file, CONTENT)
    probe.note("upload", upload_fact(transfer), info=probe.caller.info(probe.file))


def downloads(probe: Probe) -> None:
    """GET and HEAD, ranges, conditions."""
    get, file = probe.caller.download, probe.file
    etag = str(probe.caller.info(file).get("etag"))
    probe.note("download_full", download_fact(get(file)), want=sha(CONTENT))
    probe.note("download_head", download_fact(get(file, method="HEAD")))
    probe.note("range_single", download_fact(get(file, {"Range": "bytes=100-299"})), want=sha(CONTENT[100:300]))
    probe.note("range_suffix", download_fact(get(file, {"Range": "bytes=-100"})))
    probe.note("range_multi", download_fact(get(file, {"Range": "bytes=0-9,100-109"})))
    probe.note("range_beyond", download_fact(get(file, {"Range": "bytes=2000000-2000010"})))
    probe.note("if_none_match", download_fact(get(file, {"If-None-Match": etag})))
    probe.note("if_match_wrong", download_fact(get(file, {"If-Match": '"nonesuch"'})))


def transfer_tokens(probe: Probe) -> None:
    """One transfer token for several GETs, and without an access token."""
    caller = probe.caller
    ways = endpoints(caller.initiate_download(caller.reference(probe.file)))
    if not ways:
        return
    way = simple(ways)
    probe.note("download_token_reuse", codes=[caller.http("GET", way).status for _ in range(3)])
    probe.note("download_no_access_token", status=caller.http("GET", way, token="").status)


def downloads_of_nothing(probe: Probe) -> None:
    """GET of what is no file."""
    for name, path in (("download_missing", f"{probe.base}/missing"), ("download_dir", probe.base)):
        probe.note(name, download_fact(probe.caller.download(path)))


def uploads_in_odd_places(probe: Probe) -> None:
    """Below a missing folder, over a folder, without content."""
    caller, base = probe.caller, probe.base
    probe.note("upload_missing_parent", upload_fact(caller.upload(f"{base}/nodir/x", b"abc")))
    victim = f"{base}/victim"
    caller.on("CreateContainer", victim)
    caller.upload(f"{victim}/child", b"c")
    transfer = caller.upload(victim, b"abc")
    probe.note("upload_over_dir", upload_fact(transfer), after=caller.info(victim), child=caller.info(f"{victim}/child"))
    transfer = caller.upload(f"{base}/empty", b"")
    probe.note("upload_empty", upload_fact(transfer), info=caller.info(f"{base}/empty"))


def overwrites(probe: Probe) -> None:
    """With and without conditions."""
    caller, file = probe.caller, probe.file
    before = caller.info(file)
    transfer = caller.upload(file, CONTENT[:1000])
    probe.note("overwrite", upload_fact(transfer), before=before, after=caller.info(file))
    etag = str(caller.info(file).get("etag"))
    answer = caller.initiate_upload(caller.reference(file), {"Upload-Length": "5"}, if_match='"wrong"')
    refused = Transfer(answer, endpoints(answer), None)
    probe.note("init_if_match_wrong", answer.status, protocols=None if answer.message is None else protocols_fact(refused))
    if refused.endpoints:
        put = caller.put(simple(refused.endpoints), b"12345", file)
        probe.note("put_if_match_wrong", put_fact(put), after=caller.info(file))
    transfer = caller.upload(file, b"right-match", if_match=etag)
    probe.note("init_if_match_right", upload_fact(transfer), after=caller.info(file))
    transfer = caller.upload(file, b"0123456789", if_not_exist=True)
    probe.note("if_not_exist", upload_fact(transfer), after=caller.info(file))


def truncated_put(probe: Probe) -> None:
    """A connection that breaks in the middle of the body."""
    caller, file = probe.caller, probe.file
    ways = endpoints(caller.initiate_upload(caller.reference(file), {"Upload-Length": "1000"}))
    if ways:
        caller.put_and_break_off(simple(ways), b"x" * 400, announced=1000)
        probe.note("truncated_put", after=caller.info(file), content=download_fact(caller.download(file)))
