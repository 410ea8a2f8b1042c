"""The maps of a movie as a Zarr group, one object for each map of a chunk.

A chunk of the job is a chunk of the arrays, so that each can be stored whole, by itself, in any order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segdepth.export.ngff import Maps, create_maps
from segdepth_batch.plan import Chunk, Input


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


def _arrays(folder: Path, movie: Input) -> Maps:
    """The arrays [frame, height, width] of a movie, in a new group."""
    shape = (movie.frames, movie.height, movie.width)
    return create_maps(folder, shape, movie.chunk_frames, movie.sampling_A, attributes={"source": movie.source})


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
