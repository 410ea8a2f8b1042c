"""Frames of a station's own files: MRC and NPY, which training can read without the client."""

from dataclasses import dataclass
from pathlib import Path

import mrcfile  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

MRC = (".mrc", ".mrcs", ".map")
NPY = ".npy"


@dataclass(frozen=True)
class MovieFile:
    """frames: [F, H, W] as the file has them, mapped and not yet read; sampling_A: pixel size [Å/px]."""

    path: Path
    frames: NDArray[np.generic]
    sampling_A: float

    @classmethod
    def open(cls, path: Path, sampling_A: float | None = None) -> "MovieFile":
        """A file; `sampling_A` instead of its header's.

        Raises FileNotFoundError; ValueError for other formats, for what is no movie, and where no pixel size is known.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        ending = path.suffix.lower()
        if ending in MRC:
            frames, known_A = _mrc(path)
        elif ending == NPY:
            frames, known_A = _npy(path), None
        else:
            raise ValueError(
                f'{path}: MRC and NPY are read here; write it as NPY first: python -c "import numpy, segdepth;'
                f" numpy.save('{path.stem}.npy', numpy.stack(list(segdepth.open_movie('{path}', 0.1))))\""
            )
        if frames.ndim != 3 or frames.dtype.kind not in "uif" or min(frames.shape) < 1:
            raise ValueError(f"{path}: {frames.shape} of {frames.dtype} is no movie [frames, height, width] of numbers")
        found_A = sampling_A or known_A
        if found_A is None:
            raise ValueError(f"{path}: its pixel size is not known; state it with --sampling [Å/px]")
        if not 0.02 <= found_A <= 1:
            raise ValueError(f"{path}: {found_A:g} Å/px: 0.02-1 Å/px would be plausible; state it with --sampling")
        return cls(path, frames, found_A)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> NDArray[np.generic]:
        return np.asarray(self.frames[number])


def _mrc(path: Path) -> tuple[NDArray[np.generic], float | None]:
    try:
        with mrcfile.mmap(path, mode="r", permissive=False) as movie:
            frames, size_A = movie.data, float(movie.voxel_size.x)
    except ValueError as error:
        raise ValueError(f"{path}: not an MRC file: {error}") from error
    frames = frames[None] if frames.ndim == 2 else frames
    return frames, size_A if size_A > 0 else None


def _npy(path: Path) -> NDArray[np.generic]:
    try:
        frames: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an NPY file of numbers: {error}") from error
    return frames[None] if frames.ndim == 2 else frames
