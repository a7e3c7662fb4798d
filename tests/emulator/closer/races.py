"""Topic 8, second part: what happens to an upload when something else happens between its initiation and its PUT.

Asked in a folder of admin's; "other" is another caller with the same rights.
"""

import threading
from collections.abc import Callable
from typing import Any

from tests.emulator.caller import Endpoint, lock
from tests.emulator.closer.desk import Desk, content, initiate, names, trash_paths, version_sizes
from tests.emulator.closer.uploads import sha1

_FOLDER = "/rc"
_ORIGINAL = b"original"
_FIRST, _SECOND = b"first", b"second"
_INTERLOPER = b"interloper"
_RUNS = 6


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Run jobs in threads and collect what they return."""
    results: list[Any] = [None] * len(jobs)

    def run(number: int) -> None:
        results[number] = jobs[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class Race:
    """One file and the ways to write it."""

    def __init__(self, desk: Desk, name: str, *, exists: bool) -> None:
        self.desk = desk
        self.admin = desk.admin
        self.path = f"{_FOLDER}/{name}"
        if exists:
            self.admin.upload(self.path, _ORIGINAL)

    def begin(self, data: bytes, **conditions: Any) -> Endpoint:
        """Initiate an upload of these bytes."""
        return initiate(self.admin, self.path, len(data), **conditions)[1]

    def etag(self) -> str:
        """The file's etag now."""
        return str(self.admin.stat(self.path).message.info.etag)

    def content(self) -> list[Any]:
        """Status, length, beginning."""
        return content(self.admin, self.path)

    def versions(self) -> list[int]:
        """Sizes of the versions [bytes]."""
        return version_sizes(self.admin, self.path)


def two_overwrites(desk: Desk) -> None:
    """Two uploads that both expect the same etag: one wins, whatever the order."""
    desk.admin.on("CreateContainer", _FOLDER)
    race = Race(desk, "a", exists=True)
    etag = race.etag()
    inits = [initiate(desk.admin, race.path, len(data), if_match=etag) for data in (_FIRST, _SECOND)]
    puts = [desk.admin.put(way, data) for (_, way), data in zip(inits, (_FIRST, _SECOND), strict=True)]
    desk.note(
        "race_if_match_sequential_puts",
        init1=inits[0][0].code,
        init2=inits[1][0].code,
        put1=puts[0].status,
        put2=puts[1].status,
        put2_body=puts[1].body.decode(),
        put1_etag=puts[0].headers.get("Etag"),
        put2_etag=puts[1].headers.get("Etag"),
        content=race.content(),
        versions=race.versions(),
        final_etag=race.etag(),
    )
    race = Race(desk, "b", exists=True)
    etag = race.etag()
    first, second = race.begin(_FIRST, if_match=etag), race.begin(_SECOND, if_match=etag)
    put_second, put_first = desk.admin.put(second, _SECOND), desk.admin.put(first, _FIRST)
    desk.note(
        "race_if_match_reverse_puts",
        put_second=put_second.status,
        put_first=put_first.status,
        content=race.content(),
        versions=race.versions(),
    )
    desk.note("race_if_match_parallel_puts", runs=[_parallel(desk, f"par-{run}", exists=True) for run in range(_RUNS)])


def _parallel(desk: Desk, name: str, *, exists: bool) -> list[Any]:
    """Two PUTs at the same time."""
    race = Race(desk, name, exists=exists)
    conditions: dict[str, Any] = {"if_match": race.etag()} if exists else {"if_not_exist": True}
    first, second = race.begin(_FIRST, **conditions), race.begin(_SECOND, **conditions)
    answers = at_once(lambda: desk.admin.put(first, _FIRST), lambda: desk.admin.put(second, _SECOND))
    return [*(answer.status for answer in answers), race.content()[2], race.versions()]


def two_creations(desk: Desk) -> None:
    """Two uploads that both create: one wins, with and without the condition."""
    admin, path = desk.admin, f"{_FOLDER}/new/c"
    admin.on("CreateContainer", f"{_FOLDER}/new")
    inits = [initiate(admin, path, len(data), if_not_exist=True) for data in (_FIRST, _SECOND)]
    puts = [admin.put(way, data) for (_, way), data in zip(inits, (_FIRST, _SECOND), strict=True)]
    desk.note(
        "race_if_not_exist_sequential",
        init1=inits[0][0].status,
        init2=inits[1][0].status,
        put1=puts[0].status,
        put2=puts[1].status,
        put2_body=puts[1].body.decode(),
        content=content(admin, path),
        versions=version_sizes(admin, path),
        names=names(admin, f"{_FOLDER}/new"),
    )
    desk.note("race_if_not_exist_parallel", runs=[_parallel(desk, f"new/par-{run}", exists=False) for run in range(_RUNS)])
    race = Race(desk, "d", exists=False)
    first, second = race.begin(_FIRST), race.begin(_SECOND)
    puts = [admin.put(first, _FIRST), admin.put(second, _SECOND)]
    file_ids = [put.headers.get("Oc-Fileid") for put in puts]
    desk.note(
        "race_new_unconditional",
        put1=puts[0].status,
        put2=puts[1].status,
        content=race.content(),
        versions=race.versions(),
        fileids_equal=file_ids[0] == file_ids[1],
    )


