"""What callers hand over, checked before anything else sees it: a wrong type ends in a word on what would be right."""

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import InvalidFrame, InvalidType

T = TypeVar("T")

LONGEST_S = 365 * 86_400.0
"""Longest time that anybody waits [s]: "for ever" is this long."""

IMAGE = "an array [height, width] of u8, u16, i16, f16 or f32"

_CONVERSIONS = {
    "torch": "hand over tensor.numpy(force=True)",
    "tensorflow": "hand over tensor.numpy()",
    "PIL": "hand over numpy.asarray(picture)",
    "pathlib": "read the file first: segdepth.files.open_movie(path)",
}
"""By the package that a foreign type is from."""
_BUILTIN_CONVERSIONS = {
    "str": "read the file first: segdepth.files.open_movie(path)",
    "list": "hand over numpy.array(rows, 'u2')",
    "tuple": "hand over numpy.array(rows, 'u2')",
    "bytes": "hand over numpy.frombuffer(data, 'u2').reshape(height, width)",
}


def checked(value: Any, kinds: type[T] | tuple[type[T], ...], field: str, right: str) -> T:
    """The value, InvalidType unless it is of one of `kinds`; `right` says in words what would be."""
    if not isinstance(value, kinds):
        raise wrong_type(value, field, right)
    return value


def wrong_type(value: Any, field: str, right: str, hint: str = "") -> InvalidType:
    """The error of a field that is `right` in words, and is not."""
    return InvalidType(f"{field}: {described(value)} is not {right}{hint and '; '}{hint}", field)


def described(value: Any) -> str:
    """A value by its type, short ones in full."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if value is None:
        return "None"
    a_name = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    short = isinstance(value, str | int | float | complex) and len(repr(value)) <= 40
    return f"{value!r} ({a_name})" if short else a_name


def text(value: Any, field: str) -> str:
    """A string."""
    return checked(value, str, field, "a string")


def flag(value: Any, field: str) -> bool:
    """True or False."""
    return bool(checked(value, (bool, np.bool_), field, "True or False"))


def number(value: Any, field: str, right: str = "a number") -> float:
    """A real number of any numeric type; a string is none, and neither is an array."""
    none = isinstance(value, str | bytes | bytearray | bool | np.bool_) or value is np.ma.masked
    if none or getattr(value, "ndim", 0) != 0:
        raise wrong_type(value, field, right)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong_type(value, field, right) from None


def whole(value: Any, field: str, right: str = "a whole number") -> int:
    """An integer of any integer type."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise wrong_type(value, field, right)
    try:
        return int(value.__index__())
    except TypeError:  # of an array
        raise wrong_type(value, field, right) from None


def wait_s(value: Any, field: str = "timeout_s") -> float:
    """How long to wait [s], at most LONGEST_S. InvalidFrame unless it is positive."""
    seconds = number(value, field, "a time in seconds")
    if not seconds > 0:
        raise InvalidFrame(f"{field}: {seconds:g} is not a positive time in seconds", field)
    return min(seconds, LONGEST_S)


def numbers(values: Any, field: str) -> tuple[float, ...]:
    """Numbers in a row."""
    row = several(values, field, "a row of numbers")
    return tuple(number(value, f"{field}[{index}]") for index, value in enumerate(row))


def several(values: Any, field: str, right: str) -> Iterable[Any]:
    """What can be gone through, one after the other: a string is none, and neither is an array of no dimension."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise wrong_type(values, field, right)
    return values


def image_array(image: Any, field: str = "frame") -> NDArray[Any]:
    """An image as numpy's array; masked pixels become NaN, which is how a frame says that it has none there.

    Takes whatever holds numpy's types (xarray, dask, zarr, h5py). InvalidType for anything else.
    """
    if np.ma.isMaskedArray(image):
        return _unmasked(image)
    if isinstance(image, np.ndarray):
        return image
    if isinstance(getattr(image, "dtype", None), np.dtype) and hasattr(image, "__array__"):
        return np.asarray(image)
    raise wrong_type(image, field, IMAGE, conversion(image))


def _unmasked(image: "np.ma.MaskedArray[Any, Any]") -> NDArray[Any]:
    pixels = np.asarray(image.data)
    # f32 holds every value of the types that are sent; the others are refused for what they are.
    if not np.ma.is_masked(image) or pixels.dtype.kind not in "uif" or pixels.dtype.itemsize > 4:
        return pixels
    return np.where(np.ma.getmaskarray(image), np.float32(math.nan), pixels.astype(np.float32))


def conversion(value: Any) -> str:
    """What makes an array of a foreign type, "" if that is not known."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return _BUILTIN_CONVERSIONS.get(kind.__name__, "")
    return _CONVERSIONS.get(kind.__module__.partition(".")[0], "")
