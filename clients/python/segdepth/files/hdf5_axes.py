"""Axes of a dataset of an HDF5 file, as EMD and HyperSpy write them beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.axes import Axis
from segdepth.files.hdf5_objects import check_chunks, check_numbers, object_at

MOST_VALUES = 1_000_000
"""Of an axis that lists the place of each pixel."""


def axes_of(dataset: h5py.Dataset) -> tuple[list[Axis], str]:
    """Axes in the order of the shape, and where in the file they stand, "" if nowhere."""
    parent, numbers = dataset.parent, range(dataset.ndim)
    groups = [object_at(parent, f"axis-{number}") for number in numbers]
    if all(isinstance(group, h5py.Group) for group in groups):
        return _hyperspy_axes(dataset.shape, [group.attrs for group in groups]), "scale of axis-N"
    first = 0 if object_at(parent, "dim0") is not None else 1
    values = [object_at(parent, f"dim{first + number}") for number in numbers]
    if all(isinstance(each, h5py.Dataset) for each in values):
        axes = [_emd_axis(size, each) for size, each in zip(dataset.shape, values, strict=True)]
        # HyperSpy writes EMD files with all axes backwards and without a name.
        if "signal_type" in parent.attrs and not any(axis.name for axis in axes):
            axes[:2] = [replace(axis, name=name) for axis, name in zip(axes, "xy", strict=False)]
        return axes, "dimN of the EMD group"
    return [Axis(size) for size in dataset.shape], ""


def text(value: Any) -> str:
    """An attribute as text: it may be bytes, text or an array of one."""
    value = value.flat[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def number(value: Any) -> float | None:
    """An attribute as a finite number, None if it is something else."""
    value = value.flat[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value):
        return float(value)
    return None


def _hyperspy_axes(shape: tuple[int, ...], told: list[Any]) -> list[Axis]:
    axes = [
        Axis(size, _said(attributes, "name"), number(attributes.get("scale")), _said(attributes, "units"))
        for size, attributes in zip(shape, told, strict=True)
    ]
    along = [index for index, attributes in enumerate(told) if not attributes.get("navigate", True)]
    if len(along) == 1:
        # One axis of signal at each place is a spectrum, whatever its unit.
        axes[along[0]] = replace(axes[along[0]], name="energy")
    return axes


def _said(attributes: Any, name: str) -> str:
    said = text(attributes.get(name, ""))
    return "" if said in ("_None_", "None", "<undefined>") else said


def _emd_axis(size: int, values: h5py.Dataset) -> Axis:
    axis = Axis(size, text(values.attrs.get("name", "")), None, text(values.attrs.get("units", "")))
    if values.shape is None or values.ndim != 1 or values.dtype.kind not in "iuf":
        return axis
    if not 2 <= values.size <= MOST_VALUES:
        return axis
    try:
        check_numbers(values, Path(values.file.filename).stat().st_size)
        check_chunks(values, (slice(0, values.size),))
    except UnreadableFile:
        return axis
    # Two values say the step, more of them say it more exactly; f32 holds seven digits.
    places = values[()].astype(float)
    step = float(places[-1] - places[0]) / (len(places) - 1)
    return replace(axis, scale=float(f"{step:.7g}") if np.isfinite(step) else None)
