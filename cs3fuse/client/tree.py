"""Names and attributes on the server: the client's ``RemoteTree``.

Owns what each call means, and how an answer that says nothing (Reva's INTERNAL) or that was lost is settled by Stat. Called by ``vfs``,
``cache`` and ``commit`` through the port, from the trio thread; holds no state, calls may overlap freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio
from cs3.gateway.v1beta1 import gateway_api_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2, resources_pb2
from cs3.types.v1beta1 import types_pb2

from cs3fuse.client import decode
from cs3fuse.client.calls import Calls, Effect, pause
from cs3fuse.client.errors import printable
from cs3fuse.client.references import absolute_path, check_new_name, name_problem, reference, shown
from cs3fuse.errors import (
    AccessDeniedError,
    BadDataError,
    BadRequestError,
    BusyError,
    CrossStorageError,
    Cs3FuseError,
    ExistsError,
    LockedError,
    NotDirectoryError,
    NotFoundError,
    NotPermittedError,
    OutcomeUnknownError,
    ServerError,
    UnsupportedError,
)
from cs3fuse.model import Entry, Kind, Location, Lock, LockInfo, PathRoot, Quota

# Listings above this size are converted in a thread: about 10 microseconds an entry would hold up every other request.
_LARGE_LISTING = 1000
# OpenCloud refuses to delete a file that it still processes: 22 ms in the median when idle, seconds under load.
_BUSY_BACKOFF_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0)
# GetQuota says "no limit" as 0 or with numbers that no disk has (OpenCloud: 2^64-1).
_UNLIMITED = 2**62


class Cs3Tree:
    """``ports.RemoteTree`` over CS3 calls."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def stat(self, at: Location) -> Entry:
        """See the port."""
        response = await self._calls.invoke("Stat", provider_api_pb2.StatRequest(ref=reference(at)), path=shown(at))
        try:
            return decode.entry(response.info, name=at.name or _root_name(response.info))
        except decode.UnusableEntryError as exc:
            raise BadDataError(
                f"{shown(at)} is neither a file nor a folder nor a link ({exc}).", call="Stat", path=shown(at)
            ) from exc

    async def list(self, at: Location) -> Sequence[Entry]:
        """See the port. A listing that fails because an entry vanished meanwhile (Reva) is asked for once more."""
        request = provider_api_pb2.ListContainerRequest(ref=reference(at))
        try:
            response = await self._calls.invoke("ListContainer", request, path=shown(at))
        except ServerError:
            response = None
        if response is None:
            # Driver local says INTERNAL for a file, OCM and cephmount even for a missing folder.
            if (await self.stat(at)).kind is not Kind.DIRECTORY:
                raise NotDirectoryError(f"{shown(at)} is not a folder.", call="ListContainer", path=shown(at))
            response = await self._calls.invoke("ListContainer", request, path=shown(at))
        if len(response.infos) < _LARGE_LISTING:
            return decode.listing(response.infos, at)
        return await trio.to_thread.run_sync(decode.listing, response.infos, at, abandon_on_cancel=True)

    async def mkdir(self, at: Location) -> None:
        """See the port. A lost answer counts as done when the folder is there."""
        check_new_name(at)
        request = provider_api_pb2.CreateContainerRequest(ref=reference(at))
        failure = await self._mutate("CreateContainer", request, at)
        if failure is not None:
            await self._settle_creation(at, Kind.DIRECTORY, failure)

    async def create(self, at: Location) -> None:
        """See the port. UnsupportedError also where the server fails without a reason that Stat finds: OCM cannot touch; upload instead.

        One Stat comes first: EOS and cephmount answer OK for a file that exists, OCM would empty it.
        """
        check_new_name(at)
        try:
            await self.stat(at)
        except (NotFoundError, ServerError):
            pass
        else:
            raise ExistsError(f"{shown(at)} exists already.", call="TouchFile", path=shown(at))
        # The official clients send the length; servers look at it or not.
        request = provider_api_pb2.TouchFileRequest(ref=reference(at), opaque=plain_opaque({"Upload-Length": "0"}))
        failure = await self._mutate("TouchFile", request, at)
        if failure is None:
            return
        try:
            await self._settle_creation(at, Kind.FILE, failure)
        except ServerError as exc:
            raise UnsupportedError(
                f"This storage does not create {shown(at)} empty. ({exc})", call="TouchFile", path=shown(at)
            ) from exc

    async def delete(self, at: Location, *, lock: Lock | None = None) -> None:
        """See the port. A file in processing is tried again for some seconds; a lost answer counts as done when it is gone."""
        if not at.rel:
            # The root of a received share is its owner's folder (measured: the owner loses it).
            raise NotPermittedError(f"{shown(at)} is a root and is not deleted from here.", call="Delete", path=shown(at))
        request = provider_api_pb2.DeleteRequest(ref=reference(at), lock_id=lock.lock_id if lock else "")
        failure = await self._mutate("Delete", request, at)
        for seconds in _BUSY_BACKOFF_S:
            if not isinstance(failure, BusyError) or not await pause(seconds):
                break
            failure = await self._mutate("Delete", request, at)
        if failure is None:
            return
        if isinstance(failure, (OutcomeUnknownError, ServerError)):
            # Two deletions in one millisecond are INTERNAL on driver local, a missing file is on OCM: gone is what was asked for.
            found = await self._found_after(at, failure)
            if found is None:
                return
            _refuse_locked(at, found, failure)
        raise failure

    async def move(self, source: Location, destination: Location, *, lock: Lock | None = None) -> None:
        """See the port. One Stat of the source comes first: it tells "missing" (INTERNAL on Reva) and lets a lost answer be settled."""
        check_new_name(destination)
        _refuse_impossible_move(source, destination)
        if source == destination:
            return
        before = await self.stat(source)
        request = provider_api_pb2.MoveRequest(
            source=reference(source), destination=reference(destination), lock_id=lock.lock_id if lock else ""
        )
        failure = await self._mutate("Move", request, source)
        if failure is None:
            return
        if isinstance(failure, NotFoundError):
            await self._explain_move_not_found(source, destination, failure)
        elif isinstance(failure, (OutcomeUnknownError, ServerError)):
            still_there = await self._found_after(source, failure)
            if still_there is None:
                # Driver local reports INTERNAL also after the rename was done (its metadata rows collided).
                moved = await self._found_after(destination, failure)
                if moved is not None and _is_same(before, moved):
                    return
            elif isinstance(failure, ServerError):
                _refuse_locked(source, still_there, failure)
                await self._explain_refused_move(source, destination, failure)
        raise failure

    async def quota(self, at: Location) -> Quota:
        """See the port."""
        request = gateway_api_pb2.GetQuotaRequest(ref=reference(at))
        try:
            response = await self._calls.invoke("GetQuota", request, path=shown(at))
        except (ServerError, AccessDeniedError) as exc:
            raise UnsupportedError(f"The storage of {shown(at)} does not tell its quota.", call="GetQuota", path=shown(at)) from exc
        total = int(response.total_bytes)
        return Quota(total=total if 0 < total < _UNLIMITED else None, used=min(int(response.used_bytes), _UNLIMITED))

    async def set_metadata(self, at: Location, values: Mapping[str, str], *, lock: Lock | None = None) -> None:
        """See the port. Raises UnsupportedError where the storage keeps no metadata, or not this key."""
        request = provider_api_pb2.SetArbitraryMetadataRequest(
            ref=reference(at),
            arbitrary_metadata=resources_pb2.ArbitraryMetadata(metadata=_utf8(values, at)),
            lock_id=lock.lock_id if lock else "",
        )
        await self._change_metadata("SetArbitraryMetadata", request, at)

    async def unset_metadata(self, at: Location, keys: Sequence[str], *, lock: Lock | None = None) -> None:
        """See the port. Raises UnsupportedError where the storage keeps no metadata, or not this key."""
        request = provider_api_pb2.UnsetArbitraryMetadataRequest(
            ref=reference(at),
            arbitrary_metadata_keys=list(_utf8(dict.fromkeys(keys, ""), at)),
            lock_id=lock.lock_id if lock else "",
        )
        await self._change_metadata("UnsetArbitraryMetadata", request, at)

    async def with_holder(self, at: Location, refused: LockedError) -> LockedError:
        """The refusal with the holder of the lock, where Stat shows the lock; else the refusal as it is."""
        try:
            lock = (await self.stat(at)).lock
        except Cs3FuseError:
            return refused
        return refused if lock is None else locked_error(at, lock, refused)

    async def _mutate(self, method: str, request: Any, at: Location) -> Cs3FuseError | None:
        """Make a call that changes something; its failure, with the holder of a lock that was in the way, None if it was done."""
        try:
            await self._calls.invoke(method, request, path=shown(at), effect=Effect.MUTATION)
        except Cs3FuseError as exc:
            failure = exc
        else:
            return None
        return await self.with_holder(at, failure) if isinstance(failure, LockedError) else failure

    async def _change_metadata(self, method: str, request: Any, at: Location) -> None:
        failure = await self._mutate(method, request, at)
        if failure is None:
            return
        if not isinstance(failure, ServerError):
            raise failure
        found = await self._found_after(at, failure)
        if found is None:
            raise NotFoundError(f"There is no {shown(at)}.", call=method, path=shown(at)) from failure
        _refuse_locked(at, found, failure)
        raise UnsupportedError(
            f"The storage of {shown(at)} does not keep these attributes.", call=method, path=shown(at)
        ) from failure

    async def _found_after(self, at: Location, failure: Cs3FuseError) -> Entry | None:
        """What is there after a mutation failed, None for nothing; the failure itself where that cannot be learnt either."""
        try:
            return await self.stat(at)
        except NotFoundError:
            return None
        except Cs3FuseError:
            raise failure from failure.__cause__

    async def _settle_creation(self, at: Location, kind: Kind, failure: Cs3FuseError) -> None:
        """Return if a creation was done although its answer was lost; else raise what its failure meant."""
        if isinstance(failure, OutcomeUnknownError):
            found = await self._found_after(at, failure)
            if found is not None and found.kind is kind:
                return
        elif isinstance(failure, ServerError):
            await self._explain_creation(at, failure)
        raise failure

    async def _explain_creation(self, at: Location, failure: Cs3FuseError) -> None:
        """Raise what an INTERNAL at a creation meant, as far as Stat can tell: lost a race, no parent, parent is a file."""
        try:
            await self.stat(at)
        except (NotFoundError, ServerError):
            # Below a file, driver local answers INTERNAL even to Stat.
            exists = False
        except Cs3FuseError:
            raise failure from failure.__cause__
        else:
            exists = True
        if exists:
            raise ExistsError(f"{shown(at)} exists already.", call=failure.call, path=shown(at)) from failure
        await self._explain_parent(at, failure)

    async def _explain_parent(self, at: Location, failure: Cs3FuseError) -> None:
        """Raise if there is no folder that could hold ``at``."""
        parent = await self._found_after(at.parent, failure)
        if parent is None:
            raise NotFoundError(
                f"There is no {shown(at.parent)} to put {shown(at)} into.", call=failure.call, path=shown(at.parent)
            ) from failure
        if parent.kind is not Kind.DIRECTORY:
            raise NotDirectoryError(f"{shown(at.parent)} is not a folder.", call=failure.call, path=shown(at)) from failure

    async def _explain_move_not_found(self, source: Location, destination: Location, failure: Cs3FuseError) -> None:
        """Raise what was not found where it is not the source: the destination's folder, or a way between two spaces (OpenCloud)."""
        if await self._found_after(source, failure) is None:
            return
        await self._explain_parent(destination, failure)
        if source.root != destination.root:
            raise _crosses(source, destination) from failure

    async def _explain_refused_move(self, source: Location, destination: Location, failure: Cs3FuseError) -> None:
        """Raise what an INTERNAL at a move meant; the source is still there."""
        if await self._found_after(destination, failure) is not None:
            raise ExistsError(f"{shown(destination)} exists already.", call="Move", path=shown(destination)) from failure
        await self._explain_parent(destination, failure)
        if source.root != destination.root:
            raise _crosses(source, destination) from failure


