"""System calls by path on a vfs without a kernel, with the kernel's book-keeping of lookups and handles.

Used by tests/vfs. Failures are OSError with the errno that a program would see.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from cs3fuse.errors import Cs3FuseError, errno_for
from cs3fuse.model import Fh, Ino
from cs3fuse.vfs.attributes import Attributes
from cs3fuse.vfs.filesystem import Vfs
from cs3fuse.vfs.inodes import ROOT_INO

_PIECE = 131072


@contextmanager
def as_errno() -> Iterator[None]:
    """What the guard does, without a kernel."""
    try:
        yield
    except Cs3FuseError as error:
        raise OSError(errno_for(error), str(error)) from error


class Syscalls:
    """A program that uses the mount. Several may share one vfs."""

    def __init__(self, vfs: Vfs) -> None:
        self.vfs = vfs

    async def _walk(self, path: str) -> Ino:
        """The inode of a path; each component is looked up and forgotten at once, as if nothing were cached."""
        ino = ROOT_INO
        for name in [part for part in path.split("/") if part]:
            attributes = await self.vfs.tree.lookup(ino, name)
            if ino != ROOT_INO:
                self.vfs.tree.forget(ino, 1)
            ino = attributes.ino
        return ino

    @asynccontextmanager
    async def at(self, path: str) -> AsyncIterator[Ino]:
        """The inode of a path, known to the kernel meanwhile."""
        with as_errno():
            ino = await self._walk(path)
        try:
            with as_errno():
                yield ino
        finally:
            if ino != ROOT_INO:
                self.vfs.tree.forget(ino, 1)

    async def stat(self, path: str) -> Attributes:
        """stat(2)."""
        async with self.at(path) as ino:
            return await self.vfs.tree.getattr(ino)

    async def listdir(self, path: str = "") -> list[str]:
        """opendir, readdir, closedir; sorted."""
        async with self.at(path) as ino:
            fh = await self.vfs.directories.opendir(ino)
            try:
                return sorted([name for name, _attributes, _next in await self.vfs.directories.readdir(fh, 0)])
            finally:
                self.vfs.directories.releasedir(fh)

    @asynccontextmanager
    async def opened(self, path: str, flags: int = os.O_RDONLY) -> AsyncIterator[Fh]:
        """open(2) ... close(2), with O_CREAT; the error of flush leaves at the end, as from close."""
        parent, _, name = path.rpartition("/")
        if flags & os.O_CREAT:
            async with self.at(parent) as parent_ino:
                opened, attributes = await self.vfs.files.create(parent_ino, name, flags & ~os.O_CREAT)
                fh = opened.fh
                self.vfs.tree.took(attributes.ino)
                self.vfs.tree.forget(attributes.ino, 1)
        else:
            async with self.at(path) as ino:
                fh = (await self.vfs.files.open(ino, flags)).fh
        try:
            with as_errno():
                yield fh
                await self.vfs.files.flush(fh)
        finally:
            with suppress(Cs3FuseError):  # nobody hears the errors of release
                await self.vfs.files.release(fh)

    async def pread(self, fh: Fh, size: int, offset: int) -> bytes:
        """pread(2) of any size."""
        with as_errno():
            data = b""
            while len(data) < size:
                piece = await self.vfs.files.read(fh, offset + len(data), min(_PIECE, size - len(data)))
                if not piece:
                    break
                data += piece
            return data

    async def pwrite(self, fh: Fh, data: bytes, offset: int) -> None:
        """pwrite(2) of any size, again for the rest after a short one."""
        with as_errno():
            done = 0
            while done < len(data):
                done += await self.vfs.files.write(fh, offset + done, data[done : done + _PIECE])

    async def fsync(self, fh: Fh) -> None:
        """fsync(2)."""
        with as_errno():
            await self.vfs.files.fsync(fh)

    async def read(self, path: str) -> bytes:
        """The whole file."""
        async with self.opened(path) as fh:
            return await self.pread(fh, 1 << 40, 0)

    async def write(self, path: str, data: bytes) -> None:
        """Replace the whole file, as open(path, "wb") does."""
        async with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fh:
            await self.pwrite(fh, data, 0)

    async def mkdir(self, path: str) -> None:
        """mkdir(2)."""
        parent, _, name = path.rpartition("/")
        async with self.at(parent) as ino:
            made = await self.vfs.making.mkdir(ino, name)
            self.vfs.tree.forget(made.ino, 1)

    async def unlink(self, path: str) -> None:
        """unlink(2)."""
        parent, _, name = path.rpartition("/")
        async with self.at(parent) as ino:
            await self.vfs.making.unlink(ino, name)

    async def rmdir(self, path: str) -> None:
        """rmdir(2)."""
        parent, _, name = path.rpartition("/")
        async with self.at(parent) as ino:
            await self.vfs.making.rmdir(ino, name)

    async def rename(self, old: str, new: str) -> None:
        """rename(2)."""
        (old_parent, _, old_name), (new_parent, _, new_name) = old.rpartition("/"), new.rpartition("/")
        async with self.at(old_parent) as source, self.at(new_parent) as target:
            await self.vfs.renaming.rename(source, old_name, target, new_name)
