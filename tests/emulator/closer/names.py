"""Topic 10: which names are kept, and how the forms of a reference are understood.

Asked in a folder of admin's.
"""

import unicodedata
from typing import Any

from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb

from tests.emulator.caller import Answer, Caller, endpoints, simple
from tests.emulator.closer.desk import Desk, absolute, bare, below, home_path, id_text, names, on

_FOLDER = "/nm"
_SHOWN = 40
_CONTENT = b"hello"
_DEPTH, _LONG_NAME = 60, "n" * 100

ODD = {
    "trailing_dot": "tdot.",
    "trailing_space": "tsp ",
    "leading_space": " lsp",
    "dot_name": ".hidden",
    "three_dots": "...",
    "backslash": "a\\b",
    "colon": "a:b",
    "question": "a?b",
    "percent": "a%20b",
    "plus": "a+b",
    "hash": "a#b",
    "amp": "a&b=c",
    "semicolon": "a;b",
    "newline": "a\nb",
    "tab": "a\tb",
    "quote": "a\"b'c",
    "star": "a*b",
    "pipe_lt_gt": "a|b<c>",
    "emoji": "\U0001f600",
    "rtl": "\u202eabc",
    "zero_width": "a\u200bb",
    "nbsp": "a\xa0b",
    "dollar_bang": "a$b!c",
    "at": "a@b",
    "rev_like": "x.REV.2026-11-24T06:49:59Z",
    "mlock": "x.mlock",
    "part_suffix": "x.part",
    "fuse_hidden": ".fuse_hidden0001",
    "ds_store": ".DS_Store",
    "thumbs": "Thumbs.db",
    "tilde": "~$doc.docx",
    "htaccess": ".htaccess",
    "control": "a\x01b",
    "del": "a\x7fb",
    "len255": "a" * 255,
    "len256": "a" * 256,
    "len255_bytes_utf8": "é" * 127 + "a",
    "len256_bytes_utf8": "é" * 128,
    "chunking": "x-chunking-1234-2-0",
    "empty": "",
    "slash_end": "sl/",
    "double_slash": "d//e",
    "dot_in_middle": "./inner",
    "dotdot_in_middle": "d/../outer",
    "escape_dotdot": "../escaped",
}


def twins(desk: Desk) -> None:
    """Names that differ in their bytes only, or in their case only, are two names."""
    admin = desk.admin
    admin.on("CreateContainer", _FOLDER)
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    for fact, one, other, words in (
        ("unicode", composed, decomposed, ("stat_nfd_when_nfc_exists", "create_nfd")),
        ("case", "case", "Case", ("stat_other_case", "create")),
    ):
        folder = f"{_FOLDER}/{fact}"
        admin.on("CreateContainer", folder)
        admin.upload(f"{folder}/{one}", b"nfc")
        stat = admin.stat(f"{folder}/{other}").code
        created = admin.upload(f"{folder}/{other}", b"nfd").http
        listed = names(admin, folder)
        fields: dict[str, Any] = {words[0]: stat, words[1]: created.status if created else None, "listed": listed}
        if fact == "unicode":
            got = [admin.download(f"{folder}/{name}").http for name in (one, other)]
            fields |= {"listed": [ascii(name) for name in listed], "put_get": [answer.body.decode() for answer in got if answer]}
        desk.note(fact, fields)


def uploads(desk: Desk) -> None:
    """A file with each of the odd names: created, found, listed and read under that very name, or not."""
    admin = desk.admin
    for kind, name in ODD.items():
        path = f"{_FOLDER}/{name}"
        answer = admin.initiate_upload(admin.reference(path), {"Upload-Length": str(len(_CONTENT))})
        ways = endpoints(answer)
        put = admin.put(simple(ways), _CONTENT).status if ways else None
        stat = admin.stat(path)
        there = put == 200 and stat.code == "OK"
        got = admin.download(path).http if there else None
        desk.note(
            f"name_upload:{kind}",
            name=ascii(name)[:_SHOWN],
            init=answer.code,
            msg=answer.status.get("msg", ""),
            put=put,
            stat_name=ascii(stat.message.info.name)[:_SHOWN] if there else None,
            get=got.status if got else None,
            same_name=stat.message.info.name == name if there else None,
            listed=name in names(admin, _FOLDER),
        )


def long_names(desk: Desk) -> None:
    """255 bytes are a name, 256 are none."""
    admin = desk.admin
    desk.note("mkdir_255", admin.on("CreateContainer", f"{_FOLDER}/{'d' * 255}").status)
    desk.note("mkdir_256", admin.on("CreateContainer", f"{_FOLDER}/{'d' * 256}").status)
    admin.upload(f"{_FOLDER}/short", _CONTENT)
    desk.note("move_to_256", admin.move(f"{_FOLDER}/short", f"{_FOLDER}/{'m' * 256}").status)
    desk.note("touch_256", admin.on("TouchFile", f"{_FOLDER}/{'t' * 256}").status)


