"""An in-memory CS3 server behind the ports, honest about what the real ones do, and a content store to go with it.

``FakeServer("reva")``: a broken-off upload commits the truncated file, nothing is conditional, no checksums, times in whole seconds, no
locks, a Move replaces, ids are functions of the path. ``FakeServer("opencloud")``: if_match and if_not_exist are honoured, sha1 in each
Stat, a broken-off upload leaves the old content, locks are enforced, a Move over something is refused, ids outlive a rename.

Faults are queued per step and used up one by one; ``before`` hooks play other clients at the moment a call arrives.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from cs3fuse.errors import (
    ConflictError,
    Cs3FuseError,
    ExistsError,
    IsDirectoryError,
    LockedError,
    LockLostError,
    NotFoundError,
    OutcomeUnknownError,
    StaleError,
    UnsupportedError,
)
from cs3fuse.model import (
    ByteRange,
    Checksum,
    ContentKey,
    Entry,
    IdRoot,
    Kind,
    Location,
    Lock,
    LockInfo,
    PathRoot,
    Quota,
    ResourceId,
)
from cs3fuse.ports import ExpectAbsent, Expectation, ExpectEtag, Fetched, Sink, UploadSource

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where tests put folders whose syncs shall cost nothing; None is the usual place."""

HOME = Location(PathRoot("/home"))
PROFILES = ("reva", "opencloud")


async def eventually(condition: Callable[[], bool], *, limit_s: float = 3600) -> None:
    """Wait until something is so, on the tests' clock, which runs as fast as there is nothing to do."""
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110 - any condition, on a mock clock
            await trio.sleep(0.5)


@dataclass
class FakeFile:
    """One file; ``opaque`` is its id where ids are stable."""

    content: bytes
    etag: str
    mtime_ns: int
    opaque: str
    locked_by: Lock | None = None


@dataclass
class Reset:
    """The connection breaks after ``after`` bytes of the body."""

    after: int


@dataclass
class LostAnswer:
    """The upload is carried out and its answer is lost."""


@dataclass
class NeverArrived:
    """The upload is not carried out and nobody knows."""


Fault = Reset | LostAnswer | NeverArrived | Cs3FuseError


