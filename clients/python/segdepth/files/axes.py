"""What the axes of an array in a file are: frames, height and width, or something that is no movie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header
from segdepth.files.pixel_size import square
from segdepth.files.units import angstrom_per, is_energy, is_reciprocal, length_A, time_s

NO_MOVIE = "not frames of a specimen"


@dataclass(frozen=True)
class Axis:
    """An axis of an array: `scale` is the distance from one element to the next, in `unit` as the file spells it."""

    size: int
    name: str = ""
    scale: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Layout:
    """Which axis of an array is what; `frames` is None for one image."""

    frames: int | None
    height: int
    width: int
    axes: tuple[Axis, ...]

    @property
    def length(self) -> int:
        """Number of frames."""
        return 1 if self.frames is None else self.axes[self.frames].size

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a frame [px]."""
        return self.axes[self.height].size, self.axes[self.width].size

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of one frame in the array."""
        return tuple(1 if number == self.frames else axis.size for number, axis in enumerate(self.axes))

    def header(self, source: str) -> Header:
        """The pixel size [Å/px] that the axes say, at the place `source` of the file."""
        height, width = self.axes[self.height], self.axes[self.width]
        y_A, x_A = (length_A(axis.scale and abs(axis.scale), axis.unit) for axis in (height, width))
        if x_A is not None and y_A is not None:
            return square(x_A, y_A, source)
        axis = width if x_A is None else height
        if axis.scale is None:
            return Header(missing=f"the file has no {source}")
        if not axis.unit.strip("[] "):
            return Header(missing=f"{source} has no unit")
        if angstrom_per(axis.unit) is not None:
            return Header(missing=f"{source} is {axis.scale:g} {axis.unit}")
        return Header(missing=f"{source} has the unit {axis.unit!r}, which is no length")

    def interval_s(self) -> float | None:
        """Time from one frame to the next [s], where the axis of the frames is one of time."""
        if self.frames is None:
            return None
        return time_s(self.axes[self.frames].scale, self.axes[self.frames].unit)


def layout(axes: Sequence[Axis], dtype: np.dtype[Any], frames_last: bool = False) -> Layout:
    """Frames, height and width among `axes`, in the order in which they are stored.

    Axes that are called x and y are width and height, wherever they stand; without names the last two are, and the
    first of three is the frames', or the last if `frames_last`. Raises UnreadableFile, with the name of what it is, for
    anything that is no movie.
    """
    axes = tuple(axes)
    _check_pixels(dtype)
    _check_spectrum(axes)
    there = list(range(len(axes)))
    while len(there) > 3 and any(axes[index].size == 1 for index in there[:-2]):
        there.remove(next(index for index in there if axes[index].size == 1))
    if len(there) > 3:
        raise UnreadableFile(f"a 4-D scan ({_sizes(axes)}), {NO_MOVIE}")
    if len(there) == 3 and _is_colour(axes[there[1]], axes[there[2]]) and not frames_last:
        raise UnreadableFile(f"a colour (RGB) picture ({_sizes(axes)}): save it as grey")
    if named := _named(axes, there):
        there = named
    elif frames_last and len(there) == 3:
        there = [there[2], there[0], there[1]]
    height, width = there[-2:]
    for axis in (axes[height], axes[width]):
        if is_reciprocal(axis.unit):
            raise UnreadableFile(f"a diffraction pattern ({axis.unit.strip('[]').replace('_', '')}), {NO_MOVIE}")
    return Layout(there[0] if len(there) == 3 else None, height, width, axes)


def _check_pixels(dtype: np.dtype[Any]) -> None:
    names = [name.lower() for name in dtype.names or ()]
    if dtype.kind == "c" or any(name.startswith("imag") for name in names):
        raise UnreadableFile(f"complex numbers, {NO_MOVIE}: save their modulus, or the image itself")
    if {"r", "g", "b"} <= set(names):
        raise UnreadableFile("a colour (RGB) picture: save it as grey")
    if dtype.kind not in "biuf":
        raise UnreadableFile(f"values of type {dtype}, {NO_MOVIE}")


def _is_colour(width: Axis, last: Axis) -> bool:
    """Whether the last of three axes, of which the file says nothing, counts colours."""
    return last in (Axis(3), Axis(4)) and width.size > 4


def _check_spectrum(axes: Sequence[Axis]) -> None:
    if not axes:
        raise UnreadableFile(f"a single number, {NO_MOVIE}")
    # A place at which a spectrum was taken is an axis too: what else there is decides.
    long = [axis for axis in axes if axis.size > 1] or list(axes)
    energies = [axis for axis in axes if is_energy(axis.unit) or axis.name.lower() in ("energy", "wavelength")]
    if energies and any(axis not in energies for axis in long):
        raise UnreadableFile(f"a spectrum image ({_sizes(axes)}), {NO_MOVIE}")
    if energies or len(axes) == 1:
        raise UnreadableFile(f"a spectrum or profile ({_sizes(axes)}), {NO_MOVIE}")


def _named(axes: Sequence[Axis], there: list[int]) -> list[int]:
    """Those of two or three axes that are left, ordered by their names: frames, y, x; empty where names do not say."""
    names = {index: axes[index].name.lower().rpartition("_")[2] for index in there}
    by_name = {name: index for index, name in names.items()}
    if list(names.values()).count("x") != 1 or list(names.values()).count("y") != 1:
        return []
    return [index for index, name in names.items() if name not in ("x", "y")] + [by_name["y"], by_name["x"]]


def _sizes(axes: Sequence[Axis]) -> str:
    return " x ".join(str(axis.size) for axis in axes)
