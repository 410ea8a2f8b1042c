"""What a TIFF file says of its frames, wherever it does."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header
from segdepth.files.pixel_size import square
from segdepth.files.tiff_counts import ome_root
from segdepth.files.tiff_vendors import VENDORS
from segdepth.files.units import is_reciprocal, length_A, time_s
from segdepth_protos import contract

if TYPE_CHECKING:
    import tifffile


def header_of(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries", notes: tuple[str, ...]) -> Header:
    """The first of OME, ImageJ, a microscope's own tags and the resolution tags that says a pixel size.

    Raises UnreadableFile for a diffraction pattern.
    """
    if tiff.is_ome and ome_root(tiff) is None:
        notes += ("its OME-XML is damaged and not used",)
    page = series.keyframe
    known: Header | None = None
    for found in (_ome(tiff, series), _imagej(tiff, page), *(tags(page) for tags in VENDORS), _resolution(page)):
        if found is not None and (known is None or (known.sampling_A is None and found.sampling_A is not None)):
            known = found
    if known is None:
        where = "OME PhysicalSizeX, ImageJ unit, microscope's tag or resolution tag"
        known = Header(missing=f"no {where} gives a pixel size")
    return replace(known, notes=notes)


def _ome(tiff: "tifffile.TiffFile", series: "tifffile.TiffPageSeries") -> Header | None:
    root = ome_root(tiff)
    if root is None:
        return None
    images = root.findall("{*}Image")
    index = tiff.series.index(series) if series.kind == "ome" else 0
    image = images[index] if index < len(images) else None
    pixels = image.find("{*}Pixels") if image is not None else None
    if image is None or pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    x = length_A(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    y = length_A(pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit", "µm"))
    if "PhysicalSizeY" not in pixels.attrib:
        y = x
    if x is None or y is None:
        return None
    return replace(
        square(x, y, "OME PhysicalSizeX"),
        start=_moment(image),
        interval_s=time_s(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")),
    )


def _moment(image: ET.Element) -> datetime | None:
    try:
        return datetime.fromisoformat(image.findtext("{*}AcquisitionDate", ""))
    except ValueError:
        return None


def _imagej(tiff: "tifffile.TiffFile", page: "tifffile.TiffPage") -> Header | None:
    meta = tiff.imagej_metadata or {}
    unit, resolution = str(meta.get("unit", "")), _pixels_per_unit(page)
    if is_reciprocal(unit):
        raise UnreadableFile(f"a diffraction pattern ({unit}), not frames of a specimen")
    if resolution is None:
        return None
    x, y = (length_A(1 / value, unit) for value in resolution)
    if x is None or y is None:
        return None
    interval_s = time_s(_text(meta.get("finterval")), str(meta.get("tunit", "s")))
    return replace(square(x, y, "ImageJ unit and resolution"), interval_s=interval_s)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _resolution(page: "tifffile.TiffPage") -> Header | None:
    resolution = _pixels_per_unit(page)
    unit = page.tags.valueof("ResolutionUnit")
    per_unit = {2: 2.54e8, 3: 1e8}.get(int(unit)) if unit is not None else None
    if resolution is None or per_unit is None:
        return None
    x, y = per_unit / resolution[0], per_unit / resolution[1]
    low, high = contract.SAMPLING_LIMITS
    # Most programs write the resolution of a screen or a printer here: 72 per inch says nothing of a specimen.
    return square(x, y, "resolution tags") if low <= x <= high else None


def _pixels_per_unit(page: "tifffile.TiffPage") -> tuple[float, float] | None:
    values = [_rational(page.tags.valueof(name)) for name in ("XResolution", "YResolution")]
    return (values[0], values[1]) if values[0] and values[1] else None


def _rational(value: Any) -> float | None:
    if value is None:
        return None
    numerator, denominator = value
    return numerator / denominator if denominator else None
