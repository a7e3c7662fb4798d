"""Answers about the content store: how full it is, emptying, checking, limiting it, and filling it ahead of use.

Called by ``control.commands`` for each request, concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from cs3fuse.control.parts import Parts, number
from cs3fuse.control.server import Progress
from cs3fuse.errors import BadRequestError, Cs3FuseError
from cs3fuse.model import Entry, Kind, Location

_PERIOD_S: Final = 0.2
_FILES_AT_ONCE: Final = 8
"""Files that are fetched at the same time; large ones are fetched by several streams each, which the store bounds."""
_PROBLEMS: Final = 20
"""Sentences that are returned; more say nothing new."""


class CacheAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def cache(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Sizes and counters."""
        return {"mount_point": str(self._parts.mount_point), **self._parts.content.usage()}

    async def cache_clear(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Delete what no program has open."""
        return {"freed_bytes": self._parts.content.clear(), **self._parts.content.usage()}

    async def cache_limit(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Another budget until the mount ends. Raises: BadRequestError."""
        budget_bytes = int(number(request, "bytes", -1))
        if budget_bytes < 0:
            raise BadRequestError("The limit must be a number of bytes.")
        self._parts.content.limit(budget_bytes)
        return self._parts.content.usage()

    async def cache_verify(self, _request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Read everything and compare it with its checksums; what is damaged is dropped and fetched again when it is read."""
        verified = await self._parts.content.verify(lambda done, total: progress({"done": done, "total": total}))
        return {"versions": verified.versions, "bytes": verified.bytes, "damaged_blocks": verified.damaged_blocks}

    async def warm(self, request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Bring files and everything below folders into the store; with ``check`` only tell how much is here."""
        paths = request.get("paths", [])
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise BadRequestError("The argument paths must be a list of texts.")
        warming = Warming(self._parts, is_check=bool(request.get("check")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell, warming, progress)
            await warming.run(paths)
            nursery.cancel_scope.cancel()
        return warming.state() | {
            "problems": warming.problems,
            "budget_bytes": self._parts.content.usage()["effective_budget_bytes"],
        }


async def _tell(warming: Warming, progress: Progress) -> None:
    while True:
        await progress(warming.state())
        await trio.sleep(_PERIOD_S)


@dataclass
class Warming:
    """One run over files and folders: a walker that finds files, and tasks that fetch them while it walks on."""

    parts: Parts
    is_check: bool
    files: int = 0
    done: int = 0
    total_bytes: int = 0
    here_bytes: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    _fetching: dict[int, tuple[Location, Entry]] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Files and bytes so far; the totals grow while folders are still being listed."""
        under_way = sum(self.parts.content.present_bytes(at, entry) for at, entry in self._fetching.values())
        return {
            "files": self.files,
            "done": self.done,
            "total_bytes": self.total_bytes,
            "here_bytes": self.here_bytes + under_way,
            "failed": self.failed,
        }

    async def run(self, paths: Sequence[str]) -> None:
        """Walk and fetch. Failures of single files and folders are noted and do not end it. Cancellation: what came is kept."""
        to_fetch, fetched = trio.open_memory_channel[tuple[Location, Entry]](_FILES_AT_ONCE * 4)
        async with trio.open_nursery() as nursery:
            for _ in range(_FILES_AT_ONCE):
                nursery.start_soon(self._fetch_all, fetched.clone())
            with to_fetch, fetched:
                for path in paths:
                    await self._walk(await self.parts.locate(path), to_fetch)

    async def _walk(self, start: Location, found: trio.MemorySendChannel[tuple[Location, Entry]]) -> None:
        try:
            pending = [(start, await self.parts.metadata.stat(start))]
        except Cs3FuseError as error:
            self._note(error)
            return
        while pending:
            at, entry = pending.pop()
            if entry.kind is Kind.FILE:
                self.files += 1
                self.total_bytes += entry.size
                await found.send((at, entry))
            elif entry.kind is Kind.DIRECTORY:
                try:
                    listed = await self.parts.metadata.list(at)
                except Cs3FuseError as error:
                    self._note(error)
                    continue
                # Reversed: the last one is taken first, and people expect the order of the listing.
                pending += [
                    (Location(each.anchor) if each.anchor is not None else at.child(each.name), each)
                    for each in reversed(listed)
                    if not each.is_hidden
                ]

    async def _fetch_all(self, files: trio.MemoryReceiveChannel[tuple[Location, Entry]]) -> None:
        with files:
            async for at, entry in files:
                await self._fetch(at, entry)
                self.done += 1

    async def _fetch(self, at: Location, entry: Entry) -> None:
        content = self.parts.content
        session = self.parts.commits.session_at(at)
        if session is not None and session.has_staged_bytes:  # written here: the newest bytes are local already
            self.here_bytes += entry.size
            return
        if not self.is_check and content.present_bytes(at, entry) < entry.size:
            number = id(entry)
            self._fetching[number] = (at, entry)
            try:
                reader = content.open(at, entry)
                try:
                    await reader.complete()
                finally:
                    reader.close()
            except Cs3FuseError as error:
                self._note(error)
            finally:
                del self._fetching[number]
        self.here_bytes += content.present_bytes(at, entry)

    def _note(self, error: Cs3FuseError) -> None:
        self.failed += 1
        if len(self.problems) < _PROBLEMS:
            self.problems.append(str(error))
