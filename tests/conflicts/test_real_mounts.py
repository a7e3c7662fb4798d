"""Two mounts with kernels, one file, both orders of close; and what locks make of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess, MountProcess

pytestmark = pytest.mark.mount

OLD = os.urandom(300_000)
FIRST = os.urandom(200_000)
SECOND = os.urandom(250_000)
PROFILES = ["reva", "opencloud", "eos"]


@pytest.fixture(scope="module", params=PROFILES)
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), str(request.param)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def unlocked(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MountProcess]]:
    """Two mounts that take no locks: where locks are taken, the second open is refused before anything can collide."""
    options = {"locks": "off", "attribute_timeout_s": 0}
    with (
        MountProcess(gateway.source(), tmp_path_factory.mktemp("one"), options=options) as one,
        MountProcess(gateway.source(), tmp_path_factory.mktemp("two"), options=options) as two,
    ):
        yield [one, two]


def on_server(gateway: GatewayProcess, name: str) -> dict[str, bytes]:
    """Everything in a folder of the home."""
    return {path.name: path.read_bytes() for path in (gateway.root / "einstein" / name).iterdir()}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["opener-first", "opener-last"])
@pytest.mark.parametrize("how", ["rewrite", "patch"])
def test_second_to_close_is_kept_beside(
    gateway: GatewayProcess, unlocked: list[MountProcess], order: tuple[int, int], how: str
) -> None:
    """The first to close is intact, the second gets ESTALE and a copy beside it, both to the last byte."""
    folder = f"{how}-{order[0]}"
    (unlocked[0].path / folder).mkdir()
    (unlocked[0].path / folder / "f.bin").write_bytes(OLD)
    written = [FIRST, SECOND]
    fds = []
    for mount, data in zip(unlocked, written, strict=True):
        path = mount.path / folder / "f.bin"
        assert path.read_bytes() == OLD
        fds.append(os.open(path, os.O_RDWR | (os.O_TRUNC if how == "rewrite" else 0)))
        os.pwrite(fds[-1], data, 0)
    os.close(fds[order[0]])
    with pytest.raises(OSError) as caught:
        os.close(fds[order[1]])
    assert caught.value.errno == errno.ESTALE
    wanted = [data if how == "rewrite" else data + OLD[len(data) :] for data in written]
    found = on_server(gateway, folder)
    assert found.pop("f.bin") == wanted[order[0]]
    ((name, content),) = found.items()
    assert name.startswith("f (conflict einstein 2")
    assert content == wanted[order[1]]
    for mount in unlocked:
        assert (mount.path / folder / "f.bin").read_bytes() == wanted[order[0]]
        assert (mount.path / folder / name).read_bytes() == wanted[order[1]]
        assert mount.status()["unsent"] == 0


def test_both_create_the_same_name(gateway: GatewayProcess, unlocked: list[MountProcess]) -> None:
    """Neither saw the other's file: the second to close finds a name that is taken."""
    (unlocked[0].path / "new").mkdir()
    fds = [os.open(mount.path / "new" / "f", os.O_WRONLY | os.O_CREAT) for mount in unlocked]
    for fd, data in zip(fds, (FIRST, SECOND), strict=True):
        os.write(fd, data)
    os.close(fds[1])
    with pytest.raises(OSError) as caught:
        os.close(fds[0])
    assert caught.value.errno == errno.ESTALE
    found = on_server(gateway, "new")
    assert found.pop("f") == SECOND
    assert list(found.values()) == [FIRST]


@pytest.mark.parametrize("gateway", ["opencloud"], indirect=True)
def test_locks_keep_the_second_out(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Where the storage has locks, the second open for writing is EBUSY until the first is closed; reading goes on."""
    with MountProcess(gateway.source(), tmp_path / "one") as one, MountProcess(gateway.source(), tmp_path / "two") as two:
        (one.path / "locked").write_bytes(OLD)
        with (one.path / "locked").open("r+b") as file:
            file.write(FIRST)
            with pytest.raises(OSError) as caught:
                (two.path / "locked").open("r+b")
            assert caught.value.errno == errno.EBUSY
            assert (two.path / "locked").read_bytes() == OLD
        assert (two.path / "locked").read_bytes() == FIRST + OLD[len(FIRST) :]
