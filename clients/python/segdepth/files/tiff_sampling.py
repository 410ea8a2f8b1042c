"""The pixel size that a TIFF file states, wherever it does."""

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth_protos import contract

if TYPE_CHECKING:
    import tifffile

ANGSTROM_PER = {
    "pm": 1e-2,
    "å": 1.0,
    "a": 1.0,
    "angstrom": 1.0,
    "ångström": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "nanometre": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "m": 1e10,
}
"""Units of length in metadata, lower case, the micro sign in one of its two spellings."""


def sampling_A(tiff: "tifffile.TiffFile") -> float | None:
    """Pixel size [Å/px] from OME, ImageJ or the resolution tags, None if none has it. UnreadableFile if not square."""
    for look in (_ome, _imagej, _resolution):
        sizes = look(tiff)
        if sizes is not None:
            x, y = (float(f"{size:.7g}") for size in sizes)
            if abs(x - y) > 0.01 * x:
                raise UnreadableFile(f"pixels of {x:g} x {y:g} Å are not square; resample the file")
            return x
    return None


def _ome(tiff: "tifffile.TiffFile") -> tuple[float, float] | None:
    if not tiff.ome_metadata:
        return None
    try:
        root = ET.fromstring(tiff.ome_metadata)  # noqa: S314 - expat resolves no external entities
    except ET.ParseError as error:
        raise UnreadableFile(f"damaged OME-XML: {error}") from error
    pixels = root.find(".//{*}Pixels")
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    x = _length(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    y = _length(pixels.get("PhysicalSizeY", pixels.get("PhysicalSizeX")), pixels.get("PhysicalSizeYUnit", "µm"))
    return (x, y if "PhysicalSizeY" in pixels.attrib else x) if x and y else None


def _imagej(tiff: "tifffile.TiffFile") -> tuple[float, float] | None:
    unit = (tiff.imagej_metadata or {}).get("unit")
    resolution = _pixels_per_unit(tiff)
    if unit is None or resolution is None:
        return None
    sizes = [_length(1 / value, str(unit)) for value in resolution]
    return (sizes[0], sizes[1]) if sizes[0] and sizes[1] else None


def _resolution(tiff: "tifffile.TiffFile") -> tuple[float, float] | None:
    resolution = _pixels_per_unit(tiff)
    unit = tiff.pages.first.tags.get("ResolutionUnit")
    per_unit = {2: 2.54e8, 3: 1e8}.get(int(unit.value)) if unit is not None else None
    if resolution is None or per_unit is None:
        return None
    x, y = per_unit / resolution[0], per_unit / resolution[1]
    low, high = contract.SAMPLING_LIMITS
    # Most programs write the resolution of a screen or a printer here: 72 per inch says nothing of a specimen.
    return (x, y) if low <= x <= high else None


def _pixels_per_unit(tiff: "tifffile.TiffFile") -> tuple[float, float] | None:
    tags = tiff.pages.first.tags
    values = [_rational(tags.get(name)) for name in ("XResolution", "YResolution")]
    return (values[0], values[1]) if values[0] and values[1] else None


def _rational(tag: Any) -> float | None:
    if tag is None:
        return None
    numerator, denominator = tag.value
    return numerator / denominator if denominator else None


def _length(value: str | float | None, unit: str) -> float | None:
    factor = ANGSTROM_PER.get(unit.replace("\\u00B5", "µ").replace("\u03bc", "µ").replace("\u212b", "Å").lower())
    try:
        length = float(value) * factor if value is not None and factor else 0.0
    except ValueError:
        return None
    return length if length > 0 and np.isfinite(length) else None
