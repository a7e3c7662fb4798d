"""Starts emulators the way the recorded servers were set up.

Called by `conftest`. Each gateway lives in a thread of its own until the context is left.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb

from cs3fuse.emulator.config import EmulatorConfig
from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Caller
from tests.emulator.mesh.desk import MOUNT, MOUNT_A, SITE_A, SITE_B, MeshDesk

OPENCLOUD_USERS = {"admin": "admin", "alan": "turing", "marie": "radioactivity"}
"""The names that the records of OpenCloud speak of."""


def target(gateway: EmulatorThread) -> str:
    """Where the gRPC side listens."""
    return f"127.0.0.1:{gateway.grpc_port}"


@contextlib.contextmanager
def reva(folder: Path) -> Iterator[EmulatorThread]:
    """Profile reva with its usual users."""
    with EmulatorThread(EmulatorConfig(root=folder, profile="reva", seed=1)) as gateway:
        yield gateway


@contextlib.contextmanager
def opencloud(folder: Path, processing_s: float = 0.0) -> Iterator[EmulatorThread]:
    """Profile opencloud; uploads are processed at once unless told otherwise, so that answers do not depend on timing."""
    config = EmulatorConfig(
        root=folder,
        profile="opencloud",
        seed=1,
        users=OPENCLOUD_USERS,
        transfer_life_s=86400,
        quirks={"processing_s": processing_s},
    )
    with EmulatorThread(config) as gateway:
        yield gateway


def enter_home(caller: Caller) -> None:
    """Make the home of a signed-in user and let the caller speak relative to it."""
    caller.call("CreateHome", provider_pb.CreateHomeRequest())
    answer = caller.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest())
    root = next(space.root for space in answer.message.storage_spaces if space.space_type == "personal")
    caller.root = f"{root.storage_id}${root.space_id}!{root.opaque_id}"


@contextlib.contextmanager
def mesh(folder: Path) -> Iterator[MeshDesk]:
    """Two sites that know each other, with the users and the mounts of the recorded ones."""
    of_a = EmulatorConfig(
        root=folder / "a",
        seed=1,
        users={"einstein": "relativity", "richard": "superfluidity"},
        site_name=SITE_A,
        ocm_mount=MOUNT_A,
    )
    of_b = EmulatorConfig(
        root=folder / "b",
        seed=2,
        users={"marie": "radioactivity"},
        site_name=SITE_B,
        ocm_mount=MOUNT,
        ocm_storage_id="ocm-received-b",
    )
    running: list[EmulatorThread] = []

    def start_a() -> EmulatorThread:
        if running:
            of_a.grpc_port, of_a.http_port = running[-1].grpc_port, running[-1].http_port
        running.append(EmulatorThread(of_a).__enter__())
        return running[-1]

    with EmulatorThread(of_b) as b:
        desk = MeshDesk(start_a(), b, start_a)
        try:
            desk.a.meet(b)
            yield desk
        finally:
            desk.a.__exit__(None, None, None)