def creations_without_bytes(desk: Desk) -> None:
    """Empty files and folders, several at the same time."""
    admin = desk.admin

    def codes(job: Callable[[], Any], times: int) -> list[list[str]]:
        answers = at_once(*[job] * times)
        return sorted([answer.code, answer.status.get("msg", "")] for answer in answers)

    zero = {"Upload-Length": "0"}
    reference = admin.reference(f"{_FOLDER}/z")
    found = codes(lambda: admin.initiate_upload(reference, zero, if_not_exist=True), 2)
    desk.note("race_zero_byte_if_not_exist_parallel_init", codes=found)
    desk.note("race_touch_parallel", codes=codes(lambda: admin.on("TouchFile", f"{_FOLDER}/t"), 2))
    found = codes(lambda: admin.on("CreateContainer", f"{_FOLDER}/md"), 8)
    desk.note("race_mkdir_parallel", codes=[code for code, _ in found], msgs=sorted({message for _, message in found}))


def overtaken(desk: Desk) -> None:
    """Another complete upload in between."""
    admin = desk.admin
    race = Race(desk, "e", exists=True)
    mine = race.begin(_FIRST, if_match=race.etag())
    admin.upload(race.path, _INTERLOPER)
    put = admin.put(mine, _FIRST)
    desk.note(
        "if_match_init_then_other_full_upload_then_put",
        put=put.status,
        body=put.body.decode(),
        content=race.content(),
        versions=race.versions(),
    )
    race = Race(desk, "e2", exists=True)
    mine = race.begin(_FIRST, if_match=race.etag())
    admin.upload(race.path, b"other")
    put1, put2 = admin.put(mine, _FIRST), admin.put(mine, _FIRST)
    desk.note("put_412_then_same_token_again", put1=put1.status, put2=put2.status, content=race.content()[2])
    race = Race(desk, "f", exists=True)
    mine = race.begin(_FIRST)
    admin.upload(race.path, _INTERLOPER)
    put = admin.put(mine, _FIRST)
    desk.note(
        "unconditional_init_then_other_full_upload_then_put",
        put=put.status,
        content=race.content(),
        versions=race.versions(),
    )


def locked_meanwhile(desk: Desk) -> None:
    """A lock in between: 500, and the bytes stay with the transfer token."""
    admin = desk.admin
    race = Race(desk, "h", exists=True)
    mine = race.begin(_FIRST)
    locked = admin.on("SetLock", race.path, lock=lock("R"))
    put = admin.put(mine, _FIRST)
    desk.note(
        "init_then_locked_by_other_then_put", lock=locked.code, put=put.status, body=put.body.decode(), content=race.content()
    )
    desk.note("put_again_while_locked", put=admin.put(mine, _FIRST).status)
    admin.on("Unlock", race.path, lock=lock("R"))
    desk.note("same_transfer_put_after_unlock", put=admin.put(mine, _FIRST).status, content=race.content())
    race = Race(desk, "h2", exists=True)
    one, other = b"AAAAA", b"BBBBB"
    mine = race.begin(one)
    admin.on("SetLock", race.path, lock=lock("R"))
    put1 = admin.put(mine, one)
    admin.on("Unlock", race.path, lock=lock("R"))
    put2 = admin.put(mine, other)
    info = admin.stat(race.path).message.info
    desk.note(
        "locked_500_then_retry_same_token_other_content",
        put1=put1.status,
        put2=put2.status,
        content=race.content()[2],
        size=info.size,
        checksum_is_of_BBBBB=info.checksum.sum == sha1(other),
    )


def gone_meanwhile(desk: Desk) -> None:
    """The file, or its folder, is deleted in between."""
    admin = desk.admin
    race = Race(desk, "g", exists=True)
    mine = race.begin(_FIRST, if_match=race.etag())
    admin.on("Delete", race.path)
    put = admin.put(mine, _FIRST)
    listed = "g" in names(admin, _FOLDER)
    stat = admin.stat(race.path).code
    desk.note("init_if_match_then_deleted_then_put", put=put.status, body=put.body.decode(), stat=stat, listed=listed)
    race = Race(desk, "g2", exists=True)
    mine = race.begin(_FIRST)
    admin.on("Delete", race.path)
    put = admin.put(mine, _FIRST)
    trash = [path for path in trash_paths(admin) if path.endswith("/g2")]
    desk.note("init_then_deleted_then_put", put=put.status, body=put.body.decode(), stat=admin.stat(race.path).code, trash=trash)
    parent = f"{_FOLDER}/gone"
    admin.on("CreateContainer", parent)
    race = Race(desk, "gone/x", exists=False)
    mine = race.begin(_FIRST)
    admin.on("Delete", parent)
    put = admin.put(mine, _FIRST)
    codes = {"stat": admin.stat(race.path).code, "parent": admin.stat(parent).code}
    desk.note("new_file_parent_deleted_between", codes, put=put.status, body=put.body.decode())


