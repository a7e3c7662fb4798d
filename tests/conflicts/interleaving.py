"""A model of two mounts that edit one file, and the play that holds the real ones against it.

The rule is one sentence: a commit succeeds if and only if the file still is the version that was open; else the server's version stays and
the bytes are beside it, to the last one. Used by ``test_interleavings``.
"""

from __future__ import annotations

import errno
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from tests.support.syscalls import Syscalls
from tests.support.vfs import running_mount

NAME = "shared.txt"
Step = tuple[int, str]
"""(which mount, what it does)."""
OPENINGS = ["rewrite", "patch", "append", "patch unseen"]
ACTIONS = ["write", "write", "write", "fsync", "close", "read", *OPENINGS]
_FLAGS = {
    "rewrite": os.O_RDWR | os.O_TRUNC,
    "patch": os.O_RDWR,
    "append": os.O_RDWR | os.O_APPEND,
    "patch unseen": os.O_RDWR,
}


@dataclass
class Shared:
    """What the server should hold: each commit makes another ``version``; ``copies`` are the conflict copies."""

    content: bytes
    version: int = 0
    copies: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Editor:
    """One mount's side: the open file as its program sees it. ``base`` is the version it lies over.

    ``copy``: the conflict copy that takes its bytes since it lost. ``is_stuck``: it patched a version without ever having read it and
    lost: no complete copy can be made, its bytes stay in the journal.
    """

    number: int
    calls: Syscalls
    mount: Mount
    handle: AsyncExitStack | None = None
    fh: int = 0
    how: str = ""
    view: bytes = b""
    base: int = 0
    is_dirty: bool = False
    copy: str = ""
    is_stuck: bool = False


class Play:
    """One interleaving."""

    def __init__(self, emulator: EmulatorThread, folder: Path) -> None:
        self._emulator = emulator
        self._folder = folder
        self._home = emulator.config.root / "einstein"
        self._tokens = 0
        self.shared = Shared(b"")
        self.seen: set[str] = set()

    async def run(self, steps: list[Step], initial: bytes) -> None:
        """Play, then compare everything that is left."""
        for path in self._home.iterdir() if self._home.exists() else []:
            self._emulator.change("delete", f"/einstein/{path.name}", "einstein")
        self._emulator.change("home", "einstein")
        self._emulator.change("write", f"/einstein/{NAME}", initial, "einstein")
        self.shared = Shared(initial)
        async with AsyncExitStack() as stack:
            editors = []
            for number in range(2):
                mount = await stack.enter_async_context(
                    running_mount(self._emulator, self._folder / str(number), locks="off", attribute_timeout_s=0)
                )
                editors.append(Editor(number, Syscalls(mount.vfs), mount))
            for number, action in steps:
                await self._step(editors[number], action)
            for editor in editors:
                await self._close(editor)
            self._compare(editors)

    async def _step(self, editor: Editor, action: str) -> None:
        if editor.is_stuck:
            return
        if action in _FLAGS:
            if editor.handle is None:
                await self._open(editor, action)
        elif action == "read":
            await self._read(editor)
        elif editor.handle is not None:
            await {"write": self._write, "fsync": self._fsync, "close": self._close}[action](editor)

    async def _open(self, editor: Editor, how: str) -> None:
        if how in {"patch", "append"}:
            assert await editor.calls.read(NAME) == self.shared.content
        editor.handle = AsyncExitStack()
        editor.fh = await editor.handle.enter_async_context(editor.calls.opened(NAME, _FLAGS[how]))
        editor.how, editor.base, editor.copy = how, self.shared.version, ""
        editor.view = b"" if how == "rewrite" else self.shared.content
        editor.is_dirty = how == "rewrite" and bool(self.shared.content)

    async def _write(self, editor: Editor) -> None:
        self._tokens += 1
        token = b"<%d by %d>" % (self._tokens, editor.number)
        offset = len(editor.view) if editor.how in {"append", "rewrite"} else self._tokens * 7 % (len(editor.view) + 1)
        await editor.calls.pwrite(editor.fh, token, offset)
        view = editor.view
        editor.view = view[:offset] + token + view[offset + len(token) :]
        editor.is_dirty = True

    async def _read(self, editor: Editor) -> None:
        if editor.handle is None:
            assert await editor.calls.read(NAME) == self.shared.content
        elif editor.how != "patch unseen":
            assert await editor.calls.pread(editor.fh, 1 << 20, 0) == editor.view

    async def _fsync(self, editor: Editor) -> None:
        self._committed(editor, await _errno(editor.calls.fsync(editor.fh)))

    async def _close(self, editor: Editor) -> None:
        if editor.handle is not None:
            handle, editor.handle = editor.handle, None
            self._committed(editor, await _errno(handle.aclose()))

    def _committed(self, editor: Editor, outcome: int) -> None:
        """What a commit must have done, by the model; and that it did."""
        shared = self.shared
        if editor.is_stuck:
            assert outcome == errno.ESTALE
            return
        if not editor.is_dirty:
            assert outcome in {0, errno.ESTALE if editor.copy else 0}
            return
        editor.is_dirty = False
        if editor.copy:
            assert outcome == errno.ESTALE
            shared.copies[editor.copy] = editor.view
        elif editor.base == shared.version or (outcome == 0 and editor.view == shared.content):
            assert outcome == 0, errno.errorcode[outcome]
            shared.version += editor.view != shared.content
            shared.content, editor.base = editor.view, shared.version
            self.seen.add("committed")
        else:
            assert outcome == errno.ESTALE, errno.errorcode.get(outcome, outcome)
            self.seen.add("conflict")
            made = self._copies_on_server().keys() - shared.copies.keys()
            if editor.how == "patch unseen" and not made:
                editor.is_stuck = True
                self.seen.add("stuck")
            else:
                (editor.copy,) = made
                shared.copies[editor.copy] = editor.view
        assert self._on_server() == shared.content
        assert self._copies_on_server() == shared.copies

    def _on_server(self) -> bytes:
        return (self._home / NAME).read_bytes()

    def _copies_on_server(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self._home.iterdir() if path.name != NAME}

    def _compare(self, editors: list[Editor]) -> None:
        assert self._on_server() == self.shared.content
        assert self._copies_on_server() == self.shared.copies
        for editor in editors:
            left = [item.at.name for item in editor.mount.commits.queue()]
            assert left == ([NAME] if editor.is_stuck else [])


async def _errno(call: object) -> int:
    try:
        await call  # type: ignore[misc]
    except OSError as error:
        return error.errno or -1
    return 0
