"""SER series of TIA, read frame by frame, and the EMI file that goes with them."""

import re
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile
from segdepth.files.axes import Axis, Layout, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.emi import beam_energy_kev
from segdepth.files.movie import Header, Stack
from segdepth.files.raw_frames import read_array

PIXEL_SIZE = "CalibrationDelta of the series"

# The series: byte order, magic, version; type of its elements, of their tags, elements planned, elements there.
_SERIES = struct.Struct("<3h4i")
_LITTLE_ENDIAN, _MAGIC, _WIDE_OFFSETS = 0x4949, 0x0197, 0x0220
_SPECTRA, _IMAGES = 0x4120, 0x4122
# An element: offset, delta and place of the calibration of each axis, type of its numbers, length of each axis.
_SPECTRUM, _IMAGE = struct.Struct("<ddihi"), struct.Struct("<ddiddihii")
_TAG = struct.Struct("<hhI")
_TAG_TYPES = (0x4152, 0x4142)
_TYPES = {1: "u1", 2: "<u2", 3: "<u4", 4: "i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8", 9: "<c8", 10: "<c16"}


@dataclass(frozen=True)
class _Series:
    """What a series holds: `data` are all bytes of the file; where each element and its tag begin."""

    data: NDArray[np.uint8]
    elements: NDArray[np.int64]
    tags: NDArray[np.int64]
    dataset: Dataset


def open_ser(path: Path) -> Stack:
    """The images of a series. The beam's energy comes from the EMI file beside it.

    Raises UnreadableFile: damaged, truncated, images of several shapes, spectra, diffraction patterns, a 4-D scan.
    """
    series = _series(path)
    found, axes = chosen([series.dataset], "")
    return _stack(path, series, found, axes)


def open_emi(path: Path, dataset: str) -> Stack:
    """The series that belongs to an EMI file; `dataset` is its number, 2 for movie_2.ser, by default the only one.

    Raises UnreadableFile: as `open_ser`, or no series beside it, or several.
    """
    beside = (re.fullmatch(re.escape(path.stem) + r"_([0-9]{1,6})\.ser", each.name) for each in path.parent.iterdir())
    numbers = sorted(int(match[1]) for match in beside if match)
    if not numbers:
        raise UnreadableFile(f"an EMI file has no pixels: put {path.stem}_1.ser, which has them, beside it")
    series = {str(number): _series(path.with_name(f"{path.stem}_{number}.ser")) for number in numbers}
    found, axes = chosen([replace(each.dataset, path=number) for number, each in series.items()], dataset)
    return _stack(path.with_name(f"{path.stem}_{found.path}.ser"), series[found.path], found, axes)


def _series(path: Path) -> _Series:
    if path.stat().st_size < _SERIES.size + 12:
        raise UnreadableFile("not a SER file, or truncated")
    data = np.memmap(path, np.uint8, "r")
    order, magic, version, kind, _, _, count = _SERIES.unpack_from(data.data)
    if (order, magic) != (_LITTLE_ENDIAN, _MAGIC):
        raise UnreadableFile("not a SER file")
    if kind not in (_SPECTRA, _IMAGES):
        raise UnreadableFile(f"damaged: elements of type {kind:#x}")
    wide = version >= _WIDE_OFFSETS
    table, dimensions = struct.unpack_from("<qi" if wide else "<ii", data.data, _SERIES.size)
    offsets = _offsets(data, table, count, "<i8" if wide else "<i4")
    dataset = _dataset(path, data, kind, dimensions, offsets[:count])
    return _Series(data, offsets[:count], offsets[count:], dataset)


def _offsets(data: NDArray[np.uint8], table: int, count: int, dtype: str) -> NDArray[np.int64]:
    size = 2 * count * np.dtype(dtype).itemsize
    if count < 1 or table < _SERIES.size:
        raise UnreadableFile(f"damaged or empty: {count} elements")
    if table + size > len(data):
        raise UnreadableFile(f"truncated: no table of its {count} elements")
    return np.frombuffer(data[table : table + size].tobytes(), dtype).astype(np.int64)