@dataclass
class FakeServer:
    """RemoteTree, RemoteData and RemoteLocks in one. ``calls`` lists what was asked, in order."""

    profile: str = "opencloud"
    files: dict[str, FakeFile] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {""})
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    before: dict[str, deque[Callable[[], None]]] = field(default_factory=lambda: defaultdict(deque))
    after: dict[str, deque[Callable[[], None]]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[str] = field(default_factory=list)
    history: list[tuple[str, bytes]] = field(default_factory=list)
    silently_overwritten: list[bytes] = field(default_factory=list)
    down: Cs3FuseError | None = None
    has_locks: bool = False
    paused: trio.Event | None = None
    watch: Callable[[str], None] | None = None
    _counter: int = 0

    # Other clients

    def put(self, rel: str, content: bytes) -> Entry:
        """Another client writes a file."""
        self._counter += 1
        old = self.files.get(rel)
        opaque = old.opaque if old is not None else f"node-{self._counter}"
        self.files[rel] = FakeFile(
            content, f'"{self._counter}"', self._counter * 10**9, opaque, locked_by=old.locked_by if old is not None else None
        )
        self.history.append((rel, content))
        return self.entry(rel)

    def touch_etag(self, rel: str) -> None:
        """Another client changes metadata: the etag changes, the content does not."""
        self._counter += 1
        self.files[rel].etag = f'"{self._counter}"'

    def rename(self, source: str, destination: str) -> None:
        """Another client renames a file."""
        self.files[destination] = self.files.pop(source)

    def remove(self, rel: str) -> None:
        """Another client deletes a file."""
        del self.files[rel]

    def content(self, rel: str) -> bytes:
        """What another client reads."""
        return self.files[rel].content

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self.files)

    def clone(self) -> FakeServer:
        """The same files, no faults and no hooks."""
        return FakeServer(
            self.profile,
            files={rel: replace(file) for rel, file in self.files.items()},
            directories=set(self.directories),
            history=list(self.history),
            has_locks=self.has_locks,
            _counter=self._counter,
        )

    # What the ports see

    def entry(self, rel: str) -> Entry:
        """The entry of a path that is there."""
        if rel in self.directories:
            return Entry(rel.rpartition("/")[2], Kind.DIRECTORY, id=ResourceId("store", "", f"dir-{rel}"))
        file = self.files[rel]
        is_reva = self.profile == "reva"
        locked = file.locked_by
        return Entry(
            name=rel.rpartition("/")[2],
            kind=Kind.FILE,
            size=len(file.content),
            mtime_ns=file.mtime_ns // 10**9 * 10**9 if is_reva else file.mtime_ns,
            etag=file.etag,
            id=ResourceId("store", "", f"fileid-{rel}" if is_reva else file.opaque),
            checksum=None if is_reva else Checksum("sha1", hashlib.sha1(file.content).hexdigest()),
            lock=None if locked is None else LockInfo(locked.lock_id, locked.app_name, "", "write", locked.expires_at or None),
        )

    async def _arrive(self, call: str, rel: str) -> None:
        self.calls.append(f"{call} {rel}")
        if self.watch is not None:
            self.watch(f"before {call} {rel}")
        if self.before[call]:
            self.before[call].popleft()()
        await trio.lowlevel.checkpoint()
        if self.down is not None:
            raise self.down
        if self.faults[call] and isinstance(self.faults[call][0], Cs3FuseError):
            raise self.faults[call].popleft()

    def _rel(self, at: Location) -> str:
        if isinstance(at.root, IdRoot):
            for rel, file in self.files.items():
                if self.entry(rel).id == at.root.id:
                    assert at.rel == "", "only files are addressed by id here"
                    del file
                    return rel
            raise NotFoundError(f"{at} is not there.", path=str(at))
        assert at.root == HOME.root, f"sent to the wrong place: {at}"
        return at.rel

    async def stat(self, at: Location) -> Entry:
        await self._arrive("stat", at.rel)
        rel = self._rel(at)
        if rel not in self.files and rel not in self.directories:
            raise NotFoundError(f"{at} is not there.", path=str(at))
        return self.entry(rel)

    async def list(self, at: Location) -> Sequence[Entry]:
        await self._arrive("list", at.rel)
        return [self.entry(rel) for rel in self.names() if rel.rpartition("/")[0] == at.rel]

    async def mkdir(self, at: Location) -> None:
        await self._arrive("mkdir", at.rel)
        self.directories.add(at.rel)

    async def create(self, at: Location) -> None:
        await self._arrive("create", at.rel)
        if at.rel in self.files:
            raise ExistsError(f"{at} exists.")
        self.put(at.rel, b"")

    async def delete(self, at: Location, *, lock: Lock | None = None) -> None:
        await self._arrive("delete", at.rel)
        rel = self._rel(at)
        if rel not in self.files:
            raise NotFoundError(f"{at} is not there.")
        self._check_lock(rel, lock)
        del self.files[rel]
        await self._leave("delete")

    async def move(self, source: Location, destination: Location, *, lock: Lock | None = None) -> None:
        await self._arrive("move", source.rel)
        if source.rel not in self.files:
            raise NotFoundError(f"{source} is not there.")
        if destination.rel in self.files and self.profile == "opencloud":
            raise ExistsError(f"{destination} exists.")
        self._check_lock(source.rel, lock)
        self.files[destination.rel] = self.files.pop(source.rel)
        await self._leave("move")

    async def quota(self, at: Location) -> Quota:
        raise NotImplementedError

    async def set_metadata(self, at: Location, values: Mapping[str, str], *, lock: Lock | None = None) -> None:
        raise NotImplementedError

    async def unset_metadata(self, at: Location, keys: Sequence[str], *, lock: Lock | None = None) -> None:
        raise NotImplementedError

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        await self._arrive("fetch", at.rel)
        rel = self._rel(at)
        if rel not in self.files:
            raise NotFoundError(f"{at} is not there.")
        file = self.files[rel]
        if len(file.content) != expected.size or (self.profile == "opencloud" and file.etag != expected.etag):
            raise StaleError(f"{at} is another version now.")
        start, stop = (0, len(file.content)) if wanted is None else (wanted.start, wanted.stop)
        for position in range(start, stop, 7):
            await trio.lowlevel.checkpoint()
            sink.write(position, memoryview(file.content[position : min(position + 7, stop)]))
        return Fetched(None if self.profile == "reva" else file.etag, len(file.content))

    async def upload(self, at: Location, source: UploadSource, *, expect: Expectation, lock: Lock | None = None) -> str | None:
        await self._arrive("upload", at.rel)
        rel = self._rel(at)
        body = os.pread(source.fd, source.size + 1, 0)
        assert len(body) == source.size, "the frozen file has another length than announced"
        assert hashlib.sha1(body).hexdigest() == source.sha1, "the frozen file changed after its digest was taken"
        if self.profile == "opencloud":
            self._check_conditions(rel, expect, lock)
        elif rel in self.directories:
            raise AssertionError("an upload onto a directory would replace it")
        if self.paused is not None:
            await self.paused.wait()
        etag = self._store(rel, body, source, expect)
        await self._leave("upload")
        return etag

    async def checks_versions(self, at: Location, source: UploadSource, *, lock: Lock | None = None) -> bool:
        await self._arrive("checks_versions", at.rel)
        assert self._rel(at) in self.files
        return self.profile == "opencloud"

    def _store(self, rel: str, body: bytes, source: UploadSource, expect: Expectation) -> str | None:
        fault = self.faults["upload"].popleft() if self.faults["upload"] else None
        if isinstance(fault, Cs3FuseError):
            raise fault
        if isinstance(fault, NeverArrived):
            raise OutcomeUnknownError("The connection was reset.")
        if isinstance(fault, Reset):
            if self.profile == "reva":
                self._note_overwrite(rel, expect)
                self.put(rel, body[: fault.after])
            elif fault.after >= len(body):
                self._commit(rel, body, source, expect)
            raise OutcomeUnknownError(f"The connection was reset after {fault.after} bytes.")
        self._commit(rel, body, source, expect)
        if isinstance(fault, LostAnswer):
            raise OutcomeUnknownError("The answer was lost.")
        return None if self.profile == "reva" else self.files[rel].etag

    def _commit(self, rel: str, body: bytes, source: UploadSource, expect: Expectation) -> None:
        self._note_overwrite(rel, expect)
        if self.profile == "opencloud":
            self._check_conditions(rel, expect, None, locks=False)  # checked again at the PUT
        self.put(rel, body)
        if self.profile == "opencloud":
            self.files[rel].mtime_ns = source.mtime_ns

    def _note_overwrite(self, rel: str, expect: Expectation) -> None:
        """What a server without conditions cannot see: an upload over a version that its sender did not know."""
        old = self.files.get(rel)
        if old is not None and (isinstance(expect, ExpectAbsent) or expect.etag != old.etag):
            self.silently_overwritten.append(old.content)

    def _check_conditions(self, rel: str, expect: Expectation, lock: Lock | None, *, locks: bool = True) -> None:
        if rel in self.directories:
            raise IsDirectoryError(f"{rel} is a directory.")
        file = self.files.get(rel)
        if isinstance(expect, ExpectAbsent) and file is not None:
            raise ConflictError(f"{rel} exists.")
        if isinstance(expect, ExpectEtag) and (file is None or file.etag != expect.etag):
            raise ConflictError(f"{rel} has another etag.")
        if locks:
            self._check_lock(rel, lock)

    def _check_lock(self, rel: str, lock: Lock | None) -> None:
        file = self.files.get(rel)
        held = file.locked_by if file is not None and self.profile == "opencloud" else None
        if held is not None and (lock is None or lock.lock_id != held.lock_id):
            raise LockedError(f"{rel} is locked by {held.app_name}.")

    # Locks

    async def set_lock(self, at: Location, lock: Lock) -> None:
        await self._arrive("set_lock", at.rel)
        file = self._lockable(at)
        if file.locked_by is not None:
            raise LockedError(f"{at} is locked.")
        file.locked_by = lock
        await self._leave("set_lock")

    async def _leave(self, call: str) -> None:
        """The work is done and the answer is on its way: a cancellation can still lose it."""
        if self.watch is not None:
            self.watch(f"after {call}")
        if self.after[call]:
            self.after[call].popleft()()
        await trio.lowlevel.checkpoint()

    async def get_lock(self, at: Location) -> LockInfo | None:
        await self._arrive("get_lock", at.rel)
        return self.entry(self._rel(at)).lock if self._lockable(at).locked_by else None

    async def refresh_lock(self, at: Location, lock: Lock) -> None:
        await self._arrive("refresh_lock", at.rel)
        file = self._lockable(at)
        if file.locked_by is None or file.locked_by.lock_id != lock.lock_id:
            raise LockLostError(f"{at} is not locked by us.")
        file.locked_by = lock

    async def unlock(self, at: Location, lock: Lock) -> None:
        await self._arrive("unlock", at.rel)
        assert lock.expires_at > 0, "a lock without an expiration is never sent"
        file = self._lockable(at)
        if file.locked_by is None or file.locked_by.lock_id != lock.lock_id:
            raise LockLostError(f"{at} is not locked by us.")
        file.locked_by = None

    def _lockable(self, at: Location) -> FakeFile:
        if not self.has_locks:
            raise UnsupportedError("No locks here.")
        rel = self._rel(at)
        if rel not in self.files:
            raise NotFoundError(f"{at} is not there.")
        return self.files[rel]


