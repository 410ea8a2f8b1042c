"""The maps of a movie as a Zarr group, one object for each map of a chunk.

A chunk of the job is a chunk of the arrays, so that each can be stored whole, by itself, in any order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from segdepth_batch.plan import Chunk, Input
from segdepth_protos.contract import REFUSED_DEPTH

Array = zarr.Array[Any]

DEPTH, CONFIDENCE = "depth", "confidence"


def folder_of(movie: Input) -> str:
    """The group's place in the output."""
    return f"maps/{movie.name}.zarr"


def write_head(folder: Path, movie: Input) -> Iterator[str]:
    """Write what describes the group and its arrays; gives the files' names below `folder`."""
    _arrays(folder, movie)
    yield from (name for name in _files(folder) if name.endswith("zarr.json"))


def write_chunk(
    folder: Path, chunk: Chunk, depth_THW: NDArray[np.uint8], confidence_THW: NDArray[np.float32]
) -> Iterator[str]:
    """Write the maps of a chunk's frames; gives the files' names below `folder`, a scratch folder."""
    frames = slice(chunk.first, chunk.first + chunk.frames)
    depth, confidence = _arrays(folder, chunk.movie)
    depth[frames] = depth_THW
    confidence[frames] = confidence_THW
    yield from (name for name in _files(folder) if not name.endswith("zarr.json"))


def _arrays(folder: Path, movie: Input) -> tuple[Array, Array]:
    """The arrays [frame, height, width] of a movie, in a new group."""
    attributes = {"source": movie.source, "sampling_A_per_px": movie.sampling_A, "frames": movie.frames}
    group = zarr.create_group(folder, attributes=attributes, overwrite=True)
    # A chunk that is refused throughout is stored too: that it is there says that it was done.
    return (
        _array(group, movie, DEPTH, "uint8", REFUSED_DEPTH, "most likely number of atoms; 255 = refused"),
        # Half precision: a probability is calibrated to a few parts in a hundred, and this keeps it to 1 in 2000.
        _array(group, movie, CONFIDENCE, "float16", np.nan, "calibrated probability of `depth`; NaN = refused"),
    )


def _array(group: zarr.Group, movie: Input, name: str, dtype: str, fill: float, meaning: str) -> Array:
    return group.create_array(
        name,
        shape=(movie.frames, movie.height, movie.width),
        chunks=(min(movie.chunk_frames, movie.frames), movie.height, movie.width),
        dtype=dtype,
        fill_value=fill,
        dimension_names=("frame", "y", "x"),
        attributes={"meaning": meaning},
        config={"write_empty_chunks": True},
    )


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
