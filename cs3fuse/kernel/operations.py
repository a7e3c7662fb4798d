"""pyfuse3's handlers: decode, one vfs call, encode.

Owns the translation between pyfuse3's types and ours, and the request counters. pyfuse3 runs many handlers concurrently on the
trio thread; the vfs is made for that.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from typing import cast

import pyfuse3
import structlog
import trio

from cs3fuse.errors import Cs3FuseError, NotPermittedError, UnsupportedError
from cs3fuse.kernel.descriptors import can_write_elsewhere
from cs3fuse.kernel.guard import guarded
from cs3fuse.model import NAME_MAX_BYTES, Fh, Ino
from cs3fuse.observability.failures import RecentFailures
from cs3fuse.vfs.attributes import Attributes
from cs3fuse.vfs.filesystem import Vfs
from cs3fuse.vfs.names import decode_name
from cs3fuse.vfs.tree import Change

log = structlog.get_logger(__name__)

_BLOCK_BYTES = 4096
# st_blksize, the buffer of Python's open(), fsspec and others. Readers: what they ask for and no more, the kernel reads ahead
# where it is in order; with 1 MiB uproot fetched 157 MB for a branch of 15. Writers: each write(2) is a request.
_READ_IO_BYTES = 4096
_WRITE_IO_BYTES = 1 << 20
_NO_LIMIT_BYTES = 1 << 50  # shown by df where the storage has no quota

# Since this version the kernel drops the pages of what was written past its page cache (fs/fuse/file.c, fuse_direct_io).
_DROPS_PAGES_SINCE = (6, 8)
_COMMIT = float("inf")  # commits end by lack of progress and by their retry budget (commit.protocol), not by a fixed time


def encode_attributes(attributes: Attributes) -> pyfuse3.EntryAttributes:
    """Our attributes as pyfuse3's."""
    encoded = pyfuse3.EntryAttributes()
    encoded.st_ino = attributes.ino
    encoded.generation = 0  # inode numbers are never used twice
    encoded.entry_timeout = attributes.valid_s
    encoded.attr_timeout = attributes.valid_s
    encoded.st_mode = attributes.mode
    encoded.st_nlink = attributes.nlink
    encoded.st_uid = attributes.uid
    encoded.st_gid = attributes.gid
    encoded.st_size = attributes.size
    encoded.st_blksize = _WRITE_IO_BYTES if attributes.is_written else _READ_IO_BYTES
    encoded.st_blocks = attributes.blocks
    encoded.st_atime_ns = encoded.st_mtime_ns = encoded.st_ctime_ns = attributes.mtime_ns
    return encoded


def _is_direct(flags: int) -> bool:
    """Whether the kernel is told to keep no pages of what goes through this handle.

    Beside O_DIRECT also handles that only write: nobody can read or map pages through them, and with pages each write(2) costs a
    copy, new memory, and a request of its own for ``security.capability``.
    """
    return bool(flags & os.O_DIRECT) or (flags & os.O_ACCMODE == os.O_WRONLY and drops_pages(os.uname().release))