def depth(desk: Desk) -> None:
    """Sixty folders with long names, one in the other."""
    admin = desk.admin
    path = f"{_FOLDER}/deep"
    admin.on("CreateContainer", path)
    failed = None
    for level in range(_DEPTH):
        path = f"{path}/{_LONG_NAME}"
        answer = admin.on("CreateContainer", path)
        failed = failed or (None if answer.code == "OK" else level)
    stat = admin.stat(path)
    text = {"stat_full_path": stat.code, "msg": stat.status["msg"]}
    desk.note("deep_path", text, depth=_DEPTH, path_bytes=len(path.encode()) - 1, fail=failed)
    if failed is not None:
        return
    by_id = on(admin, "Stat", bare(id_text(stat.message.info.id)))
    desk.note("deep_path_bare_id", by_id.status, path_len=len(by_id.message.info.path))
    transfer = admin.upload(f"{path}/f", _CONTENT)
    got = admin.download(f"{path}/f").http
    rid = id_text(admin.stat(f"{path}/f").message.info.id)
    fetched = admin.http("GET", simple(endpoints(admin.initiate_download(below(rid)))))
    statuses = {"put": transfer.http.status if transfer.http else None, "get": got.status if got else None}
    desk.note("deep_upload_download", statuses, init=transfer.init.status, by_id=fetched.status)
    desk.note("deep_delete_top_ms", admin.on("Delete", f"{_FOLDER}/deep").status)


def forms_of_references(desk: Desk) -> None:
    """The same folder addressed in eight ways."""
    admin, folder = desk.admin, f"{_FOLDER}/lst"
    for path in (folder, f"{folder}/sub"):
        admin.on("CreateContainer", path)
    admin.upload(f"{folder}/file", _CONTENT)
    root, rid = str(admin.root), id_text(admin.stat(folder).message.info.id)
    for name, reference in {
        "space_root+rel": below(root, "./nm/lst"),
        "folder_id+dot": below(rid),
        "bare_folder_id": bare(rid),
        "path": absolute(f"{home_path(admin)}{folder}"),
        "folder_id+../lst": below(rid, "../lst"),
        "space_root+nodot": below(root, "nm/lst"),
        "space_root+slash": below(root, "/nm/lst"),
        "space_root+trailing": below(root, "./nm/lst/"),
        "space_root+dots": below(root, "./nm/../nm/./lst"),
    }.items():
        answer = on(admin, "ListContainer", reference)
        entries = sorted([info.name, info.path] for info in answer.get("infos"))
        desk.note(f"list_form:{name}", answer.status, entries=entries)
        stat = on(admin, "Stat", reference)
        desk.note(f"stat_form:{name}", stat.status, name=stat.message.info.name, path=stat.message.info.path)


def forms_of_roots(desk: Desk) -> None:
    """The root itself, and ids that lack something or are wrong."""
    admin = desk.admin
    root = str(admin.root)
    storage, _, rest = root.partition("$")
    space, _, opaque = rest.partition("!")
    folder = f".{_FOLDER}"
    for name, reference in {
        "space_root_dot": below(root),
        "space_root_bare": bare(root),
        "home_path": absolute(home_path(admin)),
        "no_space_id": below(f"{storage}$!{opaque}", folder),
        "no_storage_id": below(f"${space}!{opaque}", folder),
        "opaque_empty": below(f"{storage}${space}!", folder),
        "wrong_storage": below(f"nonsense${space}!{opaque}", folder),
        "wrong_space": below(f"{storage}$nonsense!{opaque}", folder),
    }.items():
        _note_form(desk, name, on(admin, "Stat", reference))
    _note_form(desk, "no_ref", admin.call("Stat", provider_pb.StatRequest()))


def _note_form(desk: Desk, name: str, answer: Answer) -> None:
    info = answer.message.info
    desk.note(f"stat_root_form:{name}", answer.status, name=info.name, path=info.path, id=id_text(info.id))


def below_files(desk: Desk) -> None:
    """Things below a file, and things over other things."""
    admin, folder = desk.admin, f"{_FOLDER}/lst"
    length = {"Upload-Length": "5"}
    desk.note("stat_below_file", admin.stat(f"{folder}/file/x").status)
    desk.note("mkdir_below_file", admin.on("CreateContainer", f"{folder}/file/x").status)
    desk.note("upload_below_file", _initiated(admin, f"{folder}/file/x", length))
    desk.note("upload_over_folder", _initiated(admin, f"{folder}/sub", length))
    desk.note("touch_over_folder", admin.on("TouchFile", f"{folder}/sub").status)
    desk.note("mkdir_over_file", admin.on("CreateContainer", f"{folder}/file").status)


def _initiated(caller: Caller, path: str, opaque: dict[str, str]) -> dict[str, Any]:
    return caller.initiate_upload(caller.reference(path), opaque).status


STEPS = (
    twins,
    uploads,
    long_names,
    depth,
    forms_of_references,
    forms_of_roots,
    below_files,
)