def _dataset(path: Path, data: NDArray[np.uint8], kind: int, dimensions: int, offsets: NDArray[np.int64]) -> Dataset:
    if kind == _SPECTRA:
        _, _, _, type_, size = _unpack(_SPECTRUM, data, int(offsets[0]))
        axes = [Axis(len(offsets)), Axis(size, unit="eV")]
    else:
        _, dx, _, _, dy, _, type_, width, height = _unpack(_IMAGE, data, int(offsets[0]))
        axes = [Axis(len(offsets)), _axis(height, dy), _axis(width, dx)]
        if len(offsets) == 1:
            axes = axes[1:]
        if dimensions > 1:
            axes.insert(0, Axis(len(offsets)))
    shape = tuple(axis.size for axis in axes)
    if type_ not in _TYPES:
        raise UnreadableFile(f"damaged: numbers of type {type_}")
    dtype = np.dtype(_TYPES[type_])
    if min(shape) < 1:
        raise UnreadableFile(f"damaged: an image of {' x '.join(map(str, shape))}")
    if kind == _IMAGES and offsets.max() + _IMAGE.size + shape[-1] * shape[-2] * dtype.itemsize > len(data):
        raise UnreadableFile("truncated: the pixels end beyond the end of the file")
    try:
        return Dataset("1", shape, dtype, layout(axes, dtype), title=path.name)
    except UnreadableFile as error:
        return Dataset("1", shape, dtype, refusal=str(error), title=path.name)


def _axis(size: int, delta: float) -> Axis:
    # In metres, or in 1/m with a camera length: no pixel is a metre wide.
    return Axis(size, scale=delta, unit="m") if abs(delta) < 1 else Axis(size, scale=delta * 1e-9, unit="1/nm")


def _unpack(form: struct.Struct, data: NDArray[np.uint8], offset: int) -> tuple[Any, ...]:
    if not 0 < offset <= len(data) - form.size:
        raise UnreadableFile("truncated: an element lies beyond the end of the file")
    return form.unpack_from(data.data, offset)


def _stack(path: Path, series: _Series, found: Dataset, axes: Layout) -> Stack:
    height, width = axes.shape
    header, elements = _header(path, series, axes), series.elements
    type_ = next(number for number, name in _TYPES.items() if np.dtype(name) == found.dtype)

    def read(index: int) -> NDArray[Any]:
        offset = int(elements[index])
        head = read_array(file, offset, (_IMAGE.size,), np.dtype(np.uint8))
        if _IMAGE.unpack(head.tobytes())[-3:] != (type_, width, height):
            raise UnreadableFile("an image of another shape or type than the first")
        # The lowest row comes first.
        return read_array(file, offset + _IMAGE.size, (height, width), found.dtype)[::-1]

    file = path.open("rb", buffering=0)
    return Stack(axes.length, axes.shape, found.dtype, header, read, file.close)


def _header(path: Path, series: _Series, axes: Layout) -> Header:
    first, last = (_time(series.data, int(series.tags[index])) for index in (0, -1))
    seconds = last - first if first and last else 0
    return replace(
        axes.header(PIXEL_SIZE),
        beam_energy_kev=beam_energy_kev(path.with_name(path.stem.rpartition("_")[0] + ".emi")),
        start=datetime.fromtimestamp(first, UTC) if first else None,
        # The clock ticks in whole seconds.
        interval_s=seconds / (len(series.tags) - 1) if seconds > 0 else None,
    )


def _time(data: NDArray[np.uint8], offset: int) -> int:
    """Seconds since 1970, 0 where the tag is none: some writers leave its place empty."""
    if not 0 < offset <= len(data) - _TAG.size:
        return 0
    kind, _, seconds = _TAG.unpack_from(data.data, offset)
    return int(seconds) if kind in _TAG_TYPES else 0
