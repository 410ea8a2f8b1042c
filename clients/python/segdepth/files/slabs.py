"""Frames of a chunked array, with the chunks of the last one kept."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segdepth.errors import UnreadableFile
from segdepth.files.axes import Layout

MOST_BYTES = 256 * 1024 * 1024
"""Of one chunk, and of what is kept of the last frames."""

MOST_CHUNKS = 100_000
"""Of a frame: more would take minutes."""

Read = Callable[[tuple[slice, ...]], NDArray[Any]]
"""A part of the array."""


class Slabs:
    """Reads frames of an array. Chunks over several frames are read once for all of them, in bounded memory.

    Raises UnreadableFile for chunks that are too large or too many to read a frame.
    """

    def __init__(self, read: Read, axes: Layout, chunks: tuple[int, ...], dtype: np.dtype[Any]):
        self._read, self._axes = read, axes
        sizes = [axis.size for axis in axes.axes]
        chunks = tuple(min(chunk, size) for chunk, size in zip(chunks, sizes, strict=True))
        if math.prod(chunks) * dtype.itemsize > MOST_BYTES:
            megabytes = math.prod(chunks) * dtype.itemsize / 1e6
            raise UnreadableFile(f"chunks of {megabytes:.0f} MB: write the file anew, a frame a chunk")
        frames = 1 if axes.frames is None else chunks[axes.frames]
        height, width = axes.shape
        many = math.ceil(height / max(1, chunks[axes.height])) * math.ceil(width / max(1, chunks[axes.width]))
        if many > MOST_CHUNKS:
            raise UnreadableFile(f"{many} chunks a frame: write the file anew, a frame a chunk")
        self._frames = frames if frames * height * width * dtype.itemsize <= MOST_BYTES else 1
        self._first, self._kept = -1, np.empty(0, dtype)

    def __call__(self, index: int) -> NDArray[Any]:
        """Frame `index` [height, width]."""
        if self._frames == 1:
            alone: NDArray[Any] = self._slab(index)[0]
            return alone
        first = index - index % self._frames
        if first != self._first:
            self._kept = np.empty(0, self._kept.dtype)
            self._kept, self._first = self._slab(first), first
        # What is kept is not given away: whoever writes into a frame writes into a copy.
        frame: NDArray[Any] = self._kept[index - first].copy()
        return frame

    def _slab(self, first: int) -> NDArray[Any]:
        axes = self._axes
        part = [slice(0, axis.size) for axis in axes.axes]
        if axes.frames is not None:
            part[axes.frames] = slice(first, min(first + self._frames, axes.length))
        array = self._read(tuple(part))
        order = [index for index in (axes.frames, axes.height, axes.width) if index is not None]
        others = [index for index in range(array.ndim) if index not in order]
        return array.transpose(others + order).reshape(-1, *axes.shape)
