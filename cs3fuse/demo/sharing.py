"""The second act: einstein shares a folder with richard at his site and, across sites, with marie; what each of them sees and writes.

Owns the order of these steps and what they must show. Called by ``demo.run`` when three mounts are there; they are used by local path and
``cs3fuse`` commands only, as a person would.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cs3fuse.demo import content
from cs3fuse.demo.processes import DemoError
from cs3fuse.demo.stage import SITES, Mount, Stage, together
from cs3fuse.demo.words import say

_SEEN_WITHIN_S = 5.0


def show_sharing(stage: Stage, einstein: Mount, richard: Mount, marie: Mount) -> None:
    """All steps. Raises: DemoError; OSError where a program would have failed."""
    shared = einstein.folder / "home" / content.SHARED_FOLDER
    shutil.copy(einstein.folder / "home" / content.ROOT_FILE, shared)
    _share(stage, shared, einstein, richard, marie)
    where = {
        richard: richard.folder / "shares" / content.SHARED_FOLDER,
        marie: marie.folder / "mesh" / content.SHARED_FOLDER,
    }
    for mount, folder in where.items():
        _wait_until_there(mount, folder)
        say(f"{mount.user} at {mount.site} sees it as a folder, {mount.folder}:")
        print("\n".join(_tree(mount.folder)), flush=True)
    for mount, folder in where.items():
        _read_events(mount, folder / Path(content.ROOT_FILE).name)
    _edit(
        stage,
        shared / Path(content.MINUTES).name,
        einstein,
        {mount: folder / Path(content.MINUTES).name for mount, folder in where.items()},
    )


def _share(stage: Stage, folder: Path, einstein: Mount, richard: Mount, marie: Mount) -> None:
    """Invite, accept, share, accept: the commands that people type, and what they say."""
    across = f"{marie.user}@{SITES[1]}"
    say(f"{einstein.user} invites {marie.user} of {marie.site}, and shares {folder.name}/ with {richard.user} and her, to edit:")

    def beside() -> str:
        return stage.command("share", str(folder), "--with", richard.user, "--role", "editor")

    def become_known() -> str:
        invitation = stage.command("invite", mount=einstein)
        return stage.command("invite", "accept", invitation, mount=marie)

    for words in together([beside, become_known]):
        print(f"    {words}")
    print(f"    {stage.command('share', str(folder), '--with', across, '--role', 'editor')}")

    def accept(mount: Mount) -> str:
        return stage.command("accept", folder.name, mount=mount)

    for words in together([partial(accept, mount) for mount in (richard, marie)]):
        print(f"    {words}", flush=True)


def _wait_until_there(mount: Mount, folder: Path) -> None:
    until = time.monotonic() + _SEEN_WITHIN_S
    while not folder.is_dir():
        if time.monotonic() > until:
            raise DemoError(f"{mount.user} does not see {folder} although it was accepted")
        time.sleep(0.1)


def _tree(folder: Path, indent: str = "    ", depth: int = 3) -> Iterator[str]:
    """Names below a folder, folders with a slash, as deep as the eye follows."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        is_folder = entry.is_dir()
        yield f"{indent}{entry.name}{'/' if is_folder else ''}"
        if is_folder and depth > 1:
            yield from _tree(Path(entry.path), indent + "    ", depth - 1)


def _read_events(mount: Mount, path: Path) -> None:
    """The ROOT file through the share: every event is the one that was written."""
    import uproot

    began = time.monotonic()
    with uproot.open(path) as file:
        mass = file[content.TREE]["mass"].array(library="np")
    took = time.monotonic() - began
    if not (mass == content.columns()["mass"]).all():
        raise DemoError(f"{path} holds other events than were written into it")
    say(f"uproot reads {len(mass)} events by {mount.user}'s path {path} in {took:.2f} s.")


def _edit(stage: Stage, own: Path, einstein: Mount, shared: dict[Mount, Path]) -> None:
    """Everybody writes a line in turn, and each time the others see it at their next open."""
    everybody = {einstein: own, **shared}
    for writer, path in everybody.items():
        with path.open("a") as file:
            file.write(f"- {writer.user}: edited at {time.strftime('%H:%M:%S')}\n")
        text = path.read_text()
        if f"- {writer.user}: edited" not in text:
            raise DemoError(f"{writer.user} does not see the own line in {path}")
        took = max(_seen(reader, place, text) for reader, place in everybody.items())
        say(f"{writer.user} adds a line to {own.name}; the others see it within {1000 * took:.0f} ms.")
        stage.edited_to = text
    print("".join(f"    {line}\n" for line in own.read_text().splitlines()), end="", flush=True)


def _seen(reader: Mount, path: Path, text: str) -> float:
    """How long until a person reads this text, in seconds."""
    began = time.monotonic()
    while path.read_text() != text:
        if time.monotonic() - began > _SEEN_WITHIN_S:
            raise DemoError(f"{reader.user} did not see within {_SEEN_WITHIN_S:.0f} s at {path} what was written into it")
        time.sleep(0.05)
    return time.monotonic() - began
