"""Modification times: asking the server for one, and knowing which storages cannot.

Called by ``vfs.tree`` (utimensat of a path) and ``vfs.files`` (times asked for while a file was open). Only the metadata key "mtime"
sets times in CS3, and not everywhere: Reva local and OpenCloud apply it, EOS stores it as any other attribute, OCM refuses.
"""

from __future__ import annotations

import structlog

from cs3fuse.errors import AccessDeniedError, ServerError, UnsupportedError
from cs3fuse.model import Entry, Kind, Location, Lock
from cs3fuse.vfs.attributes import WRITE_FILE
from cs3fuse.vfs.state import VfsState

log = structlog.get_logger(__name__)

_SECOND_NS = 10**9
_KEY = "mtime"


def same_second(first_ns: int, second_ns: int) -> bool:
    """Whether two times are equal as far as every storage can tell: Reva local keeps whole seconds."""
    return first_ns // _SECOND_NS == second_ns // _SECOND_NS


def format_mtime(mtime_ns: int) -> str:
    """The value of the metadata key: seconds, and nanoseconds as nine digits. Source: Reva localfs, OpenCloud decomposedfs."""
    return f"{mtime_ns // _SECOND_NS}.{mtime_ns % _SECOND_NS:09d}"


async def set_mtime(state: VfsState, at: Location, mtime_ns: int, lock: Lock | None) -> Entry:
    """Give a file or directory a modification time where the storage can; what it is afterwards.

    A storage that cannot keeps its own time: that is said once in the log and shown by ``status``, and is no error, because the bytes
    are safe and ``cp -a`` or ``tar`` would fail for every file (docs/semantics.md).

    Raises: NotFoundError, AccessDeniedError, LockedError and what Stat raises.
    """
    before = await state.metadata.stat(at)
    capabilities = state.book.of(before.storage_id)
    if same_second(before.mtime_ns, mtime_ns):
        return before
    if not before.may(WRITE_FILE):
        raise AccessDeniedError(f"You may not change the time of {at}.", path=str(at))
    if capabilities.times is False:
        return before
    try:
        await state.tree.set_metadata(at, {_KEY: format_mtime(mtime_ns)}, lock=lock)
    except UnsupportedError as error:
        log.info("times_not_supported", storage=before.storage_id, reason=str(error))
        capabilities.times = False
        return before
    except ServerError as error:  # perhaps for good (OCM), perhaps for a moment (a busy database)
        log.info("mtime_not_set", path=str(at), reason=str(error))
        return before
    finally:
        state.metadata.forget(at)
    after = await state.metadata.stat(at, fresh=True)
    if same_second(after.mtime_ns, mtime_ns):
        capabilities.times = True
    elif same_second(after.mtime_ns, before.mtime_ns) and before.kind is Kind.FILE and capabilities.times is None:
        # Files decide: OpenCloud sets a file's time and not a folder's (the folder's is that of what is in it).
        log.info("times_not_supported", storage=before.storage_id, reason="The storage takes the metadata key mtime as any other.")
        capabilities.times = False
        await state.tree.unset_metadata(at, [_KEY], lock=lock)
        state.metadata.forget(at)
        after = await state.metadata.stat(at, fresh=True)
    return after
