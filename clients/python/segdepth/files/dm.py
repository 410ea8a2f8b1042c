"""DM3 and DM4 files of DigitalMicrograph, read frame by frame."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.axes import Axis, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.movie import Header, Stack
from segdepth.files.raw_frames import RawFrames

PIXEL_SIZE = "ImageData.Calibrations.Dimension"

_RGB = np.dtype([("b", "u1"), ("g", "u1"), ("r", "u1"), ("a", "u1")])
_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<i2"),
    2: np.dtype("<f4"),
    3: np.dtype("<c8"),
    5: np.dtype("<c8"),
    6: np.dtype("u1"),
    7: np.dtype("<i4"),
    8: _RGB,
    9: np.dtype("i1"),
    10: np.dtype("<u2"),
    11: np.dtype("<u4"),
    12: np.dtype("<f8"),
    13: np.dtype("<c16"),
    14: np.dtype("?"),
    23: _RGB,
    27: np.dtype("<c8"),
    28: np.dtype("<c16"),
}
"""ImageData.DataType. 5, 27 and 28 are complex numbers of a real picture's transform, packed."""

_ELECTRONS = ("e", "e-", "electrons", "el")
_ZERO_OF_TICKS = datetime(1601, 1, 1, tzinfo=UTC)
"""Windows counts ticks of 100 ns from here."""


def open_dm(path: Path, dataset: str) -> Stack:
    """An image or stack; `dataset` is its number in the file's list, by default the only one besides the thumbnail.

    Raises UnreadableFile: damaged, truncated, several images, or a spectrum, diffraction pattern, colour picture or
    complex numbers.
    """
    try:
        from segdepth.files.dm_tags import tags_of
    except ImportError as error:
        raise NotInstalled("DM files need: pip install 'segdepth[files]'") from error
    tags = tags_of(path)
    found, axes = chosen(list(_datasets(tags)), dataset)
    image = f".ImageList.{found.path}."
    offset = _integer(tags, f"{image}ImageData.Data.arrayOffset")
    length, (height, width) = axes.length, axes.shape
    need = length * height * width * found.dtype.itemsize
    if not 0 < offset <= path.stat().st_size - need or _integer(tags, f"{image}ImageData.Data.arraySize") < need:
        raise UnreadableFile("truncated: the pixels end beyond the end of the file")
    header = _header(tags, image, axes.header(PIXEL_SIZE), axes.interval_s())
    frames = RawFrames(path, offset, length, (height, width), found.dtype)
    return Stack(
        length=length,
        shape=(height, width),
        dtype=found.dtype,
        header=header,
        read=frames.read,
        close=frames.close,
    )


def _datasets(tags: Mapping[str, Any]) -> list[Dataset]:
    numbers = sorted({int(name.split(".")[2]) for name in tags if name.startswith(".ImageList.") and _numbered(name)})
    thumbnails = {int(tags[name]) + 1 for name in tags if _is_thumbnail(name)}
    found = [_dataset(tags, number) for number in numbers if f".ImageList.{number}.ImageData.DataType" in tags]
    # A file of nothing else is a picture after all.
    return [dataset for dataset in found if int(dataset.path) not in thumbnails] or found


def _numbered(name: str) -> bool:
    number = name.split(".")[2]
    return number.isascii() and number.isdigit() and len(number) < 6


def _is_thumbnail(name: str) -> bool:
    return name.startswith(".Thumbnails.") and name.endswith(".ImageIndex")


def _dataset(tags: Mapping[str, Any], number: int) -> Dataset:
    data = f".ImageList.{number}.ImageData."
    kind = _integer(tags, f"{data}DataType")
    title = str(tags.get(f".ImageList.{number}.Name", ""))
    axes: list[Axis] = []
    while f"{data}Dimensions.{len(axes) + 1}" in tags and len(axes) < 10:
        axes.append(_axis(tags, data, len(axes) + 1))
    axes.reverse()
    shape = tuple(axis.size for axis in axes)
    dtype = _TYPES.get(kind)
    if dtype is None:
        return Dataset(str(number), shape, np.dtype("V"), refusal=f"pixels of DM type {kind}", title=title)
    try:
        format_ = str(tags.get(f".ImageList.{number}.ImageTags.Meta Data.Format", "")).lower()
        if "spectrum" in format_:
            raise UnreadableFile(f"a {format_} ({' x '.join(map(str, shape))}), not frames of a specimen")
        return Dataset(str(number), shape, dtype, layout(axes, dtype), title=title)
    except UnreadableFile as error:
        return Dataset(str(number), shape, dtype, refusal=str(error), title=title)


def _axis(tags: Mapping[str, Any], data: str, number: int) -> Axis:
    calibration = f"{data}Calibrations.Dimension.{number}."
    scale, unit = _number(tags, f"{calibration}Scale"), str(tags.get(f"{calibration}Units", ""))
    return Axis(_integer(tags, f"{data}Dimensions.{number}"), scale=_decimal(scale), unit=unit)


def _header(tags: Mapping[str, Any], image: str, sampling: Header, interval_s: float | None) -> Header:
    # A stack put together in DigitalMicrograph keeps its images' tags one level below.
    told = [f"{image}ImageTags.", f"{image}ImageTags.source.Tags at creation."]

    def number(name: str) -> float | None:
        return next((value for prefix in told if (value := _number(tags, prefix + name))), None)

    voltage_V, c3_mm = number("Microscope Info.Voltage"), number("Microscope Info.Cs(mm)")
    ticks = number("DataBar.Acquisition Time (OS)")
    return Header(
        sampling.sampling_A,
        sampling.source,
        sampling.missing,
        counts_per_electron=_counts_per_electron(tags, image),
        beam_energy_kev=voltage_V / 1e3 if voltage_V and voltage_V > 0 else None,
        spherical_aberration_um=c3_mm * 1e3 if c3_mm else None,
        start=_time(ticks) if ticks else None,
        interval_s=interval_s,
    )


def _counts_per_electron(tags: Mapping[str, Any], image: str) -> float | None:
    brightness = f"{image}ImageData.Calibrations.Brightness."
    scale = _number(tags, f"{brightness}Scale")
    if str(tags.get(f"{brightness}Units", "")).strip().lower() not in _ELECTRONS or not scale or scale <= 0:
        return None
    return _decimal(1 / scale)


def _time(ticks: float) -> datetime | None:
    try:
        return _ZERO_OF_TICKS + timedelta(microseconds=ticks / 10)
    except OverflowError:
        return None


def _number(tags: Mapping[str, Any], name: str) -> float | None:
    value = tags.get(name)
    if isinstance(value, int | float | np.number) and math.isfinite(value):
        return float(value)
    return None


def _integer(tags: Mapping[str, Any], name: str) -> int:
    value = _number(tags, name)
    if value is None or value < 0 or value != int(value):
        raise UnreadableFile(f"damaged: {name.lstrip('.')} is {tags.get(name, 'missing')}")
    return int(value)


def _decimal(value: float | None) -> float | None:
    # Tags hold f32: seven digits are what was written.
    return None if value is None else float(f"{value:.7g}")
