"""TIFF and OME-TIFF stacks, page by page or memory-mapped."""

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.movie import Stack
from segdepth.files.tiff_header import header_of

if TYPE_CHECKING:
    import tifffile

_DAMAGED = (ValueError, OSError, KeyError, IndexError, struct.error, zlib.error)
"""What tifffile and its decoders raise for damaged bytes (TiffFileError is a ValueError)."""


def open_tiff(path: Path) -> Stack:
    """A stack of grey pages of one shape. Raises UnreadableFile: damaged, truncated, colour, or mixed shapes."""
    try:
        import tifffile
    except ImportError as error:
        raise NotInstalled("TIFF files need: pip install 'segdepth[files]'") from error
    try:
        tiff = tifffile.TiffFile(path)
    except _DAMAGED as error:
        raise UnreadableFile(f"not a TIFF file, or truncated: {error}") from error
    try:
        return _stack(tiff)
    except UnreadableFile:
        tiff.close()
        raise
    except _DAMAGED as error:
        tiff.close()
        raise UnreadableFile(f"damaged: {error}") from error


def _stack(tiff: "tifffile.TiffFile") -> Stack:
    _check_pages(tiff)
    series = tiff.series[0]
    if len(tiff.series) > 1:
        shapes = ", ".join("x".join(map(str, other.shape)) for other in tiff.series)
        raise UnreadableFile(f"pages of different shapes ({shapes}); split them into files")
    # SYX is what a program makes of three or four frames when it takes them for the planes of a colour picture.
    if series.axes[-2:] != "YX":
        raise UnreadableFile(f"axes {series.axes}: not a stack of grey pages; convert colour to grey first")
    height, width = series.shape[-2:]
    length = math.prod(series.shape[:-2])
    return Stack(
        length=length,
        shape=(height, width),
        dtype=np.dtype(series.dtype),
        header=header_of(tiff),
        read=_reader(tiff, series, length),
        close=tiff.close,
    )


def _reader(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", length: int) -> Callable[[int], NDArray[Any]]:
    size = tiff.filehandle.size
    height, width = series.shape[-2:]
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
        if series.dataoffset + length * height * width * dtype.itemsize > size:
            raise UnreadableFile("truncated: the pixels end beyond the end of the file")
        frames = np.memmap(tiff.filehandle.path, dtype, "r", series.dataoffset, (length, height, width))
        return lambda index: np.asarray(frames[index])
    if len(series.pages) != length or any(page is None for page in series.pages):
        raise UnreadableFile(f"incomplete: {length} frames announced, {len(series.pages)} pages there")
    last = series.pages[-1]
    if last is not None and any(
        offset + count > size for offset, count in zip(last.dataoffsets, last.databytecounts, strict=True)
    ):
        raise UnreadableFile("truncated: the pixels end beyond the end of the file")

    def read(index: int) -> NDArray[Any]:
        try:
            return np.asarray(series.pages[index].asarray())  # type: ignore[union-attr]
        except _DAMAGED as error:
            raise UnreadableFile(f"damaged or truncated: {error}") from error

    return read


def _check_pages(tiff: "tifffile.TiffFile") -> None:
    # tifffile ends a broken chain of pages with a line in the log: a truncated movie would pass as a short one.
    handle, form = tiff.filehandle, tiff.tiff
    offset, seen = tiff.pages.first.offset, set[int]()
    while offset:
        if offset in seen or offset + form.tagnosize > handle.size:
            raise UnreadableFile(f"truncated: page {len(seen)} lies beyond the end of the file")
        seen.add(offset)
        handle.seek(offset)
        (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        handle.seek(offset + form.tagnosize + tags * form.tagsize)
        (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
