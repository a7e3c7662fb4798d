"""einstein shares with richard at his site and with marie at another: from the first command to the end, as people see it.

On two embedded sites, and on live servers that the environment names (see ``sharing_world``).
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uproot

from cs3fuse.demo.content import TREE, columns, write_root
from tests.mount.sharing_world import REFRESH_S, Person, World, after_refresh, embedded, live, names

pytestmark = [pytest.mark.mount]
_WORLDS = [embedded, pytest.param(live, marks=pytest.mark.live)]
_EVENTS = columns(1000)


@pytest.fixture(scope="module", params=_WORLDS, ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with request.param(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(params=["richard", "marie"])
def receiver(request: pytest.FixtureRequest, world: World) -> Person:
    """Somebody of einstein's site, and somebody of another."""
    if request.param not in world.receivers:
        pytest.skip(f"nobody plays {request.param} here")
    return world.receivers[request.param]


def refused(numbers: set[int], call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in numbers, errno.errorcode[caught.value.errno or 0]


def see_that_it_is_gone(receiver: Person, name: str) -> None:
    """Not in the folder any more. OCM servers go on listing it for ever: nothing of it can be had, and after a look it says why."""
    gone = receiver.shares / name
    if receiver.folder == "mesh":
        assert name in names(receiver.shares)
        refused({errno.EHOSTDOWN}, lambda: os.listdir(gone))
        refused({errno.EHOSTDOWN}, lambda: os.open(gone / "new", os.O_WRONLY | os.O_CREAT))
        after_refresh(lambda: not gone.lstat().st_mode & 0o222)
        assert b"took the share back" in os.getxattr(gone, "user.cs3.error")
    else:
        assert name not in names(receiver.shares)
        refused({errno.ENOENT}, lambda: os.listdir(gone))


def check_editor(world: World, person: Person, edited: Path) -> None:
    """The owner sees what the editor writes, makes and removes; the share itself is not removed."""
    text = f"written by {person.name}"
    (edited / "text").write_text(text)
    assert (world.home / edited.name / "text").read_text() == text
    (edited / "made").mkdir()
    (edited / "made" / "new").write_text(text)
    assert (world.home / edited.name / "made" / "new").read_text() == text
    refused({errno.EPERM}, edited.rmdir)
    (edited / "made" / "new").unlink()
    (edited / "made").rmdir()


def check_viewer(viewed: Path) -> None:
    """Reads by path, a ROOT file too; is refused everything else at once."""
    assert viewed.is_dir() and names(viewed) == {"events.root", "text"}
    with uproot.open(viewed / "events.root") as file:
        assert np.array_equal(file[TREE]["mass"].array(library="np"), _EVENTS["mass"])
    refused({errno.EACCES}, lambda: os.open(viewed / "text", os.O_WRONLY))
    refused({errno.EACCES}, lambda: os.open(viewed / "text", os.O_RDWR | os.O_TRUNC))
    refused({errno.EACCES}, lambda: os.open(viewed / "new", os.O_WRONLY | os.O_CREAT))
    refused({errno.EACCES}, (viewed / "d").mkdir)
    refused({errno.EACCES}, (viewed / "text").unlink)
    assert not (viewed / "text").stat().st_mode & 0o222


def test_from_share_to_unshare(world: World) -> None:
    """Share and accept on the command line; a folder; a ROOT file by its path; the editor's bytes; the viewer's EACCES; unshare."""
    einstein, everybody = world.einstein, list(world.receivers.values())
    for role in ("editor", "viewer"):
        folder = world.make(world.name(role))
        write_root(folder / "events.root", _EVENTS)
        (folder / "text").write_text("from einstein")
        for person in everybody:
            said = einstein.mount.run("share", str(folder), "--with", person.name, "--role", role).stdout
            assert f"is shared with {person.name} as {role}" in said

    def accept(person: Person) -> None:
        for role in ("editor", "viewer"):
            assert str(person.shares / world.name(role)) in person.cli("accept", world.name(role))

    with ThreadPoolExecutor() as pool:
        list(pool.map(accept, everybody))
    for person in everybody:
        assert {world.name("editor"), world.name("viewer")} <= names(person.shares)
        check_editor(world, person, person.shares / world.name("editor"))
        check_viewer(person.shares / world.name("viewer"))
    for role in ("editor", "viewer"):
        einstein.mount.run("unshare", str(world.home / world.name(role)))
    time.sleep(REFRESH_S)
    for person in everybody:
        for role in ("editor", "viewer"):
            see_that_it_is_gone(person, world.name(role))
    assert (world.home / world.name("viewer") / "text").read_text() == "from einstein"


def test_file_share_works_like_a_folder_share(world: World, receiver: Person) -> None:
    """It is there by its name, with its size; read by uproot, written, and refused to the viewer; its name is not removed."""
    for role in ("editor", "viewer"):
        path = world.make(world.name(f"{role} of {receiver.folder}.txt"), file=True)
        world.give(path, receiver, role)
    root_file = world.home / world.name(f"{receiver.folder}.root")
    write_root(root_file, _EVENTS)
    world.give(root_file, receiver)
    edited, viewed = (receiver.shares / world.name(f"{role} of {receiver.folder}.txt") for role in ("editor", "viewer"))
    assert {edited.name, viewed.name, root_file.name} <= names(receiver.shares)
    with uproot.open(receiver.shares / root_file.name) as file:
        assert np.array_equal(file[TREE]["mass"].array(library="np"), _EVENTS["mass"])
    assert viewed.stat().st_size == len(f"this is {viewed.name}".encode())
    edited.write_text("the editor wrote this, and it is longer than before")
    assert (world.home / edited.name).read_text() == "the editor wrote this, and it is longer than before"
    with edited.open("a") as file:
        file.write(", and more")
    assert edited.read_text() == "the editor wrote this, and it is longer than before, and more"
    refused({errno.EACCES}, lambda: os.open(viewed, os.O_WRONLY))
    refused({errno.EPERM}, edited.unlink)
    refused({errno.ENOTDIR}, lambda: (viewed / "x").stat())


def test_names_with_unicode_and_of_equals(world: World, receiver: Person) -> None:
    """Unicode passes unchanged; of three folders of one name each is found by its own, and keeps it."""
    name = world.name(f"Dätén ☃ 日本 {receiver.folder}")
    for number in (1, 2, 3):
        path = world.make(f"{world.name(f'collide {receiver.folder} {number}')}/{name}")
        (path / "which").write_text(str(number))
        world.give(path, receiver)
    shown = {each for each in names(receiver.shares) if each.startswith(name)}
    (owner,) = {each["owner"] for each in receiver.received(name)}
    assert shown == {name, f"{name} ({owner})", f"{name} ({owner}) 2"}
    found = {each: (receiver.shares / each / "which").read_text() for each in shown}
    assert sorted(found.values()) == ["1", "2", "3"]
    receiver.ask("refresh", path=receiver.folder)
    assert {each: (receiver.shares / each / "which").read_text() for each in shown} == found


def test_declined_and_expired_shares_do_not_show(world: World) -> None:
    """Servers go on listing both. What is declined may be accepted again."""
    everybody = list(world.receivers.values())
    stays, declined, brief = (world.make(world.name(what)) for what in ("stays", "declined", "brief"))
    for person in everybody:
        world.give(stays, person)
        world.give(declined, person)
    until = time.time() + 3
    for person in everybody:
        world.give(brief, person, until=until)
        assert {stays.name, declined.name} <= names(person.shares)
        assert brief.name in names(person.shares) or time.time() > until - 1
        world.answered(declined, person, decline=True)
        assert declined.name not in names(person.shares)
    time.sleep(max(0.0, until - time.time()) + REFRESH_S)
    for person in everybody:
        assert not {declined.name, brief.name} & names(person.shares)
        assert not (person.shares / declined.name).exists()
        assert [each["state"] for each in person.received(brief.name)] in ([], ["over"])
        assert stays.name in names(person.shares)
        world.answered(declined, person, decline=False)
        assert declined.name in names(person.shares)


def test_group_share(world: World) -> None:
    """One share for everybody in the group, with its rights; taken back from the group by its name."""
    if not world.group:
        pytest.skip("no group is named here")
    person = world.receivers["richard"]
    folder = world.make(world.name("for all"))
    (folder / "f").write_text("for all of us")
    said = world.einstein.mount.run("share", str(folder), "--with", world.group, "--role", "viewer").stdout
    assert f"is shared with {world.group} as viewer" in said
    assert [(each["kind"], each["with"]) for each in json.loads(os.getxattr(folder, "user.cs3.shares"))] == [("group", world.group)]
    person.ask("answer_share", name=folder.name)
    assert (person.shares / folder.name / "f").read_text() == "for all of us"
    refused({errno.EACCES}, lambda: os.open(person.shares / folder.name / "f", os.O_WRONLY))
    world.einstein.mount.run("unshare", str(folder), "--with", world.group)
    after_refresh(lambda: folder.name not in names(person.shares))
