"""What a TIFF file says of its frames, wherever it does."""

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header
from segdepth.files.pixel_size import square
from segdepth.files.units import length_A
from segdepth_protos import contract

if TYPE_CHECKING:
    import tifffile


def header_of(tiff: "tifffile.TiffFile") -> Header:
    """The pixel size from OME, ImageJ or the resolution tags."""
    looks = (("OME PhysicalSizeX", _ome), ("ImageJ unit and resolution", _imagej), ("resolution tags", _resolution))
    for source, look in looks:
        sizes = look(tiff)
        if sizes is not None:
            return square(*sizes, source)
    return Header(missing="no OME PhysicalSizeX, ImageJ unit or resolution tag gives a pixel size")


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
    x = length_A(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    y = length_A(pixels.get("PhysicalSizeY", pixels.get("PhysicalSizeX")), pixels.get("PhysicalSizeYUnit", "µm"))
    return (x, y if "PhysicalSizeY" in pixels.attrib else x) if x and y else None


def _imagej(tiff: "tifffile.TiffFile") -> tuple[float, float] | None:
    unit = (tiff.imagej_metadata or {}).get("unit")
    resolution = _pixels_per_unit(tiff)
    if unit is None or resolution is None:
        return None
    sizes = [length_A(1 / value, str(unit)) for value in resolution]
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
