"""Reads that jump in even steps: one column of a ROOT or Parquet file lies in pieces that are about as long, and about as far apart.

Owns the memory of the last pieces within one content, whichever of its readers read them: several threads of a program may each follow
a column, and fsspec opens a file anew for each piece. Pure, no I/O; ``cache.reader`` tells each read and has fetched what is expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cs3fuse.model import ByteRange

_SLACK_BYTES: Final = 128 * 1024
"""A read this close to a piece that is being read belongs to it."""
_MOST_TRACKS: Final = 6
_PIECES_KEPT: Final = 8
"""Pieces that belong to no track yet: three with even steps begin one."""
_MOST_PIECES: Final = 8
_MOST_BYTES: Final = 4 * 1024 * 1024
"""What is fetched ahead of one track at most: a guess that is wrong must not cost more."""
_SMALL_BYTES: Final = 64 * 1024
"""Pieces below this are expected one step later: among small reads at random, three in a row are often even by chance."""


@dataclass(slots=True)
class _Piece:
    """Bytes that were read one after the other."""

    start: int
    stop: int

    def holds(self, offset: int) -> bool:
        return self.start <= offset <= self.stop + _SLACK_BYTES

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class _Track:
    """Pieces in even steps. ``length``: of the last whole one; ``matches``: how often the step was as expected."""

    piece: _Piece
    step: int
    length: int
    matches: int = 1

    def expects(self, offset: int) -> bool:
        # Compressed pieces vary.
        return abs(offset - self.piece.start - self.step) <= _tolerance(self.step, 16)


class Strides:
    """Tracks, and pieces that may become some; what was read last is at the end."""

    __slots__ = ("_pieces", "_tracks")

    def __init__(self) -> None:
        """Nothing was read."""
        self._tracks: list[_Track] = []
        self._pieces: list[_Piece] = []

    def observe(self, offset: int, size: int) -> list[ByteRange]:
        """Note a read. Returns: the whole of the piece that begins with it, and the next ones, if they can be told; else nothing.

        They may reach beyond the end of the file. First one piece ahead, then two, four, eight; at most 4 MiB.
        """
        stop = offset + size
        for piece in (*(track.piece for track in self._tracks), *self._pieces):
            if piece.holds(offset):
                piece.stop = max(piece.stop, stop)
                return []
        begun = _Piece(offset, stop)
        for track in self._tracks:
            if track.expects(offset):
                self._tracks.remove(track)
                self._tracks.append(track)
                doubt = abs(offset - track.piece.start - track.step)
                track.step, track.length = offset - track.piece.start, len(track.piece)
                track.piece = begun
                track.matches += 1
                return _expected(track, doubt)
        found = self._found(begun)
        if found is None:
            self._pieces = [*self._pieces, begun][-_PIECES_KEPT:]
            return []
        self._tracks = [*self._tracks, found][-_MOST_TRACKS:]
        return _expected(found, 0)

    def _found(self, begun: _Piece) -> _Track | None:
        """The track that a piece makes with two earlier ones, which belong to it then."""
        for second in reversed(self._pieces):
            step = begun.start - second.start
            if step <= 0 or begun.start <= second.stop:
                continue
            for first in self._pieces:
                if abs(second.start - first.start - step) <= _tolerance(step, 32) and 2 * len(first) >= len(second) > 0:
                    self._pieces = [piece for piece in self._pieces if piece is not first and piece is not second]
                    return _Track(begun, step, len(second))
        return None


def _tolerance(step: int, part: int) -> int:
    """How far a step may be off: a part of it, within bounds."""
    return min(max(16 * 1024, step // part), 512 * 1024)


def _expected(track: _Track, doubt: int) -> list[ByteRange]:
    """What comes next; ``doubt``: how far the last step was off."""
    offset, stop = track.piece.start, track.piece.stop
    if track.length < _SMALL_BYTES and track.matches == 1:
        return []
    expected = [ByteRange(offset, max(stop, offset + track.length))]
    left = _MOST_BYTES
    for number in range(1, min(1 << (track.matches - 1), _MOST_PIECES) + 1):
        around = doubt * number
        start = offset + track.step * number
        piece = ByteRange(max(stop, start - around), max(stop, start + track.length + around))
        left -= len(piece)
        if left < 0:
            break
        expected.append(piece)
    return expected
