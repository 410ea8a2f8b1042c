"""Opening a movie by its name."""

from collections.abc import Callable
from pathlib import Path

from segdepth.calibration import Calibration
from segdepth.errors import InvalidFrame, UnreadableFile
from segdepth.files.movie import Movie, Stack
from segdepth.files.mrc import open_mrc
from segdepth.files.npy import open_npy
from segdepth.files.tiff import open_tiff
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

SUFFIXES: dict[str, Callable[[Path], Stack]] = {
    ".mrc": open_mrc,
    ".mrcs": open_mrc,
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".npy": open_npy,
}
"""Formats by the end of the name."""


def open_movie(path: str | Path, sampling_A: float | None = None) -> Movie:
    """The movie in a file; pixels are read frame by frame.

    sampling_A: pixel size [Å/px], instead of the header's. Raises UnreadableFile: no such file, unknown format,
    truncated, not a stack of grey frames, or no sampling (a header's 1.0 Å default is none).
    """
    path = Path(path)
    reader = SUFFIXES.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(f"{path}: unknown format; there is {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file")
    try:
        stack = reader(path)
    except UnreadableFile as error:
        raise UnreadableFile(f"{path}: {error}") from error
    try:
        return _movie(path, stack, sampling_A)
    except (UnreadableFile, InvalidFrame) as error:
        stack.close()
        raise UnreadableFile(f"{path}: {error}") from error


def _movie(path: Path, stack: Stack, sampling_A: float | None) -> Movie:
    if stack.length == 0:
        raise UnreadableFile("no frames")
    sampling_A = stack.sampling_A if sampling_A is None else sampling_A
    if sampling_A is None:
        raise UnreadableFile(f"no sampling: {stack.missing}; state it in Å/px (--sampling)")
    calibration = Calibration(sampling_A)
    calibration.message()
    movie = Movie(path, stack, calibration)
    _check_size(movie)
    return movie


def _check_size(movie: Movie) -> None:
    height, width = movie.shape
    need = height * width * movie.dtype.itemsize
    if min(height, width) >= 2 and need <= contract.FRAME_BYTES:
        return
    try:
        contract.check_frame(frame_pb2.Frame(height=height, width=width, dtype=contract.data_type(movie.dtype)))
    except contract.InvalidFrame as error:
        raise UnreadableFile(str(error)) from error
