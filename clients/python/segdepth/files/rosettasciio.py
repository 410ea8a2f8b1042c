"""Formats that only RosettaSciIO reads. It is GPL: an extra that nothing else imports, and never a default."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files.axes import Axis, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.damage import DAMAGED
from segdepth.files.movie import Stack
from segdepth.files.slabs import Slabs

PIXEL_SIZE = "axes that RosettaSciIO found"

READERS = {
    ".mib": "quantumdetector",
    ".prz": "pantarhei",
    ".tvips": "tvips",
}
"""Its readers by the end of the name. Others are of spectra and 4-D scans alone, or of what is read without it."""


def open_with_rosettasciio(path: Path, dataset: str) -> Stack:
    """A stack of frames; `dataset` is the number of the signal in the file, from 0.

    Raises NotInstalled without RosettaSciIO; UnreadableFile: damaged, several movies, or none.
    """
    try:
        import rsciio  # noqa: F401 - its readers are modules of their own
    except ImportError as error:
        raise NotInstalled(f"{path.suffix} files need: pip install 'segdepth[rosettasciio]' (GPL)") from error
    try:
        reader = import_module(f"rsciio.{READERS[path.suffix.lower()]}").file_reader
        # A zipped array has no place in the file to be mapped from.
        signals = reader(str(path), lazy=path.suffix.lower() != ".prz")
    except ImportError as error:
        raise NotInstalled(f"{path.suffix} files need: pip install '{error.name}'") from error
    except DAMAGED as error:
        raise UnreadableFile(f"damaged, or not a file that RosettaSciIO reads: {error}") from error
    datasets = [_dataset(str(number), signal) for number, signal in enumerate(signals)]
    found, axes = chosen(datasets, dataset)
    signal = signals[int(found.path)]
    data = signal["data"]

    def read(part: tuple[slice, ...]) -> NDArray[Any]:
        try:
            return np.asarray(data[part])
        except DAMAGED as error:
            raise UnreadableFile(f"damaged: {error}") from error

    return Stack(
        length=axes.length,
        shape=axes.shape,
        dtype=found.dtype,
        header=replace(axes.header(PIXEL_SIZE), beam_energy_kev=_beam_energy_kev(signal), interval_s=axes.interval_s()),
        read=Slabs(read, axes, getattr(data, "chunksize", (1,) * data.ndim), found.dtype),
        close=lambda: None,
    )


def _dataset(number: str, signal: Mapping[str, Any]) -> Dataset:
    data, title = signal["data"], str(signal["metadata"].get("General", {}).get("title") or "")
    axes = [_axis(size, told) for size, told in zip(data.shape, signal["axes"], strict=True)]
    along = [index for index, told in enumerate(signal["axes"]) if not told.get("navigate", True)]
    if len(along) == 1:
        # One axis of signal at each place is a spectrum, whatever its unit.
        axes[along[0]] = replace(axes[along[0]], name="energy")
    try:
        return Dataset(number, data.shape, data.dtype, layout(axes, data.dtype), title=title)
    except UnreadableFile as error:
        return Dataset(number, data.shape, data.dtype, refusal=str(error), title=title)


def _axis(size: int, told: Mapping[str, Any]) -> Axis:
    scale, unit = told.get("scale"), told.get("units")
    # A scale without a unit is its default.
    known = isinstance(unit, str) and isinstance(scale, int | float | np.number)
    return Axis(size, str(told.get("name") or ""), float(scale) if known else None, unit if known else "")  # type: ignore[arg-type]


def _beam_energy_kev(signal: Mapping[str, Any]) -> float | None:
    tem = signal["metadata"].get("Acquisition_instrument", {}).get("TEM", {})
    energy = tem.get("beam_energy")
    return float(energy) if isinstance(energy, int | float) and energy > 0 else None
