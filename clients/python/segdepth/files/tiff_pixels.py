"""Pixels of the pages of a TIFF file, in bounded time and memory."""

import io
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.raw_frames import RawFrames

if TYPE_CHECKING:
    import tifffile

Read = Callable[[int], NDArray[Any]]
Close = Callable[[], None]

DAMAGED = (
    ValueError,
    OSError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    # Tags of a type or number that tifffile does not expect end in these.
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What tifffile (TiffFileError is a ValueError) and its codecs (a RuntimeError) raise for damaged bytes."""

_JPEG = 7
_INFLATED = {1, 5, 8, 32946, 50013, 32773, 34925, 34926, 50000}
"""None, LZW, deflate, PackBits, LZMA, zstd: their decoders stop at the size of the strip."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _LINEAR_RAW = 0, 1, 2, 3, 34892
_SAYS_PHOTOMETRIC = 262


def check_pixels(page: "tifffile.TiffPage") -> None:
    """UnreadableFile, with its name, for what is no grey picture or is compressed as none is read.

    NotInstalled where the codec is missing.
    """
    import tifffile

    photometric, compression = int(page.photometric), int(page.compression)
    if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _LINEAR_RAW) and not _is_grey_all_the_same(page):
        raise UnreadableFile(
            f"photometric interpretation {_named(page.photometric)}: not a grey picture; convert it to grey first"
        )
    if photometric == _MIN_IS_WHITE and _SAYS_PHOTOMETRIC in page.tags:
        # ImageJ's inverted look-up table leaves the values as the camera gave them, a scanned film's are turned.
        raise UnreadableFile(
            "photometric interpretation MINISWHITE (0): shows the largest values as black, and does not say whether the"
            " values or what is shown are the electrons; save it with 0 as black"
        )
    if compression not in _INFLATED | {_JPEG}:
        raise UnreadableFile(f"compression {_named(page.compression)} is not read; save it with LZW, deflate or zstd")
    try:
        tifffile.TIFF.DECOMPRESSORS[compression]
    except KeyError:
        raise NotInstalled(
            f"compression {_named(page.compression)} needs imagecodecs: pip install 'segdepth[files]'"
        ) from None


def reader(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", length: int) -> tuple[Read, Close]:
    """What reads a frame of the series, and what closes the file then. UnreadableFile if frames are missing."""
    if series.dataoffset is None:
        return _paged(series, length), tiff.close
    dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
    height, width = series.shape[-2:]
    frames = RawFrames(Path(tiff.filehandle.path), series.dataoffset, length, (height, width), dtype)
    tiff.close()
    return frames.read, frames.close


def notes_on(series: "tifffile.TiffPageSeries") -> tuple[str, ...]:
    """What a user should know of the pixels."""
    page, notes = series.keyframe, []
    if page.compression == _JPEG:
        notes.append("compressed with JPEG, which changes the noise: counts are made from it")
    for axis, name in (("C", "channels"), ("S", "colour planes")):
        if axis in series.axes:
            notes.append(f"its {series.shape[series.axes.index(axis)]} {name} are taken for frames")
    if _SAYS_PHOTOMETRIC not in page.tags:
        notes.append("does not say whether 0 is black or white; read as black")
    return tuple(notes)


def _named(value: Any) -> str:
    return f"{getattr(value, 'name', '')} ({int(value)})".strip()


def _is_grey_all_the_same(page: "tifffile.TiffPage") -> bool:
    """Three grey frames, which a program took for the planes of a colour picture; a palette that is a grey ramp."""
    if int(page.photometric) == _RGB:
        return page.axes == "SYX"
    table = page.colormap if int(page.photometric) == _PALETTE else None
    if table is None:
        return False
    ramp = np.arange(table.shape[-1]) * (65536 // table.shape[-1])
    return bool(np.all(np.abs(table.astype(int) - ramp) < 65536 // table.shape[-1]))


def _paged(series: "tifffile.TiffPageSeries", length: int) -> Read:
    there = sum(page is not None for page in series.pages)
    if not len(series.pages) == there == length:
        raise UnreadableFile(f"incomplete: {length} frames announced, {there} pages there")
    # The last page tells at once that a file was cut off; of the others each is asked when it is read.
    _check_strips(series.pages[-1])

    def read(index: int) -> NDArray[Any]:
        try:
            page: Any = series.pages[index]
            _check_strips(page)
            return np.asarray(page.asarray())
        except DAMAGED as error:
            if isinstance(error, UnreadableFile):
                raise
            raise UnreadableFile(f"damaged or truncated: {error}") from error

    return read


def _check_strips(page: Any) -> None:
    keyframe, handle = page.keyframe, page.parent.filehandle
    offsets, counts = page.dataoffsets, page.databytecounts
    if keyframe.is_contiguous:
        offsets, counts = offsets[:1], (keyframe.nbytes,)
    needed = 1 if keyframe.is_contiguous else math.prod(keyframe.chunked)
    if not len(offsets) == len(counts) == needed:
        raise UnreadableFile(f"damaged: {len(offsets)} strips or tiles, {needed} needed")
    for offset, count in zip(offsets, counts, strict=True):
        # tifffile fills such a strip with zeros.
        if offset <= 0 or count <= 0:
            raise UnreadableFile("incomplete: a strip or tile is missing")
        if offset + count > handle.size:
            raise UnreadableFile("truncated: the pixels end beyond the end of the file")
        if keyframe.compression == _JPEG:
            _check_jpeg(handle, offset, count, keyframe.chunks)


def _check_jpeg(handle: Any, offset: int, count: int, chunk: tuple[int, ...]) -> None:
    """A JPEG says its size itself, and is inflated to it."""
    from PIL import Image

    handle.seek(offset)
    try:
        with Image.open(io.BytesIO(handle.read(count)), formats=("JPEG",)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadableFile(f"damaged: {error}") from error
    if width * height > math.prod(chunk):
        raise UnreadableFile(f"damaged: a strip or tile of {width}x{height} pixels, {chunk} needed")
