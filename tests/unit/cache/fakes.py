"""A server of files for the tests of the cache: names and attributes (RemoteTree) and bytes (RemoteData), both kinds of storage.

State is changed by the test, directly; calls are counted. ``hold()`` makes the next calls wait until the test lets them go,
so that the order of events is the test's and no test sleeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from cs3fuse.errors import BadDataError, NotFoundError, RangesUnsupportedError, StaleError
from cs3fuse.model import ByteRange, Entry, Kind, Location, PathRoot, ResourceId
from cs3fuse.ports import Fetched, Sink

HOME = Location(PathRoot("/home"))


@dataclass
class File:
    data: bytes
    etag: str
    mtime_ns: int
    id: str


@dataclass
class Gate:
    """Calls that wait: ``arrived`` counts them, ``open`` lets them go."""

    opened: trio.Event = field(default_factory=trio.Event)
    arrived: int = 0

    def open(self) -> None:
        self.opened.set()


class FakeServer:
    """Implements RemoteTree (what the cache uses of it) and RemoteData.fetch."""

    def __init__(
        self, *, ranges: bool = True, etags: bool = True, answers_carry_etag: bool = True, storage_id: str = "storage"
    ) -> None:
        self.ranges = ranges
        self.etags = etags
        self.answers_carry_etag = answers_carry_etag and etags
        self.storage_id = storage_id
        self.files: dict[Location, File] = {}
        self.folders: set[Location] = {HOME}
        self.calls: Counter[str] = Counter()
        self.fetches: list[tuple[Location, ByteRange | None]] = []
        self.sent_bytes = 0
        self.piece = 64 * 1024
        self.gates: dict[str, Gate] = {}
        self.before_piece: Callable[[int], None] | None = None
        """Called in the transfer thread before each piece with its offset; may block, change files or raise."""
        self.cut_after: int | None = None
        self.failures: list[Exception] = []
        self._serial = 0

    # -- the test's side

    def write(self, at: Location, data: bytes) -> Entry:
        """Somebody puts a file there, in a new version."""
        self._serial += 1
        older = self.files.get(at)
        self.files[at] = File(
            data,
            f'"v{self._serial}"' if self.etags else "",
            self._serial * 1_000_000_000,
            older.id if older else f"id{self._serial}",
        )
        return self.entry(at)

    def remove(self, at: Location) -> None:
        del self.files[at]

    def entry(self, at: Location) -> Entry:
        if at in self.folders:
            return Entry(at.name, Kind.DIRECTORY, etag=f'"d{at.rel}"', id=ResourceId(self.storage_id, "", f"dir:{at.rel}"))
        file = self.files[at]
        return Entry(
            at.name,
            Kind.FILE,
            size=len(file.data),
            mtime_ns=file.mtime_ns,
            etag=file.etag,
            id=ResourceId(self.storage_id, "", file.id),
        )

    def hold(self, kind: str) -> Gate:
        """From now on calls of a kind ("stat", "list", "fetch") work, then wait with their answer until the gate opens."""
        self.gates[kind] = gate = Gate()
        return gate

    def release(self, kind: str) -> None:
        self.gates.pop(kind).open()

    async def _pass(self, kind: str) -> None:
        gate = self.gates.get(kind)
        if gate is not None:
            gate.arrived += 1
            await gate.opened.wait()
        else:
            await trio.lowlevel.checkpoint()

    # -- RemoteTree

    async def stat(self, at: Location) -> Entry:
        self.calls["stat"] += 1
        if self.failures:
            raise self.failures.pop(0)
        answer = self.entry(at) if at in self.files or at in self.folders else None
        await self._pass("stat")
        if answer is None:
            raise NotFoundError(f"There is no {at}.", path=str(at))
        return answer

    async def list(self, at: Location) -> Sequence[Entry]:
        self.calls["list"] += 1
        answer = None
        if at in self.folders:
            answer = [self.entry(other) for other in [*self.folders, *self.files] if other.rel and other.parent == at]
        await self._pass("list")
        if answer is None:
            raise NotFoundError(f"There is no {at}.", path=str(at))
        return answer

    async def mkdir(self, at: Location) -> None:
        raise NotImplementedError

    async def create(self, at: Location) -> None:
        raise NotImplementedError

    async def delete(self, at: Location, *, lock: object = None) -> None:
        raise NotImplementedError

    async def move(self, source: Location, destination: Location, *, lock: object = None) -> None:
        raise NotImplementedError

    async def quota(self, at: Location):
        raise NotImplementedError

    async def set_metadata(self, at: Location, values, *, lock: object = None) -> None:
        raise NotImplementedError

    async def unset_metadata(self, at: Location, keys, *, lock: object = None) -> None:
        raise NotImplementedError

    # -- RemoteData

    async def upload(self, at: Location, source, *, expect, lock=None) -> str | None:
        raise NotImplementedError

    async def prepare_fetch(self, at: Location) -> None:
        self.calls["prepare_fetch"] += 1
        await trio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)

    async def fetch(self, at: Location, wanted: ByteRange | None, sink: Sink, *, expected: Entry) -> Fetched:
        self.calls["fetch"] += 1
        self.fetches.append((at, wanted))
        await self._pass("fetch")
        if self.failures:
            raise self.failures.pop(0)
        file = self.files.get(at)
        if file is None:
            raise NotFoundError(f"There is no {at}.", path=str(at))
        if wanted is not None and not self.ranges:
            raise RangesUnsupportedError("No ranges here.")
        data = file.data
        if len(data) != expected.size or (self.answers_carry_etag and file.etag != expected.etag):
            raise StaleError(f"{at} is another version now.")
        part = wanted or ByteRange(0, len(data))
        await trio.to_thread.run_sync(self._send, data, part, sink, abandon_on_cancel=True)
        return Fetched(file.etag if self.answers_carry_etag else None, len(data))

    def _send(self, data: bytes, part: ByteRange, sink: Sink) -> None:
        buffer = bytearray(self.piece)
        for offset in range(part.start, min(part.stop, len(data)), self.piece):
            if self.before_piece is not None:
                self.before_piece(offset)
            if self.cut_after is not None and offset - part.start >= self.cut_after:
                raise BadDataError("The body was short.")
            piece = data[offset : min(offset + self.piece, part.stop)]
            buffer[: len(piece)] = piece
            self.sent_bytes += len(piece)
            sink.write(offset, memoryview(buffer)[: len(piece)])
            # The buffer is reused: whoever kept it sees other bytes.
            buffer[: len(piece)] = b"\xee" * len(piece)
