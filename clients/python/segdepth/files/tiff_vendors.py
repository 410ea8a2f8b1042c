"""What microscopes and their programs write into tags of their own: DigitalMicrograph, TIA, SIS, TVIPS, Zeiss, JEOL."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header
from segdepth.files.pixel_size import square
from segdepth.files.units import is_reciprocal, length_A, time_s

if TYPE_CHECKING:
    import tifffile

_DIFFRACTION = "a diffraction pattern ({}), not frames of a specimen"

# Of DigitalMicrograph: of each axis (x, y, frames) the unit and the distance from one element to the next.
_GATAN_UNITS, _GATAN_SCALES = (65003, 65004, 65005), (65009, 65010, 65011)
_FEI, _SIS, _TVIPS, _ZEISS = (34680, 34682), 33560, 37706, 34118


def _gatan(page: "tifffile.TiffPage") -> Header | None:
    tags = page.tags
    units = [str(tags.valueof(code, "")).strip("\0") for code in _GATAN_UNITS]
    scales = [_positive(tags.valueof(code)) for code in _GATAN_SCALES]
    if is_reciprocal(units[0]):
        raise UnreadableFile(_DIFFRACTION.format(units[0]))
    x, y = (length_A(scale, unit) for scale, unit in zip(scales[:2], units[:2], strict=True))
    if x is None or y is None:
        return None
    return replace(square(x, y, "DigitalMicrograph's tags 65003-65010"), interval_s=time_s(scales[2], units[2]))


def _fei(page: "tifffile.TiffPage") -> Header | None:
    meta = next((value for code in _FEI if isinstance(value := page.tags.valueof(code), dict)), None)
    if meta is None:
        return None
    scan, beam = meta.get("Scan", {}), meta.get("Beam", {})
    found = _in_metres(scan.get("PixelWidth"), scan.get("PixelHeight"), "Scan.PixelWidth of the FEI tag")
    return replace(found, beam_energy_kev=_positive(beam.get("HV"), 1e-3))


def _sis(page: "tifffile.TiffPage") -> Header | None:
    meta = page.tags.valueof(_SIS)
    if not isinstance(meta, dict):
        return None
    return _in_metres(meta.get("pixelsizex"), meta.get("pixelsizey"), "pixel size of the Olympus SIS tag")


def _tvips(page: "tifffile.TiffPage") -> Header | None:
    meta = page.tags.valueof(_TVIPS)
    if not isinstance(meta, dict):
        return None
    x, y = (_positive(meta.get(name), 1e-9) for name in ("PixelSizeX", "PixelSizeY"))
    found = _in_metres(x, y, "PixelSizeX of the TVIPS tag")
    return replace(found, beam_energy_kev=_positive(meta.get("TemHighTension"), 1e-3))


def _zeiss(page: "tifffile.TiffPage") -> Header | None:
    meta = page.tags.valueof(_ZEISS)
    if not isinstance(meta, dict):
        return None
    nameless: Sequence[Any] = meta.get("", ())
    # Without a name: the pixel size at a width of 1024 pixels.
    pixel = _positive(nameless[3], 1024 / page.imagewidth) if len(nameless) > 3 else None
    volts: Sequence[Any] = meta.get("ap_actualkv") or meta.get("ap_manualkv") or ()
    found = _in_metres(pixel, pixel, "pixel size of the Zeiss SEM tag")
    return replace(found, beam_energy_kev=_positive(volts[1]) if len(volts) > 1 else None)


def _jeol(page: "tifffile.TiffPage") -> Header | None:
    text = page.description
    if "<TemReporter" not in text:
        return None
    try:
        report = ET.fromstring(text[: text.rfind(">") + 1])  # noqa: S314 - expat resolves no external entities
    except ET.ParseError:
        return None
    imaging = "ImageFormingSystem/"
    if report.findtext(f"{imaging}ImageFormingMode") == "modeDIFF":
        raise UnreadableFile(_DIFFRACTION.format("1/nm"))
    magnification = _positive(report.findtext(f"{imaging}SelectorValue"))
    found = Header(missing="JEOL's report has no magnification of an image")
    if report.findtext("Eos/EosMode") == "eosTEM" and magnification:
        densities = (_positive(report.findtext(f".//PixelsPerMeter/{way}")) for way in ("Horizontal", "Vertical"))
        x, y = (1 / density / magnification if density else None for density in densities)
        found = _in_metres(x, y, "magnification and PixelsPerMeter of JEOL's report")
    return replace(
        found,
        beam_energy_kev=_positive(report.findtext("ElectronGun/AccelerationVoltage"), 1e-3),
        start=_moment(report.findtext("DateTime", "")),
    )


VENDORS = (_gatan, _fei, _sis, _tvips, _zeiss, _jeol)
"""Each looks for its tag; None if there is none or it says nothing."""


def _in_metres(x: Any, y: Any, source: str) -> Header:
    x_A, y_A = length_A(_positive(x), "m"), length_A(_positive(y), "m")
    return square(x_A, y_A, source) if x_A and y_A else Header(missing=f"no {source}")


def _positive(value: Any, factor: float = 1.0) -> float | None:
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if number > 0 and math.isfinite(number) else None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
