"""The state folder: where the journal and the staged files live, and whose it is.

Owned by a running ``CommitEngine``. One daemon per folder: an flock on ``daemon.lock``, which the kernel drops when the process dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from cs3fuse.commit.journal import Journal
from cs3fuse.commit.reserve import no_room
from cs3fuse.errors import LocalStorageError


class StateFolder:
    """An open state folder."""

    def __init__(
        self, path: Path, *, wall_clock: Callable[[], float], make_room: Callable[[int], Awaitable[bool]] = no_room
    ) -> None:
        """Make, lock and open it. Raises: LocalStorageError: in use by another daemon, not usable, or its journal is damaged."""
        self.path = path
        self.staged = path / "staged"
        try:
            self.staged.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = os.open(path / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise LocalStorageError(
                f"The state folder {path} cannot be used: {exc.strerror}.", call="state.open", path=str(path)
            ) from exc
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.journal = Journal(path / "journal.sqlite", wall_clock=wall_clock, make_room=make_room)
        except OSError as exc:
            os.close(self._lock_fd)
            raise LocalStorageError(
                f"The state folder {path} is in use by another cs3fuse. Unmount that one, or choose another folder.",
                call="state.lock",
                path=str(path),
            ) from exc
        except LocalStorageError:
            os.close(self._lock_fd)
            raise

    def close(self) -> None:
        """Write the journal's last words and let others in."""
        self.journal.close()
        os.close(self._lock_fd)
