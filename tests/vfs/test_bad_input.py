"""What a server or a network may do wrong: a clear errno, nothing served that is not the file's bytes, and the mount lives on."""

from __future__ import annotations

import errno
import os

import pytest
import trio

from cs3fuse.app import Mount
from cs3fuse.emulator.server import EmulatorThread
from tests.support.syscalls import Syscalls

SIZE = 3_000_000
DATA = os.urandom(SIZE)
PAGE = "<html><body>502 Bad Gateway</body></html>"

pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


async def empty_the_cache(mount: Mount) -> None:
    """Nothing is here any more, nor in use (checksums of what was just written are computed in the background)."""
    while mount.content.usage()["pinned_bytes"]:  # noqa: ASYNC110 the store tells nobody when it is done
        await trio.sleep(0.01)
    mount.content.clear()
    mount.metadata.forget(mount.root, subtree=True)


@pytest.fixture
async def file(calls: Syscalls, mount: Mount) -> str:
    """A file of three million bytes that is not in the cache."""
    await calls.write("f", DATA)
    await empty_the_cache(mount)
    return "f"


async def read_or_errno(calls: Syscalls, path: str) -> bytes | str:
    try:
        return await calls.read(path)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


async def test_a_body_that_ends_early_is_not_served_as_the_file(calls: Syscalls, file: str, emulator: EmulatorThread) -> None:
    """The server closes in the middle, politely or by a reset: the bytes or EIO, never a shorter file."""
    for how in ("close", "reset"):
        emulator.faults.add(method="GET", reset_after_bytes=60_000, how=how)  # less than a block of the store
        assert await read_or_errno(calls, file) == "EIO"
        emulator.faults.clear()
    assert await calls.read(file) == DATA


async def test_one_broken_transfer_costs_no_error(calls: Syscalls, file: str, emulator: EmulatorThread) -> None:
    """A connection that breaks once is made anew within the read."""
    rule = emulator.faults.add(method="GET", reset_after_bytes=60_000, times=1)
    assert await calls.read(file) == DATA
    assert rule.fired == 1


async def test_an_html_page_is_not_served_as_the_file(calls: Syscalls, file: str, emulator: EmulatorThread) -> None:
    """A proxy's error page with status 200 is not data."""
    emulator.faults.add(method="GET", http_status=200, body=PAGE, headers={"Content-Type": "text/html"})
    assert await read_or_errno(calls, file) == "EIO"
    emulator.faults.clear()
    assert await calls.read(file) == DATA


@pytest.mark.parametrize("profile", ["opencloud"], indirect=True)  # the client's table is one for all; retries take their time
@pytest.mark.parametrize("status", [500, 503, 403, 404])
async def test_http_errors_become_errnos(calls: Syscalls, file: str, emulator: EmulatorThread, status: int) -> None:
    """Each status has its errno; the mount goes on."""
    emulator.faults.add(method="GET", http_status=status, body=PAGE)
    assert await read_or_errno(calls, file) in {"EIO", "EHOSTDOWN", "EACCES", "ENOENT", "ESTALE", "EBUSY", "ETIMEDOUT"}
    emulator.faults.clear()
    assert await calls.read(file) == DATA


async def test_a_file_shorter_than_its_stat_is_not_padded(
    calls: Syscalls, file: str, emulator: EmulatorThread, profile: str, mount: Mount
) -> None:
    """Replaced by a shorter one between Stat and GET: an error, or the new file after a new open; never zeros."""
    async with calls.opened(file) as fh:
        emulator.change("write", "/einstein/f", b"short", "einstein")
        with pytest.raises(OSError) as caught:
            await calls.pread(fh, SIZE, 0)
        assert errno.errorcode[caught.value.errno or 0] in {"ESTALE", "EIO"}
    assert await calls.read(file) == b"short"


async def test_a_listing_whose_entry_vanished(calls: Syscalls, emulator: EmulatorThread) -> None:
    """An entry that is listed and then gone is ENOENT for whoever opens it; the others are there."""
    await calls.write("a", b"a")
    await calls.write("b", b"b")
    assert await calls.listdir() == ["a", "b"]
    emulator.change("delete", "/einstein/a", "einstein")
    with pytest.raises(FileNotFoundError):
        await calls.read("a")
    assert await calls.read("b") == b"b"


@pytest.mark.parametrize("profile", ["reva"], indirect=True)
@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"])
async def test_grpc_errors_become_errnos(mount: Mount, calls: Syscalls, emulator: EmulatorThread, code: str) -> None:
    """No gRPC error ends the mount."""
    await calls.write("a", b"a")
    mount.metadata.forget(mount.root, subtree=True)
    emulator.faults.add(call="Stat|ListContainer", grpc=code)
    with trio.move_on_after(3):
        with pytest.raises(OSError):
            await calls.listdir()
        with pytest.raises(OSError):
            await calls.stat("a")
    emulator.faults.clear()
    mount.metadata.forget(mount.root, subtree=True)
    assert await calls.listdir() == ["a"]


async def test_an_expired_token_is_not_an_empty_folder(
    mount: Mount, calls: Syscalls, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCloud answers NOT_FOUND to an expired token: we sign in again and see the files."""
    monkeypatch.setattr("cs3fuse.auth.tokens._MIN_INTERVAL_S", 0.0)  # the token is only just issued
    await calls.write("a", b"a")
    for _ in range(3):
        emulator.call(emulator.emulator.tokens.expire_all)
        await empty_the_cache(mount)
        assert await calls.listdir() == ["a"]
        assert await calls.read("a") == b"a"
        break
