"""The frames to send as files: an MRC of IMOD's unsigned bytes, and a DM4."""

import struct
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.gateway.frames import pictures
from tests.unit.sdk.files.dm_writer import dm_file, dm_image

SAMPLING_A = 0.1
IMOD_STAMP = struct.pack("<4si", b"IMOD", 0)
"""At byte 152 of the header, with flags that say: bytes are unsigned."""


def write_movies(folder: Path, side: int, frames: int) -> dict[str, Path]:
    """Files of so many frames [side, side] u8, by the end of their names."""
    images = pictures(side)
    stack = np.concatenate([images] * -(-frames // len(images)))[:frames]
    return {"mrc": _write_mrc(folder / "movie.mrc", stack), "dm4": _write_dm4(folder / "movie.dm4", stack)}


def _write_mrc(path: Path, stack: NDArray[np.uint8]) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(stack.view(np.int8))
        mrc.voxel_size = SAMPLING_A
    with path.open("r+b") as file:
        file.seek(152)
        file.write(IMOD_STAMP)
    return path


def _write_dm4(path: Path, stack: NDArray[np.uint8]) -> Path:
    path.write_bytes(dm_file([dm_image(stack, scales=(SAMPLING_A / 10,) * 3)]))
    return path
