"""Opening a movie by its name."""

from collections.abc import Callable
from pathlib import Path

from segdepth.errors import InvalidFrame, NotInstalled, SegDepthError, UnreadableFile
from segdepth.files.dm import open_dm
from segdepth.files.movie import Movie, Stack
from segdepth.files.mrc import open_mrc
from segdepth.files.npy import open_npy
from segdepth.files.picture import open_picture
from segdepth.files.rosettasciio import READERS, open_with_rosettasciio
from segdepth.files.ser import open_emi, open_ser
from segdepth.files.tiff import open_tiff
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2

Reader = Callable[[Path, str], Stack]
"""Opens a file, or one dataset of it: its path in the file, "" where the caller names none."""

INSIDE = "::"
"""What follows names a dataset of the file: movie.emd::/data/movie."""


def _hdf5(path: Path, dataset: str) -> Stack:
    try:
        from segdepth.files.hdf5 import open_hdf5
    except ImportError as error:
        raise NotInstalled("HDF5 files need: pip install 'segdepth[files]'") from error
    return open_hdf5(path, dataset)


def _zarr(path: Path, dataset: str) -> Stack:
    try:
        from segdepth.files.ome_zarr import open_zarr
    except ImportError as error:
        raise NotInstalled("Zarr stores need: pip install 'segdepth[files]'") from error
    return open_zarr(path, dataset)


def _one_movie(reader: Callable[[Path], Stack]) -> Reader:
    """For a format whose files hold one movie each."""

    def open_it(path: Path, dataset: str) -> Stack:
        if dataset:
            raise UnreadableFile(f"holds one movie, no dataset {dataset}; leave {INSIDE}{dataset} out")
        return reader(path)

    return open_it


SUFFIXES: dict[str, Reader] = {
    ".mrc": _one_movie(open_mrc),
    ".mrcs": _one_movie(open_mrc),
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".npy": _one_movie(open_npy),
    ".dm3": open_dm,
    ".dm4": open_dm,
    ".ser": _one_movie(open_ser),
    ".emi": open_emi,
    ".emd": _hdf5,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".hspy": _hdf5,
    ".zarr": _zarr,
    ".png": _one_movie(open_picture),
    ".jpg": _one_movie(open_picture),
    ".jpeg": _one_movie(open_picture),
    **dict.fromkeys(READERS, open_with_rosettasciio),
}
"""Formats by the end of the name."""

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
"""Those of them that lie beside movies and results as pictures of them: read where they are named, never found."""

COMPANIONS = frozenset({".emi"})
"""Those of them that lead to another file, which has the pixels: found with it, they would be read twice."""

FOLDERS: frozenset[str] = frozenset({".zarr"})
"""Those of them that are folders."""


def open_movie(path: str | Path, sampling_A: float | None = None) -> Movie:
    """The movie in a file; pixels are read frame by frame.

    path: may end in ::/path/of/a/dataset where a file holds several; sampling_A: pixel size [Å/px], instead of the
    header's. Raises UnreadableFile: no such file, unknown format, truncated, not a stack of grey frames, or no sampling
    (a header's 1.0 Å default is none).
    """
    name, inside, dataset = str(path).partition(INSIDE)
    path = Path(name)
    try:
        stack = _reader(path)(path, dataset)
    except UnreadableFile as error:
        raise UnreadableFile(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, SegDepthError):
            raise
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    try:
        return _movie(path, stack, sampling_A, inside + dataset)
    except (UnreadableFile, InvalidFrame) as error:
        stack.close()
        raise UnreadableFile(f"{path}: {error}") from error


def _reader(path: Path) -> Reader:
    reader = SUFFIXES.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(f"unknown format; there is {', '.join(SUFFIXES)}")
    if not path.exists():
        raise UnreadableFile("no such file")
    if path.is_dir() and path.suffix.lower() not in FOLDERS:
        raise UnreadableFile("a folder; name the files in it")
    if not path.is_dir() and not path.is_file():
        # To open a pipe would wait for whoever writes into it.
        raise UnreadableFile("a pipe or device, not a file")
    return reader


def _movie(path: Path, stack: Stack, sampling_A: float | None, inside: str) -> Movie:
    if stack.length == 0:
        raise UnreadableFile("no frames")
    if sampling_A is None:
        sampling_A = stack.header.sampling_A
    if sampling_A is None:
        raise UnreadableFile(
            f"no sampling: {stack.header.missing}; state it in Å/px (--sampling), or roughly"
            " (--sampling auto-lattice --sampling-about)"
        )
    calibration = stack.header.calibration(sampling_A)
    calibration.message()
    movie = Movie(path, stack, calibration, inside)
    check_size(movie)
    return movie


def check_size(movie: Movie) -> None:
    """UnreadableFile for frames of another size than a frame may have as they are sent."""
    height, width = movie.shape
    need = height * width * movie.dtype.itemsize
    if min(height, width) >= 2 and need <= contract.FRAME_BYTES:
        return
    try:
        contract.check_frame(frame_pb2.Frame(height=height, width=width, dtype=contract.data_type(movie.dtype)))
    except contract.InvalidFrame as error:
        raise UnreadableFile(str(error)) from error