def moved_meanwhile(desk: Desk) -> None:
    """The file is renamed, or something comes to lie under its name, in between."""
    admin = desk.admin
    race = Race(desk, "i", exists=True)
    mine = race.begin(_FIRST)
    admin.move(race.path, f"{race.path}2")
    put = admin.put(mine, _FIRST)
    desk.note("init_then_renamed_then_put", put=put.status, old=admin.stat(race.path).code, new=content(admin, f"{race.path}2"))
    admin.on("CreateContainer", f"{_FOLDER}/onto")
    race = Race(desk, "onto/j", exists=False)
    mine = race.begin(_FIRST)
    admin.upload(f"{_FOLDER}/mover", b"moved here")
    admin.move(f"{_FOLDER}/mover", race.path)
    put = admin.put(mine, _FIRST)
    desk.note(
        "new_init_then_other_moved_onto_name_then_put",
        put=put.status,
        content=race.content(),
        versions=race.versions(),
        names=names(admin, f"{_FOLDER}/onto"),
    )
    admin.on("CreateContainer", f"{_FOLDER}/under")
    race = Race(desk, "under/k", exists=False)
    mine = race.begin(_FIRST)
    admin.on("CreateContainer", race.path)
    put = admin.put(mine, _FIRST)
    kind = admin.stat(race.path).message.info.type
    desk.note("new_init_then_mkdir_same_name_then_put", put=put.status, type=kind, names=names(admin, f"{_FOLDER}/under"))


def broken_off(desk: Desk) -> None:
    """A PUT that breaks off, and what a repetition on the same token makes of the file."""
    admin, sent = desk.admin, b"y" * 1000
    race = Race(desk, "l", exists=True)
    mine = race.begin(sent)
    admin.put_and_break_off(mine, b"x" * 400, announced=1000)
    after = race.content()
    retry = admin.put(mine, sent)
    info = admin.stat(race.path).message.info
    got = race.content()
    desk.note(
        "broken_put_then_retry_same_transfer_token",
        after_broken=after,
        retry_status=retry.status,
        size=info.size,
        get=got[0],
        len=got[1],
        head=got[2],
        corrupted=got[2] != "y" * 60,
        checksum_matches_sent=info.checksum.sum == sha1(sent),
    )
    answer = admin.upload(race.path, sent).http
    desk.note("broken_put_then_new_initiate", status=answer.status if answer else None, content=race.content())
    path = f"{_FOLDER}/l2"
    _, mine = initiate(admin, path, len(sent), {"Upload-Checksum": f"sha1 {sha1(sent)}"})
    admin.put_and_break_off(mine, b"x" * 400, announced=1000)
    status = admin.put(mine, sent).status
    desk.note("broken_put_then_retry_same_token_with_checksum", status=status, stat=admin.stat(path).code)
    desk.note("broken_put_then_retry_same_transfer_token_exact_content", runs=[_mixture(desk, f"l3-{run}") for run in range(3)])


def _mixture(desk: Desk, name: str) -> dict[str, Any]:
    admin = desk.admin
    race = Race(desk, name, exists=False)
    mine = race.begin(b"y" * 1000)
    admin.put_and_break_off(mine, b"x" * 400, announced=1000)
    put = admin.put(mine, b"y" * 1000)
    answer = admin.download(race.path).http
    assert answer is not None
    mixed = answer.body == b"x" * 400 + b"y" * 600
    return {"put": put.status, "get": answer.status, "len": len(answer.body), "is_400x_600y": mixed}


def repeated(desk: Desk) -> None:
    """The same PUT again after it succeeded."""
    admin = desk.admin
    race = Race(desk, "m", exists=True)
    mine = race.begin(_FIRST)
    first, second, third = (admin.put(mine, _FIRST) for _ in range(3))
    desk.note(
        "put_repeated_after_success",
        first=first.status,
        second_at_once=second.status,
        third_later=third.status,
        bodies=[second.body.decode(), third.body.decode()],
        content=race.content(),
        versions=race.versions(),
    )


STEPS = (
    two_overwrites,
    two_creations,
    creations_without_bytes,
    overtaken,
    locked_meanwhile,
    gone_meanwhile,
    moved_meanwhile,
    broken_off,
    repeated,
)
