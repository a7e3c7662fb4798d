"""Starts and stops one emulated gateway: as a task, as a thread, or as the whole process.

Owns the two listening sockets and the wiring of all other modules. `Emulator` lives in one asyncio loop;
`EmulatorThread` gives it a loop of its own for tests that run something else (trio, plain code) in the main thread:
its `faults`, `log`, `clock` and `tokens.expire_all` may be used from any thread, the profile only through `call`.
"""

import asyncio
import json
import os
import random
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from aiohttp import web

from cs3fuse.emulator.changes import Changes
from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.control import Control
from cs3fuse.emulator.datagateway import DataGateway
from cs3fuse.emulator.eos_data import EosProfile
from cs3fuse.emulator.faults import CallLog, FaultBook
from cs3fuse.emulator.gateway import GatewayServicer
from cs3fuse.emulator.ocm import MeshHandlers, in_mesh
from cs3fuse.emulator.opencloud_spaces import OpenCloudProfile
from cs3fuse.emulator.profiles import QUIRKS, Profile, Services
from cs3fuse.emulator.proto import gateway_grpc
from cs3fuse.emulator.reva_shares import RevaProfile
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tokens import TokenMaker
from cs3fuse.emulator.users import Directory

_READ_BUFFER = 1 << 20
_STOP_GRACE_S = 0.2
_START_LIMIT_S = 30.0
Result = TypeVar("Result")


def make_profile(services: Services) -> Profile:
    """The profile that the configuration names."""
    classes: dict[str, type[Profile]] = {"reva": RevaProfile, "opencloud": OpenCloudProfile, "eos": EosProfile}
    chosen = classes[services.config.profile]
    return in_mesh(chosen)(services) if services.config.site_name else chosen(services)


class Emulator:
    """One gateway: gRPC and HTTP on loopback."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.faults = FaultBook(config.seed)
        self.log = CallLog()
        self.quirks = {name: default for name, (default, _) in QUIRKS.items()} | dict(config.quirks)
        self.grpc_port = 0
        self.http_port = 0
        self.url = ""
        self.profile: Profile
        self.tokens: TokenMaker
        self._grpc: Any = None
        self._runner: web.AppRunner | None = None
        self._state: State | None = None

    @property
    def storage(self) -> Profile:
        """The profile, for tests that change files behind the clients' backs."""
        return self.profile

    async def start(self) -> None:
        """Open both ports and answer from now on. Raises: OSError when a port is taken."""
        config = self.config
        config.state_path.mkdir(parents=True, exist_ok=True)
        listener = socket.create_server((config.host, config.http_port), backlog=512)
        self.http_port = listener.getsockname()[1]
        scheme = "https" if config.tls_cert else "http"
        self.url = base_url = f"{scheme}://{config.host}:{self.http_port}"
        self._state = State(config.state_path / "state.sqlite")
        rough = config.profile == "opencloud"
        directory = Directory(config.users, config.site_name or base_url, uuid_ids=rough, same_uid=rough)
        self.tokens = TokenMaker(self._state, self.clock, directory, config.token_life_s, config.transfer_life_s)
        services = Services(
            config, self.clock, self._state, directory, self.tokens, random.Random(config.seed or None), self.quirks, base_url
        )
        self.profile = make_profile(services)
        await self._start_http(listener)
        await self._start_grpc()

    async def _start_http(self, listener: socket.socket) -> None:
        control = Control(self.profile, self.faults, self.log, self.quirks).handle if self.config.control else None
        door = self.profile.door if isinstance(self.profile, MeshHandlers) else None
        gateway = DataGateway(self.profile, self.faults, self.log, control, door)
        application = web.Application(client_max_size=0)
        application.router.add_route("*", r"/{path:[\s\S]*}", gateway.handle)  # a dot would not take a newline
        application.on_response_prepare.append(_plain_headers)
        self._runner = web.AppRunner(
            application, access_log=None, read_bufsize=_READ_BUFFER, shutdown_timeout=_STOP_GRACE_S, max_line_size=1 << 16,
            max_field_size=1 << 20,
        )  # fmt: skip
        await self._runner.setup()
        await web.SockSite(self._runner, listener, ssl_context=self._tls()).start()

    def _tls(self) -> ssl.SSLContext | None:
        if self.config.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.config.tls_cert, self.config.tls_key)
        return context

    async def _start_grpc(self) -> None:
        config = self.config
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
        ]
        self._grpc = grpc.aio.server(options=options)
        gateway_grpc.add_GatewayAPIServicer_to_server(GatewayServicer(self.profile, self.faults, self.log), self._grpc)
        address = f"{config.host}:{config.grpc_port}"
        if config.tls_cert is None or config.tls_key is None:
            self.grpc_port = self._grpc.add_insecure_port(address)
        else:
            pair = (config.tls_key.read_bytes(), config.tls_cert.read_bytes())
            self.grpc_port = self._grpc.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        await self._grpc.start()

    async def stop(self) -> None:
        """Close both ports; running calls get a moment to end."""
        self.faults.clear()
        if self._grpc is not None:
            await self._grpc.stop(_STOP_GRACE_S)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._state is not None:
            await self.profile.stop()
            self.profile.close()
            self._state.close()

    def ready_line(self) -> str:
        """One line of JSON for whoever started this process."""
        return json.dumps(
            {
                "grpc": self.grpc_port,
                "http": self.http_port,
                "pid": os.getpid(),
                "profile": self.config.profile,
                "root": str(self.config.root),
                "site": self.config.site_name,
                "host": self.config.host,
                "tls": self.config.tls_cert is not None,
            }
        )


