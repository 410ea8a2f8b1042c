"""The maps of a movie as a Zarr group (version 3) that OME-NGFF 0.5 describes: depth and confidence [frame, y, x]."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from segdepth.export.atomic import AtomicFolder, cannot_write
from segdepth.export.maps import maps_of
from segdepth.files import Movie
from segdepth.results import Answer
from segdepth_protos.contract import REFUSED_DEPTH

Array = zarr.Array[Any]

DEPTH, CONFIDENCE = "depth", "confidence"

CHUNK_PIXELS = 1 << 22
"""Of a chunk, roughly: a frame of 2,048² is one."""


class Maps(NamedTuple):
    """The arrays of a group, [frame, height, width]."""

    depth: Array
    confidence: Array


def create_maps(
    folder: Path,
    shape: tuple[int, int, int],
    chunk_frames: int,
    sampling_A: float,
    *,
    interval_s: float | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Maps:
    """A new group with both arrays, empty; `shape` is (frames, height, width), `attributes` are the group's own."""
    ome = {"version": "0.5", "multiscales": [_image(name, sampling_A, interval_s) for name in (DEPTH, CONFIDENCE)]}
    own = {"sampling_A_per_px": sampling_A, "frames": shape[0], **(attributes or {})}
    group = zarr.create_group(folder, attributes={"ome": ome, **own}, overwrite=True)
    chunks = (min(chunk_frames, shape[0]), *shape[1:])
    return Maps(
        _array(group, DEPTH, shape, chunks, "uint8", REFUSED_DEPTH, "most likely number of atoms; 255 = refused"),
        # Half precision: a probability is calibrated to a few parts in a hundred, and this keeps it to 1 in 2000.
        _array(group, CONFIDENCE, shape, chunks, "float16", np.nan, "calibrated probability of `depth`; NaN = refused"),
    )


def _image(name: str, sampling_A: float, interval_s: float | None) -> dict[str, Any]:
    """One image of a single scale: array `name`, whose pixel (0, 0) has its centre in the origin."""
    time = {"name": "t", "type": "time"} | ({"unit": "second"} if interval_s else {})
    axes = [time, *({"name": axis, "type": "space", "unit": "angstrom"} for axis in "yx")]
    scale = {"type": "scale", "scale": [interval_s or 1.0, sampling_A, sampling_A]}
    return {"name": name, "axes": axes, "datasets": [{"path": name, "coordinateTransformations": [scale]}]}


def _array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, int, int],
    chunks: tuple[int, int, int],
    dtype: str,
    fill: float,
    meaning: str,
) -> Array:
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        dimension_names=("t", "y", "x"),
        attributes={"meaning": meaning},
        # A chunk that is refused throughout is stored too: that it is there says that it was done.
        config={"write_empty_chunks": True},
    )


class ZarrMaps:
    """Writes the maps as the frames come, a chunk at a time. Raises CannotWrite."""

    def __init__(self, folder: AtomicFolder, movie: Movie, attributes: Mapping[str, Any]):
        self._folder, self._shape = folder, movie.shape
        self._most = max(1, CHUNK_PIXELS // (movie.shape[0] * movie.shape[1]))
        self._waiting: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
        self._written = 0
        try:
            self._maps = create_maps(
                folder.part,
                (len(movie), *movie.shape),
                self._most,
                movie.calibration.sampling_A,
                interval_s=movie.header.interval_s,
                attributes=attributes,
            )
        except OSError as error:
            raise cannot_write(folder.path, error) from error

    def add(self, answer: Answer) -> None:
        """The next answer."""
        for pair in maps_of(answer, self._shape):
            self._waiting.append(pair)
            if len(self._waiting) == self._most:
                self._write()

    def _write(self) -> None:
        frames = slice(self._written, self._written + len(self._waiting))
        try:
            self._maps.depth[frames] = np.stack([depth for depth, _ in self._waiting])
            self._maps.confidence[frames] = np.stack([confidence for _, confidence in self._waiting])
        except OSError as error:
            raise cannot_write(self._folder.path, error) from error
        self._written, self._waiting = frames.stop, []

    def finish(self) -> None:
        """No frame follows."""
        if self._waiting:
            self._write()
        self._folder.finish()
