"""The first stage of a job: a chunk's frames, read from its movie."""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from segdepth.errors import UnreadableFile
from segdepth_artefacts.jobs import JobRequest
from segdepth_batch.addresses import Addresses
from segdepth_batch.plan import Chunk
from segdepth_batch.settings import BatchSettings
from segdepth_batch.sources import Found, Sources


class Reader:
    """Makes of a row that names a chunk one that has its pixels too. Raises JobRefused if the movie has changed."""

    def __init__(self, addresses: Addresses, request: JobRequest, settings: BatchSettings):
        self._addresses, self._request, self._settings = addresses, request, settings

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Rows of {chunk: JSON} in, rows of {chunk, pixels, unreadable} out, one at a time."""
        sources = Sources(self._settings, self._request.principal, local=self._addresses.local)
        cancelled = self._addresses.folder().cancelled()
        for text in table["chunk"].to_pylist():
            chunk = Chunk.model_validate_json(text)
            pixels, unreadable = (np.zeros(0, "u1"), {}) if cancelled else _frames(sources, chunk)
            # Offsets of 64 bits: a chunk may have more than 2 GB. The pixels themselves are not copied.
            offsets = pa.py_buffer(np.array([0, pixels.nbytes], np.int64))
            blob = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])
            yield pa.table({"chunk": [text], "pixels": blob, "unreadable": [json.dumps(unreadable)]})


def _frames(sources: Sources, chunk: Chunk) -> tuple[np.ndarray, dict[int, str]]:
    """Frames [T, height, width] of a chunk, and why some of them, zeros there, cannot be read."""
    movie = chunk.movie
    found = Found(movie.source, movie.size_bytes, movie.tag)
    pixels = np.zeros((chunk.frames, movie.height, movie.width), np.dtype(movie.dtype))
    unreadable: dict[int, str] = {}
    with sources.opened(found, movie.sampling_A) as opened:
        for number in range(chunk.frames):
            try:
                pixels[number] = opened.frame(chunk.first + number)
            except UnreadableFile as error:
                unreadable[number] = str(error).partition(": ")[2]
    return pixels, unreadable
