"""Telling the kernel that what it caches is no longer true.

Owns two threads, because the calls block: an entry cannot be dropped before the requests on its directory are answered, and dropping
pages waits for reads that are under way. The trio thread only puts orders into queues, so it can answer those very requests.
Attributes and entries have a thread each: a directory that is busy for long (a rename that uploads) does not hold up the others.
Started and stopped by ``app`` around the session; ``vfs`` gives orders through ``ports.KernelNotifier``, from the trio thread.
"""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable
from functools import partial

import pyfuse3
import structlog
import trio

from cs3fuse.model import Ino

_LOG = structlog.get_logger(__name__)

_STOP_S = 1.0
"""How long ``stop`` waits for a thread that may hang in the kernel; then it is left behind and ends with the process."""

# The kernel does not know it (any more), or the file system is being unmounted: then there is nothing to drop.
_NOTHING_TO_DROP = frozenset({errno.ENOENT, errno.ENOTCONN, errno.ENODEV, errno.EBADF, errno.EINVAL, errno.ENOTDIR})


class _Lane:
    """A queue of blocking calls and the thread that makes them, one after another."""

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def order(self, call: Callable[[], None]) -> None:
        """Make a call soon. Never blocks."""
        self._orders.put(call)

    def close(self) -> None:
        """Take no more orders."""
        self._orders.put(None)

    def join(self) -> None:
        """Blocking: wait for the thread, but not for ever."""
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while (call := self._orders.get()) is not None:
            try:
                call()
            except OSError as error:
                if error.errno not in _NOTHING_TO_DROP:
                    _LOG.warning("kernel_not_told", reason=str(error))


class Notifier:
    """Implements ports.KernelNotifier. Orders that come before ``start`` or after ``stop`` are dropped: no kernel caches anything then."""

    def __init__(
        self,
        *,
        drop_inode: Callable[[int, bool], None] = pyfuse3.invalidate_inode,
        drop_entry: Callable[[int, bytes], None] = pyfuse3.invalidate_entry,
    ) -> None:
        """``drop_inode(ino, attributes only)`` and ``drop_entry(parent ino, name)`` are the calls to the kernel; tests give others."""
        self._drop_inode = drop_inode
        self._drop_entry = drop_entry
        self._inodes: _Lane | None = None
        self._entries: _Lane | None = None

    def start(self) -> None:
        """Take orders from now on; the file system is mounted."""
        self._inodes, self._entries = _Lane("notify-inodes"), _Lane("notify-entries")

    async def stop(self) -> None:
        """Take no more orders; returns when the threads ended, at the latest after two seconds.

        Cancellation: they end by themselves.
        """
        lanes = [lane for lane in (self._inodes, self._entries) if lane is not None]
        self._inodes = self._entries = None
        for lane in lanes:
            lane.close()
        for lane in lanes:
            await trio.to_thread.run_sync(lane.join, abandon_on_cancel=True)

    def invalidate_inode(self, ino: Ino, *, attributes_only: bool) -> None:
        """See the port."""
        if self._inodes is not None:
            self._inodes.order(partial(self._drop_inode, ino, attributes_only))

    def attributes_changed(self, ino: Ino) -> None:
        """See the port. Made at once: for attributes alone the kernel waits for no request (fs/fuse/inode.c, fuse_reverse_inval_inode)."""
        if self._inodes is None:
            return
        try:
            self._drop_inode(ino, True)  # noqa: FBT003 - as pyfuse3 has it
        except OSError as error:
            if error.errno not in _NOTHING_TO_DROP:
                _LOG.warning("kernel_not_told", reason=str(error))

    def invalidate_entry(self, parent: Ino, name: str) -> None:
        """See the port."""
        if self._entries is not None:
            self._entries.order(partial(self._drop_entry, parent, name.encode()))

    async def settle(self) -> None:
        """Wait until the kernel was told everything ordered so far. Never from within a request: the kernel may wait for its answer.

        Cancellation: it is told all the same.
        """
        token = trio.lowlevel.current_trio_token()
        for lane in (self._inodes, self._entries):
            if lane is not None:
                told = trio.Event()
                lane.order(partial(token.run_sync_soon, told.set))
                await told.wait()