@cache
def drops_pages(release: str) -> bool:
    """Whether other handles of the file see what was written past the page cache."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= _DROPS_PAGES_SINCE


class Operations(pyfuse3.Operations):
    """The handlers of one mount. ``request_deadline_s``: how long one request may take."""

    supports_dot_lookup = True
    enable_writeback_cache = False  # the kernel would invent sizes and times, and hold back bytes from fsync's order
    enable_acl = False

    def __init__(self, vfs: Vfs, *, request_deadline_s: float, data_slots: int) -> None:
        super().__init__()
        self._vfs = vfs
        self.request_deadline_s = request_deadline_s
        self.data_limiter = trio.CapacityLimiter(data_slots)
        self._openers: dict[int, int] = {}  # by handle: the thread that opened it
        self.requests: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.recent_failures = RecentFailures()

    def count_request(self, op: str, error: int | None) -> None:
        """Count a finished request and its errno."""
        self.requests[op] += 1
        if error is not None:
            self.failures[errno.errorcode.get(error, str(error))] += 1

    def note_failure(self, op: str, number: int, error: Cs3FuseError) -> None:
        """Remember a failure for ``cs3fuse info``."""
        self.recent_failures.note(op, number, str(error), error.path)

    # --- names and attributes ----------------------------------------------------------------------------------------

    @guarded("lookup")
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """lookup."""
        return encode_attributes(await self._vfs.tree.lookup(Ino(parent_inode), decode_name(name)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """forget: there is no request to answer, so nothing may be raised, not even FUSEError."""
        for ino, lookups in inode_list:
            try:
                self._vfs.tree.forget(Ino(ino), lookups)
            except ValueError as error:
                log.error("lookup_count_wrong", reason=str(error))  # noqa: TRY400 the sentence says it all

    @guarded("getattr")
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """getattr."""
        return encode_attributes(await self._vfs.tree.getattr(Ino(inode)))

    @guarded("setattr", deadline_factor=_COMMIT)
    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, fh: int | None, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """setattr; truncate(2) of a path commits, so it is bounded by progress like flush."""
        change = Change(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime and not fields.update_size else None,
        )
        return encode_attributes(await self._vfs.tree.setattr(Ino(inode), change, Fh(fh) if fh is not None else None))

    @guarded("mkdir")
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """mkdir; the mode is the server's business."""
        return encode_attributes(await self._vfs.making.mkdir(Ino(parent_inode), decode_name(name)))

    @guarded("unlink")
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """unlink."""
        await self._vfs.making.unlink(Ino(parent_inode), decode_name(name))

    @guarded("rmdir")
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """rmdir."""
        await self._vfs.making.rmdir(Ino(parent_inode), decode_name(name))

    @guarded("rename", deadline_factor=_COMMIT)
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """rename; over an existing file it uploads, so it is bounded by progress like flush."""
        if flags & pyfuse3.RENAME_EXCHANGE:
            raise UnsupportedError("CS3 cannot exchange two files.")
        await self._vfs.renaming.rename(
            Ino(parent_inode_old),
            decode_name(name_old),
            Ino(parent_inode_new),
            decode_name(name_new),
            no_replace=bool(flags & pyfuse3.RENAME_NOREPLACE),
        )

    @guarded("symlink")
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """symlink: CS3 cannot create them."""
        raise NotPermittedError("CS3 cannot create symbolic links.")

    @guarded("link")
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """link: CS3 has no hard links; EPERM as link(2) says for such file systems (git renames instead)."""
        raise NotPermittedError("CS3 has no hard links.")

    @guarded("mknod")
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """mknod: no devices, pipes and sockets."""
        raise NotPermittedError("CS3 cannot carry device nodes, pipes and sockets.")

    @guarded("readlink")
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """readlink: targets of links on the server lie outside what the mount shows."""
        raise UnsupportedError("Symbolic links of the server are not followed.")

    # --- directories -------------------------------------------------------------------------------------------------

    @guarded("opendir")
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """opendir."""
        return await self._vfs.directories.opendir(Ino(inode))

    @guarded("readdir")
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """readdir(plus): a lookup is counted only for entries that fitted."""
        for name, attributes, next_id in await self._vfs.directories.readdir(Fh(fh), start_id):
            if not pyfuse3.readdir_reply(token, name.encode(), encode_attributes(attributes), next_id):
                break
            self._vfs.tree.took(attributes.ino)

    @guarded("releasedir")
    async def releasedir(self, fh: int) -> None:
        """releasedir."""
        self._vfs.directories.releasedir(Fh(fh))

    @guarded("fsyncdir")
    async def fsyncdir(self, fh: int, datasync: bool) -> None:  # noqa: FBT001
        """fsyncdir: names are on the server when their call returns."""

    @guarded("statfs")
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """statfs from GetQuota."""
        quota = await self._vfs.tree.statfs()
        total = quota.total if quota.total is not None else _NO_LIMIT_BYTES
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = _BLOCK_BYTES
        data.f_blocks = total // _BLOCK_BYTES
        data.f_bfree = data.f_bavail = max(0, total - quota.used) // _BLOCK_BYTES
        data.f_files = data.f_ffree = data.f_favail = 1 << 40
        data.f_namemax = NAME_MAX_BYTES
        return data

    # --- files -------------------------------------------------------------------------------------------------------

    @guarded("open")
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """open; O_TRUNC arrives here, not as setattr."""
        opened = await self._vfs.files.open(Ino(inode), flags)
        self._openers[opened.fh] = ctx.pid
        return pyfuse3.FileInfo(fh=opened.fh, keep_cache=opened.keep_pages, direct_io=_is_direct(flags))

    @guarded("create")
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """create and open; the kernel knows the inode once more."""
        opened, attributes = await self._vfs.files.create(Ino(parent_inode), decode_name(name), flags, mode & 0o7777)
        self._openers[opened.fh] = ctx.pid
        self._vfs.tree.took(attributes.ino)
        file = pyfuse3.FileInfo(fh=opened.fh, keep_cache=opened.keep_pages, direct_io=_is_direct(flags))
        return file, encode_attributes(attributes)

    @guarded("read", moves_data=True)
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """read; pyfuse3 takes any buffer, and hands it to the kernel before anything else runs."""
        return cast("bytes", await self._vfs.files.read(Fh(fh), off, size))

    @guarded("write", moves_data=True)
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """write: staged; durable after flush or fsync."""
        return await self._vfs.files.write(Fh(fh), off, buf)

    @guarded("flush", moves_data=True, deadline_factor=_COMMIT)
    async def flush(self, fh: int) -> None:
        """close(2) of a descriptor."""
        await self._vfs.files.flush(Fh(fh), is_open_elsewhere=partial(can_write_elsewhere, self._openers.get(fh, 0)))

    @guarded("fsync", moves_data=True, deadline_factor=_COMMIT)
    async def fsync(self, fh: int, datasync: bool) -> None:  # noqa: FBT001
        """fsync and fdatasync."""
        await self._vfs.files.fsync(Fh(fh))

    @guarded("release", deadline_factor=_COMMIT)
    async def release(self, fh: int) -> None:
        """release: the last descriptor is gone; errors reach nobody."""
        self._openers.pop(fh, None)
        await self._vfs.files.release(Fh(fh))

    # --- extended attributes -----------------------------------------------------------------------------------------

    @guarded("getxattr")
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """getxattr."""
        return await self._vfs.xattrs.get(Ino(inode), decode_name(name))

    @guarded("listxattr")
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """listxattr."""
        return [name.encode() for name in await self._vfs.xattrs.list(Ino(inode))]

    @guarded("setxattr")
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """setxattr."""
        await self._vfs.xattrs.set(Ino(inode), decode_name(name), value)

    @guarded("removexattr")
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """removexattr."""
        await self._vfs.xattrs.remove(Ino(inode), decode_name(name))
