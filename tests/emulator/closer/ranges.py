"""Topic 7: ranges, conditions of a GET, transfer tokens, and downloads that are running while the file changes.

Asked in a folder of admin's. A multipart answer of OpenCloud is cut: its Content-Length is 15 bytes per part too small.
"""

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

from tests.emulator.caller import Caller, Endpoint, HttpAnswer, endpoint_headers, endpoints, simple
from tests.emulator.closer.desk import Desk, below, id_text, initiate, token_claims

_FOLDER = "/rg"
_FILE = f"{_FOLDER}/big.bin"
_SIZE = 4_000_000
_CONTENT = random.Random(7).randbytes(_SIZE)
_LARGE = 60_000_000
_FIRST_READ = 100_000
_TYPE_LETTERS = 30
_PART_BYTES = 100
_STEP = 700
_DATE_OLD = "Mon, 01 Jan 2001 00:00:00 GMT"


def way_to(caller: Caller, path: str) -> Endpoint:
    """Where to GET a file."""
    return simple(endpoints(caller.initiate_download(caller.reference(path))))


def parts_of(answer: HttpAnswer, size: int) -> list[tuple[int, int, bytes]]:
    """The parts of a multipart answer that end with a delimiter, as (first, last, bytes)."""
    boundary = answer.headers["Content-Type"].partition("boundary=")[2].encode()
    found = []
    for piece in answer.body.split(b"--" + boundary)[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        match = re.search(rb"bytes (\d+)-(\d+)/%d" % size, head)
        assert match is not None, head
        found.append((int(match[1]), int(match[2]), body.removesuffix(b"\r\n")))
    return found


def transfer_tokens(desk: Desk) -> None:
    """What is in a transfer token."""
    admin = desk.admin
    admin.on("CreateContainer", _FOLDER)
    admin.upload("/ex3.txt", b"content")
    _, upload = initiate(admin, f"{_FOLDER}/up.txt", 5)
    for fact, way in (("transfer_token_upload", upload), ("transfer_token_download", way_to(admin, "/ex3.txt"))):
        claims = token_claims(way.token)
        desk.note(fact, life_s=int(claims["exp"] - time.time()), claims={key: value for key, value in claims.items() if value})


def single_and_few(desk: Desk) -> None:
    """One, two and three ranges, good and bad."""
    admin = desk.admin
    admin.upload(_FILE, _CONTENT)
    way = way_to(admin, _FILE)
    wanted = {
        "two_ordered": "bytes=0-9,100-109",
        "two_reverse": "bytes=100-109,0-9",
        "overlap": "bytes=0-99,50-149",
        "same_twice": "bytes=0-9,0-9",
        "adjacent": "bytes=0-9,10-19",
        "suffix_and_first": "bytes=-10,0-9",
        "open_ended": "bytes=3999990-",
        "one_beyond_one_ok": "bytes=5000000-5000010,0-9",
        "end_beyond": "bytes=3999990-5000000",
        "all_beyond": "bytes=5000000-",
        "malformed": "bytes=a-b",
        "other_unit": "items=0-9",
        "spaces": "bytes=0-9, 20-29",
        "zero_suffix": "bytes=-0",
        "whole": "bytes=0-",
        "total_larger_than_file": "bytes=0-3999999,0-10",
    }
    for name, header in wanted.items():
        answer = admin.http("GET", way, headers={"Range": header})
        kind = answer.headers.get("Content-Type", "")
        parts: Any = kind or None
        if kind.startswith("multipart/"):
            parts = [[first, last, _CONTENT[first : last + 1] == body] for first, last, body in parts_of(answer, _SIZE)]
        desk.note(
            f"range:{name}",
            range=header,
            status=answer.status,
            len=len(answer.body),
            content_range=answer.headers.get("Content-Range"),
            content_type=kind[:_TYPE_LETTERS],
            parts=parts,
        )


def many(desk: Desk) -> None:
    """Up to 5000 ranges in one header, and a header that is too long."""
    admin = desk.admin
    way = way_to(admin, _FILE)
    for number in (10, 50, 100, 200, 500, 1000, 2000, 5000):
        header = _header(number, _STEP, _PART_BYTES)
        answer = admin.http("GET", way, headers={"Range": header})
        parts = parts_of(answer, _SIZE)
        correct = all(_CONTENT[first : last + 1] == body for first, last, body in parts)
        desk.note(f"range:many_{number}", status=answer.status, len=len(answer.body), n_parts=len(parts), all_correct=correct)
    for number, length in ((2, 10), (10, 100), (100, 100), (1000, 100), (5000, 100), (8, 65536)):
        answer = admin.http("GET", way, headers={"Range": _header(number, _SIZE // number, length)})
        desk.note("multirange_truncated", _truncation(answer, number, length))
    answer = admin.http("GET", way, headers={"Range": _header(100_000, 40, 10)})
    desk.note("multirange_100000_ranges_header", status=answer.status, body=answer.body.decode())


def _header(number: int, step: int, length: int) -> str:
    return "bytes=" + ",".join(f"{start}-{start + length - 1}" for start in range(0, number * step, step))


def _truncation(answer: HttpAnswer, number: int, length: int) -> dict[str, Any]:
    """How much of a multipart answer is missing, by what its first part's head says a part costs."""
    boundary = answer.headers["Content-Type"].partition("boundary=")[2].encode()
    first_head = answer.body.partition(b"\r\n\r\n")[0]
    around = len(first_head) - len(f"0-{length - 1}/{_SIZE}") + len(b"\r\n\r\n")
    step = _SIZE // number
    starts = range(0, number * step, step)
    numbers = sum(len(f"{start}-{start + length - 1}/{_SIZE}") for start in starts)
    whole = number * (around + length) + numbers + (number - 1) * len(b"\r\n") + len(b"\r\n--" + boundary + b"--\r\n")
    parts = parts_of(answer, _SIZE)
    unfinished = answer.body.rpartition(b"--" + boundary)[2].partition(b"\r\n\r\n")[2]
    complete = len(parts) + (len(unfinished) >= length)
    return {
        "ranges": number,
        "bytes_each": length,
        "status": answer.status,
        "content_length": int(answer.headers["Content-Length"]),
        "complete_parts": complete,
        "missing_tail_bytes_expected": whole - len(answer.body),
        "ends_with_close_delimiter": answer.body.endswith(boundary + b"--\r\n"),
    }


def small_files(desk: Desk) -> None:
    """Files of one byte and of none."""
    admin = desk.admin
    admin.upload(f"{_FOLDER}/tiny", b"x")
    answer = admin.http("GET", way_to(admin, f"{_FOLDER}/tiny"), headers={"Range": "bytes=0-0"})
    desk.note("range:tiny_file", status=answer.status, cr=answer.headers.get("Content-Range"))
    admin.upload(f"{_FOLDER}/empty", b"")
    way = way_to(admin, f"{_FOLDER}/empty")
    answer = admin.http("GET", way)
    desk.note("get_empty", status=answer.status, len=len(answer.body))
    answer = admin.http("GET", way, headers={"Range": "bytes=0-0"})
    desk.note("range:empty_file", status=answer.status, cr=answer.headers.get("Content-Range"))
    admin.on("TouchFile", f"{_FOLDER}/touched")
    answer = admin.http("GET", way_to(admin, f"{_FOLDER}/touched"))
    desk.note("get_touched", status=answer.status, len=len(answer.body))


def parallel(desk: Desk) -> None:
    """Sixteen ranges at the same time on one transfer token."""
    admin, number = desk.admin, 16
    way, piece = way_to(admin, _FILE), _SIZE // 16

    def fetch(index: int) -> tuple[Any, bool]:
        start = index * piece
        answer = admin.http("GET", way, headers={"Range": f"bytes={start}-{start + piece - 1}"})
        return answer.status, answer.body == _CONTENT[start : start + piece]

    with ThreadPoolExecutor(number) as pool:
        results = list(pool.map(fetch, range(number)))
    statuses = sorted({status for status, _ in results})
    desk.note("parallel_ranges_one_transfer_token", n=number, statuses=statuses, all_correct=all(right for _, right in results))


def conditions(desk: Desk) -> None:
    """Conditional headers: nearly all are ignored."""
    admin = desk.admin
    way = way_to(admin, _FILE)
    before = admin.http("HEAD", way).headers
    etag, modified = before["Etag"], before["Last-Modified"]
    ten = {"Range": "bytes=0-9"}
    asked = {
        "if_range_etag_right": {**ten, "If-Range": etag},
        "if_range_etag_wrong": {**ten, "If-Range": '"wrong"'},
        "if_range_date_right": {**ten, "If-Range": modified},
        "if_range_date_old": {**ten, "If-Range": _DATE_OLD},
        "if_match_right": {"If-Match": etag},
        "if_match_wrong": {"If-Match": '"wrong"'},
        "if_none_match_right": {"If-None-Match": etag},
        "if_none_match_wrong": {"If-None-Match": '"wrong"'},
        "if_none_match_range": {**ten, "If-None-Match": etag},
        "if_modified_since_lm": {"If-Modified-Since": modified},
        "if_unmodified_since_old": {"If-Unmodified-Since": _DATE_OLD},
        "accept_encoding_gzip": {"Accept-Encoding": "gzip"},
    }
    for name, headers in asked.items():
        answer = admin.http("GET", way, headers=headers)
        found = answer.headers.get("Content-Range"), answer.headers.get("Content-Encoding")
        desk.note(f"cond:{name}", status=answer.status, len=len(answer.body), content_range=found[0], enc=found[1])
    answer = admin.http("HEAD", way)
    hdr = {name: answer.headers[name] for name in ("Content-Length", "Etag", "Last-Modified")}
    desk.note("cond:head", status=answer.status, hdr=hdr)


def old_transfer_tokens(desk: Desk) -> None:
    """A transfer token names a path or an id, not a content."""
    admin, path = desk.admin, f"{_FOLDER}/o.txt"
    admin.upload(path, b"old")
    way = way_to(admin, path)
    admin.upload(path, b"new")
    answer = admin.http("GET", way)
    info = admin.stat(path).message.info
    is_new = answer.headers["Etag"] == info.etag
    desk.note("old_transfer_token_after_overwrite", status=answer.status, content=answer.body.decode(), etag_is_new=is_new)
    by_path = way_to(admin, path)
    by_id = simple(endpoints(admin.initiate_download(below(id_text(info.id)))))
    admin.move(path, f"{path}2")
    desk.note("transfer_token_after_rename", status=admin.http("GET", by_path).status)
    answer = admin.http("GET", by_id)
    desk.note("transfer_token_by_id_after_rename", status=answer.status, ok=answer.body == b"new")
    way = way_to(admin, f"{path}2")
    admin.on("Delete", f"{path}2")
    desk.note("transfer_token_after_delete", status=admin.http("GET", way).status)


def running_downloads(desk: Desk) -> None:
    """A GET that has begun gives the old bytes to their end, whatever happens to the file."""
    admin, path = desk.admin, f"{_FOLDER}/run.bin"
    old = _CONTENT[:1_000_000] * (_LARGE // 1_000_000)
    events: dict[str, Callable[[], Any]] = {
        "overwrite": lambda: admin.upload(path, b"n" * _LARGE),
        "overwrite_shorter": lambda: admin.upload(path, b"short"),
        "delete": lambda: admin.on("Delete", path),
        "rename": lambda: admin.move(path, f"{path}.moved"),
        "nothing": lambda: None,
    }
    for name, event in events.items():
        admin.upload(path, old)
        status, received, error = read_while(admin, way_to(admin, path), event)
        same = received == old
        desk.note(
            f"running_get:{name}",
            status=status,
            received=len(received),
            size=len(old),
            equals_old=same,
            common_prefix=len(old) if same else 0,
            error=error,
        )


def read_while(caller: Caller, way: Endpoint, event: Callable[[], Any]) -> tuple[int, bytes, str | None]:
    """Read the beginning of a file, let something happen, read the rest. Returns: status, bytes, error."""
    with urllib3.PoolManager(retries=False, timeout=20) as pool:
        headers = {"x-access-token": caller.token, **endpoint_headers(way)}
        response = pool.request("GET", way.url, headers=headers, preload_content=False)
        pieces, error = [response.read(_FIRST_READ)], None
        event()
        try:
            while piece := response.read(1 << 20):
                pieces.append(piece)
        except urllib3.exceptions.HTTPError as failure:
            error = type(failure).__name__
        response.release_conn()
    return response.status, b"".join(pieces), error


STEPS = (
    transfer_tokens,
    single_and_few,
    many,
    small_files,
    parallel,
    conditions,
    old_transfer_tokens,
    running_downloads,
)
