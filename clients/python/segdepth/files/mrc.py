"""MRC and MRCS files, memory-mapped."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.movie import Header, Stack
from segdepth.files.pixel_size import square

_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1


def open_mrc(path: Path) -> Stack:
    """A stack of 2D sections. Raises UnreadableFile for a damaged, truncated or 4D file."""
    try:
        import mrcfile  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise NotInstalled("MRC files need: pip install 'segdepth[files]'") from error
    try:
        with warnings.catch_warnings():
            # A file longer than its header says is whole.
            warnings.simplefilter("ignore", RuntimeWarning)
            mrc = mrcfile.mmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise UnreadableFile(f"not an MRC file, or truncated: {error}") from error
    data = mrc.data
    if data is None or data.ndim not in (2, 3):
        raise UnreadableFile(f"{0 if data is None else data.ndim} dimensions; a movie has three, an image two")
    frames = data[np.newaxis] if data.ndim == 2 else data
    if frames.dtype == np.int8 and _bytes_are_unsigned(mrc.header):
        frames = frames.view(np.uint8)
    return Stack(
        length=len(frames),
        shape=frames.shape[1:],
        dtype=frames.dtype,
        header=_header(mrc.voxel_size),
        read=lambda index: np.asarray(frames[index]),
        close=mrc.close,
    )


def _header(voxel_size: Any) -> Header:
    x, y = float(voxel_size.x), float(voxel_size.y)
    if x <= 0 or not np.isfinite(x):
        return Header(missing="the header has no cell size")
    return square(x, y, "cell / grid of the header")


def _bytes_are_unsigned(header: Any) -> bool:
    # Mode 0 is signed by the standard; IMOD wrote it unsigned for years, and says so at bytes 152 and 156.
    stamp, flags = np.frombuffer(header.tobytes(), header.dtype["nx"].newbyteorder("="), 2, offset=152)
    return bool(stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES)