def plain_opaque(values: Mapping[str, str]) -> types_pb2.Opaque:
    """An opaque map of plain entries, the way servers read them (they do not look at the decoder)."""
    return types_pb2.Opaque(
        map={key: types_pb2.OpaqueEntry(decoder="plain", value=value.encode()) for key, value in values.items()}
    )


def locked_error(at: Location, lock: LockInfo, refused: LockedError) -> LockedError:
    """The refusal, naming who holds the lock."""
    error = LockedError(
        f"{shown(at)} is {printable(str(lock))}.", lock=lock, call=refused.call, path=refused.path, trace=refused.trace
    )
    error.__cause__ = refused
    return error


def _refuse_locked(at: Location, found: Entry, failure: Cs3FuseError) -> None:
    """Raise LockedError where an INTERNAL had a lock as its reason: EOS enforces its locks so, even against their holder."""
    if found.lock is not None and isinstance(failure, ServerError):
        refused = LockedError(str(failure), call=failure.call, path=failure.path, trace=failure.trace)
        raise locked_error(at, found.lock, refused)


def _root_name(info: Any) -> str:
    """What a root calls itself, for people; servers answer ".", nothing, or a path of their own."""
    name: str = info.name or info.path.rstrip("/").rpartition("/")[2]
    return "" if name_problem(name) else name


