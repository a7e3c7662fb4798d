"""The control socket: both ends against each other."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from cs3fuse.control.client import request
from cs3fuse.control.server import ControlServer, Progress
from cs3fuse.errors import Cs3FuseError, UnavailableError


async def _echo(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    await progress({"done": 1, "total": 2})
    return {"got": dict(arguments)}


async def _refuse(_arguments: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
    raise Cs3FuseError("It cannot be done because of the weather.")


COMMANDS = {"echo": _echo, "refuse": _refuse}


async def test_a_command_is_answered_with_progress_and_result(tmp_path: Path, nursery: trio.Nursery) -> None:
    """Progress lines come before the one result."""
    path = tmp_path / "s"
    await nursery.start(ControlServer(path, COMMANDS).run)
    seen: list[dict[str, Any]] = []
    answer = await trio.to_thread.run_sync(lambda: request(path, "echo", on_progress=seen.append, word="hello"))
    assert answer == {"got": {"word": "hello"}}
    assert seen == [{"done": 1, "total": 2}]


async def test_a_failure_arrives_as_its_sentence(tmp_path: Path, nursery: trio.Nursery) -> None:
    """What the daemon says is what the person reads."""
    path = tmp_path / "s"
    await nursery.start(ControlServer(path, COMMANDS).run)
    with pytest.raises(Cs3FuseError, match="weather"):
        await trio.to_thread.run_sync(lambda: request(path, "refuse"))
    with pytest.raises(Cs3FuseError, match="does not know the command"):
        await trio.to_thread.run_sync(lambda: request(path, "nonesuch"))


@pytest.mark.parametrize("line", [b"junk\n", b"[1]\n", b"", b"\xff\xfe\n"])
async def test_junk_is_answered_and_survived(tmp_path: Path, nursery: trio.Nursery, line: bytes) -> None:
    """A broken client gets a sentence; the next one is served."""
    path = tmp_path / "s"
    await nursery.start(ControlServer(path, COMMANDS).run)

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(1000)

    assert b"not understood" in await trio.to_thread.run_sync(talk)
    assert await trio.to_thread.run_sync(lambda: request(path, "echo")) == {"got": {}}


async def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    """Mode 0600 while it serves; afterwards asking says that nobody is there."""
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(path, COMMANDS).run)
        assert path.stat().st_mode & 0o777 == 0o600
        nursery.cancel_scope.cancel()
    with pytest.raises(UnavailableError, match="No cs3fuse daemon"):
        request(path, "echo")
