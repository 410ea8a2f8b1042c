"""Opening a movie by its name."""

from pathlib import Path

from segdepth.errors import InvalidFrame, SegDepthError, UnreadableFile
from segdepth.files.formats import FOLDERS, INSIDE, SUFFIXES, Reader, format_of
from segdepth.files.movie import Movie, Stack
from segdepth_protos import contract
from segdepth_protos.v1 import frame_pb2


def open_movie(path: str | Path, sampling_A: float | None = None, *, growing: bool = False) -> Movie:
    """The movie in a file; pixels are read frame by frame.

    path: may end in ::/path/of/a/dataset where a file holds several; sampling_A: pixel size [Å/px], instead of the
    header's; growing: the file is still being written: as many frames as are there by now, where its format lets see
    them. Raises UnreadableFile: no such file, unknown format, truncated, not a stack of grey frames, or no sampling (a
    header's 1.0 Å default is none).
    """
    name, inside, dataset = str(path).partition(INSIDE)
    path = Path(name)
    try:
        stack = _reader(path, growing)(path, dataset)
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


def _reader(path: Path, growing: bool) -> Reader:
    known = format_of(path)
    if known is None:
        raise UnreadableFile(f"unknown format; there is {', '.join(SUFFIXES)}")
    if not path.exists():
        raise UnreadableFile("no such file")
    if path.is_dir() and path.suffix.lower() not in FOLDERS:
        raise UnreadableFile("a folder; name the files in it")
    if not path.is_dir() and not path.is_file():
        # To open a pipe would wait for whoever writes into it.
        raise UnreadableFile("a pipe or device, not a file")
    return known.growing or known.reader if growing else known.reader


def _movie(path: Path, stack: Stack, sampling_A: float | None, inside: str) -> Movie:
    if stack.length == 0:
        raise UnreadableFile("no frames")
    if sampling_A is None:
        sampling_A = stack.header.sampling_A
    if sampling_A is None:
        raise UnreadableFile(
            f"no sampling: {stack.header.missing}; state it in Å/px (--sampling), or, of one file,"
            " roughly (--sampling auto-lattice --sampling-about)"
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
