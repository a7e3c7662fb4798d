"""``python -m bench.minimal TARGET USER MOUNTPOINT FOLDER close|background``: the minimal mount, until it is unmounted.

The password is read from standard input.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pyfuse3
import trio
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb

from bench.bare import Access, Bare, Ticket
from bench.content import MIB
from bench.minimal.wire import Wire, WireError, download, send_file
from bench.mounts import SETTLED
from cs3fuse.client import completion

_SMALL_BYTES = 128 * 1024
_FILES_AHEAD = 64
_PARALLEL = 8
_VALID_S = 1.0


class Node:
    """A file or folder. ``children`` None: not listed yet; ``data``: of a small file, or the event that it comes."""

    def __init__(self, path: str, attributes: pyfuse3.EntryAttributes, *, is_folder: bool) -> None:
        self.path = path
        self.attributes = attributes
        self.is_folder = is_folder
        self.parent: Node | None = None
        self.children: dict[str, Node] | None = None
        self.listed: trio.Event | None = None
        self.data: bytes | trio.Event | None = None
        self.staged: Any = None
        self.is_dirty = False


class Open:
    """An open file. ``ticket`` of a large one that is read."""

    def __init__(self, node: Node, ticket: Ticket | None = None) -> None:
        self.node = node
        self.ticket = ticket
        self.file: Any = None
        self.position = 0
        self.moved = trio.Event()


class Minimal(pyfuse3.Operations):
    """The handlers, as short as they can be."""

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, wire: Wire, folder: str, nursery: trio.Nursery, *, is_background: bool) -> None:
        super().__init__()
        self._wire = wire
        self._folder = folder
        self._nursery = nursery
        self._is_background = is_background
        self._nodes: list[Node] = []
        self._open: dict[int, Open] = {}
        self._handles = 0
        self._reply = memoryview(mmap.mmap(-1, 2 * MIB))
        self._listings, self._transfers = trio.CapacityLimiter(_PARALLEL), trio.CapacityLimiter(_PARALLEL)
        self._unsent, self._sent = 0, trio.Event()
        self._node("", is_folder=True, size=0, mtime_ns=0)

    # --- names -------------------------------------------------------------------------------------------------------

    def _node(self, path: str, *, is_folder: bool, size: int, mtime_ns: int) -> Node:
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = len(self._nodes) + 1
        attributes.st_mode = (stat.S_IFDIR | 0o755) if is_folder else (stat.S_IFREG | 0o644)
        attributes.st_nlink = 1
        attributes.st_uid, attributes.st_gid = os.getuid(), os.getgid()
        attributes.st_size = size
        attributes.st_blksize = 4096
        attributes.st_atime_ns = attributes.st_mtime_ns = attributes.st_ctime_ns = mtime_ns
        attributes.entry_timeout = attributes.attr_timeout = _VALID_S
        node = Node(path, attributes, is_folder=is_folder)
        self._nodes.append(node)
        return node

    def _described(self, path: str, info: Any) -> Node:
        is_folder = info.type == storage_pb.RESOURCE_TYPE_CONTAINER
        mtime_ns = info.mtime.seconds * 1_000_000_000 + info.mtime.nanos
        return self._node(path, is_folder=is_folder, size=info.size, mtime_ns=mtime_ns)

    def _at(self, inode: int) -> Node:
        return self._nodes[inode - 1]

    async def _call(self, name: str, request: Any) -> Any:
        try:
            return await self._wire.call(name, request)
        except WireError as error:
            raise pyfuse3.FUSEError(errno.ENOENT if name == "Stat" else errno.EIO) from error

    async def _carry(self, method: str, ticket: Ticket, body: bytes = b"", *, wanted: str = "") -> bytes:
        try:
            return await self._wire.request(method, ticket, body, wanted=wanted)
        except (WireError, OSError) as error:
            raise pyfuse3.FUSEError(errno.EIO) from error

    async def _stat(self, path: str) -> Any:
        return (await self._call("Stat", provider_pb.StatRequest(ref=self._wire.bare.reference(path)))).info

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """From the listing if there is one."""
        parent, text = self._at(parent_inode), os.fsdecode(name)
        if parent.children is None:
            path = f"{parent.path}/{text}" if parent.path else text
            return self._described(path, await self._stat(path)).attributes
        found = parent.children.get(text)
        if found is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return found.attributes

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Nothing is forgotten."""

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """As it was first seen."""
        return self._at(inode).attributes

    async def setattr(self, inode: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> pyfuse3.EntryAttributes:
        """Nothing is set."""
        return self._at(inode).attributes

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """``SETTLED`` waits until everything was sent; there is no other."""
        if name != SETTLED:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        while self._unsent:
            await self._sent.wait()
        return b"yes"

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Nothing."""
        return pyfuse3.StatvfsData()

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """List it, and its folders ahead."""
        node = self._at(inode)
        await self._list(node)
        for child in (node.children or {}).values():
            if child.is_folder and child.listed is None:
                self._nursery.start_soon(self._list_ahead, child)
        return inode

    async def _list_ahead(self, node: Node) -> None:
        async with self._listings:
            await self._list(node)

    async def _list(self, node: Node) -> None:
        if node.listed is not None:
            await node.listed.wait()
            return
        node.listed = trio.Event()
        request = provider_pb.ListContainerRequest(ref=self._wire.bare.reference(node.path))
        children = {}
        for info in (await self._call("ListContainer", request)).infos:
            name = info.name or info.path.rsplit("/", 1)[-1]
            children[name] = child = self._described(f"{node.path}/{name}" if node.path else name, info)
            child.parent = node
        node.children = children
        node.listed.set()

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """With attributes."""
        names = list((self._at(fh).children or {}).items())
        for number in range(start_id, len(names)):
            name, child = names[number]
            if not pyfuse3.readdir_reply(token, os.fsencode(name), child.attributes, number + 1):
                break

    async def releasedir(self, fh: int) -> None:
        """Nothing."""

    # --- reading -----------------------------------------------------------------------------------------------------

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Ask for the version, as whoever promises close-to-open consistency must; it is not looked at."""
        node = self._at(inode)
        if node.attributes.st_size > _SMALL_BYTES:
            opened = Open(node)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._take_ticket, opened)
                await self._stat(node.path)
            return self._added(opened)
        self._fetch_ahead(node)
        await self._stat(node.path)
        return self._added(Open(node))

    def _added(self, opened: Open, *, is_direct: bool = False) -> pyfuse3.FileInfo:
        self._handles += 1
        self._open[self._handles] = opened
        return pyfuse3.FileInfo(fh=self._handles, direct_io=is_direct)

    async def _take_ticket(self, opened: Open) -> None:
        opened.ticket = await self._ticket(opened.node)

    async def _ticket(self, node: Node) -> Ticket:
        request = provider_pb.InitiateFileDownloadRequest(ref=self._wire.bare.reference(node.path))
        return self._wire.bare.ticket((await self._call("InitiateFileDownload", request)).protocols, "download_endpoint")

    def _fetch_ahead(self, node: Node) -> None:
        """This small file and those that follow it in its folder."""
        beside = list(node.parent.children.values()) if node.parent is not None and node.parent.children is not None else [node]
        first = beside.index(node)
        for each in beside[first : first + _FILES_AHEAD]:
            if each.data is None and not each.is_folder:
                each.data = trio.Event()
                self._nursery.start_soon(self._fetch, each, each.data)

    async def _fetch(self, node: Node, here: trio.Event) -> None:
        async with self._transfers:
            node.data = await self._carry("GET", await self._ticket(node))
        here.set()

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """A large file comes as one stream from its beginning, or in the range that is asked for."""
        opened = self._open[fh]
        node = opened.node
        if node.data is not None:
            while isinstance(node.data, trio.Event):
                await node.data.wait()
            return node.data[off : off + size]
        ticket, size = opened.ticket, min(size, node.attributes.st_size - off)
        if size <= 0 or ticket is None:
            return b""
        if opened.file is None and off:
            return await self._carry("GET", ticket, wanted=f"{off}-{off + size - 1}")
        if opened.file is None:
            opened.file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by release
            self._nursery.start_soon(self._stream, opened, ticket)
        while opened.position < off + size:
            await opened.moved.wait()
        view = self._reply[:size]
        os.preadv(opened.file.fileno(), [view], off)
        return cast("bytes", view)

    async def _stream(self, opened: Open, ticket: Ticket) -> None:
        token = trio.lowlevel.current_trio_token()

        def moved(position: int) -> None:
            opened.position = position
            opened.moved.set()
            opened.moved = trio.Event()

        def stream() -> None:
            buffer = memoryview(mmap.mmap(-1, MIB))
            download(
                ticket,
                opened.file.fileno(),
                opened.node.attributes.st_size,
                buffer,
                lambda position: token.run_sync_soon(moved, position),
            )

        await trio.to_thread.run_sync(stream)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A file without a name takes the bytes."""
        parent, text = self._at(parent_inode), os.fsdecode(name)
        node = self._node(f"{parent.path}/{text}" if parent.path else text, is_folder=False, size=0, mtime_ns=0)
        if parent.children is not None:
            parent.children[text] = node
        node.staged = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed when it was sent
        return self._added(Open(node), is_direct=True), node.attributes

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Into that file."""
        node = self._open[fh].node
        node.is_dirty = True
        return os.pwrite(node.staged.fileno(), buf, off)

    async def flush(self, fh: int) -> None:
        """Send it, or soon."""
        node = self._open[fh].node
        if not node.is_dirty:
            return
        node.is_dirty = False
        if self._is_background:
            self._unsent += 1
            self._nursery.start_soon(self._send_later, node)
        else:
            await self._send(node)

    async def fsync(self, fh: int, datasync: bool) -> None:  # noqa: FBT001
        """The same."""
        await self.flush(fh)

    async def _send_later(self, node: Node) -> None:
        async with self._transfers:
            await self._send(node)
        self._unsent -= 1
        self._sent.set()
        self._sent = trio.Event()

    async def _send(self, node: Node) -> None:
        with node.staged as file:
            size = os.fstat(file.fileno()).st_size
            answer = await self._call("InitiateFileUpload", self._wire.bare.upload_request(node.path, size))
            ticket = self._wire.bare.ticket(answer.protocols, "upload_endpoint", size)
            if size <= _SMALL_BYTES:
                await self._carry("PUT", ticket, os.pread(file.fileno(), size, 0))
            else:
                await trio.to_thread.run_sync(send_file, ticket, file.fileno(), size)
        node.attributes.st_size = size

    async def release(self, fh: int) -> None:
        """The stream's file goes."""
        opened = self._open.pop(fh)
        if opened.file is not None:
            opened.file.close()


async def _serve(make: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        await make(nursery)
        nursery.cancel_scope.cancel()


def main() -> None:
    """Mount and serve."""
    target, user, mount_point, folder, mode = sys.argv[1:]
    bare = Bare(Access(target, user, sys.stdin.read()))
    completion.keep(bare.channel)

    async def serve(nursery: trio.Nursery) -> None:
        operations = Minimal(Wire(bare), folder, nursery, is_background=mode == "background")
        pyfuse3.init(operations, mount_point, {*pyfuse3.default_options, "fsname=minimal", "subtype=minimal"})
        try:
            await pyfuse3.main(min_tasks=4, max_tasks=64)
        finally:
            pyfuse3.close(unmount=True)

    trio.run(_serve, serve)
    os._exit(0)  # its threads and connections end with it


if __name__ == "__main__":
    main()