async def _plain_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Leave out what aiohttp adds and the imitated servers do not send."""
    response.headers.pop("Server", None)
    through_data_gateway = request.method == "HEAD" and "Upload-Expires" in response.headers
    if (
        through_data_gateway
        or not response.headers.get("Content-Type")
        or (response.content_length == 0 and response.status not in {200, 206})
    ):
        response.headers.pop("Content-Type", None)


async def serve(config: EmulatorConfig, announce: Callable[[Emulator], None]) -> None:
    """Run until SIGTERM or SIGINT; `announce` is called once both ports answer."""
    emulator = Emulator(config)
    await emulator.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    announce(emulator)
    await ended.wait()
    await emulator.stop()


def run(config: EmulatorConfig, announce: Callable[[Emulator], None] | None = None) -> None:
    """Be a gateway until SIGTERM or SIGINT; prints one line of JSON when ready unless told otherwise."""
    asyncio.run(serve(config, announce or _print_ready))


def _print_ready(emulator: Emulator) -> None:
    sys.stdout.write(emulator.ready_line() + "\n")
    sys.stdout.flush()


class EmulatorThread:
    """An emulator with a loop in a thread of its own, as a context manager."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.emulator = Emulator(config)
        self.config = config
        self.faults = self.emulator.faults
        self.log = self.emulator.log
        self.clock = self.emulator.clock
        self.quirks = self.emulator.quirks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="cs3-emulator", daemon=True)

    @property
    def grpc_port(self) -> int:
        """The gRPC port."""
        return self.emulator.grpc_port

    @property
    def http_port(self) -> int:
        """The HTTP port."""
        return self.emulator.http_port

    @property
    def storage(self) -> Any:
        """The profile; use it through `call`."""
        return self.emulator.profile

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in the emulator's loop and return its result."""
        assert self._loop is not None

        async def wrapped() -> Result:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(_START_LIMIT_S)

    def change(self, op: str, *arguments: Any, **details: Any) -> Any:
        """What another client does: the method `op` of `changes.Changes`. Raises: Refusal, HttpRefusal, GrpcAbort."""
        assert self._loop is not None
        coroutine = getattr(Changes(self.storage), op)(*arguments, **details)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_LIMIT_S)

    @property
    def url(self) -> str:
        """The HTTP side, as other sites of the mesh dial it."""
        return self.emulator.url

    def meet(self, other: "EmulatorThread") -> None:
        """Make two sites known to each other."""
        for one, two in ((self, other), (other, self)):
            one.call(one.storage.peers.put, two.config.site_name, two.url)

    def link(self, site: str, state: str) -> None:
        """Set how this site reaches another one: ok, refused, frozen or dropped."""
        self.call(self.storage.peers.put, site, "", state)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except (OSError, RuntimeError, ValueError) as error:  # told by __enter__ in the thread that waits there
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        await self.emulator.start()
        self._ready.set()
        await self._ended.wait()
        await self.emulator.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_LIMIT_S) or self._failure is not None:
            raise RuntimeError(f"The emulator did not start: {self._failure or 'no answer in time'}.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_START_LIMIT_S)
