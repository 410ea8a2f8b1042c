"""What pictures need of all frames, on the disk until they are drawn: a movie's posteriors do not fit into memory."""

import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.columns import SPECIES
from segdepth.dataframes import Fields
from segdepth.export.atomic import cannot_write
from segdepth.export.track_tables import track_fields
from segdepth.tracks.results import TrackedColumns, TrackedFrame, TrackState
from segdepth_protos import contract

KEPT_FRAMES = 50_000
"""Of an endless movie the last of them are kept, and at most twice as many."""

_HEAD = struct.Struct("<qBqIId")
_STATES = tuple(TrackState)
_COLUMN = np.dtype(
    [
        ("track", "<i8"),
        ("x_px", "<f4"),
        ("y_px", "<f4"),
        ("species", "u1"),
        ("count", "u1"),
        ("lo90", "u1"),
        ("hi90", "u1"),
        ("posterior", "u1", (contract.CLASSES,)),
        ("p_changed", "u1"),
    ]
)


@dataclass(frozen=True, eq=False)
class Record:
    """A frame as it was kept. columns: an array of one entry a track, with probabilities in parts of 255."""

    sequence: int
    state: TrackState
    segment: int
    why: str
    sampling_A: float
    columns: NDArray[Any]

    @property
    def tracked(self) -> bool:
        """Whether it tells of its columns."""
        return self.state is TrackState.TRACKED


class History:
    """Frames as they come, then as often as wanted from the first. Raises CannotWrite."""

    def __init__(self, folder: Path):
        """`folder`: where there is room; the file has no name there."""
        self._folder = folder
        self._earlier: IO[bytes] | None = None
        self._file = self._open()
        self._frames = 0
        self.dropped = 0
        """Frames that are no longer kept."""
        self.elements: tuple[str, ...] = SPECIES
        """Names of the species 1, 2, ..."""

    def _open(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def add(self, frame: TrackedFrame, fields: Fields | None = None) -> None:
        """The next frame; `fields`: its rows of tracks.csv, if they are made already."""
        if self._frames == KEPT_FRAMES:
            self._turn_over()
        columns, why = np.zeros(0, _COLUMN), frame.why.encode()
        sampling_A = 0.0
        if frame.columns is not None:
            columns = _packed(frame.columns, track_fields(frame) if fields is None else fields)
            self.elements, sampling_A = frame.columns.elements, frame.columns.sampling_A
        state = _STATES.index(frame.state)
        head = _HEAD.pack(frame.sequence, state, frame.segment, len(columns), len(why), sampling_A)
        try:
            self._file.write(head + why + columns.tobytes())
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._frames += 1

    def _turn_over(self) -> None:
        if self._earlier is not None:
            self._earlier.close()
            self.dropped += KEPT_FRAMES
        self._earlier, self._file, self._frames = self._file, self._open(), 0

    def __iter__(self) -> Iterator[Record]:
        for file in (self._earlier, self._file):
            if file is not None:
                yield from self._read(file)

    def _read(self, file: IO[bytes]) -> Iterator[Record]:
        try:
            file.seek(0)
            while head := file.read(_HEAD.size):
                sequence, state, segment, columns, why, sampling_A = _HEAD.unpack(head)
                said = file.read(why).decode()
                rows = np.frombuffer(file.read(columns * _COLUMN.itemsize), _COLUMN)
                yield Record(sequence, _STATES[state], segment, said, sampling_A, rows)
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def close(self) -> None:
        """The file is no longer wanted."""
        for file in (self._earlier, self._file):
            # A buffer that a full disk did not take is lost on purpose.
            with suppress(OSError):
                if file is not None:
                    file.close()


def _packed(columns: TrackedColumns, fields: Fields) -> NDArray[Any]:
    packed = np.zeros(len(columns), _COLUMN)
    for name in ("track", "x_px", "y_px", "count", "lo90", "hi90"):
        packed[name] = fields[name]
    packed["species"] = columns.species
    packed["posterior"] = np.rint(255 * columns.probabilities)
    packed["p_changed"] = np.rint(255 * fields["p_changed"])
    return packed
