"""Answers about old versions and the trash: what there is, and bringing it back.

Called by ``control.commands`` for each request, concurrently. Restoring is a change by the server, as if another client had made it: a file
that is being written here, or waits to be sent, is refused, and whoever opens it meanwhile finds out at the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from cs3fuse.control.parts import LOOK_S, Parts, text
from cs3fuse.control.server import Progress
from cs3fuse.errors import (
    AccessDeniedError,
    BadRequestError,
    BusyError,
    Cs3FuseError,
    ExistsError,
    IsDirectoryError,
    NotFoundError,
    NotPermittedError,
    ServerError,
    UnsupportedError,
)
from cs3fuse.history.names import find_version, trash_names, version_names
from cs3fuse.history.tree import NAME, ROOT, TRASH, VERSIONS
from cs3fuse.locks.guarding import refuse_foreign
from cs3fuse.model import Entry, Kind, Location, TrashItem
from cs3fuse.vfs.names import check_name
from cs3fuse.vfs.refresh import known_node, refresh

_SETTLE_S = 5.0
_PROBLEMS = 20
"""Sentences that are returned; more say nothing new."""


class HistoryAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._remote = parts.view.history

    # -- versions ----------------------------------------------------------------------------------------------------

    async def versions(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Old versions of ``path``, newest first. Raises: NotFoundError; IsDirectoryError; UnsupportedError."""
        path = text(request, "path")
        at, entry = await self._file(path)
        found = version_names(await self._remote.versions(at))
        for name in list(found)[:1]:
            await self._learn(f"{VERSIONS}/{path}/{name}")
        return {
            "path": self._parts.shown(at),
            "folder": str(Path(self._parts.mount_point, NAME, VERSIONS, path)),
            "is_readable": self._parts.book.of(entry.storage_id).old_versions,
            "versions": [
                {"name": name, "key": each.key, "size": each.size, "mtime": each.mtime_ns / 1e9, "etag": each.etag}
                for name, each in found.items()
            ],
        }

    async def _learn(self, rel: str) -> None:
        """Look at a version the way a program does: the first time on a storage that tries whether it can be read."""
        with suppress(Cs3FuseError), trio.move_on_after(LOOK_S):
            await self._parts.tree.stat(Location(ROOT, rel))

    async def restore_version(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Make the version ``key`` (a key, or a name in ``.cs3/versions``) of ``path`` the present content.

        Raises: BusyError: it is being written here or not sent yet; LockedError; NotFoundError.
        Cancellation: what is known of the file is forgotten, whether it was restored or not.
        """
        parts = self._parts
        self._check_writable()
        at, entry = await self._file(text(request, "path"))
        self._refuse_unsent(at)
        await refuse_foreign(parts.leases, at, entry)
        version = find_version(await self._remote.versions(at), text(request, "key"))
        if version is None:
            raise NotFoundError(
                f"{parts.shown(at)} has no version {text(request, 'key')}; cs3fuse versions lists them.", path=str(at)
            )
        # A lock that outlived its writers; servers refuse to restore under any lock, also ours.
        await parts.leases.unlock(at)
        self._refuse_unsent(at)
        try:
            await self._remote.restore_version(at, version.key)
        finally:
            self._look_again(at)
        now = await self._told(at)
        return {"path": parts.shown(at), "key": version.key, "mtime": version.mtime_ns / 1e9, "size": now.size}

    async def _file(self, path: str) -> tuple[Location, Entry]:
        at = await self._parts.locate(path)
        if at.root == ROOT:
            raise BadRequestError(f"Name the file itself, not what is below {NAME}.", path=str(at))
        if (session := self._parts.commits.session_at(at)) is not None and session.base is None:
            raise NotFoundError(f"{self._parts.shown(at)} is new and has no versions.", path=str(at))
        entry = await self._parts.metadata.stat(at, fresh=True)
        if entry.kind is not Kind.FILE:
            raise IsDirectoryError(f"{self._parts.shown(at)} is a folder; only files have versions.", path=str(at))
        return at, entry

    def _check_writable(self) -> None:
        if self._parts.options.read_only:
            raise NotPermittedError(f"{self._parts.mount_point} is mounted read-only.")

    def _refuse_unsent(self, at: Location) -> None:
        """Bytes of ours that the server has not got must not meet a restored version."""
        session = self._parts.commits.session_at(at)
        if session is None or session.is_abandoned:
            return
        shown = self._parts.shown(at)
        if any(file.session is session and file.writers for file in self._parts.vfs.state.open_files.values()):
            raise BusyError(f"{shown} is open for writing here; close it first. Nothing was restored.", path=str(at))
        raise BusyError(f"{shown} waits to be sent; cs3fuse flush sends it. Nothing was restored.", path=str(at))

    # -- trash -------------------------------------------------------------------------------------------------------

    async def trash(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """What is in the trash of the home and each space, or what was deleted at or below ``path``; one that fails says why."""
        parts = self._parts
        found: list[dict[str, Any]] = []
        below, roots = await self._roots(text(request, "path"))
        for path, root in roots.items():
            told: dict[str, Any] = {"root": path, "path": parts.shown(root), "items": [], "error": ""}
            try:
                names = trash_names(await self._remote.trash(root))
            except Cs3FuseError as error:
                told["error"] = str(error)
            else:
                folder = Path(parts.mount_point, NAME, TRASH, path)
                told["items"] = [
                    {
                        "key": item.key,
                        "name": name,
                        "path": parts.shown(_place(root, item.rel)),
                        "kind": item.kind.value,
                        "size": item.size,
                        "deleted_at": item.deleted_at,
                        "shown_at": str(folder / name),
                    }
                    for name, item in names.items()
                    if below is None or _place(root, item.rel).is_below(below)
                ]
            found.append(told)
        return {"mount_point": str(parts.mount_point), "trash": found}

    async def restore_trash(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Bring ``key`` of the trash of ``root`` back to where it was, or to ``to``. Raises: ExistsError: that name is taken now.

        Cancellation: what is known of the name is forgotten.
        """
        parts = self._parts
        self._check_writable()
        root, item = await self._item(request)
        to = await parts.locate(text(request, "to")) if text(request, "to") else _place(root, item.rel)
        if to.root == ROOT or not to.rel:
            raise BadRequestError(f"Nothing can be put at {parts.shown(to)}.", path=str(to))
        check_name(to.name)
        if parts.commits.session_at(to) is not None or await parts.vfs.state.stat_or_none(to, fresh=True) is not None:
            raise ExistsError(
                f"{parts.shown(to)} exists now and is not replaced; restore under another name with --to.", path=str(to)
            )
        try:
            await self._remote.restore_trash(root, item, to)
        finally:
            self._look_again(to)
        await self._told(to)
        return {"path": parts.shown(to), "key": item.key}

    async def purge_trash(self, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Delete ``keys`` of the trash of ``root`` for good, one after the other; what cannot be deleted does not keep the rest.

        Raises: NotFoundError: there is none of these keys. Cancellation: what is deleted stays deleted.
        """
        self._check_writable()
        keys = request.get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise BadRequestError("The argument keys must be a list of texts.")
        root = await self._root(text(request, "root"))
        wanted = set(keys)
        items = [item for item in await self._remote.trash(root) if item.key in wanted]
        if not items:
            raise NotFoundError(f"There is nothing like that in the trash of {self._parts.shown(root)}; cs3fuse trash lists it.")
        purged, problems = 0, []
        try:
            for item in items:
                try:
                    await self._remote.purge_trash(root, item)
                except (NotFoundError, AccessDeniedError, UnsupportedError, ServerError) as error:
                    problems.append(str(error))
                else:
                    purged += 1
                await progress({"done": purged + len(problems), "total": len(items)})
        finally:
            self._look_again(None)
        return {"purged": purged, "problems": problems[:_PROBLEMS], "failed": len(problems)}

    async def _roots(self, path: str) -> tuple[Location | None, Mapping[str, Location]]:
        """Everything with a trash; or a path, and what holds it. Raises: UnsupportedError."""
        roots = await self._parts.view.with_trash()
        if not path:
            return None, roots
        at = await self._parts.locate(path)
        found = {name: root for name, root in roots.items() if at.is_below(root)}
        if not found:
            raise UnsupportedError(
                f"{self._parts.shown(at)} has no trash of its own: what is deleted in a share goes to its owner's.", path=str(at)
            )
        return at, found

    async def _root(self, name: str) -> Location:
        root = (await self._parts.view.with_trash()).get(name)
        if root is None:
            raise NotFoundError(f"There is no trash of {name}.")
        return root

    async def _item(self, request: Mapping[str, Any]) -> tuple[Location, TrashItem]:
        root, key = await self._root(text(request, "root")), text(request, "key")
        for item in await self._remote.trash(root):
            if item.key == key:
                return root, item
        raise NotFoundError(f"There is no {key} in the trash of {self._parts.shown(root)}; cs3fuse trash lists it.")

    # -- what is known -----------------------------------------------------------------------------------------------

    def _look_again(self, at: Location | None) -> None:
        """Have everybody ask anew for a name, its folder, and what is below ``.cs3``, here and in the kernel."""
        state = self._parts.vfs.state
        if at is not None:
            state.metadata.forget(at, subtree=True)
            state.metadata.forget(at.parent)
            node, rest = known_node(state.inodes, self._below(at))
            if not rest:
                refresh(state, node)
            state.notifier.invalidate_inode((node if rest or node.parent is None else node.parent).ino, attributes_only=True)
        state.metadata.forget(Location(ROOT), subtree=True)
        door, rest = known_node(state.inodes, [NAME])
        if not rest:
            refresh(state, door)

    def _below(self, at: Location) -> list[str]:
        """The names of a location below the mount point."""
        shown = Path(self._parts.shown(at))
        return list(shown.relative_to(self._parts.mount_point).parts) if shown.is_relative_to(self._parts.mount_point) else [""]

    async def _told(self, at: Location) -> Entry:
        """The new state, once the kernel has been told too."""
        with trio.move_on_after(_SETTLE_S):
            await self._parts.kernel.settle()
        return await self._parts.metadata.stat(at, fresh=True)


def _place(root: Location, rel: str) -> Location:
    return Location(root.root, f"{root.rel}/{rel}" if root.rel else rel)
