"""The section [camera] of a detector's profile. Other sections are not this module's matter."""

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.arguments import numbers, whole
from segdepth.detector.bad_pixels import BadPixels
from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.files import open_movie

SECTION = "camera"

GAUSSIAN_VALUES = 65
"""Values of a modulation transfer that is stated as a Gaussian's width."""

_ANY_A = 0.1
"""A pixel size for images whose own nobody needs [Å/px]: a dark image shows no specimen."""


def read_camera(path: Path) -> dict[str, Any]:
    """What [camera] says, as arguments of a Detector. Images are named relative to the profile.

    Raises UnreadableFile: no such file, no TOML, no [camera], unknown keys, values of a wrong type, unreadable images.
    """
    camera = _section(path)
    names = {key: value for key, value in camera.items() if isinstance(value, str)}
    if isinstance(bad := camera.get("bad_pixels"), dict) and isinstance(bad.get("mask"), str):
        names["bad_pixels"] = bad["mask"]
    found: dict[str, Any] = {"names": names}
    for key, value in camera.items():
        argument, read = _KEYS[key]
        try:
            found[argument] = read(value, path.parent)
        except (InvalidFrame, UnreadableFile) as error:
            raise UnreadableFile(f"[{SECTION}] {key}: {error}") from error
    return found


def _section(path: Path) -> dict[str, Any]:
    try:
        camera = tomllib.loads(path.read_text("utf-8")).get(SECTION)
    except OSError as error:
        raise UnreadableFile(error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"not a TOML file: {error}") from error
    if not isinstance(camera, dict):
        raise UnreadableFile(f"no section [{SECTION}]; it may have {', '.join(_KEYS)}")
    unknown = [key for key in camera if key not in _KEYS]
    if unknown:
        raise UnreadableFile(f"[{SECTION}] {', '.join(unknown)}: unknown; there is {', '.join(_KEYS)}")
    return camera


def _number(value: Any, _: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnreadableFile(f"{value!r} is not a number")
    return float(value)


def _dark(value: Any, folder: Path) -> NDArray[np.float32] | float:
    return _image(value, folder) if isinstance(value, str) else _number(value, folder)


def _image(value: Any, folder: Path) -> NDArray[np.float32]:
    """The mean of all frames of a file."""
    if not isinstance(value, str):
        raise UnreadableFile(f"{value!r} is not the name of an image")
    with open_movie(f"{folder / value}", _ANY_A) as movie:
        total = np.zeros(movie.shape)
        for frame in movie:
            total += frame
        return (total / len(movie)).astype(np.float32)


def _bad_pixels(value: Any, folder: Path) -> BadPixels:
    match value:
        case str():
            return BadPixels(mask=_image(value, folder))
        case list():
            return BadPixels(pixels=_pixels(value))
        case dict():
            known = {"mask", "pixels", "rows", "columns"}
            if unknown := set(value) - known:
                raise UnreadableFile(f"{', '.join(sorted(unknown))}: unknown; there is {', '.join(sorted(known))}")
            return BadPixels(
                mask=_image(value["mask"], folder) if "mask" in value else None,
                pixels=_pixels(value.get("pixels", [])),
                rows=_indices(value.get("rows", []), "rows"),
                columns=_indices(value.get("columns", []), "columns"),
            )
        case _:
            raise UnreadableFile(f"{value!r} is neither the name of a mask nor a list of [x, y]")


def _pixels(value: Any) -> tuple[tuple[int, int], ...]:
    pairs = [_indices(pair, "pixels") for pair in value] if isinstance(value, list) else [()]
    if any(len(pair) != 2 for pair in pairs):
        raise UnreadableFile("pixels: a list of [x, y] is expected")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _indices(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise UnreadableFile(f"{what}: {value!r} is not a list of whole numbers")
    return tuple(whole(one, what) for one in value)


def _mtf(value: Any, folder: Path) -> tuple[float, ...]:
    if not isinstance(value, dict):
        return numbers(value, "mtf")
    if set(value) != {"sigma_px"}:
        raise UnreadableFile(
            f"{', '.join(value)}: a list of values from zero frequency to Nyquist's, or sigma_px alone"
        )
    sigma_px = _number(value["sigma_px"], folder)
    if sigma_px < 0:
        raise UnreadableFile(f"sigma_px: {sigma_px:g} is negative")
    return gaussian_mtf(sigma_px)


def gaussian_mtf(sigma_px: float) -> tuple[float, ...]:
    """The modulation transfer of a point that is spread by a Gaussian of standard deviation `sigma_px` [px]."""
    per_px = np.linspace(0, 0.5, GAUSSIAN_VALUES)
    return tuple(np.exp(-2 * (np.pi * sigma_px * per_px) ** 2).tolist())


_KEYS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "dark": ("dark", _dark),
    "gain": ("gain", _image),
    "bad_pixels": ("bad_pixels", _bad_pixels),
    "counts_per_electron": ("counts_per_electron", _number),
    "mtf": ("modulation_transfer", _mtf),
    "black_level": ("black_level", _number),
}
"""Keys of the section: which argument of a Detector each is, and what reads it."""
