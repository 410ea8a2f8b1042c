"""Images of EMD files that Velox wrote: frames are the last axis, all else is JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import h5py

from segdepth.files.axes import Axis
from segdepth.files.hdf5_objects import object_at
from segdepth.files.movie import Header

PIXEL_SIZE = "BinaryResult.PixelSize"
IMAGES = "/Data/Image"

MOST_BYTES = 4_000_000
"""Of the JSON of a frame: Velox reserves 60,000."""


@dataclass(frozen=True)
class Told:
    """The JSON of an image's first and last frame."""

    first: Mapping[str, Any]
    last: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The detector's name."""
        return str(_at(self.first, "BinaryResult", "Detector") or "")

    def axes(self, shape: tuple[int, ...]) -> list[Axis]:
        """Height, width and frames."""
        return [
            *(
                Axis(size, scale=_number(self.first, *PIXEL_SIZE.split("."), key), unit=self._unit(unit))
                for size, key, unit in ((shape[0], "height", "PixelUnitY"), (shape[1], "width", "PixelUnitX"))
            ),
            *(Axis(size) for size in shape[2:]),
        ]

    def header(self, header: Header, length: int) -> Header:
        """`header` with the energy, the time and the camera's gain."""
        voltage_V = _number(self.first, "Optics", "AccelerationVoltage")
        return replace(
            header,
            counts_per_electron=self._counts_per_electron(),
            beam_energy_kev=voltage_V / 1e3 if voltage_V and voltage_V > 0 else None,
            start=self._start(),
            interval_s=self._interval_s(length),
        )

    def _unit(self, name: str) -> str:
        return str(_at(self.first, "BinaryResult", name) or "")

    def _counts_per_electron(self) -> float | None:
        camera = f"Detectors[{self.title}]."
        electrons = _number(self.first, "CustomProperties", f"{camera}CountsToElectrons", "value")
        counts = _number(self.first, "CustomProperties", f"{camera}PixelValueToCameraCounts", "value")
        # Where a pixel is not a count, the file does not say how it was rounded.
        return float(f"{1 / electrons:.7g}") if electrons and electrons > 0 and counts in (None, 1) else None

    def _start(self) -> datetime | None:
        seconds = _number(self.first, "Acquisition", "AcquisitionStartDatetime", "DateTime")
        try:
            return datetime.fromtimestamp(seconds, UTC) if seconds and seconds > 0 else None
        except (OverflowError, ValueError, OSError):
            return None

    def _interval_s(self, length: int) -> float | None:
        frame_s = _number(self.first, "Scan", "FrameTime")
        if frame_s and frame_s > 0 and _at(self.first, "BinaryResult", "AcquisitionUnit") != "CameraImage":
            return frame_s if length > 1 else None
        first, last = (
            _number(told, "Acquisition", "AcquisitionDatetime", "DateTime") for told in (self.first, self.last)
        )
        return (last - first) / (length - 1) if first and last and length > 1 and last > first else None


def told_of(image: h5py.Group) -> Told:
    """What an image's metadata say, nothing where they are damaged: the pixels may still be read."""
    metadata = object_at(image, "Metadata")
    if not isinstance(metadata, h5py.Dataset) or metadata.ndim != 2 or metadata.dtype.kind != "u":
        return Told({}, {})
    if max(metadata.shape[0], math.prod(metadata.chunks or ())) > MOST_BYTES:
        return Told({}, {})
    if metadata.compression or metadata.external or metadata.is_virtual or not metadata.shape[1]:
        return Told({}, {})
    return Told(_parsed(metadata, 0), _parsed(metadata, metadata.shape[1] - 1))


def images_of(file: h5py.File) -> list[h5py.Group]:
    """The groups of the images, none if Velox did not write the file."""
    images = object_at(file["/"], IMAGES)
    if not isinstance(images, h5py.Group):
        return []
    groups = [images[name] for name in images if isinstance(images.get(name, getlink=True), h5py.HardLink)]
    return [group for group in groups if isinstance(object_at(group, "Data"), h5py.Dataset)]


def only_spectra(file: h5py.File) -> str:
    """What a file of Velox without an image holds, "" if it is none of Velox."""
    data = object_at(file["/"], "/Data")
    kinds = set(data) if isinstance(data, h5py.Group) else set()
    if kinds & {"SpectrumImage", "SpectrumStream", "EelsSpectrumImage"}:
        return "a spectrum image"
    return "a spectrum" if "Spectrum" in kinds else ""


def _parsed(metadata: h5py.Dataset, index: int) -> Mapping[str, Any]:
    try:
        told = json.loads(metadata[:, index].tobytes().rstrip(b"\0"))
    except (ValueError, OSError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _at(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _number(told: Mapping[str, Any], *names: str) -> float | None:
    # Velox writes numbers as text.
    try:
        value = float(_at(told, *names))
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
