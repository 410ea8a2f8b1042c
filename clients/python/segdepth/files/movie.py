"""A movie in a file: frames of one shape and type, read one by one."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segdepth.calibration import Calibration
from segdepth.errors import UnreadableFile
from segdepth.files.pixels import Converter


@dataclass(frozen=True)
class Stack:
    """What a format's reader finds: `read(i)` gives frame i [height, width] as it is stored.

    sampling_A: pixel size of the header [Å/px], None where there is none; `missing` then says what was looked for.
    """

    length: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    sampling_A: float | None
    missing: str
    read: Callable[[int], NDArray[Any]]
    close: Callable[[], None]


class Movie:
    """Frames of a file with their calibration. Iterate over it, or take `frame(i)`; close it, or use `with`."""

    def __init__(self, path: Path, stack: Stack, calibration: Calibration):
        self.path, self.calibration = path, calibration
        self._stack = stack
        self._convert = Converter(stack.dtype)
        # One thread sends frames while another draws them, and a file has one position.
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return self._stack.length

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of every frame [px]."""
        return self._stack.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which frames are sent: u8, u16, i16, f16 or f32."""
        return self._convert.to

    @property
    def header_sampling_A(self) -> float | None:
        """What the header says of the pixel size [Å/px], None if nothing."""
        return self._stack.sampling_A

    def frame(self, index: int) -> NDArray[Any]:
        """Frame [height, width], from 0. UnreadableFile if its bytes are damaged or do not fit a pixel type."""
        try:
            with self._reading:
                return self._convert(self._stack.read(index))
        except UnreadableFile as error:
            raise UnreadableFile(f"{self.path}: frame {index}: {error}") from error

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
