"""Orders to the kernel: made in threads, never on the trio thread."""

import errno
import threading
from collections.abc import AsyncIterator

import pytest
import trio

from cs3fuse.kernel.notifier import Notifier
from cs3fuse.model import Ino


class Kernel:
    """Takes notes; entries wait until they are let through, as for a directory with a pending request."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.threads: set[int] = set()
        self.may_pass = threading.Event()
        self.has_told = threading.Event()
        self.error: OSError | None = None

    def drop_inode(self, ino: int, attributes_only: bool) -> None:
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        self.told.append((ino, attributes_only))
        self.has_told.set()

    def drop_entry(self, parent: int, name: bytes) -> None:
        self.may_pass.wait(10)
        self.told.append((parent, name))


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
async def notifier(kernel: Kernel) -> AsyncIterator[Notifier]:
    notifier = Notifier(drop_inode=kernel.drop_inode, drop_entry=kernel.drop_entry)
    notifier.start()
    yield notifier
    kernel.may_pass.set()
    await notifier.stop()


async def test_the_kernel_is_told_from_another_thread(kernel: Kernel, notifier: Notifier) -> None:
    """The trio thread must stay free to answer the requests for which such a call waits."""
    kernel.may_pass.set()
    notifier.invalidate_inode(Ino(7), attributes_only=True)
    notifier.invalidate_entry(Ino(1), "é")
    await notifier.settle()
    assert set(kernel.told) == {(7, True), (1, "é".encode())}
    assert threading.get_ident() not in kernel.threads


async def test_a_busy_directory_does_not_hold_up_attributes(kernel: Kernel, notifier: Notifier) -> None:
    """An entry whose directory is being renamed waits; attributes of other files do not."""
    notifier.invalidate_entry(Ino(1), "a")
    notifier.invalidate_inode(Ino(7), attributes_only=False)
    assert await trio.to_thread.run_sync(kernel.has_told.wait, 10)
    assert kernel.told == [(7, False)]
    kernel.may_pass.set()
    await notifier.settle()
    assert kernel.told == [(7, False), (1, b"a")]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTCONN, errno.EIO])
async def test_a_refusal_of_the_kernel_ends_nothing(kernel: Kernel, notifier: Notifier, number: int) -> None:
    """An inode that the kernel forgot meanwhile is no news, and the next order is carried out."""
    kernel.error = OSError(number, "no")
    notifier.invalidate_inode(Ino(7), attributes_only=True)
    await notifier.settle()
    kernel.error = None
    notifier.invalidate_inode(Ino(8), attributes_only=True)
    await notifier.settle()
    assert kernel.told == [(8, True)]


async def test_nothing_is_ordered_outside_the_session(kernel: Kernel) -> None:
    """Before the mount and after it pyfuse3 must not be called."""
    notifier = Notifier(drop_inode=kernel.drop_inode, drop_entry=kernel.drop_entry)
    notifier.invalidate_inode(Ino(1), attributes_only=True)
    notifier.start()
    await notifier.stop()
    notifier.invalidate_inode(Ino(2), attributes_only=True)
    await notifier.settle()
    assert kernel.told == []


async def test_changed_attributes_are_told_before_it_returns(notifier: Notifier, kernel: Kernel) -> None:
    """For an open whose answer must not be read against the old size; a kernel that knows nothing of the inode is no failure."""
    notifier.attributes_changed(Ino(7))
    assert kernel.told == [(7, True)]
    kernel.error = OSError(errno.ENOENT, "no")
    notifier.attributes_changed(Ino(8))
    await notifier.stop()
    kernel.error = None
    notifier.attributes_changed(Ino(9))
    assert kernel.told == [(7, True)]
