"""The official ``cs3client`` as its users configure it, unmodified; plain blocking calls.

Used by the tests of this folder, which run the calls in threads where a mount lives in the same process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from typing import Any

from cs3client.auth import Auth
from cs3client.cs3client import CS3Client
from cs3client.cs3resource import Resource

from cs3fuse.model import IdRoot, Location, PathRoot
from tests.support.processes import SECRETS

_PROCESSING_S = 5.0


def resource(at: Location) -> Resource:
    """A location as cs3client addresses it: an absolute path, an id, or a path below a parent's id."""
    if isinstance(at.root, IdRoot):
        above = at.root.id
        ids = {"storage_id": above.storage_id, "space_id": above.space_id or None}
        return (
            Resource(rel_path=f"/{at.rel}", parent_id=above.opaque_id, **ids)
            if at.rel
            else Resource(opaque_id=above.opaque_id, **ids)
        )
    assert isinstance(at.root, PathRoot)
    return Resource(abs_path=str(at))


class Official:
    """One signed-in client of one program, named ``app_name`` in its locks."""

    def __init__(self, client: CS3Client, app_name: str, config: ConfigParser) -> None:
        self.app_name = app_name
        self._config = config
        self._file = client.file
        self._auth = Auth(client)

    def _call(self, method: str, at: Location, *arguments: Any, **named: Any) -> Any:
        return getattr(self._file, method)(self._auth.get_token(), resource(at), *arguments, **named)

    def set_lock_life(self, seconds: int) -> None:
        """Its setting ``lock_expiration``, from now on."""
        self._config["cs3client"]["lock_expiration"] = str(seconds)

    def lock(self, at: Location, lock_id: str = "official") -> None:
        self._call("set_lock", at, self.app_name, lock_id)

    def refresh(self, at: Location, lock_id: str = "official") -> None:
        self._call("refresh_lock", at, self.app_name, lock_id, lock_id)

    def get_lock(self, at: Location) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._call("get_lock", at)
        return found

    def unlock(self, at: Location, lock_id: str = "official") -> None:
        self._call("unlock", at, self.app_name, lock_id)

    def read(self, at: Location) -> bytes:
        """The content; asked for again while OpenCloud processes it, which is a 500 that cs3client gives on as it is."""
        until = time.monotonic() + _PROCESSING_S
        while True:
            try:
                return b"".join(self._call("read_file", at))
            except OSError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def write(self, at: Location, content: bytes, lock_id: str | None = None) -> None:
        app_name = self.app_name if lock_id else None
        self._call("write_file", at, content, len(content), app_name=app_name, lock_id=lock_id)

    def stat(self, at: Location) -> Any:
        return self._call("stat", at)

    def list(self, at: Location) -> list[str]:
        return sorted(info.path.rpartition("/")[2] or info.name for info in self._call("list_dir", at))

    def rename(self, at: Location, to: Location) -> None:
        self._call("rename_file", at, resource(to))

    def remove(self, at: Location) -> None:
        self._call("remove_file", at)

    def make_dir(self, at: Location) -> None:
        self._call("make_dir", at)

    def touch(self, at: Location) -> None:
        self._call("touch_file", at)

    def set_xattr(self, at: Location, key: str, value: str) -> None:
        self._call("set_xattr", at, key, value)

    def remove_xattr(self, at: Location, key: str) -> None:
        self._call("remove_xattr", at, key)


@contextmanager
def official(grpc_port: int, user: str = "einstein", app_name: str = "cs3-jupyter", **settings: str) -> Iterator[Official]:
    """Connect as a user. ``settings`` are lines of cs3client's configuration, such as ``lock_by_setting_attr``."""
    config = ConfigParser()
    config["cs3client"] = {
        "host": f"127.0.0.1:{grpc_port}",
        "auth_login_type": "basic",
        "auth_client_id": user,
        "auth_client_secret": SECRETS[user],
        **settings,
    }
    client = CS3Client(config, "cs3client", logging.getLogger("cs3client"))
    try:
        yield Official(client, app_name, config)
    finally:
        client.channel.close()