@dataclass
class FakeContent:
    """A content store: versions that were adopted, and fetches of what is still on the server."""

    server: FakeServer
    kept: dict[ContentKey, bytes] = field(default_factory=dict)
    filled: list[ByteRange] = field(default_factory=list)
    faults: deque[Cs3FuseError] = field(default_factory=deque)
    during_fill: Callable[[], Awaitable[object]] | None = None

    async def fill(self, at: Location, base: Entry, wanted: Sequence[ByteRange], fd: int) -> None:
        """See ``ports.BaseContent``."""
        if self.server.watch is not None:
            self.server.watch(f"before fill {at.rel}")
        await trio.lowlevel.checkpoint()
        if self.faults:
            raise self.faults.popleft()
        key = base.content_key(at)
        if key not in self.kept:
            if self.server.down is not None:
                raise self.server.down
            found = self.server.files.get(at.rel)
            if found is None or found.etag != base.etag:
                raise StaleError(f"{at} is another version now.")
            self.kept[key] = found.content
        for each in wanted:
            self.filled.append(each)
            os.pwrite(fd, self.kept[key][each.start : each.stop], each.start)
        during, self.during_fill = self.during_fill, None
        if during is not None:
            await during()

    async def adopt(self, key: ContentKey, path: Path) -> None:
        """See ``ports.BaseContent``."""
        await trio.lowlevel.checkpoint()
        self._take(key, path)

    def _take(self, key: ContentKey, path: Path) -> None:
        self.kept[key] = path.read_bytes()
        path.unlink()