def _refuse_impossible_move(source: Location, destination: Location) -> None:
    """What must not even be tried: OpenCloud loses a folder that is moved into itself."""
    if not source.rel:
        raise NotPermittedError(f"{shown(source)} is a root and is not moved.", call="Move", path=shown(source))
    by_path = isinstance(source.root, PathRoot)
    if by_path != isinstance(destination.root, PathRoot):
        raise _crosses(source, destination)
    if by_path:
        into_itself = absolute_path(destination).startswith(absolute_path(source) + "/")
    else:
        into_itself = destination != source and destination.is_below(source)
    if into_itself:
        raise BadRequestError(
            f"{shown(source)} cannot be moved into itself ({shown(destination)}).", call="Move", path=shown(source)
        )


def _crosses(source: Location, destination: Location) -> CrossStorageError:
    return CrossStorageError(
        f"{shown(source)} and {shown(destination)} are on two storages; copy instead.", call="Move", path=shown(source)
    )


def _is_same(before: Entry, after: Entry) -> bool:
    """Whether an entry is the one that was seen under another name: by id, else by what a rename leaves alone."""
    if before.id is not None and before.id == after.id:
        return True
    if before.kind is not after.kind:
        return False
    return before.kind is Kind.DIRECTORY or (
        before.size == after.size and (before.etag == after.etag or before.mtime_ns == after.mtime_ns)
    )


def _utf8(values: Mapping[str, str], at: Location) -> dict[str, str]:
    """Refuse what a protobuf string cannot hold."""
    try:
        for text in (*values, *values.values()):
            text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise BadRequestError(f"An attribute of {shown(at)} is not UTF-8 text; CS3 keeps only text.", path=shown(at)) from exc
    return dict(values)
