"""HDF5 files, dataset by dataset: EMD of NCEM and of Velox, HyperSpy's, and any other by path."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile
from segdepth.files import hdf5_probe, velox
from segdepth.files.axes import NO_MOVIE, Layout, layout
from segdepth.files.choice import Dataset, chosen
from segdepth.files.damage import DAMAGED
from segdepth.files.hdf5_axes import axes_of, number
from segdepth.files.hdf5_objects import check_chunks, check_numbers, dataset_at, datasets, object_at
from segdepth.files.movie import Header, Stack
from segdepth.files.slabs import Slabs

CHUNK_CACHE_BYTES = 16 * 1024 * 1024

PATIENCE_S = 60.0
"""For a look through a file, on a busy machine."""

LEAST_VOLTAGE_V = 10_000.0
"""A high tension below that is given in another unit."""


def open_hdf5(path: Path, dataset: str, *, growing: bool = False) -> Stack:
    """A stack of frames: `dataset` is its path in the file, by default the only one that can be a movie.

    growing: also beside a writer that lets others read meanwhile (SWMR).

    Raises UnreadableFile: damaged, incomplete, several movies, a spectrum, a diffraction pattern, a 4-D scan, complex
    numbers, or numbers that lie in another file.
    """
    _check_in_another_process(path, growing)
    try:
        file = hdf5_probe.opened(path, growing=growing, rdcc_nbytes=CHUNK_CACHE_BYTES)
    except DAMAGED as error:
        raise UnreadableFile(f"not an HDF5 file, truncated or damaged: {error}") from error
    try:
        return _stack(file, path, dataset)
    except UnreadableFile:
        file.close()
        raise
    except DAMAGED as error:
        with suppress(*DAMAGED):
            file.close()
        raise UnreadableFile(f"damaged: {error}") from error


def _check_in_another_process(path: Path, growing: bool) -> None:
    """Raises UnreadableFile for a file on which the HDF5 library fails, hangs or crashes."""
    probe = [sys.executable, "-P", hdf5_probe.__file__, str(path.absolute())]
    probe += [hdf5_probe.GROWING] if growing else []
    # numpy's threads would need more memory than the process may have.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(probe, capture_output=True, timeout=PATIENCE_S, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise UnreadableFile("damaged: the HDF5 library comes to no end") from error
    if ended.returncode:
        word = ended.stdout.decode(errors="replace").strip() or "the HDF5 library crashes, or comes to no end"
        raise UnreadableFile(f"not an HDF5 file, truncated or damaged: {word}")


def _stack(file: h5py.File, path: Path, dataset: str) -> Stack:
    images = velox.images_of(file)
    if not images and not dataset and (spectra := velox.only_spectra(file)):
        raise UnreadableFile(f"{spectra}, {NO_MOVIE}")
    found, axes = _chosen(file, images, dataset)
    array = dataset_at(file, found.path)
    size = path.stat().st_size
    check_numbers(array, size)

    def read(part: tuple[slice, ...]) -> NDArray[np.generic]:
        try:
            check_chunks(array, part)
            return np.asarray(array[part])
        except DAMAGED as error:
            if isinstance(error, UnreadableFile):
                raise
            raise UnreadableFile(f"damaged: {error}") from error

    return Stack(
        length=axes.length,
        shape=axes.shape,
        dtype=array.dtype,
        header=_header(file, array, axes, bool(images)),
        read=Slabs(read, axes, array.chunks or axes.frame, array.dtype),
        close=file.close,
    )


def _chosen(file: h5py.File, images: list[h5py.Group], path: str) -> tuple[Dataset, Layout]:
    if images and not path:
        return chosen([_velox_dataset(image) for image in images], "")
    if path:
        array = dataset_at(file, _array_path(file, path))
        image = array.parent if images and array.parent.name.startswith(f"{velox.IMAGES}/") else None
        return chosen([_velox_dataset(image) if image is not None else _dataset(array)], "")
    everything = list(datasets(file))
    emd = [array for array in everything if _is_emd(array)]
    return chosen([_dataset(array) for array in emd or _numbers(everything)], "")


def _array_path(file: h5py.File, path: str) -> str:
    """The array of an image's group, where the group is named."""
    data = f"/{path.strip('/')}/Data"
    return data if isinstance(object_at(file["/"], data), h5py.Dataset) else path


def _is_emd(array: h5py.Dataset) -> bool:
    parent = array.parent.attrs
    listed = array.name.rpartition("/")[2].startswith("dim")
    return ("emd_group_type" in parent or "signal_type" in parent) and not listed


def _numbers(arrays: list[h5py.Dataset]) -> Iterator[h5py.Dataset]:
    """Arrays that may be pictures; if there is none, all others, to be refused by their name."""
    many = [array for array in arrays if array.shape is not None and array.dtype.kind in "biufcV" and array.size]
    yield from [array for array in many if array.ndim >= 2 and min(array.shape[-2:]) > 1] or many


def _dataset(array: h5py.Dataset) -> Dataset:
    shape = array.shape or ()
    try:
        axes, _ = axes_of(array)
        last = [bool(axis.unit) and axis.scale is not None for axis in axes] == [True, True, False]
        return Dataset(array.name, shape, array.dtype, layout(axes, array.dtype, frames_last=last))
    except UnreadableFile as error:
        return Dataset(array.name, shape, array.dtype, refusal=str(error))


def _velox_dataset(image: h5py.Group) -> Dataset:
    array, told = dataset_at(image.file, f"{image.name}/Data"), velox.told_of(image)
    try:
        axes = layout(told.axes(array.shape), array.dtype, frames_last=True)
        return Dataset(array.name, array.shape, array.dtype, axes, title=told.title)
    except UnreadableFile as error:
        return Dataset(array.name, array.shape, array.dtype, refusal=str(error), title=told.title)


def _header(file: h5py.File, array: h5py.Dataset, axes: Layout, by_velox: bool) -> Header:
    if by_velox and array.parent.name.startswith(f"{velox.IMAGES}/"):
        return velox.told_of(array.parent).header(axes.header(velox.PIXEL_SIZE), axes.length)
    source = axes_of(array)[1]
    header = axes.header(source) if source else Header(missing="HDF5 has no place of its own for it")
    return replace(header, beam_energy_kev=_beam_energy_kev(file, array), interval_s=axes.interval_s())


def _beam_energy_kev(file: h5py.File, array: h5py.Dataset) -> float | None:
    tem = object_at(array.parent, "metadata/Acquisition_instrument/TEM")
    if tem is not None:
        return _positive(tem.attrs.get("beam_energy"))
    microscope = object_at(file["/"], "microscope")
    voltage_V = _positive(microscope.attrs.get("high tension")) if microscope is not None else None
    return voltage_V / 1e3 if voltage_V and voltage_V >= LEAST_VOLTAGE_V else None


def _positive(value: object) -> float | None:
    found = number(value)
    return found if found is not None and found > 0 else None
