"""A movie in a file: frames of one shape and type, read one by one."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import whole
from segdepth.calibration import Calibration
from segdepth.errors import NoFrame, UnreadableFile
from segdepth.files.pixels import Converter


@dataclass(frozen=True)
class Header:
    """What a file says of its frames besides their pixels; None where it says nothing.

    sampling_A: pixel size [Å/px]; source: where in the file that stands; missing: why there is none, for whoever reads
    the error; counts_per_electron; dose_per_A2 [e/Å², a frame]; beam_energy_kev [keV]; spherical_aberration_um: C3
    [µm]; start: when the first frame was taken; interval_s: from one frame to the next [s]; notes: what a user should
    know of how the file was read.
    """

    sampling_A: float | None = None
    source: str = ""
    missing: str = "the file says nothing of it"
    counts_per_electron: float | None = None
    dose_per_A2: float | None = None
    beam_energy_kev: float | None = None
    spherical_aberration_um: float | None = None
    start: datetime | None = None
    interval_s: float | None = None
    notes: tuple[str, ...] = ()

    def calibration(self, sampling_A: float) -> Calibration:
        """What the header says, at a pixel size of `sampling_A` [Å/px]."""
        return Calibration(
            sampling_A, self.counts_per_electron, self.dose_per_A2, self.beam_energy_kev, self.spherical_aberration_um
        )


@dataclass(frozen=True)
class Stack:
    """What a format's reader finds: `read(i)` gives frame i [height, width] as it is stored."""

    length: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    header: Header
    read: Callable[[int], NDArray[Any]]
    close: Callable[[], None]


class Movie:
    """Frames of a file with their calibration. Iterate over it, or take `frame(i)`; close it, or use `with`.

    stored_dtype: the type in which the file holds them.
    """

    def __init__(self, path: Path, stack: Stack, calibration: Calibration, inside: str = ""):
        """`inside`: what follows the file's name where a dataset in it was named: ::/path/of/a/dataset."""
        self.path, self.calibration, self.inside = path, calibration, inside
        self.stored_dtype = stack.dtype
        self._stack = stack
        self._convert = Converter(stack.dtype)
        # One thread sends frames while another draws them, and a file has one position.
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return self._stack.length

    @property
    def source(self) -> str:
        """What `open_movie` was told: the file's name, and ::/path/of/a/dataset where one was named."""
        return f"{self.path}{self.inside}"

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of every frame [px]."""
        return self._stack.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which frames are sent: u8, u16, i16, f16 or f32."""
        return self._convert.to

    @property
    def header(self) -> Header:
        """What the file says of its frames."""
        return self._stack.header

    def capture_time(self, index: int) -> datetime | None:
        """When frame `index` was taken, None if the file does not say."""
        start, interval_s = self.header.start, self.header.interval_s
        if start is None or (index and interval_s is None):
            return None
        return start + timedelta(seconds=index * (interval_s or 0.0))

    def frame(self, index: int) -> NDArray[Any]:
        """Frame [height, width], from 0.

        UnreadableFile if its bytes are damaged or do not fit a pixel type; NoFrame if there is none of that number.
        """
        if not 0 <= whole(index, "index") < len(self):
            raise NoFrame(f"{self.path}: no frame {index}; there are 0 to {len(self) - 1}", "index")
        try:
            with self._reading:
                return self._convert(self._stack.read(index))
        except (UnreadableFile, OSError) as error:
            raise UnreadableFile(f"{self.path}: frame {index}: {error}") from error

    def corrected(self, correct: Callable[[NDArray[Any]], NDArray[np.float32]], calibration: Calibration) -> "Movie":
        """This movie with each frame corrected; from now on it is the one to read and to close."""
        read, convert = self._stack.read, self._convert
        stack = replace(self._stack, dtype=np.dtype(np.float32), read=lambda index: correct(convert(read(index))))
        movie = Movie(self.path, stack, calibration, self.inside)
        movie.stored_dtype = self.stored_dtype
        return movie

    def __getitem__(self, index: int) -> NDArray[Any]:
        """The same as `frame(index)`."""
        return self.frame(index)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.frame(index) for index in range(len(self)))

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
