"""An NTNDArray of EPICS PV Access as a picture: pixels, number, time, attributes. Knows nothing of connections."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.files.pixels import Converter
from segdepth.live.ndarray_codecs import decompressed
from segdepth_protos import contract

TYPE = "epics:nt/NTNDArray:1"
"""How the identity of such a structure begins."""

_COLOURS = ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV411")
"""areaDetector's ColorMode: NDColorMode_t of NDArray.h."""

_COMPRESSED = dict(enumerate(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")))
"""codec.parameters: the ScalarType of pvData that the pixels had before they were compressed."""

_FIRST_YEAR_S, _LAST_YEAR_S = -62_135_596_800, 253_402_300_799
"""The years 1 and 9999, which a datetime can hold."""


@dataclass(frozen=True)
class Stamp:
    """When and as what number the camera says that the frame was taken."""

    number: int
    time_s: float | None
    """Seconds since 1970, None where no clock was read."""

    @property
    def time(self) -> datetime | None:
        """The same as a date, None also where it is none."""
        if self.time_s is None or not _FIRST_YEAR_S <= self.time_s <= _LAST_YEAR_S:
            return None
        return datetime.fromtimestamp(self.time_s, UTC)


def is_empty(value: Any) -> bool:
    """A structure without pixels: what a server shows before its first frame."""
    pixels = value.value
    return pixels is None or not len(pixels)


def stamp(value: Any) -> Stamp:
    """Its number and time: `timeStamp`, or `dataTimeStamp` where that is not set."""
    for field in ("timeStamp", "dataTimeStamp"):
        seconds = value.get(f"{field}.secondsPastEpoch", 0)
        if seconds:
            return Stamp(value.uniqueId, seconds + value.get(f"{field}.nanoseconds", 0) * 1e-9)
    return Stamp(value.uniqueId, None)


def attributes(value: Any) -> dict[str, Any]:
    """Its attributes by name; of one that is given twice, the last."""
    return {each.name: each.value for each in value.attribute}


def image(value: Any, said: dict[str, Any]) -> NDArray[Any]:
    """Its pixels [height, width] in a type that can be sent, without losing what matters; `said`: its attributes.

    Raises InvalidFrame, with a word on what would be right: colour, several pictures in one, sizes that do not fit, a
    codec that is not read, damage, integers beyond what f32 holds; NotInstalled for a codec.
    """
    _check_grey(said.get("ColorMode"))
    height, width = _shape([each.size for each in value.dimension])
    pixels = value.value
    codec = value.get("codec.name") or ""
    if codec and codec != "none":
        stored = _stored(value.get("codec.parameters"), pixels.dtype)
        _check_size(height, width, stored)
        compressed = pixels.tobytes()
        size = value.get("compressedSize", 0)
        pixels = decompressed(codec, compressed[:size] if size > 0 else compressed, stored, (height, width))
    if pixels.size != height * width:
        raise InvalidFrame(f"{pixels.size} pixels where dimension says {width} x {height}")
    try:
        return Converter(pixels.dtype)(pixels.reshape(height, width))
    except UnreadableFile as error:
        raise InvalidFrame(str(error)) from error


def _check_grey(colour: Any) -> None:
    # As a number or as its name; one that nobody knows is taken for what the dimensions say.
    number = _COLOURS.index(colour) if isinstance(colour, str) and colour in _COLOURS else colour
    if isinstance(number, int) and 0 < number < len(_COLOURS):
        raise InvalidFrame(f"ColorMode {_COLOURS[number]}: frames of colours are not counted; acquire in Mono")


def _shape(sizes: list[int]) -> tuple[int, int]:
    """(height, width): areaDetector names the axes from the fastest on, x first."""
    axes = sizes[:2] + [size for size in sizes[2:] if size != 1]
    if len(axes) != 2 or min(axes) < 1:
        raise InvalidFrame(f"dimension {' x '.join(map(str, sizes)) or 'missing'}: a frame has two axes, x and y")
    return axes[1], axes[0]


def _stored(parameters: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if isinstance(parameters, int) and parameters in _COMPRESSED:
        return np.dtype(_COMPRESSED[parameters])
    return dtype


def _check_size(height: int, width: int, dtype: np.dtype[Any]) -> None:
    size = math.prod((height, width, dtype.itemsize))
    if size > contract.FRAME_BYTES:
        raise InvalidFrame(f"{width} x {height} pixels of {dtype}: at most {contract.FRAME_BYTES} bytes can be sent")
