"""TIFF and OME-TIFF stacks, page by page."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.axes import Axis, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.movie import Stack
from segdepth.files.tiff_counts import check_announced, check_beside, is_multifile
from segdepth.files.tiff_header import header_of
from segdepth.files.tiff_pages import check_alike, pages_of, series_of
from segdepth.files.tiff_pixels import DAMAGED, check_pixels, notes_on, reader

if TYPE_CHECKING:
    import tifffile


def open_tiff(path: Path, dataset: str) -> Stack:
    """A stack of grey pages of one shape; `dataset` is the number of a series of them, by default the only one.

    Raises UnreadableFile: damaged, truncated, fewer or more frames than announced, several series, colour, a palette,
    complex numbers, a diffraction pattern. NotInstalled for a compression whose codec is missing.
    """
    try:
        import tifffile
    except ImportError as error:
        raise NotInstalled("TIFF files need: pip install 'segdepth[files]'") from error
    try:
        tiff = tifffile.TiffFile(path)
    except DAMAGED as error:
        raise UnreadableFile(f"not a TIFF file, or truncated: {error}") from error
    try:
        return _stack(tiff, dataset)
    except (UnreadableFile, NotInstalled):
        tiff.close()
        raise
    except DAMAGED as error:
        tiff.close()
        raise UnreadableFile(f"damaged: {error}") from error


def _stack(tiff: "tifffile.TiffFile", dataset: str) -> Stack:
    check_beside(tiff)
    pages = pages_of(tiff)
    all_series = series_of(tiff, pages)
    streak = tiff.is_streak
    found, axes = chosen([_dataset(str(number), each, streak) for number, each in enumerate(all_series)], dataset)
    series = all_series[int(found.path)]
    check_announced(tiff, series, axes.length, sum(pages.values()))
    if not is_multifile(tiff):
        check_alike(tiff, series, pages)
    header = header_of(tiff, series, notes_on(series))
    read, close = reader(tiff, series, axes.length)
    return Stack(
        length=axes.length,
        shape=axes.shape,
        dtype=found.dtype,
        header=header,
        read=read,
        close=close,
    )


def _dataset(number: str, series: "tifffile.TiffPageSeries", streak: bool) -> Dataset:
    shape, dtype = tuple(series.shape), np.dtype(series.dtype)
    try:
        if streak:
            raise UnreadableFile("a streak camera's image, not frames of a specimen")
        # SYX is what a program makes of three or four frames when it takes them for the planes of a colour picture.
        if series.axes[-2:] != "YX":
            raise UnreadableFile(f"axes {series.axes}: not a stack of grey pages; convert colour to grey first")
        check_pixels(series.keyframe)
        sizes = (math.prod(shape[:-2]), *shape[-2:])
        axes = layout([Axis(size) for size in (sizes if len(shape) > 2 else sizes[1:])], dtype)
        return Dataset(number, shape, dtype, axes)
    except UnreadableFile as error:
        return Dataset(number, shape, dtype, refusal=str(error))
