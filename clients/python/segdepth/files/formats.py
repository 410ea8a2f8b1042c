"""The formats that are read: by which names, what of them, where the pixel size comes from. docs/files.md follows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segdepth.errors import NotInstalled, UnreadableFile
from segdepth.files import dm, rosettasciio, ser
from segdepth.files.dm import open_dm
from segdepth.files.movie import Stack
from segdepth.files.mrc import open_mrc
from segdepth.files.npy import open_npy
from segdepth.files.picture import open_picture
from segdepth.files.rosettasciio import open_with_rosettasciio
from segdepth.files.ser import open_emi, open_ser
from segdepth.files.tiff import open_tiff

Reader = Callable[[Path, str], Stack]
"""Opens a file, or one dataset of it: its path in the file, "" where the caller names none."""

INSIDE = "::"
"""What follows names a dataset of the file: movie.emd::/data/movie."""


@dataclass(frozen=True)
class Format:
    """A format of movies.

    suffixes: ends of its files' names; read_by: the libraries that decode it; extra: what pip installs for it; holds:
    what is read; sources: what `Header.source` may say, in the order in which they are looked for; also: what else of
    a Header may be known; dataset: what follows :: in the name of a file of several movies, "" where there is one.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: Reader
    read_by: str
    holds: str
    sources: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    dataset: str = ""
    extra: str = "segdepth[files]"
    picture: bool = False
    """Lies beside movies and results as a picture of them: read where it is named, never found."""
    folder: bool = False
    instead: str = ""
    """What to send where one file alone is not all of a movie."""
    growing: Reader | None = None
    """Opens a file that is still being written, with the frames that are whole; None where `reader` serves as well."""


def _hdf5(path: Path, dataset: str, *, growing: bool = False) -> Stack:
    try:
        from segdepth.files.hdf5 import open_hdf5
    except ImportError as error:
        raise NotInstalled("HDF5 files need: pip install 'segdepth[files]'") from error
    return open_hdf5(path, dataset, growing=growing)


_GROWING_HDF5 = partial(_hdf5, growing=True)


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


_ENERGY, _C3, _START, _INTERVAL, _COUNTS = "energy", "C3", "start", "interval", "counts per electron"

FORMATS = (
    Format(
        "MRC",
        (".mrc", ".mrcs"),
        _one_movie(open_mrc),
        "mrcfile",
        "2-D sections along Z of mode 0, 1, 2, 6 or 12, in either byte order, also IMOD's unsigned bytes",
        (
            "cell / grid of the header",
            "pixel size of the FEI1 extended header",
            "pixel size of the FEI2 extended header",
        ),
        (_ENERGY,),
        growing=_one_movie(partial(open_mrc, growing=True)),
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        open_tiff,
        "tifffile, imagecodecs",
        "grey pages, OME-TIFF and ImageJ stacks (also over 4 GB); uncompressed or LZW, Deflate, zstd, JPEG, ...",
        (
            "OME PhysicalSizeX",
            "ImageJ unit and resolution",
            "DigitalMicrograph's tags 65003-65010",
            "Scan.PixelWidth of the FEI tag",
            "pixel size of the Olympus SIS tag",
            "PixelSizeX of the TVIPS tag",
            "pixel size of the Zeiss SEM tag",
            "magnification and PixelsPerMeter of JEOL's report",
            "resolution tags",
        ),
        (_ENERGY, _START, _INTERVAL),
        "the number of a series, `movie.tif::1`",
    ),
    Format(
        "DM",
        (".dm4", ".dm3"),
        open_dm,
        "ncempy",
        "images and stacks of DigitalMicrograph, of integers or floats",
        (dm.PIXEL_SIZE,),
        (_ENERGY, _C3, _COUNTS, _START, _INTERVAL),
        "the number of an image in the file's list, `movie.dm4::2`",
    ),
    Format(
        "EMD",
        (".emd",),
        _hdf5,
        "h5py",
        "images and stacks of NCEM's EMD and of Velox",
        ("dimN of the EMD group", "BinaryResult.PixelSize"),
        (_ENERGY, _COUNTS, _START, _INTERVAL),
        "the path of a dataset, `movie.emd::/data/movie/data`",
        growing=_GROWING_HDF5,
    ),
    Format(
        "HDF5",
        (".h5", ".hdf5", ".hspy"),
        _hdf5,
        "h5py",
        "any dataset of two or three dimensions, also HyperSpy's signals",
        ("dimN of the EMD group", "scale of axis-N"),
        (_ENERGY, _INTERVAL),
        "the path of a dataset, `movie.h5::/entry/data`",
        growing=_GROWING_HDF5,
    ),
    Format(
        "SER",
        (".ser",),
        _one_movie(open_ser),
        "segdepth",
        "image series of TIA",
        (ser.PIXEL_SIZE,),
        ("energy (of the EMI file beside it)", _START, _INTERVAL),
        extra="segdepth",
    ),
    Format(
        "EMI",
        (".emi",),
        open_emi,
        "segdepth",
        "the SER series beside it: `movie_1.ser` of `movie.emi`",
        (ser.PIXEL_SIZE,),
        (_ENERGY, _START, _INTERVAL),
        "the number of a series, `movie.emi::2` for `movie_2.ser`",
        extra="segdepth",
        instead="the pixels of an EMI file are in the SER files beside it: name one of those",
    ),
    Format(
        "Zarr",
        (".zarr",),
        _zarr,
        "zarr",
        "an array of a store, version 2 or 3; of OME's pyramids the finest",
        ("scale of the OME multiscales",),
        (_INTERVAL,),
        "the path of an array, `movie.zarr::/0`",
        folder=True,
        instead="a Zarr store is a folder, no file: segdepth estimate reads it",
    ),
    Format(
        "NPY",
        (".npy",),
        _one_movie(open_npy),
        "numpy",
        "one array [frame, height, width] or [height, width]",
        extra="segdepth",
        growing=_one_movie(partial(open_npy, growing=True)),
    ),
    Format(
        "PNG, JPEG",
        (".png", ".jpg", ".jpeg"),
        _one_movie(open_picture),
        "Pillow",
        "one grey picture; a display export is not linear in the electrons, and that is said",
        picture=True,
    ),
    Format(
        "MIB, PRZ, TVIPS",
        tuple(rosettasciio.READERS),
        open_with_rosettasciio,
        "RosettaSciIO",
        "what RosettaSciIO takes for images",
        (rosettasciio.PIXEL_SIZE,),
        (_ENERGY, _INTERVAL),
        "the number of a signal, `movie.mib::0`",
        extra="segdepth[rosettasciio] (GPL)",
    ),
)

SUFFIXES = {suffix: each.reader for each in FORMATS for suffix in each.suffixes}
"""Readers by the end of the name."""

PICTURES = frozenset(suffix for each in FORMATS if each.picture for suffix in each.suffixes)
"""Those of them that lie beside movies and results as pictures of them: read where they are named, never found."""

FOLDERS = frozenset(suffix for each in FORMATS if each.folder for suffix in each.suffixes)
"""Those of them that are folders."""


SINGLE = tuple(suffix for each in FORMATS if not each.instead for suffix in each.suffixes)
"""Those of them of which one file is all of a movie, so that it may be sent away alone."""


def format_of(path: Path) -> Format | None:
    """The format that the end of a file's name says, None for an unknown one."""
    return next((each for each in FORMATS if path.suffix.lower() in each.suffixes), None)
