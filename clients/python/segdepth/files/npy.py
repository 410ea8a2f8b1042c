"""NPY files, memory-mapped."""

from pathlib import Path

import numpy as np

from segdepth.errors import UnreadableFile
from segdepth.files.movie import Header, Stack


def open_npy(path: Path) -> Stack:
    """An array [frame, height, width] or [height, width]. Raises UnreadableFile for anything else."""
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UnreadableFile(f"not an NPY file of numbers, or truncated: {error}") from error
    if not isinstance(data, np.ndarray) or data.ndim not in (2, 3):
        raise UnreadableFile("an NPY movie is one array [frame, height, width] or [height, width]")
    frames = data[np.newaxis] if data.ndim == 2 else data
    return Stack(
        length=len(frames),
        shape=(frames.shape[1], frames.shape[2]),
        dtype=frames.dtype,
        header=Header(missing="an NPY file has no place for it"),
        read=lambda index: np.asarray(frames[index]),
        close=lambda: None,
    )
