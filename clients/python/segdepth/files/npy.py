"""NPY files, read frame by frame."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header, Stack
from segdepth.files.raw_frames import RawFrames, whole_frames

# A header of numpy's is a line of Python.
_DAMAGED = (ValueError, TypeError, OverflowError, EOFError, OSError, SyntaxError, TokenError)

_COLOURS = (3, 4)
_FEW = 32
"""A frame as narrow as this is more likely a number of frames."""


def open_npy(path: Path, *, growing: bool = False) -> Stack:
    """An array [frame, height, width] or [height, width]. Raises UnreadableFile for anything else.

    Of a `growing` file the frames that are there of those that its header announces.
    """
    stack = _growing(path) if growing else None
    if stack is not None:
        return stack
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise UnreadableFile(f"not an NPY file of numbers, or truncated: {error}") from error
    if not isinstance(data, np.memmap):
        data.close()
        raise UnreadableFile("an NPZ archive; save one array by np.save")
    if data.ndim not in (2, 3):
        raise UnreadableFile(
            f"{data.ndim} dimensions, {_sizes(data.shape)}; an NPY movie is one array [frame, height, width] or"
            " [height, width]"
        )
    _check_order(data.shape)
    length, height, width = data.shape if data.ndim == 3 else (1, *data.shape)
    header = Header(missing="an NPY file has no place for it", notes=_doubt(data.shape))
    if not data.flags.c_contiguous:
        # In Fortran's order a frame's pixels stand all over the file.
        frames = data.reshape(length, height, width) if data.ndim == 2 else data
        return Stack(length, (height, width), data.dtype, header, lambda index: np.asarray(frames[index]), lambda: None)
    raw = RawFrames(path, data.offset, length, (height, width), data.dtype)
    return Stack(length, (height, width), data.dtype, header, raw.read, raw.close)


def _growing(path: Path) -> Stack | None:
    """The frames of a file that is too short for its header; None for any other, and what cannot be read so far."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(file)
            offset = file.tell()
    except _DAMAGED:
        return None
    if len(shape) != 3 or fortran or dtype.hasobject:
        return None
    length, height, width = shape
    there = whole_frames(path, offset, (height, width), dtype)
    if there >= length:
        return None
    _check_order(shape)
    raw = RawFrames(path, offset, there, (height, width), dtype)
    about = Header(missing="an NPY file has no place for it", notes=_doubt(shape))
    return Stack(there, (height, width), dtype, about, raw.read, raw.close)


def _check_order(shape: tuple[int, ...]) -> None:
    """Refuse [height, width, frame] and [height, width, colour]: the numbers of an array do not say which is which."""
    if len(shape) != 3 or min(shape) < 1:
        return
    first, second, last = shape
    if last in _COLOURS and min(first, second) > max(_COLOURS):
        raise UnreadableFile(
            f"{_sizes(shape)} looks like [height, width, colour]: save it as grey, or {last} frames as"
            " np.moveaxis(array, -1, 0)"
        )
    few = last <= _FEW and 4 * last <= min(first, second)
    if few or (first == second and last < first):
        raise UnreadableFile(
            f"{_sizes(shape)} looks like [height, width, frame], an NPY movie is [frame, height, width]: save"
            " np.moveaxis(array, -1, 0)"
        )


def _doubt(shape: tuple[int, ...]) -> tuple[str, ...]:
    if len(shape) != 3 or shape[0] != shape[1] or shape[1] == shape[2]:
        return ()
    first, second, last = shape
    asked = f"read as {first} frames of {second} x {last} pixels; if they are {last} of {first} x {second}"
    return (f"{asked}, save np.moveaxis(array, -1, 0)",)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
