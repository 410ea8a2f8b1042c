"""Frames that stand one after the other in a file, uncompressed."""

import math
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile


class RawFrames:
    """Reads frames by their number. Not mapped into memory: a file that is cut off meanwhile is an error, no crash.

    Raises UnreadableFile if the file has fewer than `length` frames of `shape` and `dtype` behind `offset`.
    """

    def __init__(self, path: Path, offset: int, length: int, shape: tuple[int, int], dtype: np.dtype[Any]):
        self._offset, self._shape, self._dtype = offset, shape, dtype
        self._frame_bytes = math.prod(shape) * dtype.itemsize
        size = path.stat().st_size
        if self._frame_bytes and length and offset + length * self._frame_bytes > size:
            there = max(0, size - offset) // self._frame_bytes
            raise UnreadableFile(f"truncated: {length} frames announced, {there} there")
        self._file = path.open("rb", buffering=0)

    def read(self, index: int) -> NDArray[Any]:
        """Frame `index` [height, width]. UnreadableFile if the file has become shorter."""
        return read_array(self._file, self._offset + index * self._frame_bytes, self._shape, self._dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def whole_frames(path: Path, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """How many frames the file has behind `offset`, a last one that is cut off not counted."""
    return max(0, path.stat().st_size - offset) // max(1, math.prod(shape) * dtype.itemsize)


def read_array(file: RawIOBase, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array that begins at byte `offset`. UnreadableFile if the file ends before it does."""
    array = np.empty(shape, dtype)
    file.seek(offset)
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        count = file.readinto(rest)
        if not count:
            raise UnreadableFile("truncated: the pixels end beyond the end of the file")
        rest = rest[count:]
    return array
