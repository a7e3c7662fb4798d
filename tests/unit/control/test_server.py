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


async def _refuse_in_nursery(_arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_refuse, _arguments, progress)
        await trio.sleep_forever()
    return {}


async def _break(_arguments: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
    raise ZeroDivisionError


COMMANDS = {"echo": _echo, "refuse": _refuse, "refuse_in_nursery": _refuse_in_nursery, "break": _break}


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
    with pytest.raises(Cs3FuseError, match="weather"):
        await trio.to_thread.run_sync(lambda: request(path, "refuse_in_nursery"))
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


async def test_a_fault_in_an_answer_does_not_end_the_mount(tmp_path: Path, nursery: trio.Nursery) -> None:
    """The question is answered with a sentence, and the next one is served."""
    path = tmp_path / "s"
    await nursery.start(ControlServer(path, COMMANDS).run)
    with pytest.raises(Cs3FuseError, match="its log says more"):
        await trio.to_thread.run_sync(lambda: request(path, "break"))
    assert await trio.to_thread.run_sync(lambda: request(path, "echo")) == {"got": {}}


async def test_an_answer_ends_when_its_client_is_gone(tmp_path: Path, nursery: trio.Nursery) -> None:
    """A person who pressed Ctrl-C in a long wait leaves no task behind, and the server goes on."""
    path = tmp_path / "s"
    ended = trio.Event()

    async def wait(_arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        try:
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                while True:
                    await progress({})
        finally:
            ended.set()

    await nursery.start(ControlServer(path, {**COMMANDS, "wait": wait}).run)

    def ask_and_go() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"command": "wait"}\n')
            connection.recv(100)

    await trio.to_thread.run_sync(ask_and_go)
    with trio.fail_after(10):
        await ended.wait()
    assert await trio.to_thread.run_sync(lambda: request(path, "echo")) == {"got": {}}
