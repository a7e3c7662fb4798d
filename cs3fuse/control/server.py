"""The server end of the control socket, in the daemon.

Owns the listening socket. Started by ``app`` as a service; commands are async callables that ``app`` registers. Only the user who
runs the daemon, and root, are served (SO_PEERCRED, unix(7)). Requests of different clients run concurrently; one whose client is gone
is ended. A question must never end the mount: like ``kernel.guard`` this is a place where every exception stops.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
import trio

from cs3fuse.control.protocol import MAX_LINE_BYTES, decode, encode
from cs3fuse.errors import Cs3FuseError, first_failure

log = structlog.get_logger(__name__)

Progress = Callable[[dict[str, Any]], Awaitable[None]]
Command = Callable[[Mapping[str, Any], Progress], Awaitable[dict[str, Any]]]

_REQUEST_TIMEOUT_S = 10.0


class ControlServer:
    """Answers commands on a unix socket."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then the socket is gone. The caller made sure that no living daemon has the path."""
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            self._path.unlink(missing_ok=True)
            await listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(16)
            task_status.started()
            try:
                async with trio.open_nursery() as clients:
                    while True:
                        connection, _ = await listener.accept()
                        clients.start_soon(self._serve, trio.SocketStream(connection))
            finally:
                self._path.unlink(missing_ok=True)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                if not _is_ours(stream):
                    await stream.send_all(encode({"error": "This mount belongs to another user."}))
                    return
                with trio.fail_after(_REQUEST_TIMEOUT_S):
                    line = await _read_line(stream)
                await stream.send_all(encode(await self._answer(line, stream)))
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                log.debug("control_client_gone", reason=str(error))

    async def _answer(self, line: bytes, stream: trio.SocketStream) -> dict[str, Any]:
        try:
            request = decode(line)
            name = str(request.pop("command", ""))
            command = self._commands[name]
        except (ValueError, TypeError) as error:
            return {"error": f"The request is not understood: {error}."}
        except KeyError as error:
            return {"error": f"This daemon does not know the command {error}; it may be older than the command line tool."}
        log.debug("control_request", command=name)
        try:
            return await _run(command, request, stream)
        except* Cs3FuseError as group:
            failure = first_failure(group)
        except* Exception as group:
            log.exception(
                "internal_error", reason="This is a fault of cs3fuse; the mount goes on. Please report it.", exc_info=group
            )
            failure = Cs3FuseError("The daemon failed to answer; its log says more. The mount goes on.")
        return {"error": str(failure)}


async def _run(command: Command, request: Mapping[str, Any], stream: trio.SocketStream) -> dict[str, Any]:
    """Run a command as long as its client listens."""
    with trio.CancelScope() as scope:

        async def progress(state: dict[str, Any]) -> None:
            try:
                await stream.send_all(encode({"progress": state}))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                scope.cancel()
                await trio.lowlevel.checkpoint()

        return {"result": await command(request, progress)}
    return {"error": "Nobody listens any more."}


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = await stream.receive_some(65536)
        if not piece:
            break
        line += piece
        if len(line) > MAX_LINE_BYTES:
            raise trio.BrokenResourceError("the request is too long")
    return bytes(line)


def _is_ours(stream: trio.SocketStream) -> bool:
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return uid in {0, os.getuid()}
