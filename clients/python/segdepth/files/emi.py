"""What an EMI file of TIA says of the series beside it."""

import math
import mmap
from pathlib import Path
from xml.etree import ElementTree as ET

MOST_BYTES = 4_000_000
"""Of the XML: real ones have some thousand."""


def beam_energy_kev(path: Path) -> float | None:
    """The accelerating voltage [kV], None if the file is not there or does not say."""
    text = _object_info(path)
    if text is None:
        return None
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat resolves no external entities, and bounds internal ones
    except (ET.ParseError, ValueError):
        return None
    said = root.findtext("ExperimentalConditions/MicroscopeConditions/AcceleratingVoltage")
    try:
        voltage_V = float(said or "nan")
    except ValueError:
        return None
    return voltage_V / 1e3 if voltage_V > 0 and math.isfinite(voltage_V) else None


def _object_info(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(b"<ObjectInfo>")
            end = data.find(b"</ObjectInfo>", start, start + MOST_BYTES) if start >= 0 else -1
            return data[start : end + len(b"</ObjectInfo>")] if end >= 0 else None
    except (OSError, ValueError):
        return None
