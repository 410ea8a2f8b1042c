"""Small movies for the readers' tests."""

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray

from segdepth.files import open_movie

SHAPE = (5, 24, 32)


def movie_of(dtype: str = "u2", shape: tuple[int, ...] = SHAPE, seed: int = 1) -> NDArray[Any]:
    """Numbers from 0 to 119, none like its neighbours."""
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def write_mrc(path: Path, data: NDArray[Any], sampling: float | tuple[float, float, float] | None = 0.1) -> Path:
    """As mrcfile writes it."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        if sampling is not None:
            mrc.voxel_size = sampling
    return path


def frames_of(path: Path | str, sampling_A: float | None = None) -> tuple[NDArray[Any], float]:
    """All frames, and the sampling they are read with."""
    with open_movie(path, sampling_A) as movie:
        return np.stack(list(movie)), movie.calibration.sampling_A
