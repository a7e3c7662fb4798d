"""Every failure that the core knows, and the one table from failure to errno.

Owns the exception tree and ``errno_for``. Foreign exceptions (grpc, urllib3, OSError on our own files) become one of these
where they enter the program; they leave it as errno in ``kernel.guard`` and as a sentence in ``cli``.
"""

from __future__ import annotations

import errno

from cs3fuse.model import LockInfo


class Cs3FuseError(Exception):
    """Base of all. ``str(exc)`` is a sentence for a person: what happened, to which path, what to do.

    ``call`` names the remote call or local step ("" if none), ``path`` the resource, ``trace`` the server's trace id.
    """

    def __init__(self, message: str, *, call: str = "", path: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.call = call
        self.path = path
        self.trace = trace


class NotFoundError(Cs3FuseError):
    """There is no such file or directory."""


class ExistsError(Cs3FuseError):
    """The name is taken."""


class NotDirectoryError(Cs3FuseError):
    """A directory was needed."""


class IsDirectoryError(Cs3FuseError):
    """A directory stands where a file was needed."""


class NotEmptyError(Cs3FuseError):
    """The directory has entries."""


class AccessDeniedError(Cs3FuseError):
    """The server refuses this user this operation."""


class NotPermittedError(Cs3FuseError):
    """Nobody may do this here (chmod, chown, deleting the root of a share)."""


class SignInError(Cs3FuseError):
    """No valid token can be had: wrong secret, expired secret, sign-in service away."""


class BadRequestError(Cs3FuseError):
    """An argument that cannot be carried out: a bad name, a folder into itself."""


class NameTooLongError(BadRequestError):
    """A name over 255 bytes."""


class ConflictError(Cs3FuseError):
    """Somebody else changed, created or deleted the file since we looked: our bytes were not put over theirs."""


class StaleError(Cs3FuseError):
    """The version that was opened is gone and its bytes are not all here."""


class LockedError(Cs3FuseError):
    """Somebody else holds the lock. ``lock`` says who, where the server told."""

    def __init__(self, message: str, *, lock: LockInfo | None = None, call: str = "", path: str = "", trace: str = "") -> None:
        super().__init__(message, call=call, path=path, trace=trace)
        self.lock = lock


class LockLostError(Cs3FuseError):
    """A lock we thought ours is not (expired, replaced, server restarted)."""


class QuotaError(Cs3FuseError):
    """The storage has no room left for this user."""


class LocalSpaceError(Cs3FuseError):
    """The local disk (cache or state folder) is full."""


class LocalStorageError(Cs3FuseError):
    """The local disk failed or its content is damaged."""


class UnsupportedError(Cs3FuseError):
    """This storage, or CS3 itself, cannot do that."""


class NoNamespaceError(UnsupportedError):
    """Extended attributes of this namespace (security, system, trusted) do not exist here at all; programs ask all day long."""


class CrossStorageError(Cs3FuseError):
    """A rename between two storages: mv copies instead."""


class UnavailableError(Cs3FuseError):
    """The server cannot be reached or is overloaded; nothing was done by this call."""


class SiteAwayError(UnavailableError):
    """Another site behind a share failed lately and was not seen since; nothing was asked, and waiting here is of no use."""


class SiteSilentError(SiteAwayError):
    """As ``SiteAwayError``, of a site that did not answer in time."""


class DeadlineError(Cs3FuseError):
    """No answer in time; a mutation may still be carried out later."""


class OutcomeUnknownError(Cs3FuseError):
    """The answer of a mutation was lost: it may or may not have happened. Settle by Stat, never repeat blindly."""


class BusyError(Cs3FuseError):
    """The server is still processing the file (OpenCloud TOO_EARLY, GET 500 while processing); ask again later."""


class TooLargeError(Cs3FuseError):
    """An answer above a protocol limit, such as a listing over 10 MB."""


class BadDataError(Cs3FuseError):
    """The server sent something that is not the file: short, long, an HTML page, a broken stream."""


class RangesUnsupportedError(Cs3FuseError):
    """This storage does not serve ranges (416 without Content-Range): fetch the file whole."""


class ChecksumError(Cs3FuseError):
    """The server received other bytes than we sent (PUT 419) or reports another checksum."""


class NoAttributeError(Cs3FuseError):
    """There is no such extended attribute."""


class BadHandleError(Cs3FuseError):
    """The file handle is not open, or not for this."""


class ServerError(Cs3FuseError):
    """The server failed (INTERNAL, UNKNOWN, HTTP 5xx) without a reason that we can use."""


_ERRNO: dict[type[Cs3FuseError], int] = {
    NotFoundError: errno.ENOENT,
    ExistsError: errno.EEXIST,
    NotDirectoryError: errno.ENOTDIR,
    IsDirectoryError: errno.EISDIR,
    NotEmptyError: errno.ENOTEMPTY,
    AccessDeniedError: errno.EACCES,
    NotPermittedError: errno.EPERM,
    SignInError: errno.EACCES,
    BadRequestError: errno.EINVAL,
    NameTooLongError: errno.ENAMETOOLONG,
    ConflictError: errno.ESTALE,
    StaleError: errno.ESTALE,
    LockedError: errno.EBUSY,
    LockLostError: errno.ESTALE,
    QuotaError: errno.EDQUOT,
    LocalSpaceError: errno.ENOSPC,
    LocalStorageError: errno.EIO,
    UnsupportedError: errno.EOPNOTSUPP,
    NoNamespaceError: errno.EOPNOTSUPP,
    CrossStorageError: errno.EXDEV,
    UnavailableError: errno.EHOSTDOWN,
    SiteAwayError: errno.EHOSTDOWN,
    SiteSilentError: errno.ETIMEDOUT,
    DeadlineError: errno.ETIMEDOUT,
    OutcomeUnknownError: errno.EIO,
    BusyError: errno.EBUSY,
    TooLargeError: errno.EFBIG,
    BadDataError: errno.EIO,
    RangesUnsupportedError: errno.EIO,
    ChecksumError: errno.EIO,
    NoAttributeError: errno.ENODATA,
    BadHandleError: errno.EBADF,
    ServerError: errno.EIO,
}


def errno_for(error: Cs3FuseError) -> int:
    """The errno that a program sees for this failure; EIO for a kind that the table does not name.

    ENOSYS is not in the table: the kernel would stop asking for ever.
    """
    for kind in type(error).__mro__:
        if kind in _ERRNO:
            return _ERRNO[kind]
    return errno.EIO


def first_failure(group: BaseExceptionGroup[Cs3FuseError]) -> Cs3FuseError:
    """The first failure of a group that holds nothing else, however deep: nurseries raise groups, people read one sentence."""
    found = group.exceptions[0]
    return first_failure(found) if isinstance(found, BaseExceptionGroup) else found
